"""What members give: messages in every form that LangChain knows, states, values in a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langchain_core.outputs import ChatResult, Generation, LLMResult
from pydantic import BaseModel

from langchain_moa.accounting.usage import known_usage
from langchain_moa.types import AnyDict, AnyMapping

_ANSWER_KEYS: Final = ("output", "answer", "result", "text", "response", "generation")
"""Where agents and chains that return a dict have their answer, the usual one first."""
_QUESTION_KEYS: Final = frozenset({"input", "question", "query", "chat_history", "context"})
"""What they have beside it; a dict without them is more likely the values of a schema."""
_SAID: Final = (str, BaseMessage)
_ROLES: Final = ("human", "user", "ai", "assistant", "system", "developer", "tool", "function")
_TEXT_PARTS: Final = (None, "text", "output_text", "output", "input_text")
"""What parts of a text are called: not at all, or as OpenAI's Responses API and others do."""
_SHOWN: Final = 8
_LONGEST: Final = 500


def as_message(output: object, given: object = None) -> AIMessage:
    """A member's output as an `AIMessage`.

    Args:
        output: A message or its parts in any form that LangChain knows, a text, values in a schema,
            or an agent's state with `messages`.
        given: What the member was asked with, to tell its answer from a question that it kept.

    Raises:
        TypeError: The output is none of these, or that of a graph that was interrupted or added
            nothing.

    Example:
        >>> as_message({"messages": [{"type": "human", "content": "2+2?"}, ("ai", "4")]}).text
        '4'
    """
    message = _message_in(output, given)
    if isinstance(message, AIMessageChunk):
        message = cast("AIMessage", message_chunk_to_message(message))
    return _readable(message)


def as_chunk(output: object) -> AIMessageChunk:
    """One piece of a member's streamed output as an `AIMessageChunk`."""
    if isinstance(output, AIMessageChunk):
        return _readable(output)
    message = as_message(output)
    return AIMessageChunk(**message.model_dump(exclude={"type"}))


def _message_in(output: object, given: object) -> AIMessage:
    message: AIMessage
    match output:
        case AIMessage():
            message = output
        case BaseMessage():
            message = AIMessage(output.text)
        case str():
            message = AIMessage(output)
        case Generation():  # and a chat model's, which has a message
            message = _message_in(getattr(output, "message", output.text), given)
        case ChatResult() | LLMResult():
            message = _message_in(_first_of(output.generations), given)
        case Mapping():
            message = _message_in_mapping(output, given)
        case list() | tuple():
            message = _message_in_list(output, given)
        case _ if _is_values(output):
            message = AIMessage(_as_json(output))
        case _:
            msg = f"a member must return a message or a string, not {type(output).__name__}"
            raise TypeError(msg)
    return message


def _message_in_mapping(output: AnyMapping, given: object) -> AIMessage:
    if "__interrupt__" in output:
        msg = "the member asked for a person's input, which a mixture has no one to give"
        raise TypeError(msg)
    if "messages" in output:
        return _answer_of_state(output, given)
    if output.get("structured_response") is not None:
        return AIMessage(_as_json(output["structured_response"]))
    if _is_message(output):
        return _message_in(_converted(output), given)
    if _is_part(output):
        return AIMessage([dict(output)])
    is_schema = _is_plain(output) and not output.keys() & _QUESTION_KEYS and len(output) > 1
    said = [output[name] for name in _ANSWER_KEYS if isinstance(output.get(name), _SAID)]
    if said and not is_schema:
        return _message_in(said[0], given)
    if output and _is_plain(output):
        return AIMessage(_as_json(output))
    keys = ", ".join(map(repr, list(output)[:_SHOWN]))
    msg = (
        "a member must return a message or a string, or a dict with 'messages' or 'output', not a "
        f"dict with {f'the keys {keys}' if keys else 'no keys'}"
    )
    raise TypeError(msg)


def _message_in_list(output: Sequence[Any], given: object) -> AIMessage:
    if _is_pair(output):
        return _message_in(_converted(tuple(output)), given)
    if not output:
        return AIMessage("")
    if all(isinstance(part, str) or _is_part(part) for part in output):
        return AIMessage([part if isinstance(part, str) else dict(part) for part in output])
    return _answer_of_state({"messages": output}, given)


def _first_of(generations: Sequence[object]) -> object:
    """The first answer of a result, as the methods `generate` and `_generate` give it."""
    if not generations:
        msg = "the member gave no answer: a result without generations"
        raise TypeError(msg)
    first = generations[0]
    return _first_of(first) if isinstance(first, list) else first


