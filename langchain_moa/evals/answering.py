"""Rows to answers: each answer is recorded the moment it is there, and never asked for again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from langchain_core.messages import BaseMessage, convert_to_messages

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.contestants import Contestant
from langchain_moa.evals.records import RecordFile, digest, now
from langchain_moa.evals.spending import paid_for, proposals_of, spent
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.types import Answer, ChatMessage, GenerationSettings, Row
from langchain_moa.evals.work import Stop, work_through
from langchain_moa.reliability.provider_errors import status_of
from langchain_moa.types import RECORD_KEY

CONCURRENCY: Final = 8
"""Rows that are answered, or judged, at the same time."""

_NEW: Final = False
"""Told of an answer that was not recorded before."""
_SETUP_STATUSES: Final = frozenset({401, 403, 404})
"""HTTP statuses of a wrong key and of an unknown model."""

OnAnswer = Callable[[Answer, bool], None]
"""Is told of each answer, and whether it was recorded before."""
SettingsOf = Callable[[Row], GenerationSettings | None]


@dataclass(frozen=True)
class Asked:
    """What is asked of one contestant for one turn of a row, and what finds its answer again.

    Attributes:
        row: The row.
        turn: The turn, from 1.
        model: The contestant's name.
        messages: The conversation.
        asked: Who is asked.
        settings: Hash of all that shapes the answer.
        earlier: The answers to the turns before.
        generation: Temperature and limit of tokens, if the suite has its own.
        first: Of a later turn, the `settings` of the row's first one.
    """

    row: Row
    turn: int
    model: str
    messages: list[ChatMessage]
    asked: MoAChatModel
    settings: str
    earlier: tuple[str, ...] = ()
    generation: GenerationSettings | None = None
    first: str | None = None

    @property
    def key(self) -> Hashable:
        """The key of its record."""
        return (self.row["suite"], self.row["id"], self.turn, self.model, self.settings)

    def marked(self, answer: Answer) -> Answer:
        """Its record with the hashes that it is found by."""
        marked: Answer = {**answer, "settings": self.settings}
        if self.first is not None:
            marked["first"] = self.first
        return marked


def asked_of(
    row: Row, who: Contestant, earlier: Sequence[str], settings: GenerationSettings | None
) -> Asked:
    """What is asked after the answers to the turns before.

    Args:
        row: The row.
        who: Who is asked.
        earlier: The answers to the turns before, in order.
        settings: Temperature and limit of tokens, if the suite has its own.
    """
    messages = list(row["messages"])
    for output, said in zip(earlier, row["follow_ups"], strict=False):
        messages += [{"role": "assistant", "content": output}, {"role": "user", "content": said}]
    model, fingerprint = who.asked_with(settings)
    return Asked(
        row=row,
        turn=len(earlier) + 1,
        model=who.name,
        messages=messages,
        asked=model,
        settings=digest(fingerprint, messages),
        earlier=tuple(earlier),
        generation=settings,
        first=digest(fingerprint, row["messages"]) if earlier else None,
    )


class Engine(Protocol):
    """Asks in the place of this process."""

    def answers(self, asked: Sequence[Asked]) -> AsyncIterator[tuple[Asked, Answer]]:
        """The answers' records, in the order in which they come."""


