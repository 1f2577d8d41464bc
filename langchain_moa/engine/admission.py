"""Which reference models of a layer, and which aggregator, the call's budget admits.

What a request will cost is known beforehand only in part: its input is estimated, its output is at
most its limit of tokens, and nothing where there is no such limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompts import StringPromptTemplate

from langchain_moa.accounting.budget import NOTHING, ONE_CALL, Amount
from langchain_moa.accounting.prices import cost_of
from langchain_moa.engine.call import CallInProgress, shown_proposals
from langchain_moa.engine.reading import read_by, tokens_around
from langchain_moa.errors import BudgetExceededError
from langchain_moa.members.member import Member
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.fences import PROPOSALS_ALONE, Beside
from langchain_moa.proposals.fitting import input_tokens
from langchain_moa.strategies.base import NO_FINDINGS, Findings
from langchain_moa.types import Proposal, RequestRecord


class Allowance:
    """What a member's requests may still cost; the first was promised to it beforehand.

    Args:
        call: The call, whose ledger pays.
        member: Who is asked first.
        estimate: What a request to it or a fallback may cost.
    """

    def __init__(
        self, call: CallInProgress, member: Member, estimate: Callable[[Member], Amount]
    ) -> None:
        self._ledger, self._budget = call.ledger, call.mixture.budget
        self._member, self._estimate = member, estimate
        self._promised: Amount | None = None

    def admits(self, member: Member) -> bool:
        """Whether the budget admits one more request; it counts as promised then."""
        if not self._budget.limits:
            return True
        promised = self._estimate(self._member) if self._promised is None else self._promised
        self._promised = NOTHING
        return self._ledger.take(self._estimate(member).beyond(promised), self._budget)


def refusal(
    call: CallInProgress,
    layer: int,
    index: int,
    messages: Sequence[BaseMessage],
    proposals: Sequence[Proposal],
) -> str | None:
    """Why the budget does not admit a reference model, or `None`.

    Args:
        call: The call in progress.
        layer: Layer of the reference model, counted from 1.
        index: Its place in the layer.
        messages: The conversation.
        proposals: All proposals of the layers before.

    Raises:
        BudgetExceededError: A member of the layer is not admitted and `on_budget="raise"`.
    """
    if not call.mixture.budget.limits:
        return None
    state = call.layer(layer)
    with state.lock:
        if state.refused is None:
            state.refused = _refused(call, layer, messages, proposals)
    return state.refused.get(index)


def commit_advice(
    call: CallInProgress,
    messages: Sequence[BaseMessage],
    proposals: Sequence[Proposal],
    estimate: Amount,
) -> str | None:
    """Promise the analyst's or judge's call; what the aggregator needs is kept.

    Returns:
        Why it must not be made, or `None`.
    """
    mixture = call.mixture
    if not mixture.budget.limits:
        return None
    shown = shown_proposals(proposals, mixture.layers)
    answer = final_estimate(mixture, mixture.aggregator, messages, shown)
    total = _spent(mixture, messages, proposals).plus(estimate).plus(answer)
    excess = mixture.budget.excess(total)
    if excess is None:
        call.ledger.commit(total)
    return excess


def commit_final(
    call: CallInProgress,
    messages: Sequence[BaseMessage],
    proposals: Sequence[Proposal],
    findings: Findings = NO_FINDINGS,
) -> str | None:
    """Promise the aggregator's call.

    Args:
        call: The call in progress.
        messages: The conversation.
        proposals: All proposals.
        findings: What was found before the answer, at some cost.

    Returns:
        Why it must not be made, where a proposal can be the answer; else `None`.

    Raises:
        BudgetExceededError: It must not be made, and none can.
    """
    mixture = call.mixture
    if not mixture.budget.limits:
        return None
    shown = shown_proposals(proposals, mixture.layers)
    own = final_estimate(mixture, mixture.aggregator, messages, shown, beside=findings.beside())
    spent = _spent(mixture, messages, proposals)
    total = spent.plus(_spent_on_advice(mixture, messages, shown, findings)).plus(own)
    excess = mixture.budget.excess(total)
    if excess is not None and shown and mixture.settings.on_aggregator_failure != "raise":
        return excess
    if excess is not None:
        msg = f"the aggregator was not called: {excess}"
        raise BudgetExceededError(msg, proposals=proposals, causes=call.causes)
    call.ledger.commit(total)
    return None


def proposer_estimate(
    mixture: Mixture,
    member: Member,
    messages: Sequence[BaseMessage],
    shown: Sequence[Proposal],
) -> Amount:
    """What a proposer's request may cost; not worked out where there is no budget."""
    if not mixture.budget.limits:
        return ONE_CALL
    limit = mixture.proposal_arguments.get("max_tokens") or member.max_tokens
    conversation, *_ = read_by(mixture, member, messages, shown)
    return _amount(mixture, member, input_tokens(conversation), limit)


def final_estimate(
    mixture: Mixture,
    member: Member,
    messages: Sequence[BaseMessage],
    shown: Sequence[Proposal],
    *,
    around: int = 0,
    beside: Beside = PROPOSALS_ALONE,
) -> Amount:
    """What a request to the aggregator or a fallback may cost.

    Args:
        mixture: The mixture.
        member: Who is asked.
        messages: The conversation.
        shown: The proposals that there are.
        around: Estimated tokens around those that are still to come.
        beside: What it reads with them.
    """
    if not mixture.budget.limits:
        return ONE_CALL
    limit = mixture.final_arguments.get("max_tokens") or member.max_tokens
    conversation, *_ = read_by(mixture, member, messages, shown, beside=beside)
    return _amount(mixture, member, input_tokens(conversation) + around, limit)


