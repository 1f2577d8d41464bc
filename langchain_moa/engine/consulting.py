"""Between the last layer and the answer: who the strategy consults is asked, in one way for all.

It never fails a call. What is not found the aggregator does without, and the record says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.prices import cost_of
from langchain_moa.accounting.usage import sum_usage
from langchain_moa.engine.admission import commit_advice
from langchain_moa.engine.advice import Advice, AdviceQuestion, why
from langchain_moa.engine.answer import answering
from langchain_moa.engine.call import CallInProgress, read_proposals
from langchain_moa.engine.request import Accounts
from langchain_moa.engine.tries import Assignment
from langchain_moa.engine.turn import Turn
from langchain_moa.members.member import Member
from langchain_moa.reliability.waiting import Plan, Result, Work, acarried_out, carried_out
from langchain_moa.strategies.base import Findings, Strategy, named
from langchain_moa.strategies.checking import CheckAll, Checked
from langchain_moa.strategies.select import selection_of
from langchain_moa.types import LARGE, AnyDict, AnyMapping, ConsultedRecord, Proposal, Reason, Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Consulting:
    """What becomes of a call's proposals before the answer.

    Attributes:
        call: The call in progress.
        strategy: Whom the analyst or the judge serves.
        adviser: Who that is.
        messages: The conversation as the caller gave it.
        proposals: All proposals; those of the last layer that gave any are read.
        config: The configuration of the adviser's run.
        arguments: Those of the aggregator's call, which say what an answer must be.
    """

    call: CallInProgress
    strategy: Strategy
    adviser: Member
    messages: Sequence[BaseMessage]
    proposals: Sequence[Proposal]
    config: RunnableConfig
    arguments: AnyMapping = field(default_factory=dict)

    def invoke(self) -> Findings:
        """What is found, asked for in threads."""
        return carried_out(self._plan())

    async def ainvoke(self) -> Findings:
        """What is found, asked for in an event loop."""
        try:
            return await acarried_out(self._plan())
        except asyncio.CancelledError:
            await self.call.progress.aemit("member_cut", **self._about)
            raise

    def _plan(self) -> Plan[Findings]:
        """The steps; what cannot be found is said, and nothing is raised for it."""
        mixture = self.call.mixture
        shown = read_proposals(mixture, self.proposals, mixture.layers, self.messages)
        if not shown:
            return self._nothing("no_proposals")
        if self.strategy.name == "select":
            return (yield from self._selected(shown))
        return (yield from self._asked(shown))

    def _selected(self, shown: Sequence[Proposal]) -> Plan[Findings]:
        """The steps of choosing the proposal that is the answer, of those that can be."""
        if self.arguments.get("tools") and self.call.bindings.schema is None:
            return self._nothing("tools_bound")
        able = answering(self.call, shown, self.arguments)
        if not able:
            return self._nothing("not_in_schema")
        check = self.call.mixture.settings.check
        if check is None:
            return (yield from self._asked(able))
        checked: Checked = yield CheckAll(check, [p.text for p in able], self._until)
        passed = [able[place] for place in checked.passed]
        if len(passed) > 1:
            return (yield from self._asked(passed))
        if not passed:
            return self._nothing(checked.reason, "check")
        return Findings(selection=selection_of(passed[0], "check", "it alone passes the check"))

    def _asked(self, shown: Sequence[Proposal]) -> Plan[Findings]:
        """The steps of asking the adviser about some proposals."""
        asks_user = LARGE if self.call.mixture.asks_prices else 0
        turn: Turn = yield Work(partial(self._turn, shown), asks_user)
        try:
            result: Result = yield from turn.plan()
        finally:
            turn.end()
        accounts = turn.accounts()
        findings = result.value.findings if result.good else self._nothing(why(result))
        if result.good and result.request.degraded:
            findings = replace(findings, reasons=self._nothing("degraded").reasons)
        record = partial(self._record, turn, result, accounts, findings.dropped)
        consulted: ConsultedRecord = yield Work(record, asks_user)
        if not result.good:
            logger.warning("the %s found nothing: %s", self.strategy.role, consulted["error"])
        yield turn.assignment.telling(
            "member_finished" if result.good else "member_failed",
            seconds=turn.seconds,
            usage=consulted["usage"],
            error=None if result.good else consulted["error"],
        )
        return replace(
            findings,
            consulted=consulted if turn.requests else None,
            usage=accounts.usage,
            unknown=accounts.unknown,
        )

    @property
    def _about(self) -> AnyDict:
        layer, role = self.call.mixture.layers, self.strategy.role
        return {"layer": layer, "index": 0, "role": role, "model": self.adviser.model}

    @property
    def _until(self) -> float:
        """When the time is over, what the aggregator needs being kept."""
        policy, layers = self.call.mixture.policy, self.call.mixture.layers
        share = min(policy.analyst_timeout, self.call.share_of(layers))
        return min(self.call.until, monotonic() + share)

    def _turn(self, shown: Sequence[Proposal]) -> Turn:
        policy = self.call.mixture.policy
        layer = [p for p in self.proposals if p.layer == shown[0].layer]
        question = AdviceQuestion(
            call=self.call,
            strategy=self.strategy,
            messages=self.messages,
            numbered=named(shown, layer),
            config=self.config,
        )
        estimate = question.estimate(self.adviser)
        share = monotonic() + self.call.share_of(self.call.mixture.layers)
        return Turn(
            Assignment(
                call=self.call,
                member=self.adviser,
                question=question,
                layer=self.call.mixture.layers,
                index=0,
                role=self.strategy.role,
                timeout=policy.analyst_timeout,
                limit=f"analyst_timeout={policy.analyst_timeout:g} s",
                until=min(self.call.until, share),
                refused=commit_advice(self.call, self.messages, self.proposals, estimate),
            )
        )

    def _nothing(self, reason: Reason, stage: Stage | None = None) -> Findings:
        """No findings, and why."""
        role: Stage = "analyst" if self.strategy.role == "analyst" else "judge"
        return Findings(reasons=[{"stage": stage or role, "reason": reason}])

    def _record(
        self, turn: Turn, result: Result, accounts: Accounts, dropped: int
    ) -> ConsultedRecord:
        mixture, asked = self.call.mixture, result.request or turn.last_request
        reason = "; ".join(turn.failures) if result.good else turn.why(result)
        model = asked.model if asked else turn.member.model
        answered: Advice | None = result.value if result.good else None
        free = asked is not None and asked.free and answered is not None
        return {
            "role": self.strategy.role,
            "model": model,
            "model_name": answered.model_name if answered else None,
            "status": ("cached" if free else "ok") if answered else "failed",
            "error": mixture.redacted(reason) or None,
            "seconds": turn.seconds,
            "attempts": len(turn.requests),
            "requests": turn.request_records,
            "usage": sum_usage(accounts.usage.values()),
            "cost": cost_of(accounts.usage, mixture.prices, model),
            "left_out": asked.left_out if asked else [],
            "dropped": dropped,
        }
