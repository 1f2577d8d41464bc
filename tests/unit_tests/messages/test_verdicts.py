"""Which messages are answers, whatever their provider puts into them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.messages.verdicts import finish_reason_of, is_cut_off, judge, judge_answer

CALL = {"name": "f", "args": {}, "id": "1"}
BAD_CALL = {"name": "f", "args": "{", "id": "1", "error": None}
TEXT = {"type": "text", "text": "4"}
NO_TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "x"}
REASONING: dict[str, Any] = {"type": "reasoning", "reasoning": "hm"}
BEDROCK = {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "x"}}
REFUSAL = {"type": "refusal", "refusal": "I can't"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def saying(content: Any, **fields: Any) -> AIMessage:
    return AIMessage(content, **fields)


@pytest.mark.parametrize(
    "message",
    [
        saying("4"),
        saying(" 4\n"),
        saying("<think>hm</think>4"),
        saying([TEXT]),
        saying(["4"]),
        saying([THINKING, TEXT]),
        saying([NO_TEXT, IMAGE]),
        saying([IMAGE]),
        saying("", tool_calls=[CALL]),
        saying([THINKING], tool_calls=[CALL]),
        saying("", invalid_tool_calls=[BAD_CALL]),
        # for the caller to judge
        saying("I was", response_metadata={"finish_reason": "content_filter"}),
        saying("I was", response_metadata={"finish_reason": "length"}),
    ],
)
def test_an_answer(message: AIMessage) -> None:
    assert judge_answer(message) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (saying(""), "no text; finish_reason is None"),
        (saying(" \n\t"), "the answer holds only reasoning|no text"),
        (saying([]), "no text; finish_reason is None"),
        (saying([NO_TEXT]), "no text"),
        (saying(["", ""]), "no text"),
        (saying("", response_metadata={"finish_reason": "length"}), "finish_reason is length"),
        (saying("", response_metadata={"stop_reason": "max_tokens"}), "max_tokens"),
        (saying("<think>hm</think>"), "the answer holds only reasoning"),
        (saying("<think>hm"), "the answer holds only reasoning"),
        (saying([THINKING]), "the answer holds only reasoning"),
        (saying([REASONING]), "the answer holds only reasoning"),
        (saying([{"type": "redacted_thinking", "data": "x"}]), "the answer holds only reasoning"),
        (saying([BEDROCK]), "the answer holds only reasoning"),
        (saying([THINKING, NO_TEXT]), "the answer holds only reasoning"),
        (saying([REFUSAL]), "refused: I can't"),
        (saying("", additional_kwargs={"refusal": "I won't"}), "refused: I won't"),
        (saying("", response_metadata={"finish_reason": "content_filter"}), "content_filter"),
        (saying([], response_metadata={"stopReason": "guardrail_intervened"}), "guardrail"),
    ],
)
def test_no_answer(message: AIMessage, reason: str) -> None:
    told = judge_answer(message)
    assert told is not None
    assert any(part in told for part in reason.split("|"))


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (saying("4"), "ok"),
        (saying([THINKING, TEXT]), "ok"),
        (saying("4", response_metadata={"finish_reason": "length"}), "ok"),
        (saying("4").model_copy(update={"usage_metadata": {"total_cost": 0}}), "cached"),
        (saying("I was", response_metadata={"finish_reason": "content_filter"}), "filtered"),
        (saying("I was", response_metadata={"finish_reason": "SAFETY"}), "filtered"),
        (saying([REFUSAL]), "filtered"),
        (saying("", additional_kwargs={"refusal": "no"}), "filtered"),
        (saying([REASONING]), "reasoning_only"),
        (saying([BEDROCK]), "reasoning_only"),
        (saying("<think>hm</think>"), "reasoning_only"),
        (saying("", additional_kwargs={"reasoning_content": "hm"}), "reasoning_only"),
        (saying("", tool_calls=[CALL]), "empty"),
        (saying("", invalid_tool_calls=[BAD_CALL]), "empty"),
        (saying(""), "empty"),
        (saying([IMAGE]), "empty"),
    ],
)
def test_a_proposal(message: AIMessage, status: str) -> None:
    found, reason = judge(message, strip_reasoning(message.text))
    assert found == status
    assert (reason is None) == (status in ("ok", "cached"))


@pytest.mark.parametrize(
    ("metadata", "reason", "cut_off"),
    [
        ({}, None, True),
        ({"finish_reason": "stop"}, "stop", False),
        ({"stop_reason": "end_turn"}, "end_turn", False),
        ({"stopReason": "end_turn"}, "end_turn", False),
        ({"finish_reason": None, "stop_reason": "x"}, "x", False),
        ({"status": "completed"}, None, False),  # OpenAI's Responses API
    ],
)
def test_why_a_model_stopped(
    metadata: dict[str, Any], reason: str | None, *, cut_off: bool
) -> None:
    message = saying("4", response_metadata=metadata)
    assert finish_reason_of(message) == reason
    assert is_cut_off(message) is cut_off
