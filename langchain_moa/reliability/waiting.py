"""Waits for requests with a deadline: the first good result, in threads or in an event loop.

A plan (a generator) yields steps, and is sent what came of each. The plan is the same for sync and
async code; only the steps are done in two ways.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.reliability.threads import in_thread, off_loop, woken_by

logger = logging.getLogger(__name__)

Ending: TypeAlias = Literal[
    "answered", "declined", "raised", "timed_out", "cut", "refused", "over_budget"
]
"""How a wait ended; `declined`: the model's client raised its refusal; `refused`: no request was
made; `over_budget`: it was not even begun."""

_LEAVE_SECONDS: Final = 1.0
"""How long a cancelled request may take to let go of its connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of a request, or of the wait for it.

    Attributes:
        good: Whether nobody needs to ask again.
        ended: How it ended.
        value: What was answered.
        error: What was raised.
        reason: Why it is not good, in words.
        request: What was asked.
    """

    good: bool = False
    ended: Ending = "answered"
    value: Any = None
    error: Exception | None = None
    reason: str | None = None
    request: Any = None


class Step(Protocol):
    """Something a plan wants done."""

    def do(self) -> object:
        """Do it in a thread."""

    async def ado(self) -> object:
        """Do it in an event loop."""


_T = TypeVar("_T")
Plan: TypeAlias = Generator[Step, Any, _T]


def carried_out(plan: Plan[_T]) -> _T:
    """Do a plan's steps in this thread."""
    try:
        step = next(plan)
        while True:
            step = plan.send(step.do())
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        plan.close()


async def acarried_out(plan: Plan[_T]) -> _T:
    """The async twin of `carried_out`."""
    try:
        step = next(plan)
        while True:
            step = plan.send(await step.ado())
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        plan.close()


