"""Google's Gemini API: generateContent and streamGenerateContent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from langchain_moa.testing.dialects.gemini_rules import complaints, declarations, in_camel_case
from langchain_moa.testing.dialects.speech import (
    BROKEN_JSON,
    Frame,
    Refusal,
    Turn,
    as_json,
    first_complaint,
)
from langchain_moa.testing.replies import tokens
from langchain_moa.types import AnyDict, AnyMapping

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of statuses (https://ai.google.dev/gemini-api/docs/troubleshooting)."""
_REASONS: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_MODES: Final = {"ANY": "required", "AUTO": "auto", "NONE": "none"}
_STREAM: Final = "streamGenerateContent"


class Gemini:
    """The dialect of Google's Gemini.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> import pytest
        >>> langchain_google_genai = pytest.importorskip("langchain_google_genai")
        >>> with LoopbackServer({"demo-model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = langchain_google_genai.ChatGoogleGenerativeAI(
        ...         model="demo-model", api_key=server.api_key, base_url=server.gemini_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    name = "gemini"
    broken = Frame(BROKEN_JSON)

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The key in the header `x-goog-api-key`."""
        return headers.get("x-goog-api-key")

    def complaint_about(self, body: object) -> str | None:
        """Why Gemini would answer 400, or `None`; see `gemini_rules`."""
        return first_complaint(complaints, in_camel_case(body))

    def asked(self, body: AnyMapping, path: str) -> tuple[str, bool]:  # noqa: ARG002
        """The model and whether to stream, both in the address."""
        model, _, method = path.rpartition(":")
        return model, method == _STREAM

    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:
        """The request in the words of chat completions."""
        body = in_camel_case(body)
        system = body.get("systemInstruction")
        messages = [{"role": "system", "content": _joined(system)}] if system else []
        for turn, content in enumerate(body["contents"]):
            messages += _chat_messages(turn, content)
        chat: AnyDict = {"model": self.asked(body, path)[0], "messages": messages}
        tools = [_chat_tool(declaration) for declaration in declarations(body)]
        if tools:
            chat["tools"] = tools
        config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        allowed = config.get("allowedFunctionNames") or []
        chat["tool_choice"] = _MODES.get(config.get("mode", "AUTO"), "auto")
        if chat["tool_choice"] == "required" and len(allowed) == 1:
            chat["tool_choice"] = {"type": "function", "function": {"name": allowed[0]}}
        form = body.get("generationConfig") or {}
        schema = form.get("responseJsonSchema") or form.get("responseSchema")
        if schema:
            chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return chat

    def answer(self, turn: Turn) -> AnyDict:
        """One candidate with all parts."""
        thought, text = turn.reply.reasoning, turn.text
        parts: list[AnyDict] = [{"text": thought, "thought": True}] if thought else []
        if text:
            parts.append({"text": text})
        return self._chunk(turn, [*parts, *_calls(turn)], ended=True)

    def events(self, turn: Turn) -> Iterator[Frame]:
        """Parts of text, then the calls with how the answer ended."""
        for piece in tokens(turn.reply.reasoning or ""):
            thought = {"text": piece, "thought": True}
            yield Frame(as_json(self._chunk(turn, [thought])), token=True)
        for piece in turn.pieces():
            yield Frame(as_json(self._chunk(turn, [{"text": piece}])), token=True)
        calls = _calls(turn)
        if calls:
            yield Frame(as_json(self._chunk(turn, calls)))
        yield Frame(as_json(self._chunk(turn, [{"text": ""}], ended=True)), end=True)

    def error(self, refusal: Refusal) -> AnyDict:
        """An error with a code, a message and the code's name."""
        code, name = refusal.status, _STATUSES.get(refusal.status, "UNKNOWN")
        if isinstance(refusal.code, int):
            code = refusal.code
        elif refusal.code is not None:
            name = refusal.code
        error = {"code": code, "message": refusal.message, "status": refusal.kind or name}
        return {"error": {**error, **refusal.fields}}

    def error_event(self, refusal: Refusal) -> Frame:
        """The error as the data of an event."""
        return Frame(as_json(self.error(refusal)))

    def too_long(self, read: int, window: int) -> Refusal:
        """Google's words for it."""
        message = (
            f"The input token count ({read}) exceeds the maximum number of tokens allowed "
            f"({window})."
        )
        return Refusal(status=400, message=message)

    def no_pictures(self) -> Refusal:
        """Google's words for it."""
        return Refusal(status=400, message="Image input modality is not enabled for this model")

    def _chunk(self, turn: Turn, parts: list[AnyDict], *, ended: bool = False) -> AnyDict:
        candidate: AnyDict = {"index": 0}
        if parts:
            candidate["content"] = {"role": "model", "parts": parts}
        usage = {"promptTokenCount": turn.usage["prompt_tokens"]}
        reason = _reason(turn)
        if ended:
            if reason is not None:
                candidate["finishReason"] = reason
            usage["candidatesTokenCount"] = turn.usage["completion_tokens"]
            usage["totalTokenCount"] = turn.usage["total_tokens"]
        else:
            usage["totalTokenCount"] = turn.usage["prompt_tokens"]
        return {
            "candidates": [{**candidate, **turn.behavior.choice_fields}],
            "usageMetadata": turn.told(usage),
            "modelVersion": turn.model,
            "responseId": f"gemini-{turn.number}",
            **turn.behavior.fields,
        }


