"""Waits with a deadline end in the same way in threads and in an event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Literal

import pytest
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.reliability.slots import Slots
from langchain_moa.reliability.waiting import (
    Ask,
    Plan,
    Result,
    Step,
    WaitFor,
    acarried_out,
    carried_out,
)
from tests.wire import until

Way = Literal["threads", "loop"]
GOOD, OTHER = Result(good=True, value="first"), Result(good=True, value="second")
BAD, WORSE = Result(reason="nothing"), Result(ended="raised", reason="lost")
SOON = 0.05
"""Seconds after which a timed thing happens that a test waits for."""
LONG = 20.0
"""Seconds that nothing in these tests takes unless it is broken."""


@pytest.fixture(params=["threads", "loop"])
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@dataclass(frozen=True)
class Request:
    """A request whose function is called in its own way, and whose late results are kept."""

    made: Callable[[], Any]
    discarded: list[Result] = dataclasses.field(default_factory=list)

    def do(self) -> Result:
        result: Result = self.made()
        return result

    async def ado(self) -> Result:
        result: Result = await self.made()
        return result

    def discard(self, result: Result) -> None:
        self.discarded.append(result)

    async def adiscard(self, result: Result) -> None:
        self.discarded.append(result)


class Field:
    """Makes requests for a race, and keeps what became of them."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.begun: list[str] = []
        self.given: list[str] = []
        self.cancelled: list[str] = []
        self.discarded: list[Result] = []
        self.free = threading.Event()
        self.ended = threading.Semaphore(0)

    def hanging(self, name: str, late: Result = BAD) -> Callable[[], Any]:
        """A request that gives its result only when the field is freed."""

        def request() -> Result:
            self.begun.append(name)
            self.free.wait(LONG)
            self.ended.release()
            return late

        async def arequest() -> Result:
            self.begun.append(name)
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            return late

        return request if self.way == "threads" else arequest

    def giving(
        self, name: str, result: Result, once: Callable[[], bool] = lambda: True
    ) -> Callable[[], Any]:
        """A request that gives a result once something is true."""

        def request() -> Result:
            self.begun.append(name)
            while not once():
                sleep(0.001)
            self.given.append(name)
            return result

        async def arequest() -> Result:
            self.begun.append(name)
            await until(once)
            self.given.append(name)
            return result

        return request if self.way == "threads" else arequest

    def raising(self, error: BaseException) -> Callable[[], Any]:
        """A request that raises."""

        def request() -> Result:
            raise error

        async def arequest() -> Result:
            raise error

        return request if self.way == "threads" else arequest

    def ask(self, *starts: Callable[[], Any], **settings: Any) -> Ask:
        """A race of requests, whose discarded results are kept."""
        return Ask(starts=[Request(start, self.discarded) for start in starts], **settings)

    async def done(self, step: Step) -> Any:
        """Do a step the field's way."""
        if self.way == "threads":
            return await asyncio.to_thread(step.do)
        return await step.ado()

    def opening(self, gate: Gate, reason: str) -> None:
        """Open a gate from elsewhere in a moment."""
        threading.Timer(SOON, gate.open, [reason]).start()


@pytest.fixture
def field(way: Way) -> Iterator[Field]:
    made = Field(way)
    yield made
    made.free.set()


# --- asking ---


@pytest.mark.parametrize("result", [GOOD, BAD, WORSE])
async def test_one_request_gives_its_result(field: Field, result: Result) -> None:
    assert await field.done(field.ask(field.giving("a", result))) is result
    assert field.discarded == []


async def test_the_hedge_starts_at_its_time_and_the_first_good_result_wins(field: Field) -> None:
    hedge_at = monotonic() + SOON
    ask = field.ask(field.hanging("a"), field.giving("b", GOOD), hedge_at=hedge_at)
    assert await field.done(ask) is GOOD
    assert field.begun == ["a", "b"]
    assert monotonic() >= hedge_at


