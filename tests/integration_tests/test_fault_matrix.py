"""Every fault of a provider at every place of a mixture, in every way to call it, over real HTTP.

What has to come of a cell follows from what is known of the fault (`FAULTS`), of the place
(`PLACES`) and of the way (`WAYS`); no cell has an expectation of its own.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior, Reply
from langchain_moa.types import Proposal, ProposalStatus
from tests.wire import AGGREGATOR, LIMITS, PROPOSERS, Stage, counted, says, served, until

SECOND: Final = "acme/second"
"""The aggregator's fallback."""
ANSWERS: Final = {
    **{name: f"{name.removeprefix('acme/')} says Paris." for name in PROPOSERS},
    AGGREGATOR: "It is Paris.",
    SECOND: "Paris, says the second one.",
}
RETRY_AFTER: Final = 0.05
MOST: Final = 10_000
"""Bytes that an answer may have."""
LONG: Final = 60.0
"""Seconds that members have who answer or fail by themselves; none may need them."""
LATE: Final = r"in time|timed out"
NO_TEXT: Final = r"no text; finish_reason is stop"
FULL: Final = "Input tokens exceed the configured limit of 8192 tokens"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, and what must come of it.

    Attributes:
        behavior: Makes the server show it, given the text of the answer and the time of who has it.
        status: What a proposer with it is recorded as.
        reason: A pattern of the error that the record names.
        requests: How often it is asked, the one retry counted.
        aggregator_requests: The same of an aggregator; by default as of others.
        known: Whether what it used is known.
        late: Whether it takes too long.
        in_streams: Whether whole answers don't have it, so that they must be streamed.
        passes: Text that comes before it in a stream, which can't be taken back.
        harmless: Whether the answer is one, of which only the tokens are not known.
        answers: Whether a caller gets it as the answer, for it to judge.
        recovers: Whether the retry succeeds.
        pause: Seconds for which it asks to wait.
    """

    behavior: Callable[[str, float], ModelBehavior | BehaviorFunction]
    status: ProposalStatus = "failed"
    reason: str = ""
    requests: int = 1
    aggregator_requests: int = 0
    known: bool = False
    late: bool = False
    in_streams: bool = False
    passes: str = ""
    answers: bool = False
    harmless: bool = False
    recovers: bool = False
    pause: float = 0.0


def always(**behavior: Any) -> Callable[[str, float], ModelBehavior]:
    return lambda text, _: ModelBehavior(**{"reply": text, **behavior})


def too_late(text: str, seconds: float) -> ModelBehavior:
    """Each byte comes soon, and the first token after twice the time that there is."""
    return ModelBehavior(reply=text, drip=seconds / 100)


def once(**behavior: Any) -> Callable[[str, float], BehaviorFunction]:
    """A model that shows the fault at its first request only."""

    def made(text: str, _: float) -> BehaviorFunction:
        faults = iter([ModelBehavior(**behavior)])
        return lambda _body, _earlier: next(faults, says(text))

    return made


FAULTS: Final = {
    "429": Fault(
        behavior=always(status=429, retry_after=RETRY_AFTER, error="slow down"),
        reason="RateLimitError.*slow down",
        requests=2,
        pause=RETRY_AFTER,
    ),
    "429 once": Fault(
        behavior=once(status=429, retry_after=RETRY_AFTER),
        requests=2,
        recovers=True,
        pause=RETRY_AFTER,
    ),
    "500": Fault(behavior=always(status=500, error="boom"), reason="500.*boom", requests=2),
    "dropped connection": Fault(behavior=always(drop=True), reason="Connection", requests=2),
    "hang": Fault(behavior=always(hang=True), status="timed_out", reason=LATE, late=True),
    "slow drip": Fault(behavior=too_late, status="timed_out", reason=LATE, late=True),
    "slow tokens": Fault(
        behavior=lambda text, seconds: ModelBehavior(reply=text, token_delay=2 * seconds),
        status="timed_out",
        reason=LATE,
        late=True,
        in_streams=True,
        passes="It",
    ),
    "truncated stream": Fault(
        behavior=always(truncate_after=2),
        reason="without its end mark",
        requests=2,
        in_streams=True,
        passes="It is",
    ),
    "malformed JSON": Fault(
        behavior=always(malformed=True),
        reason="ModelAPIError.*cannot be read.*JSONDecodeError",
        requests=2,
    ),
    "empty content": Fault(
        behavior=always(reply=Reply(text=None)), status="empty", reason=NO_TEXT, known=True
    ),
    "content filter": Fault(
        behavior=always(reply=Reply(text=None, finish_reason="content_filter")),
        status="filtered",
        reason="finish_reason is content_filter",
        known=True,
    ),
    "content filter after some text": Fault(
        behavior=always(reply=Reply(text="I was about to", finish_reason="content_filter")),
        status="filtered",
        reason="finish_reason is content_filter",
        known=True,
        answers=True,
    ),
    "wrong content type": Fault(
        behavior=always(content_type="text/html"),
        reason="Unexpected response type.*Bad gateway",
    ),
    "error in a 200": Fault(
        behavior=always(status=429, error_in="answer", error="slow down"),
        reason="ModelRateLimitError.*slow down",
        requests=2,
    ),
    "error in a 200, not to be retried": Fault(
        behavior=always(status=401, error_in="event", error="who are you"),
        reason="ModelAuthenticationError.*who are you",
    ),
    "error event": Fault(
        behavior=always(status=502, error_in="event", error="upstream lost"),
        reason="ModelAPIError.*upstream lost",
        requests=2,
    ),
    "error event after some text": Fault(
        behavior=always(status=502, error_in="event", error="upstream lost", error_after=2),
        reason="ModelAPIError.*upstream lost",
        requests=2,
        passes="It is",
    ),
    "finish_reason error": Fault(
        behavior=always(status=502, error_in="choice", error="upstream lost", error_after=2),
        reason="ModelAPIError.*upstream lost",
        requests=2,
        known=True,
        passes="It is",
    ),
    "error in a choice that asks to wait": Fault(
        behavior=always(
            status=429,
            error_in="choice",
            error="slow down",
            error_fields={"metadata": {"headers": {"Retry-After": RETRY_AFTER}}},
        ),
        reason="ModelRateLimitError.*slow down",
        requests=2,
        known=True,
        pause=RETRY_AFTER,
    ),
    "error in a choice, not to be retried": Fault(
        behavior=always(status=401, error_in="choice", error="who are you"),
        reason="ModelAuthenticationError.*who are you",
        known=True,
    ),
    "huge answer": Fault(
        behavior=always(repeat=1000, gzip=True), reason=f"max_answer_bytes={MOST}"
    ),
    "stream of nothing": Fault(
        behavior=always(reply=Reply(text="<think>Paris, or</think>\n")),
        status="reasoning_only",
        reason="holds only reasoning",
        known=True,
    ),
    "stream of blanks": Fault(
        behavior=always(reply=Reply(text=" \n\n")), status="empty", reason=NO_TEXT, known=True
    ),
    "usage of any type": Fault(
        behavior=always(usage={"prompt_tokens": 1.5, "completion_tokens": 2, "total_tokens": 3.5}),
        harmless=True,
    ),
    "usage that is a text": Fault(behavior=always(usage="a few"), harmless=True),
    "usage with texts for counts": Fault(
        behavior=always(usage={"prompt_tokens": "7", "completion_tokens": [2]}), harmless=True
    ),
    "ids of any type": Fault(
        behavior=always(
            fields={"id": 7, "system_fingerprint": [1], "service_tier": {}, "object": None},
            choice_fields={"logprobs": "none"},
        ),
        harmless=True,
        known=True,
    ),
    "context overflow": Fault(
        behavior=always(status=400, error=FULL, error_code="context_length_exceeded"),
        reason=f"ContextOverflow.*{FULL}",
        aggregator_requests=2,  # once more, with half of the proposals
    ),
    "invalid key": Fault(
        behavior=always(status=401, error="who are you", error_code="invalid_api_key"),
        reason="AuthenticationError.*who are you",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Who has the fault."""

    faulty: Sequence[str]
    aggregators: Sequence[str] = (AGGREGATOR,)

    @property
    def proposes(self) -> bool:
        return AGGREGATOR not in self.faulty