def _reason(turn: Turn) -> str | None:
    if len(_calls(turn)) < len(turn.reply.tool_calls):
        return "MALFORMED_FUNCTION_CALL"
    return _REASONS.get(turn.reason or "", turn.reason)


def _calls(turn: Turn) -> list[AnyDict]:
    """The calls as parts; the API keeps those with malformed arguments to itself."""
    parts = []
    for place, call in enumerate(turn.reply.tool_calls):
        try:
            arguments = json.loads(call.arguments_text)
        except ValueError:
            continue
        call_id = f"fc_{turn.number}_{place}"
        parts.append({"functionCall": {"id": call_id, "name": call.name, "args": arguments}})
    return parts


def _joined(content: AnyMapping) -> str:
    return " ".join(part["text"] for part in content["parts"] if "text" in part)


def _chat_messages(turn: int, content: AnyMapping) -> Iterator[AnyDict]:
    """A content as chat completions' messages: results of functions are messages there."""
    parts = content["parts"]
    for part in parts:
        result = part.get("functionResponse")
        if result:
            call_id = result.get("id") or result["name"]
            yield {"role": "tool", "tool_call_id": call_id, "content": as_json(result["response"])}
    role = "assistant" if content.get("role") == "model" else "user"
    rest = [_chat_part(part) for part in parts if "text" in part or "inlineData" in part]
    calls = [_chat_call(turn, part["functionCall"]) for part in parts if "functionCall" in part]
    if calls:
        yield {"role": role, "content": rest or None, "tool_calls": calls}
    elif rest:
        yield {"role": role, "content": rest}


def _chat_part(part: AnyMapping) -> AnyDict:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    data = part["inlineData"]
    standard = data["data"].replace("-", "+").replace("_", "/")
    url = f"data:{data['mimeType']};base64,{standard}"
    return {"type": "image_url", "image_url": {"url": url}}


def _chat_call(turn: int, call: AnyMapping) -> AnyDict:
    function = {"name": call["name"], "arguments": as_json(call.get("args") or {})}
    call_id = call.get("id") or f"{call['name']}_{turn}"
    return {"id": call_id, "type": "function", "function": function}


def _chat_tool(declaration: AnyMapping) -> AnyDict:
    schema = declaration.get("parametersJsonSchema") or declaration.get("parameters") or {}
    function = {"name": declaration["name"], "description": declaration.get("description", "")}
    return {"type": "function", "function": {**function, "parameters": _lower(schema)}}


def _lower(schema: object) -> object:
    """A schema with the names of types as JSON Schema writes them."""
    if isinstance(schema, list):
        return [_lower(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lower(value)
        for key, value in schema.items()
    }
