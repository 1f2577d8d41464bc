"""Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from langchain_moa.testing.dialects.anthropic_rules import complaints
from langchain_moa.testing.dialects.speech import (
    BROKEN_JSON,
    Frame,
    Refusal,
    Turn,
    as_json,
    bearer_key,
    first_complaint,
)
from langchain_moa.testing.replies import ToolCall, content_text, tokens
from langchain_moa.types import AnyDict, AnyMapping

_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""Types of errors (https://docs.claude.com/en/api/errors)."""
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_SIGNATURE: Final = "c2NyaXB0ZWQ="
_CHOICES: Final = {"any": "required", "auto": "auto", "none": "none"}


class Anthropic:
    """The dialect of Anthropic.

    Args:
        prefill: Whether a conversation may end on the assistant's turn, to be gone on with, as
            models before Claude 4.6 allow.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> import pytest
        >>> langchain_anthropic = pytest.importorskip("langchain_anthropic")
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = langchain_anthropic.ChatAnthropic(
        ...         model="demo/model", api_key=server.api_key, base_url=server.anthropic_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    name = "anthropic"
    broken = Frame(BROKEN_JSON, event="message_start")

    def __init__(self, *, prefill: bool = False) -> None:
        self._prefill = prefill

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The key in the header `x-api-key`, or as a bearer's.

        The API's documents name only the first (https://docs.claude.com/en/api/overview); version
        2 of Anthropic's own client sends the second.
        """
        return headers.get("x-api-key") or bearer_key(headers)

    def complaint_about(self, body: object) -> str | None:
        """Why Anthropic would answer 400, or `None`; see `anthropic_rules`."""
        return first_complaint(lambda given: complaints(given, prefill=self._prefill), body)

    def asked(self, body: AnyMapping, path: str) -> tuple[str, bool]:  # noqa: ARG002
        """The model and whether to stream, both in the body."""
        return body["model"], bool(body.get("stream"))

    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:  # noqa: ARG002
        """The request in the words of chat completions."""
        system = content_text(body.get("system"))
        messages = [{"role": "system", "content": system}] if system else []
        for message in body["messages"]:
            messages += _chat_messages(message)
        chat: AnyDict = {"model": body["model"], "messages": messages}
        if body.get("tools"):
            chat["tools"] = [_chat_tool(tool) for tool in body["tools"]]
        choice = body.get("tool_choice") or {"type": "auto"}
        if choice["type"] == "tool":
            chat["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        else:
            chat["tool_choice"] = _CHOICES[choice["type"]]
        form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
        if form.get("type") == "json_schema":
            chat["response_format"] = {"type": "json_schema", "json_schema": dict(form)}
        return chat

    def answer(self, turn: Turn) -> AnyDict:
        """A message with a block of text, if there is any, and one per tool call."""
        thought, text = turn.reply.reasoning, turn.text
        content: list[AnyDict] = []
        if thought:
            content.append({"type": "thinking", "thinking": thought, "signature": _SIGNATURE})
        if text:
            content.append({"type": "text", "text": text})
        content += [
            {**_opened(turn, place, call), "input": _arguments(call)}
            for place, call in enumerate(turn.reply.tool_calls)
        ]
        ended = {"content": content, "stop_reason": _reason(turn)}
        return {**_head(turn, turn.usage["completion_tokens"]), **ended}

    def events(self, turn: Turn) -> Iterator[Frame]:
        """The message's start, its blocks piece by piece, and how it ended."""
        yield _event("message_start", message=_head(turn, 1))
        yield _event("ping")
        blocks = 0
        if turn.reply.reasoning:
            yield from _thinking(turn.reply.reasoning)
            blocks = 1
        if turn.reply.text:
            block = {"type": "text", "text": ""}
            yield _event("content_block_start", index=blocks, content_block=block)
            for piece in turn.pieces():
                yield _delta(blocks, {"type": "text_delta", "text": piece})._replace(token=True)
            # a truncated stream stops within the block
            ended = _event("content_block_stop", index=blocks)
            yield ended._replace(end=not turn.reply.tool_calls)
            blocks += 1
        for place, call in enumerate(turn.reply.tool_calls):
            index = blocks + place
            block = _opened(turn, place, call)
            yield _event("content_block_start", index=index, content_block=block)
            for piece in tokens(call.arguments_text):
                yield _delta(index, {"type": "input_json_delta", "partial_json": piece})
            yield _event("content_block_stop", index=index)
        why = {"stop_reason": _reason(turn), "stop_sequence": None}
        usage = _head(turn, turn.usage["completion_tokens"])["usage"]
        yield _event("message_delta", delta=why, usage=usage)._replace(end=True)
        yield _event("message_stop")._replace(end=True)

    def error(self, refusal: Refusal) -> AnyDict:
        """An error with a type and a message."""
        kind = refusal.kind or refusal.code or _ERRORS.get(refusal.status, "api_error")
        error = {"type": kind, "message": refusal.message, **refusal.fields}
        return {"type": "error", "error": error, "request_id": None}

    def error_event(self, refusal: Refusal) -> Frame:
        """An event of the name `error`."""
        return Frame(as_json(self.error(refusal)), event="error")

    def too_long(self, read: int, window: int) -> Refusal:
        """Anthropic's words for it."""
        message = f"prompt is too long: {read} tokens > {window} maximum"
        return Refusal(status=400, message=message)

    def no_pictures(self) -> Refusal:
        """Anthropic's words for it."""
        message = "'claude' does not support image input."
        return Refusal(status=400, message=message)


def _head(turn: Turn, written: int) -> AnyDict:
    return {
        "id": f"msg_{turn.number}",
        "type": "message",
        "role": "assistant",
        "model": turn.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": turn.told({"input_tokens": turn.usage["prompt_tokens"], "output_tokens": written}),
        **turn.behavior.fields,
    }


def _event(kind: str, **fields: object) -> Frame:
    return Frame(as_json({"type": kind, **fields}), event=kind)


def _thinking(text: str) -> Iterator[Frame]:
    """A block of thinking, piece by piece, and its signature."""
    block = {"type": "thinking", "thinking": "", "signature": ""}
    yield _event("content_block_start", index=0, content_block=block)
    for piece in tokens(text):
        yield _delta(0, {"type": "thinking_delta", "thinking": piece})._replace(token=True)
    yield _delta(0, {"type": "signature_delta", "signature": _SIGNATURE})
    yield _event("content_block_stop", index=0)


def _delta(index: int, delta: AnyMapping) -> Frame:
    return _event("content_block_delta", index=index, delta=delta)


def _reason(turn: Turn) -> str | None:
    return _REASONS.get(turn.reason or "", turn.reason)


def _opened(turn: Turn, place: int, call: ToolCall) -> AnyDict:
    """A tool call's block before its arguments."""
    call_id = f"toolu_{turn.number}_{place}"
    return {"type": "tool_use", "id": call_id, "name": call.name, "input": {}}


def _arguments(call: ToolCall) -> object:
    """The arguments as an object, which the whole answer cannot have malformed."""
    try:
        given = json.loads(call.arguments_text)
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {"INVALID_JSON": call.arguments_text}


def _chat_messages(message: AnyMapping) -> Iterator[AnyDict]:
    """A message as chat completions' messages: results of tools are messages there."""
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for block in blocks:
        if block["type"] == "tool_result":
            text = content_text(block.get("content"))
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}
    rest = [_chat_part(b) for b in blocks if b["type"] in ("text", "image", "document")]
    calls = [_chat_call(b) for b in blocks if b["type"] == "tool_use"]
    if calls:
        yield {"role": message["role"], "content": rest or None, "tool_calls": calls}
    elif rest:
        yield {"role": message["role"], "content": rest}


def _chat_part(block: AnyMapping) -> AnyDict:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    source = block["source"]
    url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _chat_call(block: AnyMapping) -> AnyDict:
    function = {"name": block["name"], "arguments": as_json(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def _chat_tool(tool: AnyMapping) -> AnyDict:
    function = {"name": tool["name"], "description": tool.get("description", "")}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}}
