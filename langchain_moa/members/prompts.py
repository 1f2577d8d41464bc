"""What members take: messages, a prompt's variables, a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, get_buffer_string
from langchain_core.prompts import BasePromptTemplate
from langchain_core.prompts.chat import (
    BaseChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
)
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.members.runnables import root_of
from langchain_moa.types import AnyRunnable

Conversation: TypeAlias = Sequence[BaseMessage]


def adapter_of(runnable: AnyRunnable, field: str) -> Callable[[Conversation], object]:
    """What makes a member's input of a conversation.

    Raises:
        MoAConfigurationError: Its prompt cannot be filled from a conversation.
    """
    root = root_of(runnable)
    if isinstance(root, PregelProtocol):
        return lambda messages: {"messages": list(messages)}
    if isinstance(root, BasePromptTemplate):
        return _prompt_adapter(root, field)
    return list


def _prompt_adapter(prompt: BasePromptTemplate[Any], field: str) -> Callable[[Conversation], Any]:
    """Fill a prompt's message placeholder and its one variable from the conversation."""
    placeholder = _placeholder(prompt)
    variables = [name for name in prompt.input_variables if name != placeholder]
    if placeholder is not None and not variables:
        return lambda messages: {placeholder: list(messages)}
    if placeholder is not None and len(variables) == 1 and variables[0] in _asked(prompt):
        return lambda messages: {
            placeholder: list(messages[:-1]),
            variables[0]: _as_text(messages[-1:]),
        }
    if placeholder is None and len(variables) == 1:
        return lambda messages: {variables[0]: _as_text(messages)}
    msg = (
        f"{field}: a prompt with the variables {prompt.input_variables} cannot be filled from a "
        "conversation; give it one messages placeholder, or one variable, or a placeholder for "
        "the history and one variable in a human message; fill the others with prompt.partial(...)."
    )
    raise MoAConfigurationError(msg)


def _asked(prompt: object) -> set[str]:
    """The variables in a prompt's human messages."""
    humans = [
        m for m in getattr(prompt, "messages", []) if isinstance(m, HumanMessagePromptTemplate)
    ]
    return {name for message in humans for name in message.input_variables}


def _placeholder(prompt: BasePromptTemplate[object]) -> str | None:
    """The placeholder to fill: a required one first, never one that is already filled."""
    free = [p for p in _placeholders(prompt) if not prompt.partial_variables.get(p.variable_name)]
    best = sorted(free, key=lambda placeholder: placeholder.optional)
    return best[0].variable_name if best else None


def _placeholders(prompt: object) -> Iterator[MessagesPlaceholder]:
    for message in getattr(prompt, "messages", []):
        if isinstance(message, MessagesPlaceholder):
            yield message
        elif isinstance(message, BaseChatPromptTemplate):
            yield from _placeholders(message)


def _as_text(messages: Conversation) -> str:
    if len(messages) == 1 and isinstance(messages[0], HumanMessage):
        return messages[0].text
    return get_buffer_string(messages)
