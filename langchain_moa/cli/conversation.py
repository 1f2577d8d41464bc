"""A conversation: what was said, what it cost, and how it is kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_to_dict,
    messages_from_dict,
    messages_to_dict,
)
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_moa.cli.attachments import with_files
from langchain_moa.cli.log import new_conversation
from langchain_moa.config.text_files import escaped, read_text, write_text
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.explanation.explain import explain
from langchain_moa.types import RECORD_KEY, AnyDict, MoARecord, ProgressEvent, Proposal

Usage: TypeAlias = tuple[Mapping[str, UsageMetadata], Sequence[str]]
"""Tokens per model, and models that left some untold."""

_FORMAT: Final = "langchain-moa conversation 1"


class Conversation:
    """The turns of a chat that were answered; a question without an answer is not among them.

    Args:
        system: A system message before all turns.
        multi_turn: Whether the model is shown the turns before.

    Attributes:
        system: The system message; `None` for none.
        identity: What tells it from other conversations.
    """

    def __init__(self, system: str | None = None, *, multi_turn: bool = True) -> None:
        self.system = system or None
        self.identity = new_conversation()
        self._multi_turn = multi_turn
        self._lost: tuple[Proposal, ...] = ()
        self._numbers: list[int | None] = []
        self._turns: list[tuple[HumanMessage, AIMessage]] = []
        self._unanswered: HumanMessage | None = None
        self._files: list[tuple[str, AnyDict]] = []
        self._paid: list[Usage] = []
        self._paying: list[Usage] = []
        self._paid_usd: dict[str, float] = {}

    def __len__(self) -> int:
        """How many questions were answered."""
        return len(self._turns)

    def attach(self, name: str, file: AnyDict) -> None:
        """Have a file go with the next question."""
        self._files.append((name, file))

    @property
    def attached(self) -> Sequence[str]:
        """The names of the files that go with the next question."""
        return [name for name, _ in self._files]

    def question(self, text: str) -> HumanMessage:
        """A question with the files that were attached for it."""
        files, self._files = [file for _, file in self._files], []
        return with_files(text, files)

    def with_question(self, question: HumanMessage) -> list[BaseMessage]:
        """What the model is asked: the turns before, and the question."""
        if not self._is_unanswered(question):
            self._lost = ()
        self._unanswered = question
        self._pay()
        before = self._turns if self._multi_turn else []
        turns = [message for turn in before for message in turn]
        return [*self._system, *turns, question]

    def _is_unanswered(self, question: HumanMessage) -> bool:
        """Whether it is the question that was asked last, and not answered."""
        # not compared as messages, for graphs give these ids
        return self._unanswered is not None and question.content == self._unanswered.content

    @property
    def _system(self) -> list[SystemMessage]:
        return [SystemMessage(self.system)] if self.system else []

    @property
    def turns(self) -> Sequence[tuple[HumanMessage, AIMessage]]:
        """The questions with their answers."""
        return tuple(self._turns)

    def answered(self, answer: AIMessage) -> HumanMessage:
        """Keep the last question with its answer; gives the question."""
        question = self._unanswered or HumanMessage("")
        self._turns.append((question, answer))
        self._unanswered, self._lost = None, ()
        self._paying.clear()  # the answer tells it all
        return question

    def failed(self, proposals: Sequence[Proposal]) -> None:
        """Keep what was paid for of a call that gave no answer, with what was kept before."""
        known = {one.key: one for one in (*self._lost, *proposals) if one.usable}
        kept = {**{one.key: one for one in proposals}, **known}
        self._lost = tuple(sorted(kept.values(), key=lambda one: (one.layer, one.index)))

    @property
    def lost(self) -> Sequence[Proposal]:
        """The proposals of the question that was not answered."""
        return self._lost if self._unanswered is not None else ()

    def kept_for(self, question: HumanMessage) -> Sequence[Proposal]:
        """The proposals that need not be paid for again when a question is asked once more."""
        return self._lost if self._is_unanswered(question) else ()

    def logged(self, number: int | None) -> None:
        """Note the number under which the last turn, or the next one that was loaded, is logged."""
        self._numbers.append(number)

    def on_event(self, event: ProgressEvent) -> None:
        """Count what members use, should there be no answer that tells it."""
        if event["model"] and event["usage"]:
            self._paying.append(({event["model"]: event["usage"]}, []))

    def _pay(self) -> None:
        self._paid += self._paying
        self._paying = []

    def to_retry(self) -> tuple[HumanMessage | None, int | None]:
        """The question to ask again: the unanswered one, else the last one, whose answer goes.

        With it comes the number under which the answer that goes was logged.
        """
        number: int | None = None
        if self._unanswered is None and self._turns:
            question, answer = self._turns.pop()
            self._unanswered = question
            number = self._numbers.pop() if self._numbers else None
            self._paid.append(_usage_of(answer))
            _add_cost(self._paid_usd, answer)
        return self._unanswered, number

    def reset(self) -> None:
        """Forget all turns."""
        self._turns, self._unanswered, self._lost = [], None, ()
        self._numbers, self._files, self.identity = [], [], new_conversation()
        self._paid, self._paying, self._paid_usd = [], [], {}

    @property
    def last_answer(self) -> AIMessage | None:
        """The last answer."""
        return self._turns[-1][1] if self._turns else None

    @property
    def last_record(self) -> MoARecord | None:
        """What happened in the call of the last answer."""
        return self._turns[-1][1].response_metadata.get(RECORD_KEY) if self._turns else None

    def usage(self) -> tuple[dict[str, UsageMetadata], list[str]]:
        """Tokens per model, those of lost answers too, and models that left some untold."""
        totals: dict[str, UsageMetadata] = {}
        unknown: set[str] = set()
        kept = (_usage_of(answer) for _, answer in self._turns)
        for by_model, untold in (*self._paid, *self._paying, *kept):
            unknown.update(untold)
            for model, usage in by_model.items():
                totals[model] = add_usage(totals.get(model), usage)
        return totals, sorted(unknown)

    def cost(self) -> dict[str, float]:
        """Known USD per model that answered, those of lost answers too; empty without prices."""
        known = dict(self._paid_usd)
        for _, answer in self._turns:
            _add_cost(known, answer)
        return known

    def save(self, path: Path) -> None:
        """Write the conversation to a JSON file that nobody else may read; it holds no key.

        Raises:
            MoAConfigurationError: The file can't be written.
        """
        turns = [message for turn in self._turns for message in turn]
        kept = {"format": _FORMAT, "messages": messages_to_dict([*self._system, *turns])}
        text = escaped(json.dumps(kept, indent=2, ensure_ascii=False))
        write_text(path, text, private=True, half_characters=True)

    def load(self, path: Path) -> None:
        """Go on with a conversation that was saved, in place of this one.

        Raises:
            MoAConfigurationError: The file can't be read, or is no saved conversation.
        """
        text = read_text(path)
        try:
            system, turns = _parsed(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            msg = f"{path} is no conversation that /save wrote."
            raise MoAConfigurationError(msg) from None
        files = self._files
        self.reset()
        self.system, self._turns = (system[0].text if system else None), turns
        self._files = files  # which go with the next question of any conversation

    def resume(self, rows: Sequence[AnyDict]) -> None:
        """Go on with a conversation that was logged.

        Args:
            rows: Its turns, as the log has them.

        Raises:
            MoAConfigurationError: They are of another version, and can't be read.
        """
        try:
            turns = [_turn_of(row) for row in rows]
            for _, answer in turns:
                _check_record(answer)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = "the last conversation is logged in a form that cannot be read."
            raise MoAConfigurationError(msg) from error
        self.reset()
        self._turns, self._numbers = turns, [row["id"] for row in rows]
        self.identity = str(rows[-1]["conversation"])
        self.system = self.system or rows[-1]["system"]


def without_record(answer: AIMessage) -> AnyDict:
    """An answer as JSON, without the record, which is kept beside it."""
    metadata = {k: v for k, v in answer.response_metadata.items() if k != RECORD_KEY}
    return message_to_dict(answer.model_copy(update={"response_metadata": metadata}))


def _turn_of(row: AnyDict) -> tuple[HumanMessage, AIMessage]:
    (answer,) = messages_from_dict([row["message"]])
    if not isinstance(answer, AIMessage):
        raise TypeError
    metadata = {**answer.response_metadata, RECORD_KEY: row["record"]}
    question = with_files(row["question"], row["files"] or [])
    return question, answer.model_copy(update={"response_metadata": metadata})


def _usage_of(answer: AIMessage) -> Usage:
    report = answer.response_metadata[RECORD_KEY]["usage"]
    return report["by_model"], report["unknown"]


def _add_cost(known: dict[str, float], answer: AIMessage) -> None:
    for row in explain(answer).members:
        if row.usd is not None:
            name = row.answered or row.model
            known[name] = known.get(name, 0.0) + row.usd


def _parsed(kept: Any) -> tuple[list[SystemMessage], list[tuple[HumanMessage, AIMessage]]]:
    messages = messages_from_dict(kept["messages"])
    system = [message for message in messages if isinstance(message, SystemMessage)]
    said: Sequence[BaseMessage] = messages[len(system) :]
    turns: list[tuple[HumanMessage, AIMessage]] = []
    for question, answer in zip(said[::2], said[1::2], strict=True):
        if not isinstance(question, HumanMessage) or not isinstance(answer, AIMessage):
            raise TypeError
        turns.append((question, answer))
    if kept["format"] != _FORMAT:
        raise ValueError
    for _, answer in turns:
        _check_record(answer)
    return system, turns


def _check_record(answer: AIMessage) -> None:
    """Raise what `load` catches where a record lacks something that commands show."""
    by_model, unknown = _usage_of(answer)
    for model, usage in by_model.items():
        add_usage(None, usage)
        len(model) + sum(usage[kind] for kind in ("input_tokens", "output_tokens"))
    sorted(map(str.strip, unknown))
    for proposal in answer.response_metadata[RECORD_KEY]["proposals"]:
        len(proposal["model"]) + proposal["layer"] + len(proposal.get("text", ""))
