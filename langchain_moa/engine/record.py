"""The record of a call: who was asked, what each said, used and cost."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from langchain_moa.accounting.prices import MemberCost, cost_of, cost_report
from langchain_moa.accounting.usage import sum_usage, usage_by_model, usage_report
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.request import Accounts
from langchain_moa.mixture import Mixture
from langchain_moa.strategies.base import NO_FINDINGS, Findings
from langchain_moa.types import (
    AggregatorRecord,
    ConsultedRecord,
    CostReport,
    DegradedReason,
    MoARecord,
    Proposal,
    ProposalRecord,
    ProposalStatus,
    Reason,
)

logger = logging.getLogger(__name__)
_SUSPICIOUS: Final = 3
"""So many names for one model are no aliases."""


def call_record(
    call: CallInProgress,
    proposals: Sequence[Proposal],
    aggregator: AggregatorRecord | None,
    accounts: Accounts,
    findings: Findings = NO_FINDINGS,
    *,
    nested: bool = False,
) -> MoARecord:
    """The record of a whole call.

    Args:
        call: The call.
        proposals: All proposals, by layer and index.
        aggregator: What became of the aggregator; `None` where it was not asked.
        accounts: What the aggregator's requests used.
        findings: What was found before the answer.
        nested: Whether the aggregator is a mixture whose own answer is degraded.
    """
    mixture = call.mixture
    _warn_of_one_model(proposals)
    used = usage_by_model([findings.usage, accounts.usage])
    known = Accounts(used, [*findings.unknown, *accounts.unknown])
    reasons = _reasons(proposals, findings, aggregator, nested=nested)
    text = mixture.settings.include_proposals
    records = [
        proposal_record(p, cost_of(p.usage_by_model, mixture.prices, p.model), text=text)
        for p in proposals
    ]
    return {
        "layers": mixture.layers,
        "proposals": records,
        "aggregator": aggregator,
        "consulted": findings.consulted,
        "analysis": findings.analysis,
        "selection": findings.selection,
        "usage": usage_report(proposals, known.usage, known.unknown),
        "cost": _cost(mixture, proposals, records, [findings.consulted, aggregator], known),
        "degraded": bool(reasons),
        "degraded_reasons": reasons,
        "fan_out": call.fan_out,
        "best_proposal": None,
        "cached": False,
    }


_STATUSES: Final[Mapping[ProposalStatus, Reason]] = {
    "empty": "empty",
    "reasoning_only": "empty",
    "filtered": "filtered",
    "timed_out": "timed_out",
    "cut": "cut",
    "skipped": "unavailable",
    "over_budget": "over_budget",
    "outlier": "outlier",
}
"""Why proposals are missing; of those that are not here, the provider is to blame."""


def _reasons(
    proposals: Sequence[Proposal],
    findings: Findings,
    aggregator: AggregatorRecord | None,
    *,
    nested: bool,
) -> list[DegradedReason]:
    """Why an answer is degraded, in the order of the call, each reason once."""
    missing = [_STATUSES.get(p.status, "upstream_error") for p in proposals if not p.usable]
    if any(p.usable and p.degraded for p in proposals):
        missing.append("degraded")
    found: list[DegradedReason] = [{"stage": "proposer", "reason": one} for one in missing]
    found += findings.reasons
    if nested:
        found.append({"stage": "aggregator", "reason": "degraded"})
    if aggregator is not None and aggregator["status"] == "failed":
        found.append({"stage": "aggregator", "reason": "upstream_error"})
    return [one for place, one in enumerate(found) if one not in found[:place]]


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
    others: Sequence[ConsultedRecord | AggregatorRecord | None],
    accounts: Accounts,
) -> CostReport | None:
    if mixture.prices is None:
        return None
    costs = [
        MemberCost(p.layer, p.model, record["cost"], free=p.status == "cached" or not p.attempts)
        for p, record in zip(proposals, records, strict=True)
    ]
    for asked in filter(None, others):
        free = asked["status"] == "cached" or not asked["attempts"]
        costs.append(MemberCost(mixture.layers, asked["model"], asked["cost"], free=free))
    report = cost_report(costs)
    lacking = {*report["unknown"], *accounts.unknown, *(m for p in proposals for m in p.unknown)}
    return {**report, "unknown": sorted(lacking)}


def proposal_record(proposal: Proposal, cost: float | None, *, text: bool) -> ProposalRecord:
    """A proposal as records have it.

    Args:
        proposal: The proposal.
        cost: USD of all its requests; `None` where that is not known.
        text: Whether the record holds what was proposed.
    """
    record: ProposalRecord = {
        "layer": proposal.layer,
        "index": proposal.index,
        "model": proposal.model,
        "model_name": proposal.model_name,
        "status": proposal.status,
        "error": proposal.error,
        "seconds": proposal.seconds,
        "attempts": proposal.attempts,
        "requests": proposal.requests,
        "usage": sum_usage(proposal.usage_by_model.values()),
        "cost": cost,
        "left_out": proposal.left_out,
    }
    if text:
        record["text"] = proposal.text
    return record