@pytest.mark.parametrize("first", [GOOD, BAD])
async def test_no_hedge_starts_before_its_time(field: Field, first: Result) -> None:
    ask = field.ask(field.giving("a", first), field.giving("b", OTHER), hedge_at=monotonic() + LONG)
    assert await field.done(ask) is first
    assert field.begun == ["a"]


async def test_no_second_hedge_starts(field: Field) -> None:
    starts = [field.giving(name, BAD, field.free.is_set) for name in "abc"]
    asked = asyncio.ensure_future(field.done(field.ask(*starts, hedge_at=monotonic())))
    await until(lambda: len(field.begun) == 2)
    await asyncio.sleep(SOON)
    field.free.set()
    assert await asked is BAD
    assert field.begun == ["a", "b"]


async def test_a_failed_first_request_waits_for_the_hedge(field: Field) -> None:
    first = field.giving("a", WORSE, lambda: "b" in field.begun)
    hedge = field.giving("b", GOOD, lambda: "a" in field.given)
    assert await field.done(field.ask(first, hedge, hedge_at=monotonic())) is GOOD


async def test_a_failed_hedge_waits_for_the_first_request(field: Field) -> None:
    first, hedge = field.giving("a", GOOD, lambda: "b" in field.given), field.giving("b", WORSE)
    assert await field.done(field.ask(first, hedge, hedge_at=monotonic())) is GOOD


async def test_of_two_failures_the_first_is_told(field: Field) -> None:
    first = field.giving("a", WORSE, lambda: "b" in field.begun)
    hedge = field.giving("b", BAD, lambda: "a" in field.given)
    assert await field.done(field.ask(first, hedge, hedge_at=monotonic())) is WORSE


async def test_of_two_failures_the_first_requests_is_told(field: Field) -> None:
    """Even if the hedge fails earlier: it may be another member's."""
    first, hedge = field.giving("a", WORSE, lambda: "b" in field.given), field.giving("b", BAD)
    assert await field.done(field.ask(first, hedge, hedge_at=monotonic())) is WORSE
    assert field.begun == ["a", "b"]


async def test_the_loser_of_two_good_results_is_discarded(field: Field) -> None:
    both, meet = threading.Barrier(2), asyncio.Event()

    def meeting(result: Result) -> Callable[[], Any]:
        def request() -> Result:
            both.wait(LONG)
            return result

        async def arequest() -> Result:
            if result is OTHER:
                meet.set()
            await meet.wait()
            return result

        return request if field.way == "threads" else arequest

    ask = field.ask(meeting(GOOD), meeting(OTHER), hedge_at=monotonic())
    winner = await field.done(ask)
    loser = OTHER if winner is GOOD else GOOD
    await until(lambda: bool(field.discarded))  # its thread may end a little later
    assert field.discarded == [loser]


async def test_the_deadline_ends_the_wait(field: Field) -> None:
    result = await field.done(field.ask(field.hanging("a"), until=monotonic() + SOON))
    assert (result.good, result.ended) == (False, "timed_out")
    assert field.cancelled == (["a"] if field.way == "loop" else [])


async def test_a_result_that_is_there_counts_though_the_time_is_over() -> None:
    async def slow() -> Result:
        threading.Event().wait(2 * SOON)  # blocks the loop, so that both are due at once
        return GOOD

    assert await Ask(starts=[Request(slow)], until=monotonic() + SOON).ado() is GOOD


async def test_late_results_are_discarded(field: Field) -> None:
    ask = field.ask(field.hanging("a", late=GOOD), until=monotonic() + SOON)
    assert (await field.done(ask)).ended == "timed_out"
    field.free.set()
    if field.way == "threads":
        assert field.ended.acquire(timeout=LONG)
        await until(lambda: bool(field.discarded))
        assert field.discarded == [GOOD]
    else:  # it was cancelled before it had any
        assert field.discarded == []


