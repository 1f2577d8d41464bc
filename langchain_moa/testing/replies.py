"""What a scripted model says: replies, and a stand-in assistant that obeys a request."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from langchain_moa.types import AnyDict, AnyMapping

_QUOTED: Final = re.compile(r"['\"“]([^'\"“”]+)['\"”]")
_QUOTED_WORD: Final = re.compile(r"['\"]([A-Za-z_]\w*)['\"]")
_NUMBER: Final = re.compile(r"(?<![\w-])-?\d+(?![\w-])")
_TOKEN: Final = re.compile(r"\s*\S+|\s+")
_BYTES_PER_TOKEN: Final = 4


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One tool call of a reply.

    Attributes:
        name: Name of the tool.
        arguments: The arguments: a mapping, or raw text to test malformed ones.

    Example:
        >>> ToolCall(name="weather", arguments={"city": "Rome"}).arguments_text
        '{"city": "Rome"}'
    """

    name: str
    arguments: AnyMapping | str

    @property
    def arguments_text(self) -> str:
        """The arguments as the wire carries them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answers to one request.

    Attributes:
        text: The text; `None` is a null content.
        reasoning: The model's reasoning, which comes before the text where the dialect has a
            place for it: `reasoning_content`, blocks of thinking, parts that are thoughts.
        refusal: What it says in refusing, where the dialect has a field for that beside the
            content, which is null then (chat completions); a filter of any dialect is the finish
            reason `"content_filter"`.
        tool_calls: Tool calls, in order.
        finish_reason: By default `"tool_calls"` with tool calls, else `"stop"`.
        logprobs: A choice's `logprobs` as the wire is to carry them, in OpenAI's shape or in
            Together's; they are sent in answers of chat completions that are not streamed, to
            requests that ask for log-probabilities.

    Example:
        >>> Reply(text="4", reasoning="Two and two.").reason
        'stop'
        >>> Reply(tool_calls=(ToolCall(name="weather", arguments={"city": "Rome"}),)).reason
        'tool_calls'
    """

    text: str | None = ""
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    logprobs: AnyMapping | None = None

    @property
    def reason(self) -> str:
        """The finish reason that the wire carries."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


def tokens(text: str) -> list[str]:
    """Text cut into the pieces that are streamed and counted: words with their spaces."""
    return _TOKEN.findall(text)


def count_prompt_tokens(messages: list[AnyDict]) -> int:
    """Tokens of a request's messages: a quarter of their bytes, as a rule of thumb says."""
    return max(1, len(json.dumps(messages, ensure_ascii=False).encode()) // _BYTES_PER_TOKEN)


def count_usage(body: AnyMapping, reply: Reply, repeat: int = 1) -> dict[str, int]:
    """Tokens of a chat completions request and of the reply to it, for all choices.

    Args:
        body: The request.
        reply: The reply.
        repeat: How many times over the reply's text comes.
    """
    read = count_prompt_tokens(body["messages"])
    calls = "".join(call.arguments_text for call in reply.tool_calls)
    if repeat == 1:
        written = len(tokens((reply.text or "") + calls))
    else:
        written = len(tokens(reply.text or "")) * repeat + len(tokens(calls))
    written = (written + len(tokens(reply.reasoning or ""))) * (body.get("n") or 1)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }


def user_text(body: AnyMapping) -> str:
    """The text of the last user message of a chat completions request."""
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            return content_text(message.get("content"))
    return ""


def content_text(content: Any) -> str:
    """The text in a message's content, be it a string or a list of parts."""
    if isinstance(content, list):
        parts = (p if isinstance(p, dict) else {"type": "text", "text": p} for p in content)
        return " ".join(part["text"] for part in parts if part.get("type") == "text")
    return content or ""


def assistant_reply(body: AnyMapping) -> Reply:
    """Answer a request as an obedient assistant would.

    It calls the tool that must be called, or the first one that may be, with arguments read
    from the user's text; answers in the JSON schema that is asked for; and otherwise says a
    sentence about what it was asked.

    Args:
        body: A chat completions request.

    Example:
        >>> assistant_reply({"messages": [{"role": "user", "content": "Hi"}]}).reason
        'stop'
    """
    text = user_text(body)
    tool = _tool_to_call(body)
    if tool is not None:
        schema = tool.get("parameters") or {}
        return Reply(text=None, tool_calls=(_call(tool["name"], schema, text),))
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return Reply(text=json.dumps(_value(form["json_schema"].get("schema", {}), "", text)))
    if form.get("type") == "json_object":
        return Reply(text=json.dumps({key: f"about {key}" for key in _QUOTED_WORD.findall(text)}))
    return Reply(text=f"{body.get('model', 'This model')} answers: {text[:80]}")


def _call(name: str, schema: AnyMapping, text: str) -> ToolCall:
    return ToolCall(name=name, arguments=_value({"type": "object", **schema}, "", text))


def _tool_to_call(body: AnyMapping) -> AnyDict | None:
    """The function that the request makes the model call, if any."""
    functions: list[AnyDict] = [tool["function"] for tool in body.get("tools") or []]
    choice = body.get("tool_choice", "auto")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        return next((function for function in functions if function["name"] == wanted), None)
    messages = body["messages"]
    if choice not in ("required", "any") and messages[-1]["role"] == "tool":
        return None
    last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    called = {
        call["function"]["name"]
        for message in messages[last_user:]
        for call in message.get("tool_calls") or []
    }
    return next((f for f in functions if f["name"] not in called), functions[-1])


def _value(schema: AnyMapping, name: str, text: str) -> Any:
    """A value for a JSON schema, read from the text where it can be."""
    schema = _resolved(schema)
    if "anyOf" in schema:
        return _value(_within(schema, schema["anyOf"][0]), name, text)
    if "enum" in schema:
        return next((item for item in schema["enum"] if str(item) in text), schema["enum"][0])
    match schema.get("type"):
        case "object":
            parts = schema.get("properties", {})
            value: object = {k: _value(_within(schema, part), k, text) for k, part in parts.items()}
        case "array":
            value = [_value(_within(schema, schema.get("items", {})), name, text)]
        case "integer" | "number":
            found = _NUMBER.search(text)
            value = int(found.group()) if found else 1
        case "boolean":
            value = True
        case _:
            quoted = _QUOTED.search(text)
            value = quoted.group(1) if quoted else (text[:60] or name)
    return value


def _within(schema: AnyMapping, part: AnyMapping) -> AnyDict:
    """A part of a schema with the definitions that the whole carries."""
    return {**part, "$defs": schema.get("$defs", {})}


def _resolved(schema: AnyMapping) -> AnyMapping:
    """The schema with a reference followed, parts joined, and one type chosen of several."""
    if "$ref" in schema:
        target = schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return _resolved(_within(schema, target))
    if "allOf" in schema:
        joined: AnyDict = {}
        for part in schema["allOf"]:
            joined |= _resolved(_within(schema, part))
        return joined
    if isinstance(schema.get("type"), list):
        return {**schema, "type": schema["type"][0]}
    return schema
