"""Mixture-of-Agents as a LangChain chat model: several language models answer as one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.accounting.estimates import Estimate
    from langchain_moa.chat_models import ChatMoA, MoAChatModel
    from langchain_moa.errors import (
        AggregationError,
        AnswerTooLargeError,
        BudgetExceededError,
        MissingExtraError,
        MoAConfigurationError,
        MoAError,
        NotEnoughProposalsError,
        RedirectedError,
        UnsupportedContentError,
    )
    from langchain_moa.explanation.explain import Explanation, explain
    from langchain_moa.explanation.notebook import NotebookBoard
    from langchain_moa.graph import create_moa_graph
    from langchain_moa.reliability.breaker import CircuitBreaker
    from langchain_moa.strategies.analysis import Analysis
    from langchain_moa.tools import moa_tool
    from langchain_moa.types import (
        AggregatorRecord,
        AnalysisRecord,
        ConsultedRecord,
        CostReport,
        DegradedReason,
        MoARecord,
        ProgressEvent,
        Proposal,
        ProposalRecord,
        RequestRecord,
        SelectionRecord,
        UsageReport,
        VoteRecord,
    )

_HOMES = {
    "AggregationError": "errors",
    "AggregatorRecord": "types",
    "Analysis": "strategies.analysis",
    "AnalysisRecord": "types",
    "AnswerTooLargeError": "errors",
    "BudgetExceededError": "errors",
    "ChatMoA": "chat_models",
    "CircuitBreaker": "reliability.breaker",
    "ConsultedRecord": "types",
    "CostReport": "types",
    "DegradedReason": "types",
    "Estimate": "accounting.estimates",
    "Explanation": "explanation.explain",
    "MissingExtraError": "errors",
    "MoAChatModel": "chat_models",
    "MoAConfigurationError": "errors",
    "MoAError": "errors",
    "MoARecord": "types",
    "NotEnoughProposalsError": "errors",
    "NotebookBoard": "explanation.notebook",
    "ProgressEvent": "types",
    "Proposal": "types",
    "ProposalRecord": "types",
    "RedirectedError": "errors",
    "RequestRecord": "types",
    "SelectionRecord": "types",
    "UnsupportedContentError": "errors",
    "UsageReport": "types",
    "VoteRecord": "types",
    "create_moa_graph": "graph",
    "explain": "explanation.explain",
    "moa_tool": "tools",
}

__all__ = [
    "AggregationError",
    "AggregatorRecord",
    "Analysis",
    "AnalysisRecord",
    "AnswerTooLargeError",
    "BudgetExceededError",
    "ChatMoA",
    "CircuitBreaker",
    "ConsultedRecord",
    "CostReport",
    "DegradedReason",
    "Estimate",
    "Explanation",
    "MissingExtraError",
    "MoAChatModel",
    "MoAConfigurationError",
    "MoAError",
    "MoARecord",
    "NotEnoughProposalsError",
    "NotebookBoard",
    "ProgressEvent",
    "Proposal",
    "ProposalRecord",
    "RedirectedError",
    "RequestRecord",
    "SelectionRecord",
    "UnsupportedContentError",
    "UsageReport",
    "VoteRecord",
    "create_moa_graph",
    "explain",
    "moa_tool",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        if not name.startswith("_"):  # which Python looks for by itself
            for close in import_module("difflib").get_close_matches(name, __all__, n=1):
                msg += f"; did you mean {close}?"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
