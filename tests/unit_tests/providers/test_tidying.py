"""Answers in OpenAI's shape with parts of another type are read as far as they go."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_moa.providers.tidying import tidied

CALL = {"id": "1", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}

TEXT = {"type": "text", "text": "4"}


def said(**message: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "4", **message}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (said(), said()),
        (said(content=None), said(content=None)),
        (said(role="model"), said()),
        (said(content=4), said(content="4")),
        (said(content=TEXT), said(content=[TEXT])),
        (said(content=[None, 5, "4"]), said(content=["5", "4"])),
        (said(content=[{"type": 7}]), said(content=[{"type": "7"}])),
        (said(content=[{"type": "output_text", "text": 4}]), said(content=[TEXT])),
        (said(refusal=3), said(refusal=None)),
        (said(function_call="f"), said(function_call=None)),
        (
            said(function_call={"name": 1, "arguments": {"a": 1}}),
            said(function_call={"name": None, "arguments": '{"a": 1}'}),
        ),
        (said(tool_calls="f"), said(tool_calls=[])),
        (said(tool_calls=[CALL]), said(tool_calls=[CALL])),
        (said(tool_calls=[None, {"id": "2"}, CALL]), said(tool_calls=[CALL])),
        (said(tool_calls=[{**CALL, "index": "0"}]), said(tool_calls=[CALL])),
        (said(tool_calls=[{**CALL, "index": True}]), said(tool_calls=[{**CALL, "index": None}])),
        (said(tool_calls=[{**CALL, "id": 1}]), said(tool_calls=[CALL])),
        ("4", {}),
    ],
)  # fmt: skip
def test_what_a_choice_says(given: Any, read: Any) -> None:
    whole: Any = tidied({"choices": [{"index": 0, "message": given, "finish_reason": "stop"}]})
    assert whole["choices"] == [{"index": 0, "message": read, "finish_reason": "stop"}]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"choices": None}, {"choices": None}),
        ({"choices": {"message": said()}}, {"choices": []}),
        ({"choices": [None, 3]}, {"choices": []}),
        (
            {"choices": [{"finish_reason": 1, "logprobs": "none"}]},
            {"choices": [{"finish_reason": None, "logprobs": None}]},
        ),
        ({"id": 3, "choices": []}, {"id": None, "choices": []}),
        ([1], [1]),
    ],
)
def test_what_is_around_it(given: Any, read: Any) -> None:
    assert tidied(given) == read


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ("much", None),
        ({"prompt_tokens": "many"}, None),
        ({}, None),
        ({"prompt_tokens": 3.0}, {"prompt_tokens": 3}),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": "none"},
            {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {}},
        ),
        (
            {"prompt_tokens": 3, "completion_tokens": 4,
             "prompt_tokens_details": {"cached_tokens": 1.0, "audio_tokens": "?"}},
            {"prompt_tokens": 3, "completion_tokens": 4,
             "prompt_tokens_details": {"cached_tokens": 1}},
        ),
    ],
)  # fmt: skip
def test_usage_is_whole_tokens_or_unknown(usage: Any, read: Any) -> None:
    found: Any = tidied({"choices": [], "usage": usage})
    assert found["usage"] == read
