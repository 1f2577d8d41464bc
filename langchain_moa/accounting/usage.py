"""Tokens per member and per call, each call counted once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages.ai import AIMessage, UsageMetadata, add_usage
from langchain_core.outputs import LLMResult
from typing_extensions import override

from langchain_moa.types import (
    RECORD_KEY,
    AnyDict,
    AnyMapping,
    MoARecord,
    Proposal,
    UsageReport,
    whole_number,
)


def sum_usage(usages: Iterable[UsageMetadata | None]) -> UsageMetadata | None:
    """The sum of usages, `None` where there is none to add."""
    total: UsageMetadata | None = None
    for usage in usages:
        if usage is not None:
            total = add_usage(total, usage)
    return total


_CAUSES: Final = 8
_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")


def known_usage(usage: AnyMapping | None) -> UsageMetadata | None:
    """The usage that a provider reports; `None` where it is not in whole numbers of tokens.

    Details that are no such numbers are left out. What LangChain's cache puts in its place, a cost
    of zero, is kept.

    Example:
        >>> known_usage({"input_tokens": 1.5, "output_tokens": 2, "total_tokens": 3.5}) is None
        True
    """
    if not isinstance(usage, Mapping):
        return None
    if usage.get("total_cost") == 0 and not any(name in usage for name in _COUNTS):
        return cast("UsageMetadata", usage)
    counts = {name: whole_number(usage.get(name)) for name in _COUNTS}
    if None in counts.values():
        return None
    known: AnyDict = {**usage, **counts}
    for name, value in usage.items():
        if isinstance(value, Mapping):
            counted = {key: whole_number(number) for key, number in value.items()}
            known[name] = {key: n for key, n in counted.items() if n is not None}
        elif name != "total_cost" and whole_number(value) is None:
            known.pop(name)
    return cast("UsageMetadata", known)


def usage_of_error(error: BaseException | None) -> UsageMetadata | None:
    """The tokens that an error, or what it was raised from, has with it; `None` where it has none.

    Some providers count an answer in which they then say that they failed.
    """
    for _ in range(_CAUSES):
        told = getattr(error, "usage", None)
        if isinstance(told, Mapping):
            read, written = told.get("prompt_tokens"), told.get("completion_tokens")
            total = told.get("total_tokens")
            counts = {"input_tokens": read, "output_tokens": written, "total_tokens": total}
            return known_usage(counts)
        error = error.__cause__ if error is not None else None
    return None


class UsageMeter(UsageMetadataCallbackHandler):
    """Adds up the tokens of all model calls below a run, those from a cache left out."""

    run_inline = True  # in an event loop, a handler that is not inline costs a thread switch

    def __init__(self) -> None:
        super().__init__()
        self.unknown: set[str | None] = set()
        """The models that answered and did not say what they used, as far as they have names."""

    @override
    def on_llm_end(self, response: LLMResult, **kwargs: object) -> None:
        for generation in response.generations[0][:1]:
            message = getattr(generation, "message", None)
            if not isinstance(message, AIMessage) or is_cached(message):
                continue
            name, usage = answering_model(message), known_usage(message.usage_metadata)
            if name and usage:
                with self._lock:
                    total = add_usage(self.usage_metadata.get(name), usage)
                    self.usage_metadata[name] = total
            else:
                self.unknown.add(name)


def is_cached(message: AIMessage) -> bool:
    """Whether an answer came from LangChain's LLM cache, which sets its cost to zero."""
    usage: object = message.usage_metadata
    return isinstance(usage, Mapping) and usage.get("total_cost") == 0


def usage_of_message(message: AIMessage, model: str) -> dict[str, UsageMetadata]:
    """The usage that a single model call reports, keyed by the model that answered.

    Args:
        message: The model's answer; one from a cache has used nothing.
        model: Name asked for, used where the answer names no model.
    """
    usage = known_usage(message.usage_metadata)
    if usage is None or is_cached(message):
        return {}
    return {answering_model(message) or model: usage}


def answering_model(message: AIMessage) -> str | None:
    """The model name that the provider put on the answer, or `None`."""
    metadata = message.response_metadata
    name = metadata.get("model_name") or metadata.get("model")
    return name if isinstance(name, str) else None


def usage_by_model(parts: Iterable[Mapping[str, UsageMetadata]]) -> dict[str, UsageMetadata]:
    """The sums of usages that are given per model."""
    total: dict[str, UsageMetadata] = {}
    for part in parts:
        for name, usage in part.items():
            total[name] = add_usage(total.get(name), usage)
    return total


def usage_report(
    proposals: Sequence[Proposal],
    final: Mapping[str, UsageMetadata],
    unknown: Sequence[str] = (),
) -> UsageReport:
    """Totals over all calls of one mixture.

    Args:
        proposals: All proposals of the call.
        final: Usage of the final call per model.
        unknown: Models of the final call's requests of which nothing is known.

    Returns:
        Input, output and total tokens, the same per model that answered, and the models
        of which something is not known.
    """
    lacking = {*unknown, *(name for p in proposals for name in p.unknown)}
    by_model = usage_by_model([*(p.usage_by_model for p in proposals), final])
    total = sum_usage(by_model.values())
    return {
        "input_tokens": total["input_tokens"] if total else 0,
        "output_tokens": total["output_tokens"] if total else 0,
        "total_tokens": total["total_tokens"] if total else 0,
        "by_model": by_model,
        "unknown": sorted(lacking),
    }


_Message = TypeVar("_Message", bound=AIMessage)


def without_usage(message: AIMessage) -> AIMessage:
    """The answer as callbacks and caches see it: the leaf runs have reported all usage."""
    return message.model_copy(update={"id": None, "usage_metadata": None})


def with_usage(message: _Message) -> _Message:
    """The answer as the caller gets it: with the usage of the aggregator's own call.

    The sum over all calls would be taken for the size of the context, by summarization
    middleware for one; it is in the record.
    """
    record = message.response_metadata.get(RECORD_KEY)
    if record is None:
        return message
    # a hit in the LLM cache comes with {"total_cost": 0} and no tokens
    found: AnyMapping = message.usage_metadata or {}
    update: AnyDict = {}
    if is_cached(message) and "input_tokens" not in found:
        metadata = {**message.response_metadata, RECORD_KEY: {**record, "cached": True}}
        update["response_metadata"] = metadata
    usage = aggregator_usage(message)
    if usage is not None:
        update["usage_metadata"] = {**usage, **found}
    return message.model_copy(update=update) if update else message


def aggregator_usage(message: AIMessage) -> UsageMetadata | None:
    """The usage of the aggregator's call, or of a selected proposal's, from an answer's record."""
    record = cast("MoARecord | None", message.response_metadata.get(RECORD_KEY))
    if not record:
        return None
    if (aggregator := record["aggregator"]) is not None:
        return aggregator["usage"]
    selection = record["selection"]
    found = [
        proposal["usage"]
        for proposal in record["proposals"]
        if selection and all(proposal[k] == selection[k] for k in ("layer", "index"))
    ]
    return next(iter(found), None)