PLACES: Final = {
    "one proposer": Place(faulty=PROPOSERS[:1]),
    "all but one proposer": Place(faulty=PROPOSERS[:-1]),
    "all proposers": Place(faulty=PROPOSERS),
    "aggregator": Place(faulty=[AGGREGATOR]),
    "aggregator with a fallback": Place(faulty=[AGGREGATOR], aggregators=(AGGREGATOR, SECOND)),
}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")


@dataclass
class Outcome:
    """What came of a call."""

    texts: list[str] = field(default_factory=list)
    message: AIMessage | None = None
    error: Exception | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def record(self) -> Any:
        assert self.message is not None, self.error
        return self.message.response_metadata["moa"]


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: what is expected there."""

    fault: Fault
    place: Place
    way: str

    @property
    def streams(self) -> bool:
        """Whether the faulty members stream."""
        return self.fault.in_streams or (not self.place.proposes and "stream" in self.way)

    @property
    def lost(self) -> bool:
        """Whether the faulty members give nothing to go on with."""
        answers = self.fault.answers and not self.place.proposes
        return not (self.fault.recovers or self.fault.harmless or answers)

    @property
    def passes(self) -> str:
        return self.fault.passes if self.streams else ""

    @property
    def requests(self) -> int:
        own = 0 if self.place.proposes else self.fault.aggregator_requests
        return own or self.fault.requests

    @property
    def error(self) -> type[NotEnoughProposalsError | AggregationError] | None:
        if not self.lost:
            return None
        if self.place.proposes:
            return NotEnoughProposalsError if self.place.faulty == PROPOSERS else None
        # what was sent of a stream can't be taken back for a fallback's answer
        saved = len(self.place.aggregators) > 1 and not self.passes
        return None if saved else AggregationError

    @property
    def answering(self) -> str:
        """The aggregator that answers."""
        return self.place.aggregators[-1 if self.lost and not self.place.proposes else 0]

    @property
    def answer(self) -> str:
        if self.error is not None:
            shown = self.error is AggregationError and "stream" in self.way
            return self.passes if shown else ""
        if self.fault.answers and not self.place.proposes:
            return "I was about to"
        return ANSWERS[self.answering]

    @property
    def limits(self) -> Sequence[float]:
        """The seconds that the faulty members have; the next where they were too few to be asked.

        The aggregator's fallback has them, too, and must have the time to answer.
        """
        return LIMITS if self.fault.late else [LONG]

    def behaviors(self, seconds: float) -> dict[str, ModelBehavior | BehaviorFunction]:
        faulty = {name: self.fault.behavior(ANSWERS[name], seconds) for name in self.place.faulty}
        return {name: says(text) for name, text in ANSWERS.items()} | faulty

    def model(self, stage: Stage, seconds: float) -> MoAChatModel:
        on_time = {"proposer_timeout": LONG, "aggregator_timeout": LONG}
        short = "proposer_timeout" if self.place.proposes else "aggregator_timeout"
        return stage.mixture(
            PROPOSERS,
            *self.place.aggregators,
            max_retries=1,
            include_proposals=True,
            max_answer_bytes=MOST,
            stream_proposals=self.streams and self.place.proposes,
            streaming=self.streams and not self.place.proposes,
            **{**on_time, short: seconds},
        )

    def had_time(self, outcome: Outcome, server: LoopbackServer) -> bool:
        """Whether who is too slow was asked, and began, before its time was over."""
        if not self.fault.late:
            return True
        asked = {request.model for request in server.requests}
        answered = self.error is not None or outcome.error is None
        return asked >= {*self.place.faulty} and answered and outcome.text == self.answer


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, ANSWERS)


CELLS: Final = [(fault, place, way) for fault in FAULTS for place in PLACES for way in WAYS]


@pytest.mark.parametrize(("fault", "place", "way"), CELLS)
async def test_cell(stage: Stage, fault: str, place: str, way: str) -> None:
    cell = Cell(FAULTS[fault], PLACES[place], way)
    before = running()
    for seconds in cell.limits:
        server = stage.plays(cell.behaviors(seconds))
        outcome = await call(cell.model(stage, seconds), way)
        await until(lambda: running() <= before and not stage.server.open_requests)
        if cell.had_time(outcome, server):
            break

    assert isinstance(outcome.error, cell.error or type(None)), outcome
    assert isinstance(outcome.error, ContextOverflowError) is (
        cell.error is not None and cell.fault is FAULTS["context overflow"]
    )
    assert outcome.text == cell.answer
    proposals: Sequence[Any]
    if isinstance(outcome.error, NotEnoughProposalsError | AggregationError):
        proposals = [shown(proposal) for proposal in outcome.error.proposals]
        if cell.error is AggregationError:
            assert re.search(cell.fault.reason, str(outcome.error), re.DOTALL), outcome.error
            assert AGGREGATOR in str(outcome.error)
    else:
        proposals = outcome.record["proposals"]
        assert_record(cell, outcome.record, server)
    assert_proposals(cell, proposals)
    assert_requests(cell, server)


def running() -> set[Any]:
    """Tasks of the loop, and threads that a call has started."""
    kept = ("asyncio_", "AnyIO")  # pools of the loop and of the server
    threads = {t for t in threading.enumerate() if not t.name.startswith(kept)}
    return {*asyncio.all_tasks(), *threads}


async def call(llm: MoAChatModel, way: str) -> Outcome:
    outcome = Outcome()
    try:
        match way:
            case "invoke":
                take(outcome, llm.invoke("Capital of France?"))
            case "ainvoke":
                take(outcome, await llm.ainvoke("Capital of France?"))
            case "stream":
                for chunk in llm.stream("Capital of France?"):
                    take(outcome, chunk)
            case _:
                async for chunk in llm.astream("Capital of France?"):
                    take(outcome, chunk)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        outcome.error = error
    return outcome


def take(outcome: Outcome, piece: AIMessage | AIMessageChunk) -> None:
    outcome.texts.append(piece.text)
    if "moa" in piece.response_metadata:
        outcome.message = piece


def shown(proposal: Proposal) -> dict[str, Any]:
    """A proposal on an error, as a record shows it."""
    values = {name: getattr(proposal, name) for name in ("status", "error", "attempts", "text")}
    return {**values, "model": proposal.model, "model_name": proposal.model_name}


def assert_proposals(cell: Cell, proposals: Sequence[Any]) -> None:
    assert [p["model"] for p in proposals] == list(PROPOSERS)
    for proposal in proposals:
        model = proposal["model"]
        if model in cell.place.faulty and cell.lost:
            assert proposal["status"] == cell.fault.status, proposal
            assert re.search(cell.fault.reason, proposal["error"], re.DOTALL), proposal
            assert proposal["text"] == ""
            named = cell.fault.known and cell.fault.status != "failed"
            assert proposal["model_name"] == (model if named else None)
        else:
            assert (proposal["status"], proposal["error"]) == ("ok", None)
            assert (proposal["text"], proposal["model_name"]) == (ANSWERS[model], model)
        assert proposal["attempts"] == requests_of(cell, model)


def requests_of(cell: Cell, model: str) -> int:
    """How often a member has to be asked."""
    if model in cell.place.faulty:
        sent = cell.passes and not cell.place.proposes  # and so not asked for again
        return 1 if sent else cell.requests
    if model == AGGREGATOR:
        return int(cell.error is not NotEnoughProposalsError)
    if model == SECOND:
        return int(cell.answering == SECOND and cell.error is None)
    return 1


def assert_record(cell: Cell, record: Mapping[str, Any], server: LoopbackServer) -> None:
    missing = cell.lost and cell.place.proposes
    assert record["degraded"] is missing
    assert record["best_proposal"] is None
    aggregator = record["aggregator"]
    assert aggregator["model"] == aggregator["model_name"] == cell.answering
    assert aggregator["status"] == "ok"
    tried = sum(requests_of(cell, name) for name in cell.place.aggregators)
    assert aggregator["attempts"] == tried
    if cell.answering == AGGREGATOR:
        assert aggregator["error"] is None
    else:
        assert re.search(f"{AGGREGATOR}: .*(?:{cell.fault.reason})", aggregator["error"], re.DOTALL)
    assert_usage(cell, record, server)


def assert_usage(cell: Cell, record: Mapping[str, Any], server: LoopbackServer) -> None:
    usage, unknown = record["usage"], record["usage"]["unknown"]
    assert unknown == ([] if cell.fault.known else sorted(cell.place.faulty))
    by_model = {name: counted(of_model) for name, of_model in usage["by_model"].items()}
    received = {*by_model} if cell.fault.recovers else {*by_model} - {*unknown}
    assert received == {*by_model}, "nothing is known of them, and yet counted"
    asked = {name for name in ANSWERS if requests_of(cell, name)}
    assert received == (asked if cell.fault.recovers else asked - {*unknown})
    assert by_model == {name: tokens for name, tokens in served(server).items() if name in received}
    assert counted(usage) == total(by_model.values())
    members = [*record["proposals"], record["aggregator"]]
    parts = [counted(member["usage"]) for member in members if member["usage"] is not None]
    # the record of the aggregator has the usage of the one that answered
    parts += [by_model[name] for name in cell.place.aggregators if name in replaced(cell, by_model)]
    assert counted(usage) == total(parts)


def replaced(cell: Cell, by_model: Mapping[str, Any]) -> list[str]:
    """Aggregators that answered nothing of use and were paid for it."""
    return [name for name in cell.place.aggregators if name != cell.answering and name in by_model]


def total(usages: Any) -> dict[str, int]:
    parts = list(usages)
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def assert_requests(cell: Cell, server: LoopbackServer) -> None:
    """What the server saw is what the record says, and `Retry-After` was kept."""
    for model in ANSWERS:
        arrived = [request.arrived for request in server.requests_for(model)]
        assert len(arrived) == requests_of(cell, model), model
        if model in cell.place.faulty and cell.fault.pause:
            assert arrived[1] - arrived[0] >= cell.fault.pause
