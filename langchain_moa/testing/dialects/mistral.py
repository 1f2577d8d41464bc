"""Mistral's chat completions: OpenAI's shape with rules of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from langchain_moa.testing.dialects.openai import (
    OpenAI,
    about_call,
    about_envelope,
    about_part,
    about_tools,
)
from langchain_moa.testing.dialects.speech import (
    Frame,
    Refusal,
    Turn,
    first_complaint,
    is_filled,
    is_object,
    is_tool_name,
)
from langchain_moa.testing.replies import ToolCall
from langchain_moa.types import AnyDict, AnyMapping

_CALL_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")
_FIELDS: Final = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_FOLLOWS: Final = {
    None: {"system", "user", "assistant"},
    "system": {"system", "user", "assistant"},
    "user": {"system", "user", "assistant"},
    "assistant": {"user", "assistant", "tool"},
    "tool": {"assistant", "tool"},
}
"""Which roles may come after which."""
_PARTS: Final = {
    "system": {"text", "thinking"},
    "user": {"text", "image_url", "document_url", "input_audio", "file", "reference"},
    "assistant": {"text", "thinking", "reference", "tool_reference"},
    "tool": {"text", "image_url", "document_url", "reference", "tool_reference"},
}
_REASONS: Final = {"content_filter": "error"}
_KINDS: Final = {429: "rate_limited"}


class Mistral(OpenAI):
    """The dialect of Mistral.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> import pytest
        >>> langchain_mistralai = pytest.importorskip("langchain_mistralai")
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = langchain_mistralai.ChatMistralAI(
        ...         model="demo/model", api_key=server.api_key, base_url=server.mistral_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    name = "mistral"

    def complaint_about(self, body: object) -> str | None:
        """Why Mistral would refuse a request, or `None`.

        The rules on roles, ids and the number of results are those of Mistral's own checker
        (github.com/mistralai/mistral-common, protocol/instruct/validator.py), for a tokenizer
        of version 13; that unknown fields are refused, langchain-mistralai's source tells.
        """
        return first_complaint(_complaints, body)

    def error(self, refusal: Refusal) -> AnyDict:
        """An error whose message stands at the top level."""
        kind = "invalid_request_error" if refusal.status < 500 else "internal_server_error"  # noqa: PLR2004
        kind = _KINDS.get(refusal.status, kind)
        error = {"object": "error", "message": refusal.message, "type": refusal.kind or kind}
        return {**error, "param": None, "code": refusal.code, **refusal.fields}

    def no_pictures(self) -> Refusal:
        """Mistral's words for it."""
        message = "Image content is not supported by this model."
        return Refusal(status=400, message=message)

    def said(self, turn: Turn) -> AnyDict:
        """The content of a message, which is never null; with reasoning, a list of parts."""
        text, reasoning = turn.text or "", turn.reply.reasoning
        if reasoning is None:
            return {"content": text}
        return {"content": [_thought(reasoning), {"type": "text", "text": text}]}

    def reasoning(self, text: str) -> AnyDict:
        """Reasoning in a part of the content."""
        return {"content": [_thought(text)]}

    def reason(self, turn: Turn) -> str | None:
        """The finish reason."""
        return _REASONS.get(turn.reason or "", turn.reason)

    def call_id(self, number: int, place: int) -> str:
        """A tool call's id of nine characters.

        Args:
            number: The answer's number.
            place: The call's place in the answer.
        """
        return f"c{number:06d}{place:02d}"

    def call_deltas(self, turn: Turn, place: int, call: ToolCall) -> Iterator[AnyDict]:
        """A tool call in one piece, as Mistral sends it."""
        yield self._call(turn, place, call)

    def last_chunk(self, turn: Turn, choice: int) -> Frame:
        """The chunk that tells how a choice ended; it carries the usage."""
        usage = turn.told(turn.usage)
        frame = self._chunk(turn, choice, {"content": ""}, self.reason(turn), usage=usage)
        return frame._replace(end=True)


def _thought(text: str) -> AnyDict:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _complaints(body: Any) -> Iterator[str]:
    yield from about_envelope(body)
    previous: str | None = None
    order = _Results()
    for place, message in enumerate(body["messages"]):
        role = str(message.get("role")) if is_object(message) else ""
        if role not in _FIELDS:
            yield f"messages[{place}]: role must be one of {', '.join(_FIELDS)}."
        if role not in _FOLLOWS[previous]:
            yield f"messages[{place}]: the role {role!r} cannot follow {previous or 'nothing'!r}."
        for complaint in chain(_about_message(role, message), order.complaints(message)):
            yield f"messages[{place}]: {complaint}"
        previous = role
    yield from _about_end(body["messages"], order)
    yield from about_tools(body)


class _Results:
    """The calls that wait for a result, from message to message."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()

    def complaints(self, message: AnyMapping) -> Iterator[str]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in self.waiting:
                yield f"no call waits for the result of {message['tool_call_id']!r}."
            self.waiting.discard(message["tool_call_id"])
        elif self.waiting:
            yield f"the tool calls {sorted(self.waiting)} need a result first."
        ids = [call["id"] for call in message.get("tool_calls") or []]
        if len(set(ids)) < len(ids):
            yield f"the ids of tool calls {ids} are not unique."
        self.waiting.update(ids)


def _about_message(role: str, message: AnyMapping) -> Iterator[str]:
    unknown = sorted(set(message) - _FIELDS[role])
    if unknown:
        yield f"a message of the {role} has no fields {unknown}."
    calls, content = message.get("tool_calls"), message.get("content")
    if role == "tool":
        yield from _about_result(message)
    for call in calls or []:
        yield from about_call(call)
        yield from _about_id(call.get("id"))
    if role == "assistant" and not calls and not content:
        yield "a message of the assistant has content or tool_calls."
    if content is None and role != "assistant":
        yield f"a message of the {role} has content."
    if content is not None and not isinstance(content, str):
        yield from _about_parts(role, content)


def _about_result(message: AnyMapping) -> Iterator[str]:
    yield from _about_id(message.get("tool_call_id"))
    name = message.get("name")
    if name is not None and not is_tool_name(name):
        yield f"the tool's name is {name!r}; it has at most 64 letters, digits, '_' and '-'."


def _about_id(call_id: object) -> Iterator[str]:
    if not isinstance(call_id, str) or _CALL_ID.fullmatch(call_id) is None:
        yield f"the tool call's id is {call_id!r}; it must be nine letters and digits."


def _about_parts(role: str, content: Any) -> Iterator[str]:
    if not is_filled(content) and role != "assistant":
        yield "content must be a string or a list of parts, at least one."
    for part in content:
        if not is_object(part) or part.get("type") not in _PARTS[role]:
            yield f"a part of content of the {role} is one of {sorted(_PARTS[role])}."
        image = part.get("image_url")
        # a bare address is as good as an object here
        if not isinstance(image, str):
            yield from about_part(part)
        # https://docs.mistral.ai/capabilities/reasoning/
        if part["type"] == "thinking" and not isinstance(part.get("thinking"), list):
            yield "the thinking of a part of type 'thinking' must be a list of parts."
        if part["type"] == "text" and not set(part) <= {"type", "text"}:
            yield f"a part of type 'text' has no fields {sorted(set(part) - {'type', 'text'})}."


def _about_end(messages: list[AnyMapping], order: _Results) -> Iterator[str]:
    if order.waiting:
        yield f"the tool calls {sorted(order.waiting)} have no result."
    if any(message.get("prefix") for message in messages[:-1]):
        yield "only the last message may be a prefix."
    last = messages[-1]
    if last["role"] == "assistant" and not last.get("prefix"):
        yield "the last message must be the user's or a tool's, or the assistant's with prefix."
