"""A proposal of a failed call as the answer: what was paid for is not lost."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage

from langchain_moa.accounting.usage import usage_report
from langchain_moa.engine.record import proposal_record
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.proposals.similarity import most_central
from langchain_moa.types import RECORD_KEY, MoARecord, Proposal, ProposalRecord


def best_of(proposals: Sequence[Proposal], number: int | None = None) -> Proposal:
    """The proposal that is nearest to the others of the last layer, or the one with a number.

    Args:
        proposals: All of a call.
        number: Of the usable ones, in their order, the first of them number 1.

    Raises:
        MoAConfigurationError: There is none.
    """
    usable = [proposal for proposal in proposals if proposal.usable]
    if not usable:
        msg = "no proposal is usable; /retry asks again."
        raise MoAConfigurationError(msg)
    if number is not None:
        if not 1 <= number <= len(usable):
            msg = f"there is no proposal {number}; give a number from 1 to {len(usable)}."
            raise MoAConfigurationError(msg)
        return usable[number - 1]
    last = [one for one in usable if one.layer == usable[-1].layer]
    return last[most_central([one.text for one in last])]


def answer_of(best: Proposal, proposals: Sequence[Proposal], why: str) -> AIMessage:
    """A proposal as the answer, with a record of the call that failed.

    Args:
        best: The proposal.
        proposals: All of the call.
        why: Why it failed.
    """
    record: MoARecord = {
        "layers": max((one.layer for one in proposals), default=1) + 1,
        "proposals": proposal_records(proposals),
        "aggregator": None,
        "consulted": None,
        "analysis": None,
        "selection": None,
        "usage": usage_report(proposals, {}),
        "cost": None,
        "degraded": True,
        "degraded_reasons": [{"stage": "aggregator", "reason": "upstream_error"}],
        "fan_out": "layers",
        "best_proposal": best.key,
        "cached": False,
    }
    metadata = {"model_name": best.model_name or best.model, RECORD_KEY: record, "failed": why}
    return AIMessage(best.text, response_metadata=metadata)


def proposal_records(proposals: Sequence[Proposal]) -> list[ProposalRecord]:
    """The proposals of a failed call as a record has them, with their texts."""
    return [proposal_record(one, None, text=True) for one in proposals]
