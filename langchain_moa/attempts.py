"""One member's turn: retries, the request that hedges, fallbacks, timeouts, limits.

The turn is a plan of steps, which sync and async code carry out alike (see `racing`).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import partial
from time import monotonic, perf_counter, time
from typing import Any, Final

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelTimeoutError,
)
from langchain_core.messages.ai import UsageMetadata, add_usage

from langchain_moa.budget import ONE_CALL, Amount
from langchain_moa.calls import MemberCall
from langchain_moa.gate import OPEN, Gate
from langchain_moa.layers import CallInProgress
from langchain_moa.members import Member
from langchain_moa.racing import Ask, Plan, Result, Step, WaitFor
from langchain_moa.slots import Slots
from langchain_moa.types import EventName

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 8.0


@dataclass(frozen=True, kw_only=True)
class Tell:
    """A step that tells the call's listeners of something."""

    emit: Callable[[], None]
    aemit: Callable[[], Awaitable[None]]

    def do(self) -> None:
        """Tell it in a thread."""
        self.emit()

    async def ado(self) -> None:
        """Tell it in an event loop."""
        await self.aemit()


@dataclass(eq=False, kw_only=True)
class Turn:
    """Everything that is tried to get one answer from a member or its fallbacks.

    Attributes:
        call: The call in progress.
        member: Who is asked first.
        about: Layer, index and role, for events.
        prepare: Makes a request to one of the candidates ready.
        ask: Makes the request, and gives a `Result`; a coroutine function in async code.
        timeout: Seconds that each candidate has.
        limit: The name of that setting, for the record.
        until: When the layer or the call ends, on the clock of `time.monotonic`.
        gate: The layer's gate, or `None`.
        estimate: What a further request would cost.
        refused: Why no request may be made at all, or `None`.
        discard: Gets good results that come too late.
        adiscard: The same in async code.
        requests: The requests made so far.
        failures: Why each candidate before the last gave nothing.
    """

    call: CallInProgress
    member: Member
    about: Mapping[str, Any]
    prepare: Callable[[Member], MemberCall]
    ask: Callable[[MemberCall], Any]
    timeout: float
    limit: str
    until: float = OPEN
    gate: Gate | None = None
    estimate: Amount = ONE_CALL
    refused: str | None = None
    discard: Callable[[Result], object] | None = None
    adiscard: Callable[[Result], Awaitable[object]] | None = None
    requests: list[MemberCall] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _started: float = field(default_factory=perf_counter)
    _held: list[tuple[Slots, Future[None]]] = field(default_factory=list)

    def plan(self) -> Plan[Result]:
        """The steps of the turn; gives the first good result, or the last one."""
        result = Result(ended="refused", reason=self.refused)
        for place, member in enumerate(() if self.refused else self.member.candidates):
            if place and not self._may_ask_more():
                break
            if place:
                self.failures.append(f"{self._name(place - 1)}: {result.reason}")
                self._give_back()
            result = yield from self._candidate(place, member)
            if result.good or result.ended == "cut" or monotonic() >= self.until:
                break
        return result

    @property
    def seconds(self) -> float:
        """Seconds since the first request was made, to the microsecond."""
        return round(perf_counter() - self._started, 6)

    @property
    def usage(self) -> dict[str, UsageMetadata]:
        """Known tokens of all requests, per model that answered."""
        total: dict[str, UsageMetadata] = {}
        for request in self.requests:
            for name, usage in request.used.items():
                total[name] = add_usage(total.get(name), usage)
        return total

    @property
    def unknown(self) -> list[str]:
        """Models of the requests of whose tokens nothing is known."""
        return [r.model for r in self.requests if not r.used and not r.free]

    @property
    def told(self) -> dict[str, Any]:
        """Who is asked, for events."""
        return {**self.about, "model": self.member.model}

    def end(self) -> None:
        """Say that nobody waits any more, and let others have the places."""
        for request in self.requests:
            request.over = True
        self._give_back()

    def _give_back(self) -> None:
        while self._held:
            slots, ticket = self._held.pop()
            slots.give_back(ticket)

    def _name(self, place: int) -> str:
        return self.member.candidates[place].model

    def _candidate(self, place: int, member: Member) -> Plan[Result]:
        breaker = self.call.mixture.breaker(member)
        refusal = breaker.refuses() if breaker is not None else None
        if refusal is not None:
            return Result(ended="refused", reason=refusal)
        granted = yield from self._places(member)
        if not granted.good:
            return self._explained(granted, OPEN)
        if not self.requests:
            self._started = perf_counter()
            yield self._tell("member_started")
        until = monotonic() + self.timeout
        result = yield from self._tries(place, member, until)
        if breaker is not None and result.good and result.request.member is member:
            breaker.succeeded()  # a hedge that was answered by a fallback tells nothing of it
        elif breaker is not None and _is_members_fault(result):
            breaker.failed()
        return self._explained(result, until)

    def _places(self, member: Member) -> Plan[Result]:
        """Wait for the member's place and the mixture's; time in the queue is not the member's."""
        for slots in self.call.mixture.limits(member):
            ticket = slots.ask()
            self._held.append((slots, ticket))
            if not ticket.done():
                granted: Result = yield WaitFor(ticket=ticket, until=self.until, gate=self.gate)
                if not granted.good:
                    return granted
        return Result(good=True)

    def _tries(self, place: int, member: Member, until: float) -> Plan[Result]:
        until = min(until, self.until)
        retries = 0 if member.retries_itself else self.call.mixture.policy.max_retries
        result = Result(ended="timed_out")
        for attempt in range(retries + 1):
            if monotonic() >= until or (attempt and not self._may_ask_more()):
                break
            result = yield self._request(place, member, until)
            pause = _pause(result, attempt)
            if pause is None or attempt == retries or monotonic() + pause >= until:
                break
            yield self._tell("member_retried", error=result.reason, seconds=pause)
            paused: Result = yield WaitFor(until=monotonic() + pause, gate=self.gate)
            if paused.ended == "cut":
                return paused
        return result

    def _request(self, place: int, member: Member, until: float) -> Step:
        after = self.call.mixture.policy.hedge_after
        others = self.member.candidates[place + 1 :]
        hedge = partial(self._start, others[0] if others else member)
        return Ask(
            starts=[partial(self._start, member), *([hedge] if after < OPEN else [])],
            until=until,
            hedge_at=monotonic() + after,
            may_hedge=self._may_ask_more,
            gate=self.gate,
            **{
                name: given
                for name in ("discard", "adiscard")
                if (given := getattr(self, name)) is not None
            },
        )

    def _may_ask_more(self) -> bool:
        return self.call.ledger.take(self.estimate, self.call.mixture.budget)

    def _start(self, member: Member) -> Any:
        request = self.prepare(member)
        self.requests.append(request)
        return self.ask(request)

    def _explained(self, result: Result, until: float) -> Result:
        """A timeout with the setting that made it."""
        if result.ended != "timed_out" or result.error is not None:
            return result
        limit = self.limit if until < self.until else self.call.limit_of(self.about["layer"])
        return replace(result, reason=f"no answer in time ({limit})")

    def _tell(self, event: EventName, **values: Any) -> Step:
        progress = self.call.progress
        told = {**self.told, **values}
        return Tell(
            emit=partial(progress.emit, event, **told),
            aemit=partial(progress.aemit, event, **told),
        )


