"""The tries of one candidate: its requests in turn, each with the hedge that it may have.

They are a plan of steps, which sync and async code carry out alike (see `reliability.waiting`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from langchain_moa.engine.admission import Allowance
from langchain_moa.engine.attempt import Attempt, Question, report
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.request import MemberRequest
from langchain_moa.members.member import Member
from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.reliability.retries import pause_before_retry
from langchain_moa.reliability.slots import Hold, Places, Slots, half_of_what_is_left
from langchain_moa.reliability.waiting import Ask, Plan, Result, Step, WaitFor, Work
from langchain_moa.types import LARGE, AnyDict, EventName, RequestKind, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What is to be had from a member or its fallbacks, and within which limits.

    Attributes:
        call: The call in progress.
        member: Who is asked first.
        question: What is asked.
        layer: The member's layer, counted from 1.
        index: Its place in the layer, counted from 0.
        role: What it does in the call.
        timeout: Seconds that each candidate has.
        limit: The name of that setting, for the record.
        until: When the layer or the call ends, on the clock of `time.monotonic`.
        ends: When the layer's share of the call's time is over.
        gate: The layer's gate, or `None`.
        refused: Why the budget admits no request at all, or `None`.
    """

    call: CallInProgress
    member: Member
    question: Question
    layer: int
    index: int
    role: Role
    timeout: float
    limit: str
    until: float = NEVER
    ends: float = NEVER
    gate: Gate | None = None
    refused: str | None = None

    @property
    def about(self) -> AnyDict:
        """Who is asked, for events."""
        return {
            "layer": self.layer,
            "index": self.index,
            "role": self.role,
            "model": self.member.model,
        }

    def telling(self, event: EventName, **values: object) -> Step:
        """A step that tells the call's listeners of something."""
        progress, told = self.call.progress, {**self.about, **values}
        return _Tell(partial(progress.emit, event, **told), partial(progress.aemit, event, **told))


@dataclass(frozen=True, slots=True)
class _Tell:
    emit: Callable[[], None]
    aemit: Callable[[], Awaitable[None]]

    def do(self) -> None:
        self.emit()

    async def ado(self) -> None:
        await self.aemit()


