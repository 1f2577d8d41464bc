"""The record of a call: who was asked, what each said, used and cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from langchain_moa.accounting.prices import MemberCost, cost_of, cost_report
from langchain_moa.accounting.usage import sum_usage, usage_report
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.request import Accounts
from langchain_moa.mixture import Mixture
from langchain_moa.types import AggregatorRecord, CostReport, MoARecord, Proposal, ProposalRecord

logger = logging.getLogger(__name__)
_SUSPICIOUS: Final = 3
"""So many names for one model are no aliases."""


def call_record(
    call: CallInProgress,
    proposals: Sequence[Proposal],
    aggregator: AggregatorRecord,
    accounts: Accounts,
    *,
    nested: bool = False,
) -> MoARecord:
    """The record of a whole call.

    Args:
        call: The call.
        proposals: All proposals, by layer and index.
        aggregator: What became of the aggregator.
        accounts: What the aggregator's requests used.
        nested: Whether the aggregator is a mixture whose own answer is degraded.
    """
    mixture = call.mixture
    _warn_of_one_model(proposals)
    records = [_proposal_record(mixture, p) for p in proposals]
    return {
        "layers": mixture.layers,
        "proposals": records,
        "aggregator": aggregator,
        "usage": usage_report(proposals, accounts.usage, accounts.unknown),
        "cost": _cost(mixture, proposals, records, aggregator, accounts),
        "degraded": nested or not all(p.usable and not p.degraded for p in proposals),
        "fan_out": call.fan_out,
        "best_proposal": None,
        "cached": False,
    }


def _warn_of_one_model(proposals: Sequence[Proposal]) -> None:
    """Warn where several reference models turn out to be one.

    A server with one loaded model answers under every name, so that what looks like a mixture
    is one model asked several times. Two names may be a name and its alias.
    """
    asked: dict[str, set[str]] = {}
    for proposal in proposals:
        if proposal.usable and proposal.model_name:
            asked.setdefault(proposal.model_name, set()).add(proposal.model)
    for answered, names in asked.items():
        if len(names) >= _SUSPICIOUS:
            logger.warning(
                "%d reference models (%s) were answered by one model, %s; "
                "does the endpoint serve one model under every name?",
                len(names),
                ", ".join(sorted(names)),
                answered,
            )


def _cost(
    mixture: Mixture,
    proposals: Sequence[Proposal],
    records: Sequence[ProposalRecord],
    aggregator: AggregatorRecord,
    accounts: Accounts,
) -> CostReport | None:
    if mixture.settings.prices is None:
        return None
    costs = [
        MemberCost(p.layer, p.model, record["cost"], free=p.status == "cached" or not p.attempts)
        for p, record in zip(proposals, records, strict=True)
    ]
    free = aggregator["status"] == "cached" or not aggregator["attempts"]
    costs.append(MemberCost(mixture.layers, aggregator["model"], aggregator["cost"], free=free))
    report = cost_report(costs)
    lacking = {*report["unknown"], *accounts.unknown, *(m for p in proposals for m in p.unknown)}
    return {**report, "unknown": sorted(lacking)}


def _proposal_record(mixture: Mixture, proposal: Proposal) -> ProposalRecord:
    record: ProposalRecord = {
        "layer": proposal.layer,
        "index": proposal.index,
        "model": proposal.model,
        "model_name": proposal.model_name,
        "status": proposal.status,
        "error": proposal.error,
        "seconds": proposal.seconds,
        "attempts": proposal.attempts,
        "usage": sum_usage(proposal.usage_by_model.values()),
        "cost": cost_of(proposal.usage_by_model, mixture.settings.prices, proposal.model),
        "left_out": proposal.left_out,
    }
    if mixture.settings.include_proposals:
        record["text"] = proposal.text
    return record