def _is_members_fault(result: Result) -> bool:
    """Whether a failure says something of the member rather than of the request."""
    if result.ended == "timed_out":
        return True
    requests_own = ModelInvalidRequestError | ContextOverflowError
    return result.ended == "raised" and not isinstance(result.error, requests_own)


def raised(request: MemberCall, error: Exception) -> Result:
    """The result of a request that raised."""
    request.failed()
    timed_out = isinstance(error, TimeoutError | ModelTimeoutError)
    return Result(
        ended="timed_out" if timed_out else "raised",
        error=error,
        reason=_said(error),
        request=request,
    )


def is_retryable(result: Result) -> bool:
    """Whether the same request may succeed when it is made again later."""
    if result.error is not None:
        return bool(getattr(result.error, "is_retryable", False))
    return result.ended in ("timed_out", "refused")


def _said(error: Exception) -> str:
    if isinstance(error, KeyError) and "__pregel" in str(error):
        return "the member called interrupt() or another function of LangGraph's context"
    return f"{type(error).__name__}: {error}"


def _pause(result: Result, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; `None` where none is worth it."""
    if result.good or not getattr(result.error, "is_retryable", False):
        return None
    asked_for = _retry_after(result.error)
    if asked_for is not None:
        return asked_for * random.uniform(1.0, 1.1)  # noqa: S311 - not for secrets
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - as above


def _retry_after(error: Exception | None) -> float | None:
    """Seconds that the provider asks to wait, from the response's `Retry-After` header."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    value = str(headers.get("retry-after", ""))
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:  # there is none, or one that can't be read
        return None