@dataclass(frozen=True, slots=True)
class Work(Generic[_T]):
    """Do something that waits for nothing of ours, but may take a while.

    Attributes:
        work: What to do.
        size: How much there is to be worked on, see `off_loop`.
    """

    work: Callable[[], _T]
    size: int

    def do(self) -> _T:
        """Do it in this thread."""
        return self.work()

    async def ado(self) -> _T:
        """Do it in an event loop, or in a thread where it would hold that up."""
        return await off_loop(self.work, self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitFor:
    """Wait until something else is done: a ticket is valid, or (with none) a pause is over.

    Gives a `Result` that is good when it is done, and tells otherwise how the wait ended.
    """

    ticket: Future[Any] | None = None
    until: float = NEVER
    gate: Gate | None = None

    def do(self) -> Result:
        """Wait in a thread."""
        while (result := self._result()) is None:
            awaited = self._awaited() or [Future()]
            futures.wait(awaited, _timeout(self.until, self.gate), futures.FIRST_COMPLETED)
        return result

    async def ado(self) -> Result:
        """Wait in an event loop."""
        while (result := self._result()) is None:
            awaited = [woken_by(future) for future in self._awaited()] or [_never()]
            wait = _timeout(self.until, self.gate)
            await asyncio.wait(awaited, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        return result

    def _awaited(self) -> list[Future[object]]:
        tickets = [] if self.ticket is None else [self.ticket]
        return [*tickets, *_next_signal(self.gate)]

    def _result(self) -> Result | None:
        if self.ticket is not None and self.ticket.done():
            return Result(good=True)
        return _overdue(self.until, self.gate)


class Start(Step, Protocol):
    """A request that a race may make. It raises only what must not be caught."""

    def do(self) -> Result:
        """Make it in a thread."""

    async def ado(self) -> Result:
        """Make it in an event loop."""

    def discard(self, result: Result) -> None:
        """Let go of a good result that comes too late, or second."""

    async def adiscard(self, result: Result) -> None:
        """The same in an event loop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Make a request, after a while a second one, and take the first good result.

    A result that is there counts even when the time is just over: it was paid for.

    Attributes:
        starts: The requests. The second is for hedging.
        until: When to give up, on the clock of `time.monotonic`.
        hold: Gives when to give up for the sake of others, or when to ask again for that.
        hedge_at: When to make the second request.
        gate: The layer's gate; cuts the request once it is open.
    """

    starts: Sequence[Start]
    until: float = NEVER
    hold: Callable[[], float] = lambda: NEVER
    hedge_at: float = NEVER
    gate: Gate | None = None

    def do(self) -> Result:
        """Ask in threads."""
        race = _Race(self)
        flights: dict[Future[Result], int] = {}
        try:
            while (ended := race.ended()) is None:
                if (place := race.due()) is not None:
                    flights[in_thread(self.starts[place].do)] = place
                awaited: list[Future[Any]] = [*flights, *_next_signal(self.gate)]
                futures.wait(awaited, race.timeout(), futures.FIRST_COMPLETED)
                for flight in [flight for flight in flights if flight.done()]:
                    race.take(flights.pop(flight), flight.result())
            return ended
        finally:
            for place, result in race.surplus:
                self.starts[place].discard(result)
            for flight, place in flights.items():  # a thread can't be ended; its result is let go
                flight.add_done_callback(partial(_discard_late, self.starts[place]))

    async def ado(self) -> Result:
        """Ask in an event loop."""
        race = _Race(self)
        flights: dict[asyncio.Task[Result], int] = {}
        woken: list[asyncio.Future[None]] = []
        try:
            while (ended := race.ended()) is None:
                if (place := race.due()) is not None:
                    flights[asyncio.ensure_future(self.starts[place].ado())] = place
                if all(waiter.done() for waiter in woken):
                    woken = [woken_by(signal) for signal in _next_signal(self.gate)]
                awaited: list[asyncio.Future[Any]] = [*flights, *woken]
                wait = race.timeout()
                await asyncio.wait(awaited, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                for flight in [flight for flight in flights if flight.done()]:
                    race.take(flights.pop(flight), _result_of(flight))
            return ended
        finally:
            for place, result in [*race.surplus, *await _cancelled(flights)]:
                await self.starts[place].adiscard(result)


def _discard_late(start: Start, flight: Future[Result]) -> None:
    if flight.exception() is None and flight.result().good:
        start.discard(flight.result())


class _Race:
    """The decisions of an `Ask`, without any waiting.

    Attributes:
        surplus: Good results beside the one that is taken, with the places of their requests.
    """

    __slots__ = ("_ask", "_begun", "_ended", "_good", "_left", "surplus")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._begun = 0
        self._left = len(ask.starts)
        self._ended: dict[int, Result] = {}
        self._good: Result | None = None
        self.surplus: list[tuple[int, Result]] = []

    def due(self) -> int | None:
        """The place of the request to make now, if any."""
        hedges = self._begun == 1 and monotonic() >= self._ask.hedge_at
        if not self._left or not (self._begun == 0 or hedges):
            return None
        self._begun += 1
        self._left -= 1
        return self._begun - 1

    def timeout(self) -> float | None:
        """Seconds until something is to be decided."""
        hedge_at = self._ask.hedge_at if self._left else NEVER
        return _timeout(min(self._until, hedge_at), self._ask.gate)

    def take(self, place: int, result: Result) -> None:
        """Note what came of the first or the second request."""
        self._ended[place] = result
        if result.good and self._good is None:
            self._good = result
        elif result.good:
            self.surplus.append((place, result))

    def ended(self) -> Result | None:
        """How it ends, if it does; of two failures the first request's tells more."""
        if self._good is not None:
            return self._good
        if self._begun and len(self._ended) == self._begun:
            return self._ended[min(self._ended)]
        return _overdue(self._until, self._ask.gate)

    @property
    def _until(self) -> float:
        return min(self._ask.until, self._ask.hold())


def _overdue(until: float, gate: Gate | None) -> Result | None:
    now = monotonic()
    if gate is not None and now >= gate.cut_at:
        return Result(ended="cut", reason=gate.reason)
    return Result(ended="timed_out") if now >= until else None


def _timeout(until: float, gate: Gate | None) -> float | None:
    """Seconds until a time or the gate's, `None` for ever."""
    at = until if gate is None else min(until, gate.cut_at)
    return None if at == NEVER else max(0.0, at - monotonic())


def _next_signal(gate: Gate | None) -> list[Future[None]]:
    """What tells that the gate cuts earlier than it did."""
    return [] if gate is None else [gate.signal]


def _never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _result_of(task: asyncio.Task[Result]) -> Result:
    if task.cancelled():  # by the member itself; LangGraph would take it for a cancelled node
        return Result(ended="raised", reason="the request was cancelled from within")
    return task.result()


async def _cancelled(flights: Mapping[asyncio.Task[Result], int]) -> list[tuple[int, Result]]:
    """Cancel requests and wait until they have let go of their connections.

    Returns:
        The good results of those that were faster than their cancellation, with their places.
    """
    if not flights:
        return []
    for flight in flights:
        flight.cancel()
    done, left = await asyncio.wait(flights, timeout=_LEAVE_SECONDS)
    if left:
        logger.warning("%d cancelled requests have not ended yet", len(left))
    ended = [f for f in done if not f.cancelled() and f.exception() is None]
    return [(flights[f], f.result()) for f in ended if f.result().good]