async def test_a_request_that_outruns_its_cancellation_is_discarded() -> None:
    field = Field("loop")

    async def stubborn() -> Result:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return OTHER
        return BAD

    ask = field.ask(stubborn, until=monotonic() + SOON)
    assert (await ask.ado()).ended == "timed_out"
    assert field.discarded == [OTHER]


@pytest.mark.parametrize("late", [BAD, WORSE])
async def test_late_results_that_are_not_good_need_no_discarding(
    field: Field, late: Result
) -> None:
    ask = field.ask(field.hanging("a", late=late), until=monotonic() + SOON)
    await field.done(ask)
    field.free.set()
    await asyncio.sleep(SOON)
    assert field.discarded == []


# --- the gate ---


async def test_a_gate_that_opens_meanwhile_cuts_the_request(field: Field) -> None:
    gate = Gate(2)
    field.opening(gate, "enough")
    result = await field.done(field.ask(field.hanging("a"), gate=gate))
    assert (result.good, result.ended, result.reason) == (False, "cut", "enough")


async def test_a_gate_that_was_open_cuts_at_once(field: Field) -> None:
    gate = Gate(2)
    gate.open("enough")
    result = await field.done(field.ask(field.hanging("a"), gate=gate))
    assert (result.ended, result.reason) == ("cut", "enough")


async def test_who_answers_within_the_grace_is_not_cut(field: Field) -> None:
    gate = Gate(2)
    gate.open("enough", LONG)
    at = monotonic() + SOON
    ask = field.ask(field.giving("a", GOOD, lambda: monotonic() >= at), gate=gate)
    assert await field.done(ask) is GOOD


async def test_the_grace_ends(field: Field) -> None:
    gate = Gate(2)
    threading.Timer(SOON, gate.open, ["enough", SOON]).start()
    assert (await field.done(field.ask(field.hanging("a"), gate=gate))).ended == "cut"
    assert monotonic() >= gate.cut_at


async def test_an_open_gate_says_more_than_the_deadline(field: Field) -> None:
    gate, now = Gate(2), monotonic()
    gate.open("enough")
    result = await field.done(field.ask(field.hanging("a"), gate=gate, until=now))
    assert result.ended == "cut"


async def test_a_gate_that_opens_early_after_all_cuts_who_waits_for_its_grace(
    field: Field,
) -> None:
    """As when the call is interrupted while the others have their grace."""
    gate = Gate(2)
    gate.open("enough", LONG)
    field.opening(gate, "the call was interrupted")
    assert await _is_cut(field, field.ask(field.hanging("a"), gate=gate))


@pytest.mark.parametrize("step", ["ask", "wait"])
async def test_who_waits_sees_the_gate_open_and_then_its_grace_end_early(
    field: Field, step: str
) -> None:
    gate = Gate(2)
    threading.Timer(SOON, gate.open, ["enough", LONG]).start()
    threading.Timer(3 * SOON, gate.open, ["the call was interrupted"]).start()
    hanging = field.ask(field.hanging("a"), gate=gate)
    waits: Step = hanging if step == "ask" else WaitFor(gate=gate)
    assert await _is_cut(field, waits)


async def _is_cut(field: Field, step: Step) -> bool:
    asked = asyncio.ensure_future(field.done(step))
    done, _ = await asyncio.wait([asked], timeout=LONG / 2)
    field.free.set()
    asked.cancel()
    ended = await asyncio.gather(asked, return_exceptions=True)
    return bool(done) and isinstance(ended[0], Result) and ended[0].ended == "cut"


# --- what is raised ---


@pytest.mark.parametrize("error", [GraphBubbleUp(), GraphInterrupt()])
async def test_what_is_the_graphs_business_passes_through(
    field: Field, error: GraphBubbleUp
) -> None:
    with pytest.raises(type(error)):
        await field.done(field.ask(field.raising(error)))


async def test_a_request_that_cancels_itself_is_a_failure() -> None:
    field = Field("loop")
    result = await field.done(field.ask(field.raising(asyncio.CancelledError())))
    assert (result.good, result.ended) == (False, "raised")
    assert result.reason == "the request was cancelled from within"


