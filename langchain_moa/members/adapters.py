"""What members give: messages in every form that LangChain knows, states, values in a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar, cast

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ToolMessage,
    convert_to_messages,
    message_chunk_to_message,
)
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatResult, Generation, LLMResult
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langgraph.types import Command
from pydantic import BaseModel

from langchain_moa.accounting.usage import known_usage
from langchain_moa.messages.blocks import kind_of
from langchain_moa.types import AnyDict, AnyMapping

ANSWER_KEYS: Final = ("output", "answer", "result", "text", "response", "generation")
"""Where agents and chains that return a dict have their answer, the usual one first."""
QUESTION_KEYS: Final = frozenset({"input", "question", "query", "chat_history", "context"})
"""What they have beside it; a dict without them is more likely the values of a schema."""
_SAID: Final = (str, BaseMessage)
_RAW: Final = frozenset({"raw", "parsed", "parsing_error"})
"""What `with_structured_output(..., include_raw=True)` gives."""
_ROLES: Final = ("human", "user", "ai", "assistant", "system", "developer", "tool", "function")
_CHUNK: Final = "MessageChunk"
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
    output = _inside(output)
    match output:
        case AIMessage():
            return output
        case BaseMessage():
            return AIMessage(output.text)
        case str():
            return AIMessage(output)
        case Mapping():
            return _message_in_mapping(output, given)
        case list() | tuple():
            return _message_in_list(output, given)
    if _is_values(output):
        return AIMessage(_as_json(output))
    raise _unreadable(output)


def _inside(output: object) -> object:
    """What is in an object that LangChain or LangGraph put around it."""
    match output:
        case Generation():  # and a chat model's, which has a message
            return getattr(output, "message", output.text)
        case ChatResult() | LLMResult():
            return _inside(_first_of(output.generations))
        case Document():
            return output.page_content
        case PromptValue():
            return {"messages": output.to_messages()}
        case Command():
            return output.update  # nothing, or an update of a state
    return _sum_of(output) if isinstance(output, ChatPromptTemplate) else output


def _unreadable(output: object) -> TypeError:
    return TypeError(f"a member must return a message or a string, not {type(output).__name__}")


def _message_in_mapping(output: AnyMapping, given: object) -> AIMessage:
    if "__interrupt__" in output:
        msg = "the member asked for a person's input, which a mixture has no one to give"
        raise TypeError(msg)
    if "messages" in output:
        return _answer_of_state(output, given)
    if output.get("structured_response") is not None:
        return AIMessage(_as_json(output["structured_response"]))
    if output.keys() == _RAW:
        return _message_with_values(output, given)
    if _is_message(output) or _is_known_part(output):
        return _message_in(_converted(output) if _is_message(output) else [output], given)
    is_schema = _is_plain(output) and not output.keys() & QUESTION_KEYS and len(output) > 1
    said = [output[name] for name in ANSWER_KEYS if _is_said(output.get(name))]
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


def _message_with_values(output: AnyMapping, given: object) -> AIMessage:
    """A model's message with the values that were found in it; as it is where none were."""
    message = _message_in(output["raw"], given)
    if output["parsed"] is None:
        return message
    update: AnyDict = {"content": _as_json(output["parsed"]), "tool_calls": []}
    return message.model_copy(update=update)


def _sum_of(template: ChatPromptTemplate) -> AIMessage:
    """Messages that a generator yielded, which LangChain adds up to a prompt, as its stream."""
    if not all(isinstance(message, AIMessage) for message in template.messages):
        raise _unreadable(template)
    first, *others = map(as_chunk, template.messages)
    return add_ai_message_chunks(first, *others)


def _message_in_list(output: Sequence[Any], given: object) -> AIMessage:
    if _is_pair(output):
        return _message_in(_converted(tuple(output)), given)
    if all(isinstance(part, str | Document) for part in output):  # of a parser, a retriever
        return AIMessage("\n".join(_message_in(part, given).text for part in output))
    if _is_parts(output):
        return AIMessage([part if isinstance(part, str) else dict(part) for part in output])
    if not any(map(_is_of_conversation, output)) and _is_plain(output):
        return AIMessage(_as_json(output))
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
    if isinstance(form, Mapping):
        if isinstance(form.get("data"), Mapping):  # as messages_to_dict writes them
            form = {"type": form.get("type"), **form["data"]}
        form = {**form, **_type_of_chunk(form)}
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
    if _type_of_chunk(value):
        return "content" in value
    return value.get("lc") == 1 and value.get("type") == "constructor"


def _type_of_chunk(value: AnyMapping) -> AnyDict:
    """The type of a message of which a chunk's own dump has it, such as `"AIMessageChunk"`."""
    kind = value.get("type")
    if isinstance(kind, str) and kind.endswith(_CHUNK):
        return {"type": kind.removesuffix(_CHUNK).lower()}
    return {}


def _is_of_conversation(value: object) -> bool:
    """Whether it is a message, or is meant for one."""
    if isinstance(value, Mapping):
        return _is_message(value) or "role" in value
    return isinstance(value, BaseMessage) or (isinstance(value, list | tuple) and _is_pair(value))


def _is_said(value: object) -> bool:
    """Whether it is an answer, and no values of a schema."""
    if isinstance(value, Mapping):
        return _is_message(value)
    if isinstance(value, list | tuple):
        return _is_pair(value) or any(map(_is_of_conversation, value)) or _is_parts(value)
    return isinstance(value, _SAID)


def _is_pair(value: Sequence[object]) -> bool:
    pair = len(value) == 2 and value[0] in _ROLES  # noqa: PLR2004 - a pair
    return pair and isinstance(value[1], str | list)


def _is_part(value: object) -> bool:
    """Whether it is one part of a message's content."""
    if not isinstance(value, Mapping) or _is_message(value):
        return False
    kind = value.get("type")
    return _text_of(value) is not None if kind in _TEXT_PARTS else isinstance(kind, str)


def _is_known_part(value: object) -> bool:
    """The same of a type that is known: values of a schema may have a `type`, too."""
    if not _is_part(value) or not isinstance(value, Mapping):
        return False
    return value.get("type") in (*_TEXT_PARTS, "message") or kind_of(dict(value)) is not None


def _is_parts(values: Sequence[object]) -> bool:
    """Whether they are the parts of a message's content, one of them known at least."""
    is_content = all(isinstance(part, str) or _is_part(part) for part in values)
    return is_content and any(map(_is_known_part, values))


def _is_values(output: object) -> bool:
    """Whether it holds the values of a schema, as an object of the schema's class."""
    if isinstance(output, type | Runnable):
        return False
    return isinstance(output, BaseModel) or is_dataclass(output)


def _is_plain(value: object) -> bool:
    """Whether it is JSON."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _as_json(value: object) -> str:
    """The values of a schema as text; what JSON has no form for is shown as it prints."""
    if isinstance(value, str):
        return value
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


def _parts_of(part: object) -> list[object]:
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
