"""What an answer or a judgment took, as its record tells: tokens of all members, and USD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.prices import Prices, cost_of
from langchain_moa.accounting.usage import sum_usage, usage_by_model
from langchain_moa.evals.types import JSON, Usage
from langchain_moa.types import RECORD_KEY, MoARecord, Proposal, UsageReport


class Spent(TypedDict):
    """Tokens and USD of a call; `None` where they are not known."""

    usage: Usage | None
    usd: float | None


def spent(message: AIMessage) -> Spent:
    """What an answer of a mixture took, all its calls together."""
    record: MoARecord = message.response_metadata[RECORD_KEY]
    usage, cost = record["usage"], record["cost"]
    known = usage["by_model"] or not usage["unknown"]
    return {
        "usage": _totals(usage) if known else None,
        "usd": cost["usd"] if cost and not cost["unknown"] else None,
    }


def paid_for(error: Exception, prices: Prices | None) -> Spent:
    """What a call that failed had taken until then, as far as it is known."""
    proposals: Sequence[Proposal] = getattr(error, "proposals", ())
    costs = [cost_of(p.usage_by_model, prices, p.model) for p in proposals if p.usage_by_model]
    known = [cost for cost in costs if cost is not None]
    whole = len(known) == len(costs) and not any(p.unknown for p in proposals)
    total = sum_usage(usage_by_model([p.usage_by_model for p in proposals]).values())
    return {
        "usage": _totals(total) if total else None,
        "usd": sum(known) if known and whole else None,
    }


def _totals(usage: UsageMetadata | UsageReport) -> Usage:
    return {
        "input_tokens": usage["input_tokens"],
        "output_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }


def proposals_of(error: Exception) -> dict[str, JSON] | None:
    """The proposals that a failed call had paid for, for its record."""
    proposals: Sequence[Proposal] = getattr(error, "proposals", ())
    return {"proposals": [p.to_state() for p in proposals]} if proposals else None


def added(first: Spent, second: Spent) -> Spent:
    """What two calls took together, as far as it is known."""
    usages = [each["usage"] for each in (first, second) if each["usage"]]
    costs = [each["usd"] for each in (first, second)]
    known = [cost for cost in costs if cost is not None]
    total: Usage = {
        "input_tokens": sum(usage["input_tokens"] for usage in usages),
        "output_tokens": sum(usage["output_tokens"] for usage in usages),
        "total_tokens": sum(usage["total_tokens"] for usage in usages),
    }
    return {
        "usage": total if usages else None,
        "usd": sum(known) if len(known) == len(costs) else None,
    }