def _answer_of_state(state: AnyMapping, given: object) -> AIMessage:
    """What an agent's state says last.

    An agent with a schema may end on the tool message that tells of the schema's values, and one
    whose tool returns directly on that tool's. A graph that adds no message leaves the question
    last, which is no answer.
    """
    messages = state["messages"]
    messages = messages if isinstance(messages, list | tuple) else [messages]
    last = _converted(messages[-1]) if messages else None
    structured = state.get("structured_response")
    if isinstance(last, AIMessage) and (last.text or structured is None):
        return last
    if structured is not None:
        return AIMessage(_as_json(structured))
    if isinstance(last, ToolMessage) and not _was_given(last, given):
        return AIMessage(last.text)
    ends = "is empty" if last is None else f"ends on a message of type {last.type!r}"
    msg = f"the member gave no answer: the conversation that it returned {ends}"
    raise TypeError(msg)


def _was_given(message: ToolMessage, given: object) -> bool:
    """Whether a tool's message was there before the member was asked."""
    before = given.get("messages", ()) if isinstance(given, Mapping) else given
    asked = before if isinstance(before, list | tuple) else ()
    return any(isinstance(m, ToolMessage) and m.tool_call_id == message.tool_call_id for m in asked)


def _converted(form: Any) -> BaseMessage:
    """A message in any form, as LangChain reads it.

    Raises:
        TypeError: LangChain does not read it.
    """
    if isinstance(form, BaseMessage):
        return form
    if isinstance(form, Mapping) and isinstance(form.get("data"), Mapping):
        form = {"type": form.get("type"), **form["data"]}  # as messages_to_dict writes them
    try:
        (message,) = convert_to_messages([form])
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        kind = type(form).__name__
        msg = f"the member returned a message that LangChain cannot read: a {kind} ({error})"
        raise TypeError(msg[:_LONGEST]) from error
    if not isinstance(message, AIMessage):
        return message
    # what a message's own dump has is no further argument of a provider
    extra = dict(message.additional_kwargs)
    usage, invalid = extra.pop("usage_metadata", None), extra.pop("invalid_tool_calls", None)
    update = {
        "additional_kwargs": extra,
        "usage_metadata": known_usage(usage),
        "invalid_tool_calls": invalid if isinstance(invalid, list) else [],
    }
    return message.model_copy(update=update)


def _is_message(value: AnyMapping) -> bool:
    if value.get("role", value.get("type")) in _ROLES:
        return "content" in value or isinstance(value.get("data"), Mapping)
    return value.get("lc") == 1 and value.get("type") == "constructor"


def _is_pair(value: Sequence[object]) -> bool:
    pair = len(value) == 2 and value[0] in _ROLES  # noqa: PLR2004 - a pair
    return pair and isinstance(value[1], str | list)


def _is_part(value: object) -> bool:
    """Whether it is one part of a message's content."""
    if not isinstance(value, Mapping) or _is_message(value):
        return False
    kind = value.get("type")
    return _text_of(value) is not None if kind in _TEXT_PARTS else isinstance(kind, str)


def _is_values(output: object) -> bool:
    """Whether it holds the values of a schema, as an object of the schema's class."""
    return isinstance(output, BaseModel) or (is_dataclass(output) and not isinstance(output, type))


def _is_plain(value: object) -> bool:
    """Whether it is JSON."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _as_json(value: object) -> str:
    """The values of a schema as text; what JSON has no form for is shown as it prints."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)


_Read = TypeVar("_Read", AIMessage, AIMessageChunk)


def _readable(message: _Read) -> _Read:
    """The message with its text where LangChain looks for it, and usage that can be added up."""
    update: AnyDict = {}
    if isinstance(message.content, list) and not all(map(_is_read, message.content)):
        update["content"] = [part for one in message.content for part in _parts_of(one)]
    if message.usage_metadata is not None:
        usage = known_usage(message.usage_metadata)
        if usage != message.usage_metadata:
            update["usage_metadata"] = usage
    return message.model_copy(update=update) if update else message


def _is_read(part: Any) -> bool:
    if not isinstance(part, dict) or part.get("type") == "text":
        return isinstance(part, str) or isinstance(part.get("text"), str)
    return part.get("type") not in (*_TEXT_PARTS, "message")


def _parts_of(part: object) -> list[Any]:
    """A part of a message's content as LangChain reads it; a message inside is its parts."""
    if not isinstance(part, Mapping):
        return [part if isinstance(part, str) else str(part)]
    if part.get("type") == "message" and isinstance(part.get("content"), list):
        return [inner for one in part["content"] for inner in _parts_of(one)]
    text = _text_of(part) if part.get("type") in _TEXT_PARTS else None
    if text is None:
        return [dict(part)]
    kept = {key: value for key, value in part.items() if key not in ("content", "output")}
    return [{**kept, "type": "text", "text": text}]


def _text_of(part: AnyMapping) -> str | None:
    """The text of a part, under any of its names."""
    for name in ("text", "output", "content"):
        value = part.get(name)
        value = value.get("value") if isinstance(value, Mapping) else value
        if isinstance(value, str):
            return value
    return None
