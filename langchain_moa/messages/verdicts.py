"""Whether an answer can be passed on, and why not."""

from __future__ import annotations

from typing import Any, Final

from langchain_core.messages import AIMessage

from langchain_moa.accounting.usage import is_cached
from langchain_moa.messages.reasoning import REASONING_BLOCKS, strip_reasoning
from langchain_moa.types import ProposalStatus

_FINISH_KEYS: Final = ("finish_reason", "stop_reason", "stopReason")
"""Where OpenAI and Gemini, Anthropic, and Bedrock say why a model stopped."""
_NO_ANSWER: Final = ("text", "refusal", *REASONING_BLOCKS)
"""Content blocks that are no answer without text."""
_FILTERS: Final = frozenset(
    (
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "refusal",
        "safety",
        "blocklist",
        "prohibited_content",
        "recitation",
        "spii",
    )
)
"""The reasons that mean a filter, in lower case."""


def judge(message: AIMessage, text: str) -> tuple[ProposalStatus, str | None]:
    """Whether a proposal may be passed on, and why not.

    Args:
        message: The answer.
        text: Its text without reasoning.

    Returns:
        The proposal's status, and the reason where it is not usable.
    """
    finish_reason = finish_reason_of(message)
    if str(finish_reason).lower() in _FILTERS:
        return "filtered", f"finish_reason is {finish_reason}"
    if text:
        return ("cached" if is_cached(message) else "ok"), None
    refusal = message.additional_kwargs.get("refusal") or _block(message, "refusal")
    if refusal:
        return "filtered", f"refused: {refusal}"
    if _has_reasoning(message):
        return "reasoning_only", "the answer holds only reasoning"
    if message.tool_calls or message.invalid_tool_calls:
        return "empty", "the answer holds only tool calls"
    return "empty", f"no text; finish_reason is {finish_reason}"


def _has_reasoning(message: AIMessage) -> bool:
    if message.text.strip() or message.additional_kwargs.get("reasoning_content"):
        return True
    return any(_block(message, kind) for kind in REASONING_BLOCKS)


def _block(message: AIMessage, kind: str) -> Any:
    """The first content block of a kind, as the provider gave it, or `None`."""
    content = message.content if isinstance(message.content, list) else []
    for block in content:
        if isinstance(block, dict) and block.get("type") == kind:
            return block.get(kind) or block
    return None


def finish_reason_of(message: AIMessage) -> Any:
    """Why the model stopped, as its provider says it, or `None`."""
    metadata = message.response_metadata
    return next((metadata[key] for key in _FINISH_KEYS if metadata.get(key)), None)


def judge_answer(message: AIMessage) -> str | None:
    """Why a message is no answer to give to a caller, or `None`.

    An answer of tool calls or of pictures is one. One of which a filter left some text is given
    as it is, with its finish reason, for the caller to judge.
    """
    if message.tool_calls or message.invalid_tool_calls or strip_reasoning(message.text):
        return None
    content = message.content if isinstance(message.content, list) else []
    if any(isinstance(b, dict) and b.get("type") not in _NO_ANSWER for b in content):
        return None
    return judge(message, "")[1]


def is_cut_off(message: AIMessage) -> bool:
    """Whether a streamed answer lacks the end mark that its provider always gives."""
    return finish_reason_of(message) is None and "status" not in message.response_metadata
