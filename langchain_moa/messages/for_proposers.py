"""The conversation in a shape that every provider takes from a model without tools.

Reference models are of different providers, and each has rules of its own: tool turns need tools,
reasoning needs its signature, turns begin and end with the user, nothing may be empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import not_
from typing import Final, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    merge_message_runs,
)

from langchain_moa.messages.blocks import REASONING_KEY, is_blank, kind_of
from langchain_moa.messages.roles import GO_ON, appended, role_of
from langchain_moa.messages.tools import arguments_text
from langchain_moa.types import AnyDict

_BEGINNING: Final = "Begin the conversation."
"""The user turn before a conversation that an assistant begins."""


def history_for_proposers(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation as reference models read it.

    Tool turns become text, reasoning, what a provider's own tools left, and empty messages are
    left out, system messages stand together at the beginning, and the user speaks first. What needs
    none of this is the same.

    Args:
        messages: The conversation. It is not changed.
    """
    plain = [_without_empty_text(in_own_words(m)) for m in without_tool_turns(messages)]
    kept = [message for message in plain if not _is_empty(message)]
    systems, others = _systems_and_others(kept)
    if not others or role_of(others[0]) == "assistant":
        others.insert(0, HumanMessage(_BEGINNING))
    return [*_as_one(systems), *others]


def systems_first(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation with its system messages joined at its beginning, if they are not there."""
    systems, others = _systems_and_others(messages)
    if [*systems, *others] == list(messages):
        return list(messages)
    return [*_as_one(systems), *others]


def ending_on_user(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation with a user's turn at its end, for it to be answered."""
    if messages and role_of(messages[-1]) == "user":
        return list(messages)
    return [*messages, HumanMessage(GO_ON)]


def _systems_and_others(
    messages: Sequence[BaseMessage],
) -> tuple[list[BaseMessage], list[BaseMessage]]:
    is_system = [role_of(message) == "system" for message in messages]
    return list(compress(messages, is_system)), list(compress(messages, map(not_, is_system)))


def _as_one(systems: Sequence[BaseMessage]) -> list[BaseMessage]:
    if len(systems) < 2:  # noqa: PLR2004 - nothing to join
        return list(systems)
    first, *others = systems
    for message in others:
        first = appended(first, message.text)
    return [first]


def in_own_words(message: BaseMessage) -> BaseMessage:
    """What an assistant said, without what only its own provider takes back.

    That is reasoning, and blocks of tools that ran at the provider's, such as a search.
    """
    if not isinstance(message, AIMessage):
        return message
    beside = REASONING_KEY in message.additional_kwargs
    blocks = message.content if isinstance(message.content, list) else []
    said = [words for block in blocks for words in _words(block)]
    if not beside and said == blocks:
        return message
    update: AnyDict = {
        "additional_kwargs": {
            k: v for k, v in message.additional_kwargs.items() if k != REASONING_KEY
        }
    }
    if blocks:
        update["content"] = said
    return message.model_copy(update=update)


def _words(block: str | dict[object, object]) -> Iterator[str | dict[object, object]]:
    kind = kind_of(block)
    if kind == "text":
        yield block
    elif kind == "refusal" and isinstance(block, dict):
        yield {"type": "text", "text": str(block.get("refusal", ""))}


def _without_empty_text(message: BaseMessage) -> BaseMessage:
    blocks = message.content if isinstance(message.content, list) else []
    kept = [block for block in blocks if not is_blank(block)]
    return message if len(kept) == len(blocks) else message.model_copy(update={"content": kept})


def _is_empty(message: BaseMessage) -> bool:
    if isinstance(message.content, str):
        return is_blank(message.content)
    return not message.content


def without_tool_turns(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The conversation as a model without tools may read it: tool turns as text.

    Providers refuse tool calls and results in a request that binds no tools. Calls become
    text of the assistant, results text of the user. A conversation without tool turns is
    returned as it is.
    """
    if not any(isinstance(m, ToolMessage) or calls_tools(m) for m in messages):
        return list(messages)
    texts = [tool_turn_as_text(message) for message in with_named_results(messages)]
    return [_in_blocks(message) for message in merge_message_runs(texts, chunk_separator="\n\n")]


def with_named_results(messages: Sequence[BaseMessage]) -> Iterator[BaseMessage]:
    """The messages, each result named by its call: results may come in any order.

    Args:
        messages: The conversation, before any of it becomes text.
    """
    labels: dict[str | None, str] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            times = Counter(call["name"] for call in message.tool_calls)
            for call in message.tool_calls:
                arguments = f" with {arguments_text(call['args'])}"
                labels[call["id"]] = call["name"] + (arguments if times[call["name"]] > 1 else "")
        if isinstance(message, ToolMessage) and message.tool_call_id in labels:
            yield message.model_copy(update={"name": labels[message.tool_call_id]})
        else:
            yield message


def _in_blocks(message: BaseMessage) -> BaseMessage:
    """The message with no bare string in list content, which merging may leave there."""
    if isinstance(message.content, str):
        return message
    return message.model_copy(update={"content": _blocks(message.content)})


def _is_text(content: str | Sequence[str | AnyDict]) -> bool:
    return all(kind_of(block) == "text" for block in _blocks(content))


def _blocks(content: str | Sequence[str | AnyDict]) -> list[AnyDict]:
    return [_block(part) for part in ([content] if isinstance(content, str) else content)]


def _block(part: str | AnyDict) -> AnyDict:
    """A part of a content with its type; what a tool gave in a form of its own is told as JSON."""
    if isinstance(part, dict) and isinstance(part.get("type"), str) and part["type"] != "json":
        return part
    text = part.get("text") if isinstance(part, dict) else part
    return {"type": "text", "text": text if isinstance(text, str) else arguments_text(part)}


def calls_tools(message: BaseMessage) -> bool:
    """Whether a message calls tools, whether the calls could be parsed or not."""
    return isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls)


def tool_turn_as_text(message: BaseMessage) -> BaseMessage:
    """A tool turn as text: a call the assistant's, a result the user's.

    Args:
        message: Any message; one that is no part of a tool turn is returned as it is.
    """
    if isinstance(message, ToolMessage):
        name = message.name or "tool"
        outcome = "failed" if message.status == "error" else "returned"
        if _is_text(message.content):
            text = "".join(str(block.get("text") or "") for block in _blocks(message.content))
            return HumanMessage(f"[{name} {outcome}]\n{text}")
        kept = [block for block in _blocks(message.content) if not is_blank(block)]
        return HumanMessage([*_blocks(f"[{name} {outcome}]"), *kept])
    if calls_tools(message):
        answer = cast("AIMessage", message)
        calls = [
            f"[called {c['name']} with {arguments_text(c['args'])}]" for c in answer.tool_calls
        ]
        calls += [f"[called {c['name']} with {c['args']}]" for c in answer.invalid_tool_calls]
        return AIMessage("\n".join(filter(None, [answer.text, *calls])))
    return message