def advice_estimate(
    mixture: Mixture,
    member: Member,
    messages: Sequence[BaseMessage],
    shown: Sequence[Proposal],
    prompt: StringPromptTemplate,
) -> Amount:
    """What a request to the analyst or judge before the answer may cost."""
    if not mixture.budget.limits:
        return ONE_CALL
    conversation, *_ = read_by(mixture, member, messages, shown, prompt=prompt)
    return _amount(mixture, member, input_tokens(conversation), member.max_tokens)


def _refused(
    call: CallInProgress,
    layer: int,
    messages: Sequence[BaseMessage],
    proposals: Sequence[Proposal],
) -> dict[int, str]:
    mixture, members = call.mixture, call.mixture.proposers[layer - 1]
    shown = shown_proposals(proposals, layer)
    # the aggregator will read what these write
    wanted = [
        proposer_estimate(mixture, member, messages, shown).plus(_reading(mixture, member))
        for member in members
    ]
    around = tokens_around(mixture, len(members))
    reserve = final_estimate(mixture, mixture.aggregator, messages, (), around=around)
    spent = _spent(mixture, messages, proposals)
    refused, promised = mixture.budget.refused(spent, wanted, reserve)
    if refused and mixture.settings.on_budget == "raise":
        whom = ", ".join(f"{members[place].model}: {why}" for place, why in refused.items())
        msg = f"layer {layer} does not fit in the budget ({whom})"
        raise BudgetExceededError(msg, proposals=proposals, causes=call.causes)
    call.ledger.commit(promised)
    return refused


def _reading(mixture: Mixture, member: Member) -> Amount:
    """What it costs the aggregator to read what a proposer writes."""
    limit = mixture.proposal_arguments.get("max_tokens") or member.max_tokens
    return _amount(mixture, mixture.aggregator, limit or 0, 0)._replace(calls=0)


def _amount(mixture: Mixture, member: Member, read: int, written: int | None) -> Amount:
    usage = UsageMetadata(
        input_tokens=read, output_tokens=written or 0, total_tokens=read + (written or 0)
    )
    return Amount(1, usage["total_tokens"], _usd(mixture, {member.model: usage}, member.model))


def _usd(mixture: Mixture, usage: Mapping[str, UsageMetadata], asked_for: str) -> float:
    """What tokens cost where there is a limit of that; without a price no limit would hold."""
    if mixture.settings.max_cost is None or not usage:
        return 0.0
    usd = cost_of(usage, mixture.prices, asked_for)
    return math.inf if usd is None else usd


def _spent_on_advice(
    mixture: Mixture,
    messages: Sequence[BaseMessage],
    shown: Sequence[Proposal],
    findings: Findings,
) -> Amount:
    """What the analyst or judge has cost; where nobody has told, what had been promised for it."""
    consulted, strategy, adviser = findings.consulted, mixture.strategy, mixture.adviser
    if consulted is None or strategy is None or adviser is None:
        return NOTHING
    tokens = sum(usage["total_tokens"] for usage in findings.usage.values())
    total = Amount(consulted["attempts"], tokens, _usd(mixture, findings.usage, consulted["model"]))
    if not findings.unknown:
        return total
    answers = consulted["status"] == "ok" and not findings.usage
    for member in _silent(adviser, consulted["requests"], consulted["model"] if answers else None):
        estimate = advice_estimate(mixture, member, messages, shown, strategy.prompt)
        total = total.plus(estimate._replace(calls=0))
    return total


def _spent(
    mixture: Mixture, messages: Sequence[BaseMessage], proposals: Sequence[Proposal]
) -> Amount:
    """What the proposals so far have cost; where nobody has told, what had been promised for it."""
    total = NOTHING
    for proposal in proposals:
        for member in _silent_proposers(mixture, proposal):
            shown = shown_proposals(proposals, proposal.layer)
            estimate = proposer_estimate(mixture, member, messages, shown)
            total = total.plus(estimate._replace(calls=0))
        tokens = sum(usage["total_tokens"] for usage in proposal.usage_by_model.values())
        usd = _usd(mixture, proposal.usage_by_model, proposal.model)
        total = total.plus(Amount(proposal.attempts, tokens, usd))
    return total


def _silent_proposers(mixture: Mixture, proposal: Proposal) -> list[Member]:
    if not proposal.unknown:
        return []
    answers = proposal.status in {"ok", "empty", "filtered"} and not proposal.usage_by_model
    first = mixture.proposers[proposal.layer - 1][proposal.index]
    return _silent(first, proposal.requests, proposal.model if answers else None)


def _silent(first: Member, requests: Sequence[RequestRecord], answered: str | None) -> list[Member]:
    """Who must be paid for requests of whose tokens nothing is known.

    Errors are not paid for, but answers are, and those that were given up.

    Args:
        first: Who was asked first, with its fallbacks.
        requests: The requests to them.
        answered: The name of who answered and told no tokens.
    """
    by_name = {candidate.model: candidate for candidate in reversed(first.candidates)}
    names = [each["model"] for each in requests if each["outcome"] == "given_up"]
    return [by_name.get(name, first) for name in (*names, *([answered] if answered else []))]
