"""One member's turn: retries, the request that hedges, fallbacks, timeouts, limits.

The turn is a plan of steps, which sync and async code carry out alike (see `racing`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelInvalidRequestError,
    ModelTimeoutError,
)
from langchain_core.messages.ai import UsageMetadata
from langgraph.errors import GraphBubbleUp

from langchain_moa.accounting.budget import NOTHING, ONE_CALL, Amount
from langchain_moa.accounting.usage import usage_by_model
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.request import MemberCall, asking, is_given_up
from langchain_moa.errors import UnsupportedContentError
from langchain_moa.members.member import Member
from langchain_moa.reliability.causes import key_variables, reason_of
from langchain_moa.reliability.provider_errors import provider_error
from langchain_moa.reliability.quorum import OPEN, Gate
from langchain_moa.reliability.retries import pause_before_retry
from langchain_moa.reliability.slots import Places
from langchain_moa.reliability.waiting import Ask, Plan, Result, Step, WaitFor, aignored, ignored
from langchain_moa.types import EventName


class Accounts(NamedTuple):
    """What requests used.

    Attributes:
        usage: Known tokens per model that answered.
        unknown: Models of the requests of whose tokens nothing is known.
    """

    usage: dict[str, UsageMetadata]
    unknown: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(eq=False, kw_only=True, slots=True)
class Turn:
    """Everything that is tried to get one answer from a member or its fallbacks.

    Attributes:
        call: The call in progress.
        member: Who is asked first.
        about: Layer, index and role, for events.
        prepare: Makes a request to one of the candidates ready.
        ask: Makes the request, and gives a `Result` or raises; a coroutine function in async code.
        timeout: Seconds that each candidate has.
        limit: The name of that setting, for the record.
        until: When the layer or the call ends, on the clock of `time.monotonic`.
        gate: The layer's gate, or `None`.
        estimate: What a request to a candidate may cost.
        refused: Why no request may be made at all, or `None`.
        discard: Gets good results that come too late.
        adiscard: The same in async code.
        requests: The requests made so far.
        failures: Why each candidate so far gave nothing.
        deadline: When the time of the candidate that is asked is over.
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
    estimate: Callable[[Member], Amount] = lambda _: ONE_CALL
    refused: str | None = None
    discard: Callable[[Result], object] = ignored
    adiscard: Callable[[Result], Awaitable[object]] = aignored
    requests: list[MemberCall] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    deadline: float = OPEN
    _promised: Amount | None = None
    _reporting: list[MemberCall] = field(default_factory=list)
    _started: float = field(default_factory=perf_counter)
    _places: Places = field(default_factory=Places)

    def plan(self) -> Plan[Result]:
        """The steps of the turn; gives the first good result, or the last one."""
        result = Result(ended="refused", reason=self.refused)
        for member in () if self.refused else self.member.candidates:
            self.end()
            tried = yield from self._candidate(member)
            if tried.good:
                return tried
            self.failures.append(f"{member.model}: {tried.reason}")
            if tried.ended != "refused" or not self.requests:  # what was asked tells more
                result = tried
            if tried.ended == "cut" or monotonic() >= self.until:
                break
        return result

    def why(self, result: Result) -> str:
        """Why the turn gave nothing: of several candidates, what became of each."""
        if len(self.failures) > 1:
            return "; ".join(self.failures)
        return result.reason or result.ended

    @property
    def seconds(self) -> float:
        """Seconds since the first request was made, to the microsecond."""
        return round(perf_counter() - self._started, 6)

    def accounts(self) -> Accounts:
        """What is known now of the tokens of all requests; one that was given up may still end."""
        known = [request.accounts() for request in self.requests]
        unknown = [model for _, lacking in known for model in lacking]
        return Accounts(usage_by_model(used for used, _ in known), unknown)

    @property
    def told(self) -> dict[str, Any]:
        """Who is asked, for events."""
        return {**self.about, "model": self.member.model}

    def end(self) -> None:
        """Say that nobody waits for the requests so far, and let others have the places."""
        for request in self.requests:
            request.over = True
        self._places.give_up()
        self._places = Places()

    def _candidate(self, member: Member) -> Plan[Result]:
        breaker = self.call.mixture.breaker(member)
        refusal = breaker.refuses() if breaker is not None else None
        if refusal is not None:
            return Result(ended="refused", reason=refusal)
        granted = yield from self._place(member)
        if not granted.good:
            return self._explained(granted, OPEN)
        if not self.requests:
            self._started = perf_counter()
            yield self._tell("member_started")
        before, until = len(self.requests), monotonic() + self.timeout
        self.deadline = min(until, self.until)
        result = yield from self._tries(member, until)
        # an answer of a fallback, as a hedge, tells nothing of the member
        if len(self.requests) > before and (not result.good or result.request.member is member):
            self._report(member, result, until)
        return self._explained(result, until)

    def _place(self, member: Member) -> Plan[Result]:
        """Wait for the member's place and the mixture's; time in the queue is not the member's."""
        for slots in self.call.mixture.limits(member):
            ticket = self._places.ask(slots)
            if not ticket.done():
                granted: Result = yield WaitFor(ticket=ticket, until=self.until, gate=self.gate)
                if not granted.good:
                    return granted
        return Result(good=True)

    def _tries(self, member: Member, until: float) -> Plan[Result]:
        until = min(until, self.until)
        retries = 0 if member.retries_itself else self.call.mixture.settings.max_retries
        if not self._may_ask(member):
            return Result(ended="refused", reason="the call's budget does not admit it")
        result = Result(ended="timed_out")
        for attempt in range(retries + 1):
            if monotonic() >= until:
                break
            result = yield self._request(member, until)
            pause = pause_before_retry(result, attempt)
            if pause is None or attempt == retries or monotonic() + pause >= until:
                break
            if not self._may_ask(member):
                break
            reason = self.call.mixture.redacted(result.reason or "")
            yield self._tell("member_retried", error=reason, seconds=pause)
            paused: Result = yield WaitFor(until=monotonic() + pause, gate=self.gate)
            if paused.ended == "cut":
                return paused
        return result

    def _request(self, member: Member, until: float) -> Step:
        ask = Ask(
            starts=[partial(self._start, member, self._places)],
            until=until,
            gate=self.gate,
            discard=self.discard,
            adiscard=self.adiscard,
        )
        after = self.call.mixture.policy.hedge_after
        return ask if after == OPEN else self._hedged(ask, member, monotonic() + after)

    def _hedged(self, ask: Ask, member: Member, at: float) -> Step:
        """The request, and a second one to the next candidate, or else to the same one."""
        place = self.member.candidates.index(member) + 1
        other = [*self.member.candidates, member][place]
        hedge = partial(self._start, other, self._places, reports=other is not member)
        return replace(
            ask,
            starts=[*ask.starts, hedge],
            hedge_at=at,
            may_hedge=partial(self._may_hedge, other),
        )

    def _may_ask(self, member: Member) -> bool:
        """Whether the budget admits a request; the turn's first was promised to it beforehand."""
        budget = self.call.mixture.budget
        if not budget.limits:
            return True
        promised, self._promised = self._promised or self.estimate(self.member), NOTHING
        return self.call.ledger.take(self.estimate(member).beyond(promised), budget)

    def _may_hedge(self, member: Member) -> bool:
        """Whether there is a place and money for a second request now; it waits for neither."""
        mixture = self.call.mixture
        breaker = mixture.breaker(member)
        if not self._places.take(mixture.limits(member)) or not self._may_ask(member):
            return False
        return breaker is None or breaker.refuses() is None

    def _start(self, member: Member, places: Places, *, reports: bool = False) -> Any:
        try:
            request = self.prepare(member)
        except UnsupportedContentError as error:
            if self.call.mixture.settings.on_unsupported == "raise":
                raise
            return self._at_once(Result(ended="refused", reason=str(error)))
        except Exception as error:  # noqa: BLE001 - a filter of the user's, say; others may answer
            return self._at_once(Result(ended="raised", error=error, reason=said(error, member)))
        if places.given_up or is_given_up():  # meanwhile, or by whom all of this is done for
            return self._at_once(Result(ended="refused", reason="nobody waits for it any more"))
        self.requests.append(request)
        if reports:
            self._reporting.append(request)
        if inspect.iscoroutinefunction(self.ask):
            return self._asked_in_task(request)
        return self._asked_in_thread(request, places)

    async def _asked_in_task(self, request: MemberCall) -> Result:
        with asking(request, self.call.mixture):
            try:
                result: Result = await self.ask(request)
            except GraphBubbleUp:
                raise
            except asyncio.CancelledError as error:
                await request.cancelled(error)
                raise
            except Exception as error:  # noqa: BLE001 - as below
                result = _raised(request, error)
        return self._noted(request, result)

    def _asked_in_thread(self, request: MemberCall, places: Places) -> Result:
        with places.occupied(), asking(request, self.call.mixture):
            try:
                result: Result = self.ask(request)
            except GraphBubbleUp:  # an interrupt is an exception too, and the graph's business
                raise
            except Exception as error:  # noqa: BLE001 - no member may end its siblings
                result = _raised(request, error)
        return self._noted(request, result)

    def _noted(self, request: MemberCall, result: Result) -> Result:
        """The result of a request, after its member's circuit breaker has heard of it.

        Only a fallback's that hedges is told here; a candidate's turn counts as a whole.
        """
        if request in self._reporting and not request.over:
            self._report(request.member, result)
        return result

    def _report(self, member: Member, result: Result, until: float = OPEN) -> None:
        """Tell a member's circuit breaker what came of asking it."""
        breaker = self.call.mixture.breaker(member)
        if breaker is not None and result.good:
            breaker.succeeded()
        elif breaker is not None and self._at_fault(result, until):
            breaker.failed()

    def _at_once(self, result: Result) -> Any:
        """A result without a request, as `ask` would give it."""
        return _awaitable(result) if inspect.iscoroutinefunction(self.ask) else result

    def _explained(self, result: Result, until: float) -> Result:
        """A timeout with the setting that made it."""
        if result.ended != "timed_out" or result.error is not None:
            return result
        limit = self.limit if until < self.until else self.call.limit_of(self.about["layer"])
        return replace(result, reason=f"no answer in time ({limit})")

    def _at_fault(self, result: Result, until: float) -> bool:
        """Whether a failure says something of the member, and not of the request or the call."""
        if result.ended == "timed_out":
            return result.error is not None or until < self.until
        requests_own = ModelInvalidRequestError | ContextOverflowError
        return result.ended == "raised" and not isinstance(result.error, requests_own)

    def _tell(self, event: EventName, **values: Any) -> Step:
        progress = self.call.progress
        told = {**self.told, **values}
        return Tell(
            emit=partial(progress.emit, event, **told),
            aemit=partial(progress.aemit, event, **told),
        )


async def _awaitable(result: Result) -> Result:
    return result


def _raised(request: MemberCall, error: Exception) -> Result:
    error = provider_error(error)
    timed_out = isinstance(error, TimeoutError | ModelTimeoutError)
    return Result(
        ended="timed_out" if timed_out else "raised",
        error=error,
        reason=said(error, request.member),
        request=request,
    )


def said(error: Exception, member: Member) -> str:
    """What an error says of why a member gave no answer; it may quote the member's key."""
    if isinstance(error, KeyError) and "__pregel" in str(error):
        return "the member called interrupt() or another function of LangGraph's context"
    return reason_of(error, model=member.model, variables=key_variables(member.chat_model))
