"""One proposer's turn in one layer, from what it is shown to the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.usage import sum_usage
from langchain_moa.engine.admission import refusal
from langchain_moa.engine.call import CallInProgress, read_proposals, require_enough
from langchain_moa.engine.proposal import ProposalQuestion
from langchain_moa.engine.tries import Assignment
from langchain_moa.engine.turn import Turn
from langchain_moa.proposals.memory import reused
from langchain_moa.reliability.retries import is_retryable
from langchain_moa.reliability.threads import off_loop
from langchain_moa.reliability.waiting import Ending, Result, acarried_out, carried_out
from langchain_moa.types import LARGE, AnyDict, EventName, Proposal, ProposalStatus, slot

logger = logging.getLogger(__name__)

_STATUS: Final[dict[Ending, ProposalStatus]] = {
    "answered": "empty",
    "declined": "filtered",
    "raised": "failed",
    "timed_out": "timed_out",
    "cut": "cut",
    "refused": "skipped",
    "over_budget": "over_budget",
}
"""The status of a turn that ended without an answer."""


@dataclass(frozen=True, slots=True)
class Proposing:
    """One proposer's turn in one layer.

    Attributes:
        call: The call in progress.
        layer: The layer, counted from 1.
        index: The proposer's place in it, counted from 0.
    """

    call: CallInProgress
    layer: int
    index: int

    def run(
        self, messages: Sequence[BaseMessage], before: Sequence[Proposal], config: RunnableConfig
    ) -> Proposal:
        """Ask the proposer; a failure is a proposal that is not usable.

        Args:
            messages: The caller's conversation.
            before: All proposals of the layers before.
            config: The configuration of its node.

        Raises:
            NotEnoughProposalsError: The layer before gave too few.
            BudgetExceededError: The layer does not fit, and `on_budget="raise"`.
        """
        if (kept := self._kept()) is not None:
            self.call.progress.emit("member_finished", **self._about(kept), seconds=0.0)
            return kept
        turn = self._turn(messages, before, config)
        try:
            result = carried_out(turn.plan())
        finally:
            turn.end()
        proposal = self._proposal(turn, result)
        event, values = self._outcome(proposal)
        self.call.progress.emit(event, **turn.assignment.about, **values)
        return proposal

    async def arun(
        self, messages: Sequence[BaseMessage], before: Sequence[Proposal], config: RunnableConfig
    ) -> Proposal:
        """The async twin of `run`."""
        if (kept := self._kept()) is not None:
            await self.call.progress.aemit("member_finished", **self._about(kept), seconds=0.0)
            return kept
        made = partial(self._turn, messages, before, config)
        turn = await off_loop(made, LARGE if self.call.mixture.asks_prices else 0)
        about = turn.assignment.about
        try:
            result = await acarried_out(turn.plan())
        except asyncio.CancelledError:
            await self.call.progress.aemit("member_cut", **about, seconds=turn.seconds)
            raise
        finally:
            turn.end()
        proposal = self._proposal(turn, result)
        event, values = self._outcome(proposal)
        await self.call.progress.aemit(event, **about, **values)
        return proposal

    def _kept(self) -> Proposal | None:
        """What the proposer said in an earlier try of this call, if that is to be used."""
        known = self.call.kept.get(slot(self.layer, self.index))
        if known is None:
            return None
        self._count(known)
        return reused(known)

    def _about(self, proposal: Proposal) -> AnyDict:
        place = {"layer": self.layer, "index": self.index}
        return {**place, "role": "proposer", "model": proposal.model, **self._text(proposal)}

    def _text(self, proposal: Proposal) -> AnyDict:
        """What an event says of a proposal where texts are wanted."""
        return {"text": proposal.text} if self.call.mixture.settings.include_proposals else {}

    def _turn(
        self, messages: Sequence[BaseMessage], before: Sequence[Proposal], config: RunnableConfig
    ) -> Turn:
        mixture, layer = self.call.mixture, self.call.layer(self.layer)
        if self.layer > 1:
            require_enough(self.call, [p for p in before if p.layer == self.layer - 1], before)
        question = ProposalQuestion(
            call=self.call,
            layer=self.layer,
            index=self.index,
            messages=messages,
            shown=read_proposals(mixture, before, self.layer, messages),
            config=config,
        )
        return Turn(
            Assignment(
                call=self.call,
                member=mixture.proposers[self.layer - 1][self.index],
                question=question,
                layer=self.layer,
                index=self.index,
                role="proposer",
                timeout=mixture.policy.proposer_timeout,
                limit=f"proposer_timeout={mixture.policy.proposer_timeout:g} s",
                until=layer.until,
                ends=layer.ends,
                gate=layer.gate,
                refused=refusal(self.call, self.layer, self.index, messages, before),
            )
        )

    def _proposal(self, turn: Turn, result: Result) -> Proposal:
        mixture, asked = self.call.mixture, result.request or turn.last_request
        if result.error is not None and result.reason == mixture.redacted(result.reason or ""):
            # one that quotes a key is not handed on
            self.call.causes[slot(self.layer, self.index)] = result.error
        reason = "; ".join(turn.failures) if result.good else turn.why(result)
        accounts = turn.accounts()
        proposal = Proposal(
            layer=self.layer,
            index=self.index,
            seconds=turn.seconds,
            attempts=len(turn.requests),
            requests=turn.request_records,
            model=asked.model if asked else turn.member.model,
            error=mixture.redacted(reason) or None,
            is_retryable=is_retryable(result),
            usage_by_model=accounts.usage,
            unknown=accounts.unknown,
            left_out=asked.left_out if asked else [],
            degraded=bool(asked and asked.degraded),
            **(result.value or {"status": _STATUS[result.ended]}),
        )
        self._count(proposal)
        return proposal

    def _count(self, proposal: Proposal) -> None:
        gate = self.call.layer(self.layer).gate
        if proposal.status == "over_budget":
            gate.leave_out(self.index)
        else:
            gate.count(usable=proposal.usable, index=self.index)
        if not proposal.usable:
            logger.warning(
                "layer %d, index %d (%s) gave no usable proposal: %s",
                proposal.layer,
                proposal.index,
                proposal.model,
                proposal.reason,
            )

    def _outcome(self, proposal: Proposal) -> tuple[EventName, AnyDict]:
        """The event that tells what became of the proposer."""
        values = {
            "seconds": proposal.seconds,
            "usage": sum_usage(proposal.usage_by_model.values()),
            "error": None if proposal.usable else proposal.reason,
        }
        if proposal.usable:
            return "member_finished", {**values, **self._text(proposal)}
        return ("member_cut" if proposal.status == "cut" else "member_failed"), values