@dataclass(eq=False, kw_only=True, slots=True)
class Tries:
    """Everything that is tried to get one answer from one candidate.

    Attributes:
        assignment: What is to be had, and within which limits.
        member: The candidate.
        allowance: What its requests may cost.
        announces: Whether nobody was asked before it, so that listeners are told of the start.
        sharers: How many candidates share the time that is left, itself counted.
        requests: The requests made so far, hedges counted.
        deadline: When the time of an answer that it has begun is over.
    """

    assignment: Assignment
    member: Member
    allowance: Allowance
    announces: bool
    sharers: int = 1
    requests: list[MemberRequest] = field(default_factory=list)
    deadline: float = NEVER
    _places: Places = field(default_factory=Places)
    _hedges: list[Attempt] = field(default_factory=list)

    def plan(self) -> Plan[Result]:
        """The steps; gives the first good result, or the last one."""
        breaker = self.assignment.call.mixture.breaker(self.member)
        refusal = breaker.refuses(self) if breaker is not None else None
        if refusal is not None:
            return Result(ended="refused", reason=refusal)
        granted = yield from self._place()
        if not granted.good:
            return self._explained(granted, Hold(NEVER))
        if self.announces:
            yield self.assignment.telling("member_started")
        wanted, now = self.assignment, monotonic()
        self.deadline = min(now + wanted.timeout, wanted.until)
        share = (wanted.until - now) / self.sharers if self.sharers > 1 else NEVER
        until = min(now + min(wanted.timeout, share), wanted.until)
        hold = Hold(until, (wanted.ends, wanted.until), wanted.gate)
        result = yield from self._requests(hold)
        # an answer of a fallback, as a hedge, tells nothing of the member
        if self.requests and (not result.good or result.request.member is self.member):
            in_own_time = until < wanted.until and not hold.handed_on
            report(breaker, result, self, in_own_time=in_own_time)
        return self._explained(result, hold)

    def end(self) -> None:
        """Say that nobody waits for the requests, and let others have their places."""
        for request in self.requests:
            request.over = True
        call = self.assignment.call
        self._places.give_up()
        if self._places.are_held:
            call.mixture.slots.leave(self._places)
        asked: list[tuple[Member, object]] = [(self.member, self)]
        asked += [(hedge.member, hedge) for hedge in self._hedges]
        for member, asker in asked:
            if (breaker := call.mixture.breaker(member)) is not None:
                breaker.given_up(asker)

    def _place(self) -> Plan[Result]:
        """Wait for the member's place and the mixture's; time in the queue is not the member's."""
        wanted = self.assignment
        for slots in wanted.call.mixture.limits(self.member):
            ticket = self._places.ask(slots)
            if not ticket.done():
                granted = yield from self._queue(slots, ticket)
                if not granted.good:
                    return granted
        if wanted.gate is not None:
            wanted.gate.seat(wanted.index, seated=True)
        return Result(good=True)

    def _queue(self, slots: Slots, ticket: Future[None]) -> Plan[Result]:
        """Wait for a place; after half of the time for that of a request that was given up, too."""
        wanted, mixture = self.assignment, self.assignment.call.mixture
        if wanted.gate is not None:
            wanted.gate.seat(wanted.index, seated=False)
        waiting = WaitFor(ticket=ticket, until=wanted.until, gate=wanted.gate)
        half = half_of_what_is_left((wanted.ends, wanted.until))
        if half == NEVER:
            half = monotonic() + mixture.policy.proposer_timeout
        granted: Result = yield replace(waiting, until=min(wanted.until, half))
        if granted.ended == "timed_out" and monotonic() < wanted.until:
            with mixture.slots.taking_over(ticket, slots):
                granted = yield waiting
        return granted

    def _requests(self, hold: Hold) -> Plan[Result]:
        """The request, and again after failures that pass, with pauses."""
        wanted, mixture = self.assignment, self.assignment.call.mixture
        retries = 0 if self.member.retries_itself else mixture.settings.max_retries
        if not (yield self._admits()):
            return Result(ended="over_budget", reason="the call's budget does not admit it")
        result = Result(ended="timed_out")
        kind: RequestKind = "first" if self.announces else "fallback"
        for attempt in range(retries + 1):
            if monotonic() >= hold():
                break
            result = yield self._hedged(self._attempt(self.member, kind), hold)
            kind = "retry"
            if wanted.question.asks_anew(result) and (yield self._admits()):
                result = yield self._hedged(self._attempt(self.member, kind), hold)
            pause = pause_before_retry(result, attempt)
            if pause is None or attempt == retries or not hold.allows(monotonic() + pause):
                break
            if not (yield self._admits()):
                break
            reason = mixture.redacted(result.reason or "")
            yield wanted.telling("member_retried", error=reason, seconds=pause)
            paused: Result = yield WaitFor(until=monotonic() + pause, gate=wanted.gate)
            if paused.ended == "cut":
                return paused
        return result

    def _admits(self) -> Work[bool]:
        """Ask whether the budget admits one more request; what that costs the user may say."""
        size = LARGE if self.assignment.call.mixture.asks_prices else 0
        return Work(partial(self.allowance.admits, self.member), size)

    def _hedged(self, first: Attempt, hold: Hold) -> Step:
        """The request, and a second one to the next candidate, or else to the same one."""
        wanted = self.assignment
        ask = Ask(starts=[first], until=hold.until, hold=hold, gate=wanted.gate)
        after = wanted.call.mixture.policy.hedge_after
        if after == NEVER:
            return ask
        place = wanted.member.candidates.index(self.member) + 1
        other = [*wanted.member.candidates, self.member][place]
        hedge = self._attempt(other, "hedge")
        size = LARGE if wanted.call.mixture.asks_prices else 0
        hedge.may_begin = Work(partial(self._may_hedge, hedge), size)
        return replace(ask, starts=[first, hedge], hedge_at=monotonic() + after)

    def _may_hedge(self, hedge: Attempt) -> bool:
        """Whether there is a place and money for a second request now; it waits for neither.

        What is refused has taken neither.
        """
        mixture = self.assignment.call.mixture
        breaker = mixture.breaker(hedge.member)
        if breaker is not None and breaker.refuses(hedge) is not None:
            return False
        self._hedges.append(hedge)
        money = partial(self.allowance.admits, hedge.member)
        if self._places.take(mixture.limits(hedge.member), money):
            return True
        if breaker is not None:
            breaker.given_up(hedge)
        return False

    def _attempt(self, member: Member, kind: RequestKind) -> Attempt:
        mixture = self.assignment.call.mixture
        return Attempt(
            question=self.assignment.question,
            mixture=mixture,
            member=member,
            places=self._places,
            requests=self.requests,
            kind=kind,
            # of the candidate itself its breaker hears once, when all is tried
            breaker=None if member is self.member else mixture.breaker(member),
        )

    def _explained(self, result: Result, hold: Hold) -> Result:
        """A timeout with the setting that made it."""
        if result.ended != "timed_out" or result.error is not None:
            return result
        wanted = self.assignment
        of_all = wanted.call.limit_of(wanted.layer)
        limit = wanted.limit if hold.until < wanted.until else of_all
        if hold.until < self.deadline:
            limit = f"{of_all}, shared with its fallbacks"
        if hold.handed_on:
            limit = f"{of_all}, shared with those that wait for its place"
        return replace(result, reason=f"no answer in time ({limit})")
