"""One member's turn: the member and its fallbacks, asked one after the other until one answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from langchain_moa.engine.admission import Allowance
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.request import Accounts, MemberRequest, accounts_of
from langchain_moa.engine.tries import Assignment, Tries
from langchain_moa.members.member import Member
from langchain_moa.reliability.quorum import NEVER
from langchain_moa.reliability.waiting import Plan, Result
from langchain_moa.types import RequestRecord


@dataclass(eq=False, slots=True)
class Turn:
    """The candidates in turn.

    Attributes:
        assignment: What is to be had of them, and within which limits.
        failures: Why each candidate so far gave nothing.
    """

    assignment: Assignment
    failures: list[str] = field(default_factory=list)
    _tries: list[Tries] = field(default_factory=list)

    def plan(self) -> Plan[Result]:
        """The steps of the turn; gives the first good result, or the last one."""
        wanted = self.assignment
        if wanted.refused is not None:
            return Result(ended="over_budget", reason=wanted.refused)
        result = Result(ended="refused")
        allowance = Allowance(wanted.call, wanted.member, wanted.question.estimate)
        candidates = wanted.member.candidates
        for place, member in enumerate(candidates):
            tries = Tries(
                assignment=wanted,
                member=member,
                allowance=allowance,
                announces=not self.requests,
                # a layer of proposers can go on without one, but nothing goes on without an answer
                sharers=len(candidates) - place if wanted.role == "aggregator" else 1,
            )
            self._tries.append(tries)
            tried = yield from tries.plan()
            if tried.good:
                return tried
            tries.end()
            self.failures.append(f"{member.model}: {tried.reason}")
            asked = tried.ended not in ("refused", "over_budget")
            if asked or not self.requests:  # what was asked tells more
                result = tried
            if tried.ended == "cut" or monotonic() >= wanted.until:
                break
        return result

    def why(self, result: Result) -> str:
        """Why the turn gave nothing: of several candidates, what became of each."""
        if len(self.failures) > 1:
            return "; ".join(self.failures)
        return result.reason or result.ended

    def end(self) -> None:
        """Say that nobody waits for the requests any more, and let others have the places."""
        for tries in self._tries:
            tries.end()

    @property
    def call(self) -> CallInProgress:
        """The call in progress."""
        return self.assignment.call

    @property
    def member(self) -> Member:
        """Who is asked first."""
        return self.assignment.member

    @property
    def requests(self) -> list[MemberRequest]:
        """The requests made so far."""
        return [request for tries in self._tries for request in tries.requests]

    @property
    def last_request(self) -> MemberRequest | None:
        """The latest request, if any was made."""
        return next(reversed(self.requests), None)

    @property
    def seconds(self) -> float:
        """Seconds since the first request was made, to the microsecond; 0 where there is none."""
        requests = self.requests
        return requests[0].seconds if requests else 0.0

    @property
    def deadline(self) -> float:
        """When the time of the candidate that is asked is over."""
        return self._tries[-1].deadline if self._tries else NEVER

    @property
    def request_records(self) -> list[RequestRecord]:
        """What the record of the call says of the requests."""
        return [request.record(self.call.started) for request in self.requests]

    def accounts(self) -> Accounts:
        """What is known now of the tokens of all requests; one that was given up may still end."""
        return accounts_of(self.requests)