class Answering:
    """Answers rows, of which it asks only what is not recorded.

    Args:
        rows: The rows.
        who: Who answers them.
        records: The answers that are there; new ones are added.
        settings: Gives a row's temperature and limit of tokens; `None` leaves them to the model.
        retry_failed: Whether what failed before is asked again.
        on_answer: Is told of each answer.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        who: Sequence[Contestant],
        records: RecordFile[Answer],
        settings: SettingsOf,
        *,
        retry_failed: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._rows = rows
        self._who = who
        self._records = records
        self._settings = settings
        self._retry_failed = retry_failed
        self._tell = on_answer or (lambda _, __: None)
        self._answers: dict[tuple[int, int, int], Answer] = {}
        self._proven: set[str] = set()
        self._fresh: set[Hashable] = set()

    @property
    def answers(self) -> list[Answer]:
        """The answers so far: row by row, and in each the contestants in their order."""
        return [self._answers[place] for place in sorted(self._answers)]

    def missing(self) -> Iterator[Asked]:
        """What would be asked now; for turns after one that is missing, with an empty answer."""
        for row in self._rows:
            for who in self._who:
                earlier: list[str] = []
                for _ in range(_turns(row)):
                    asked = asked_of(row, who, earlier, self._settings(row))
                    known = self._known(asked)
                    if known is None:
                        yield asked
                    elif known["output"] is None:
                        break
                    earlier.append((known and known["output"]) or "")

    def known(self) -> list[Answer]:
        """The answers that need not be asked for."""
        found = []
        for row in self._rows:
            for who in self._who:
                earlier: list[str] = []
                while len(earlier) < _turns(row):
                    known = self._known(asked_of(row, who, earlier, self._settings(row)))
                    if known is None or known["output"] is None:
                        break
                    found.append(known)
                    earlier.append(known["output"])
        return found

    def _next(self) -> list[Asked]:
        """What can be asked now: of each row and contestant the first turn that is missing."""
        found = []
        for row in self._rows:
            for who in self._who:
                earlier: list[str] = []
                while len(earlier) < _turns(row):
                    asked = asked_of(row, who, earlier, self._settings(row))
                    known = self._known(asked)
                    if known is None:
                        found.append(asked)
                    if known is None or known["output"] is None:
                        break
                    earlier.append(known["output"])
        return found

    async def run(
        self,
        *,
        concurrency: int = CONCURRENCY,
        stop: Stop | None = None,
        engine: Engine | None = None,
    ) -> None:
        """Ask what is missing.

        Args:
            concurrency: How many rows at the same time.
            stop: Ends it early.
            engine: Who asks, in the place of this process.

        Raises:
            MoAConfigurationError: The set-up is wrong: a key, or a model's name.
            DataFileError: An answer can't be recorded.
            KeyboardInterrupt: Ctrl-C was pressed; what was under way has been recorded.
        """
        while engine is not None and (asked := self._next()):
            async for each, answer in engine.answers(asked):
                self._fresh.add(each.key)
                self._records.append(answer)
                self._tell(answer, _NEW)
        places = (
            (number, place) for number in range(len(self._rows)) for place in range(len(self._who))
        )
        await work_through(places, self._answer, concurrency=concurrency, stop=stop)

    async def _answer(self, place: tuple[int, int]) -> None:
        """Answer a row's turns, one after the other."""
        row, who = self._rows[place[0]], self._who[place[1]]
        earlier: list[str] = []
        for turn in range(_turns(row)):
            asked = asked_of(row, who, earlier, self._settings(row))
            known = self._known(asked)
            if known is not None:
                self._records.use(known)
            record = known or await answered(asked, proven=who.name in self._proven)
            if known is None:
                self._records.append(record)
            if asked.key not in self._fresh:
                self._tell(record, known is not None)
            self._answers[*place, turn] = record
            if record["output"] is None:
                return
            self._proven.add(who.name)
            earlier.append(record["output"])

    def _known(self, asked: Asked) -> Answer | None:
        """The record of an answer that need not be asked for."""
        record = self._records.get(asked.key)
        failed = record is not None and record["output"] is None
        again = failed and self._retry_failed and asked.key not in self._fresh
        return None if again else record


def _turns(row: Row) -> int:
    return 1 + len(row["follow_ups"])


async def answered(asked: Asked, *, proven: bool = False) -> Answer:
    """Ask, and make the record: of the answer, or of why there is none.

    Args:
        asked: What is asked.
        proven: Whether the contestant has answered before, so that its set-up is right.

    Raises:
        MoAConfigurationError: The contestant's set-up is wrong: its key, or its name.
    """
    started = time.perf_counter()
    output: str | None = None
    reason: str | None = None
    try:
        message = await asked.asked.ainvoke(_messages(asked.messages))
    except MoAConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - any failure of a row is a record
        if not proven:
            refuse_set_up(error, asked.model)
        reason = why(error)
        cost, record = paid_for(error, asked.asked.known_prices), proposals_of(error)
    else:
        output = message.text
        cost, record = spent(message), message.response_metadata[RECORD_KEY]
    answer: Answer = {
        "suite": asked.row["suite"],
        "row": asked.row["id"],
        "turn": asked.turn,
        "model": asked.model,
        "settings": asked.settings,
        "output": output,
        "error": reason,
        "usage": cost["usage"],
        "usd": cost["usd"],
        "seconds": round(time.perf_counter() - started, 6),
        "moa": record,
        "at": now(),
    }
    return asked.marked(answer)


def _messages(messages: Sequence[ChatMessage]) -> list[BaseMessage]:
    return convert_to_messages([(m["role"], m["content"]) for m in messages])


def refuse_set_up(error: Exception, model: str) -> None:
    """Stop for an error that every further request would meet, too.

    Raises:
        MoAConfigurationError: A provider says that the key is wrong or the model unknown.
    """
    causes: Mapping[str, Exception] = getattr(error, "causes", {})
    statuses = {status_of(cause) for cause in causes.values()}
    if statuses and statuses <= _SETUP_STATUSES:
        msg = f"{model}: {why(error)}"
        raise MoAConfigurationError(msg) from error


def why(error: Exception) -> str:
    """An error in a line; of a model that was asked alone, what its provider said.

    Example:
        >>> why(ValueError("no"))
        'ValueError: no'
    """
    causes: Mapping[str, Exception] = getattr(error, "causes", {})
    lone = [*causes.values()] if not getattr(error, "proposals", ()) else []
    told = lone[0] if len(lone) == 1 else error
    return " ".join(f"{type(told).__name__}: {told}".split())


def suite_settings(row: Row) -> GenerationSettings | None:
    """How a row's suite wants it to be answered; a user's own prompts are left to the models."""
    return None if row["suite"] == "custom" else get_suite(row["suite"]).settings(row)
