"""Which messages are answers, whatever their provider puts into them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, get_args

import anthropic.types
import google.genai.types
import openai.types.chat.chat_completion
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.messages.finish_reasons import ENDINGS
from langchain_moa.messages.verdicts import AnswerSoFar, Verdict, finish_reason_of, judge

CALL = {"name": "f", "args": {}, "id": "1"}
BAD_CALL = {"name": "f", "args": "{", "id": "1", "error": None}
TEXT = {"type": "text", "text": "4"}
NO_TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "x"}
REASONING: dict[str, Any] = {"type": "reasoning", "reasoning": "hm"}
BEDROCK = {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "x"}}
REFUSAL = {"type": "refusal", "refusal": "I can't"}
CALL_CHUNK: Any = {"name": "f", "args": "{", "id": "1", "index": 0}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def literals(annotation: Any) -> list[str]:
    return [str(value) for value in get_args(annotation)]


def saying(content: Any, **fields: Any) -> AIMessage:
    return AIMessage(content, **fields)


def streamed(message: AIMessage) -> Verdict:
    """What is made of the message where it comes as a stream of one piece and an end."""
    answer = AnswerSoFar()
    piece = AIMessageChunk(**message.model_dump(exclude={"type", "response_metadata"}))
    answer.take(piece)
    return answer.judged(AIMessage("", response_metadata=message.response_metadata))


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
        saying("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
        saying("", additional_kwargs={"audio": {"data": "AA=="}}),
        saying("4", response_metadata={"finish_reason": "a word that nobody knows"}),
        saying("4", response_metadata={"finish_reason": 7}),
        # for the caller to judge
        saying("I was", response_metadata={"finish_reason": "content_filter"}),
        saying("I was", response_metadata={"finish_reason": "length"}),
    ],
)
def test_an_answer(message: AIMessage) -> None:
    assert judge(message, for_caller=True).usable
    assert streamed(message) == judge(message, for_caller=True)


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
        (saying("\u200b\ufeff\u3164"), "no text"),
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
        (saying("half", response_metadata={"finish_reason": "error"}), "finish_reason is error"),
        (saying("half", response_metadata={"finish_reason": "ERROR"}), "finish_reason is ERROR"),
        (saying("half", response_metadata={"finish_reason": "abort"}), "could not finish"),
        (saying("half", response_metadata={"status": "failed"}), "could not finish"),
        (saying("", tool_calls=[CALL], response_metadata={"finish_reason": "error"}), "error"),
        (saying([IMAGE], response_metadata={"stopReason": "malformed_tool_use"}), "malformed"),
    ],
)
def test_no_answer(message: AIMessage, reason: str) -> None:
    told = judge(message, for_caller=True).reason
    assert told is not None
    assert any(part in told for part in reason.split("|"))
    assert not streamed(message).usable


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
        (saying("half", response_metadata={"finish_reason": "error"}), "failed"),
        (saying("", response_metadata={"finish_reason": "MALFORMED_FUNCTION_CALL"}), "failed"),
    ],
)
def test_a_proposal(message: AIMessage, status: str) -> None:
    found, reason = judge(message)
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
        ({"status": "completed"}, "completed", False),  # OpenAI's Responses API
        ({"status": "failed"}, "failed", False),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            False,
        ),
        ({"incomplete_details": 7}, None, True),
        ({"done_reason": "load"}, "load", False),
    ],
)
def test_why_a_model_stopped(
    metadata: dict[str, Any], reason: str | None, *, cut_off: bool
) -> None:
    message = saying("4", response_metadata=metadata)
    assert finish_reason_of(message) == reason
    assert AnswerSoFar().is_cut_off(message) is cut_off


@pytest.mark.parametrize(
    "reasons",
    [
        literals(openai.types.chat.chat_completion.Choice.model_fields["finish_reason"].annotation),
        literals(anthropic.types.StopReason),
        [reason.value for reason in google.genai.types.FinishReason],
    ],
    ids=["openai", "anthropic", "google"],
)
def test_the_table_has_every_reason_of_the_clients(reasons: Sequence[str]) -> None:
    assert reasons
    assert [reason for reason in reasons if reason.lower() not in ENDINGS] == []


def chunks(*texts: str) -> list[AIMessageChunk]:
    return [AIMessageChunk(content=text) for text in texts]


@pytest.mark.parametrize(
    ("pieces", "begins"),
    [
        (chunks("4"), 1),
        (chunks("", "\n", " ", "4", "2"), 4),
        (chunks("<think>hm</think>", "4"), 2),
        (chunks("<", "th", "ink>", "h", "m</thi", "nk>", "\n", "4"), 8),
        (chunks("<b", ">"), 1),
        (chunks("<", "b>"), 2),
        (chunks("<think>a</think><thinking>b</thinking>", "4"), 2),
        (chunks("<think>a < b</think>4"), 1),
        (chunks("</think>", "4"), 2),
        (chunks("[THI", "NK]hm </think> [/THI", "NK]4"), 3),
        (chunks("◁think▷", "hm", "◁/think▷", "4"), 4),
        (chunks("<|channel|>", "analysis<|message|>hm<|end|>", "4"), 3),
        ([AIMessageChunk(content=[THINKING]), *chunks("4")], 2),
        ([AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hm"})], None),
        ([AIMessageChunk(content=[IMAGE])], 1),
        ([AIMessageChunk(content="", tool_call_chunks=[CALL_CHUNK])], 1),
        (chunks("<think>hm", "and so on"), None),
        (chunks(" ", "\n"), None),
    ],
)
def test_where_an_answer_begins(pieces: list[AIMessageChunk], begins: int | None) -> None:
    answer = AnswerSoFar()
    taken = [answer.take(piece) for piece in pieces]
    assert taken == [begins is not None and place >= begins for place in range(1, len(taken) + 1)]


def test_a_stream_is_not_cut_off_where_its_tokens_are_counted_at_the_end() -> None:
    usage = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
    with_usage = AIMessageChunk(content="", usage_metadata=usage)
    counted, cut = AnswerSoFar(), AnswerSoFar()
    for piece in (*chunks("4"), with_usage, *chunks("")):
        counted.take(piece)
    for piece in (with_usage, *chunks("4")):
        cut.take(piece)
    end = AIMessage("")
    assert not counted.is_cut_off(end)
    assert cut.is_cut_off(end)


def test_to_look_for_the_start_takes_no_square() -> None:
    def seconds(pieces: int) -> float:
        answer, started = AnswerSoFar(), time.process_time()
        answer.take(AIMessageChunk(content="<think>"))
        piece = AIMessageChunk(content="so a > b, and ")
        for _ in range(pieces):
            answer.take(piece)
        return time.process_time() - started

    few = min(seconds(2_000) for _ in range(3))
    assert min(seconds(8_000) for _ in range(3)) < 8 * few


def test_what_an_answer_holds_instead_of_text_is_told() -> None:
    told = judge(saying([NO_TEXT, IMAGE, {"type": "audio", "base64": "AA=="}])).reason
    assert told == "the answer holds no text, only audio and image"
