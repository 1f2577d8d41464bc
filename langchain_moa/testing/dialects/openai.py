"""OpenAI's chat completions, which Together and many others speak too."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from langchain_moa.testing.dialects.speech import (
    BROKEN_JSON,
    Frame,
    Refusal,
    Turn,
    as_json,
    bearer_key,
    first_complaint,
    is_base64,
    is_filled,
    is_object,
    is_text,
    is_tool_name,
)
from langchain_moa.testing.replies import ToolCall, tokens
from langchain_moa.types import AnyDict, AnyMapping

_DATA_URL: Final = re.compile(r"data:image/[\w.+-]+;base64,(.*)", re.DOTALL)
_PARTS: Final = {
    "user": {"text", "image_url", "input_audio", "audio_url", "video_url", "file"},
    "assistant": {"text", "refusal"},
    # OpenAI's reference names text alone, but LangChain's standard suite sends pictures and files
    "tool": {"text", "image_url", "file"},
}
_TEXT_ONLY: Final = {"text"}
ROLES: Final = ("system", "developer", "user", "assistant", "tool")


class OpenAI:
    """The dialect of OpenAI and Together.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_openai import ChatOpenAI
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = ChatOpenAI(
        ...         model="demo/model", api_key=server.api_key, base_url=server.base_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    name = "openai"
    broken = Frame(BROKEN_JSON)
    first_content: str | None = ""
    """Content of a stream's first delta, which brings the role."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The key in the `Authorization` header."""
        return bearer_key(headers)

    def complaint_about(self, body: object) -> str | None:
        """Why OpenAI or Together would answer 400, or `None`.

        It holds a request to https://platform.openai.com/docs/api-reference/chat/create and
        to errors that users met: calls without results (github.com/BerriAI/litellm/issues/10083),
        results without a call (github.com/FoundationAgents/OpenManus/issues/744), names of tools
        (github.com/vercel/ai/issues/1972).
        """
        return first_complaint(_complaints, body)

    def asked(self, body: AnyMapping, path: str) -> tuple[str, bool]:  # noqa: ARG002
        """The model and whether to stream, both in the body."""
        return body["model"], bool(body.get("stream"))

    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:  # noqa: ARG002
        """The body as it is."""
        return body

    def answer(self, turn: Turn) -> AnyDict:
        """A chat completion with as many choices as were asked for."""
        message: AnyDict = {"role": "assistant", **self.said(turn)}
        if turn.reply.tool_calls:
            message["tool_calls"] = [
                self._call(turn, place, call) for place, call in enumerate(turn.reply.tool_calls)
            ]
        ended: AnyDict = {"message": message, "finish_reason": self.reason(turn)}
        if turn.body.get("logprobs"):
            ended["logprobs"] = turn.reply.logprobs
        choices = [self._choice(turn, index, **ended) for index in range(_choices(turn))]
        head = self._head(turn, "chat.completion")
        return {
            "choices": choices,
            "usage": turn.told(turn.usage),
            **self.last_fields(turn),
            **head,
        }

    def events(self, turn: Turn) -> Iterator[Frame]:
        """Chat completion chunks, one choice after the other."""
        for choice in range(_choices(turn)):
            yield self._chunk(turn, choice, {"role": "assistant", "content": self.first_content})
            for piece in tokens(turn.reply.reasoning or ""):
                yield self._chunk(turn, choice, self.reasoning(piece))._replace(token=True)
            for piece in turn.pieces():
                yield self._chunk(turn, choice, {"content": piece})._replace(token=True)
            for piece in tokens(turn.reply.refusal or ""):
                yield self._chunk(turn, choice, {"refusal": piece})._replace(token=True)
            for place, call in enumerate(turn.reply.tool_calls):
                for delta in self.call_deltas(turn, place, call):
                    yield self._chunk(turn, choice, {"tool_calls": [{"index": place, **delta}]})
            yield self.last_chunk(turn, choice)
        if _tells_usage(turn):
            usage = {"usage": turn.told(turn.usage), **self.last_fields(turn)}
            head = self._head(turn, "chat.completion.chunk")
            yield Frame(as_json({"choices": [], **usage, **head}), end=True)
        yield Frame("[DONE]", end=True)

    def error(self, refusal: Refusal) -> AnyDict:
        """An error with a message, a type and a code."""
        kind, code = refusal.kind or "scripted_error", refusal.code or refusal.status
        error = {"message": refusal.message, "type": kind, "code": code}
        return {"error": {**error, **refusal.fields}}

    def error_event(self, refusal: Refusal) -> Frame:
        """The error as the data of an event that has no name."""
        return Frame(as_json(self.error(refusal)))

    def too_long(self, read: int, window: int) -> Refusal:
        """OpenAI's words for it, which other servers use, too."""
        message = (
            f"This model's maximum context length is {window} tokens. However, your messages "
            f"resulted in {read} tokens. Please reduce the length of the messages."
        )
        kind = "invalid_request_error"
        return Refusal(status=400, message=message, code="context_length_exceeded", kind=kind)

    def no_pictures(self) -> Refusal:
        """OpenAI's words for it."""
        message = "Invalid content type. image_url is only supported by certain models."
        return Refusal(status=400, message=message, kind="invalid_request_error")

    def said(self, turn: Turn) -> AnyDict:
        """The content of a message, and the reasoning before it."""
        reasoning = turn.reply.reasoning
        refused = {} if turn.reply.refusal is None else {"refusal": turn.reply.refusal}
        told = {} if reasoning is None else self.reasoning(reasoning)
        return {"content": None if refused else turn.text, **refused, **told}

    def reasoning(self, text: str) -> AnyDict:
        """Reasoning, or a piece of it, as a field of a message or of a delta."""
        return {"reasoning_content": text}

    def last_fields(self, turn: Turn) -> AnyDict:  # noqa: ARG002
        """What stands beside the usage."""
        return {}

    def reason(self, turn: Turn) -> str | None:
        """The finish reason."""
        return turn.reason

    def call_id(self, number: int, place: int) -> str:
        """A tool call's id.

        Args:
            number: The answer's number.
            place: The call's place in the answer.
        """
        return f"call_{number}_{place}"

    def last_chunk(self, turn: Turn, choice: int) -> Frame:
        """The chunk that tells how a choice ended."""
        more = {} if _tells_usage(turn) else self.last_fields(turn)
        return self._chunk(turn, choice, {}, self.reason(turn), **more)._replace(end=True)

    def call_deltas(self, turn: Turn, place: int, call: ToolCall) -> Iterator[AnyDict]:
        """A tool call in pieces: its name first, then its arguments."""
        opened = self._call(turn, place, call)
        yield {**opened, "function": {**opened["function"], "arguments": ""}}
        for piece in tokens(call.arguments_text):
            yield {"function": {"arguments": piece}}

    def _call(self, turn: Turn, place: int, call: ToolCall) -> AnyDict:
        function = {"name": call.name, "arguments": call.arguments_text}
        return {"id": self.call_id(turn.number, place), "type": "function", "function": function}

    def _head(self, turn: Turn, kind: str) -> AnyDict:
        created = int(time.time())
        head = {"id": f"chatcmpl-{turn.number}", "created": created, "model": turn.model}
        return {**head, "object": kind, **turn.behavior.fields}

    def _choice(self, turn: Turn, index: int, **said: object) -> AnyDict:
        choice = {"index": index, **said}
        if turn.error is not None and said["finish_reason"] is not None:
            choice |= {"error": turn.error}
        return {**choice, **turn.behavior.choice_fields}

    def _chunk(
        self,
        turn: Turn,
        choice: int,
        delta: AnyMapping,
        reason: str | None = None,
        **more: object,
    ) -> Frame:
        entry = self._choice(turn, choice, delta=delta, finish_reason=reason)
        head = self._head(turn, "chat.completion.chunk")
        return Frame(as_json({"choices": [entry], **more, **head}))


def _choices(turn: Turn) -> int:
    return turn.body.get("n") or 1


def _tells_usage(turn: Turn) -> bool:
    """Whether a stream ends with an event for the usage."""
    return bool((turn.body.get("stream_options") or {}).get("include_usage"))


def _complaints(body: Any) -> Iterator[str]:
    yield from about_envelope(body)
    open_calls: set[str] = set()
    for place, message in enumerate(body["messages"]):
        for complaint in _about_message(message, open_calls):
            yield f"messages[{place}]: {complaint}"
    if open_calls:
        yield f"the tool calls {sorted(open_calls)} have no result."
    yield from about_tools(body)


def about_envelope(body: Any) -> Iterator[str]:
    """Complaints about what every chat completions request has."""
    if not is_object(body) or not is_text(body.get("model")):
        yield "model must be a string."
    if not is_filled(body.get("messages")):
        yield "messages must be a list with at least one message."


def _about_message(message: Any, open_calls: set[str]) -> Iterator[str]:
    """Complaints about a message, given the calls that wait for a result."""
    if not is_object(message) or message.get("role") not in ROLES:
        yield f"role must be one of {', '.join(ROLES)}."
    if message["role"] == "tool":
        if message.get("tool_call_id") not in open_calls:
            yield f"no call waits for the result of {message.get('tool_call_id')!r}."
        open_calls.discard(message["tool_call_id"])
    elif open_calls:
        yield f"the tool calls {sorted(open_calls)} need a result first."
    calls = message.get("tool_calls")
    if calls is not None:
        yield from _about_calls(message["role"], calls)
        open_calls.update(call["id"] for call in calls)
    if message.get("content") is not None or not calls:
        yield from _about_content(message["role"], message.get("content"))


def _about_calls(role: str, calls: Any) -> Iterator[str]:
    if role != "assistant":
        yield f"a message of the {role} calls no tools."
    if not is_filled(calls):
        yield "tool_calls must be a list with at least one call, or left out."
    for call in calls:
        yield from about_call(call)
        if not is_text(call.get("id")) or call.get("type") != "function":
            yield "a tool call has an id and the type 'function'."
    ids = [call["id"] for call in calls]
    if len(set(ids)) < len(ids):
        yield f"the ids of tool calls {ids} are not unique."


def about_call(call: Any) -> Iterator[str]:
    """Complaints about the function of a tool call."""
    function = call.get("function") if is_object(call) else None
    if not isinstance(function, Mapping) or not is_tool_name(function.get("name")):
        yield "a tool call has a function with a name of at most 64 letters, digits, '_' and '-'."
    elif not isinstance(function.get("arguments"), str):
        yield f"the arguments of {function['name']!r} must be a string."


def _about_content(role: str, content: Any) -> Iterator[str]:
    if isinstance(content, str):
        return
    if not is_filled(content):
        yield "content must be a string or a list of parts, at least one."
    allowed = _PARTS.get(role, _TEXT_ONLY)
    for part in content:
        if not is_object(part) or "type" not in part:
            yield "each part of content must be an object with a type."
        elif part["type"] not in allowed:
            yield f"content of the {role} has no parts of type {part['type']!r}."
        yield from about_part(part)


def about_part(part: AnyMapping) -> Iterator[str]:
    """Complaints about a text or a picture."""
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        yield "a part of type 'text' has a text."
    if part["type"] == "image_url" and not _is_picture(part.get("image_url")):
        yield "image_url must be an object whose url is http(s), or a base64 data URL of an image."


def _is_picture(image: Any) -> bool:
    url = image.get("url") if is_object(image) else None
    if not isinstance(url, str):
        return False
    data = _DATA_URL.fullmatch(url)
    return url.startswith(("https://", "http://")) if data is None else is_base64(data[1])


def about_tools(body: AnyMapping) -> Iterator[str]:
    """Complaints about the tools of a request and the choice among them."""
    tools = body.get("tools")
    for tool in tools or []:
        function = tool.get("function") if is_object(tool) else None
        if not isinstance(function, Mapping) or not is_tool_name(function.get("name")):
            yield "a tool has a function with a name of at most 64 letters, digits, '_' and '-'."
    choice = body.get("tool_choice")
    names = [tool["function"]["name"] for tool in tools or []]
    chosen = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else None
    if isinstance(choice, Mapping) and chosen not in names:
        yield f"tool_choice names {chosen!r}, which is not among the tools."
    if choice not in (None, "none", "auto") and not names:
        yield f"tool_choice is {choice!r}, but there are no tools."
    if tools is not None and not is_filled(tools):
        yield "tools must be a list with at least one tool, or left out."