async def test_a_cancellation_from_outside_cancels_all() -> None:
    field = Field("loop")
    asked = asyncio.ensure_future(
        field.ask(field.hanging("a"), field.hanging("b"), hedge_at=monotonic()).ado()
    )
    await until(lambda: len(field.begun) == 2)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert sorted(field.cancelled) == ["a", "b"]


async def test_a_request_that_ignores_its_cancellation_holds_nobody_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = asyncio.Event()

    async def silenced() -> Result:
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                continue
        return BAD

    result = await Ask(starts=[Request(silenced)], until=monotonic() + SOON).ado()
    assert result.ended == "timed_out"
    assert "1 cancelled requests have not ended yet" in caplog.text
    ended.set()
    await asyncio.sleep(0)


# --- waiting for something else ---


async def test_a_pause_ends_at_its_time(field: Field) -> None:
    until = monotonic() + SOON
    result = await field.done(WaitFor(until=until))
    assert (result.good, result.ended) == (False, "timed_out")
    assert monotonic() >= until


async def test_a_valid_ticket_is_not_waited_for(field: Field) -> None:
    assert (await field.done(WaitFor(ticket=Slots(1).ask()))).good


async def test_a_ticket_that_becomes_valid_ends_the_wait(field: Field) -> None:
    slots = Slots(1)
    first, second = slots.ask(), slots.ask()
    threading.Timer(SOON, slots.give_back, [first]).start()
    assert (await field.done(WaitFor(ticket=second, until=monotonic() + LONG))).good


@pytest.mark.parametrize("queued", [True, False])
async def test_a_gate_ends_waits_too(field: Field, *, queued: bool) -> None:
    slots, gate = Slots(1), Gate(1)
    slots.ask()
    field.opening(gate, "enough")
    wait = WaitFor(ticket=slots.ask() if queued else None, gate=gate)
    assert (await field.done(wait)).reason == "enough"


async def test_a_ticket_is_given_up_at_the_deadline(field: Field) -> None:
    slots, gate = Slots(1), Gate(1)
    slots.ask()
    wait = WaitFor(ticket=slots.ask(), until=monotonic() + SOON, gate=gate)
    assert (await field.done(wait)).ended == "timed_out"


async def test_a_gate_with_a_long_grace_does_not_spoil_a_pause(field: Field) -> None:
    gate = Gate(1)
    gate.open("enough", LONG)
    until = monotonic() + SOON
    assert (await field.done(WaitFor(until=until, gate=gate))).ended == "timed_out"
    assert monotonic() >= until


# --- plans ---


class Telling:
    """A step that gives a value."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def do(self) -> Any:
        return self._value

    async def ado(self) -> Any:
        return self._value


async def _carried(way: Way, plan: Plan[Any]) -> Any:
    if way == "threads":
        return carried_out(plan)
    return await acarried_out(plan)


async def test_a_plan_is_sent_what_came_of_its_steps(way: Way) -> None:
    def plan() -> Plan[list[Any]]:
        one = yield Telling(1)
        two = yield Telling(2)
        return [one, two]

    assert await _carried(way, plan()) == [1, 2]


async def test_a_plan_without_steps(way: Way) -> None:
    def plan() -> Plan[str]:
        yield from ()
        return "at once"

    assert await _carried(way, plan()) == "at once"


async def test_a_plan_is_closed_when_a_step_raises(field: Field) -> None:
    closed: list[bool] = []

    def plan() -> Plan[None]:
        try:
            yield field.ask(field.raising(GraphBubbleUp()))
        finally:
            closed.append(True)

    with pytest.raises(GraphBubbleUp):
        await _carried(field.way, plan())
    assert closed == [True]


def test_times_that_never_come_are_no_timeouts() -> None:
    assert Ask(starts=[Request(lambda: GOOD)], until=NEVER, gate=Gate(1)).do() is GOOD
