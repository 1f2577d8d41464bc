"""What a member is: its runnable, its name, what it is given and how its answer is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    get_buffer_string,
    message_chunk_to_message,
)
from langchain_core.prompts import BasePromptTemplate
from langchain_core.prompts.chat import (
    BaseChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
)
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
)
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.pregel.protocol import PregelProtocol
from pydantic import SecretStr

from langchain_moa.composition import (
    counting,
    holds_graph,
    is_openai,
    language_models,
    model_of,
    quiet,
    repeats,
    root_of,
    with_arguments,
)
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.identity import fingerprint

MemberLike: TypeAlias = str | Mapping[str, Any] | Runnable[Any, Any]
"""What a user may give as a member: see `MoAChatModel.reference_models`."""

Conversation: TypeAlias = Sequence[BaseMessage]

_MIN_SECRET: Final = 4
"""Shorter values would redact ordinary words."""


@dataclass(frozen=True, eq=False)
class Member:
    """A reference model or the aggregator.

    Attributes:
        runnable: What is called. It is the user's own object, or was built from a string.
        field: The argument it was given as, for error messages.
        fallbacks: Who is asked, in turn, when this one gives nothing.
    """

    runnable: Runnable[Any, Any] = dataclasses.field(repr=False)
    field: str = "member"
    fallbacks: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        _ = self.adapt  # a prompt that cannot be filled is an error at construction

    @cached_property
    def model(self) -> str:
        """The model name that is asked for, for records and traces."""
        return model_of(self.runnable)

    @cached_property
    def candidates(self) -> tuple[Member, ...]:
        """The member, then its fallbacks."""
        return (self, *self.fallbacks)

    @cached_property
    def retries_itself(self) -> bool:
        """Whether its client repeats failed requests, so that nobody else must.

        Chains and agents count as such, for they may hold anything. A client's `max_retries` of
        `None` is the provider's default, which is not zero.
        """
        model = self.chat_model
        if model is None or getattr(model, "is_mixture", False):
            return True
        return getattr(model, "max_retries", 0) != 0 or repeats(self.runnable)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that tells any two different members apart."""
        return fingerprint([self.runnable])

    @cached_property
    def adapt(self) -> Callable[[Conversation], Any]:
        """Turns a conversation into this member's input."""
        return _adapter(self.runnable, self.field)

    @cached_property
    def chat_model(self) -> BaseChatModel | None:
        """The chat model below bindings and retries, `None` for any other runnable."""
        inner = self.runnable
        while isinstance(inner, RunnableBindingBase):
            inner = inner.bound
        return inner if isinstance(inner, BaseChatModel) else None

    def on(self, copy: BaseChatModel, of: BaseChatModel) -> Member:
        """This member on a copy of its chat model; itself where it has not that model."""
        if copy is of or self.chat_model is not of:
            return self
        return dataclasses.replace(self, runnable=_on(self.runnable, copy))

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is one chat model, to whose runs only its caller listens."""
        inner = self.runnable
        while type(inner) is RunnableBinding and not (inner.config or inner.config_factories):
            inner = inner.bound
        return (
            isinstance(inner, BaseChatModel)
            and not getattr(inner, "is_mixture", False)
            and not (inner.callbacks or inner.verbose)
        )

    @cached_property
    def reports_own_usage(self) -> bool:
        """Whether the usage on an answer is that of exactly one model call."""
        model = self.chat_model
        return model is not None and not getattr(model, "is_mixture", False)

    @property
    def profile(self) -> ModelProfile:
        """What is known of its model; empty where nothing is."""
        return (self.chat_model.profile if self.chat_model is not None else None) or {}

    @cached_property
    def max_tokens(self) -> int | None:
        """The model's own limit of an answer in tokens, where it has one."""
        limit = getattr(self.chat_model, "max_tokens", None)
        return limit if isinstance(limit, int) else None

    @cached_property
    def streams(self) -> bool:
        """Whether `stream` yields the answer's pieces (graphs yield state updates)."""
        return not holds_graph(self.runnable)

    @cached_property
    def marks_end(self) -> bool:
        """Whether its streams always say why they ended, so that one that doesn't is cut off."""
        return isinstance(self.runnable, BaseChatModel | RunnableBinding) and is_openai(
            self.chat_model
        )

    @cached_property
    def quiet(self) -> Runnable[Any, Any]:
        """The runnable with streaming off, so that no handler upstream turns it on."""
        return quiet(self._called)

    @cached_property
    def counting(self) -> Runnable[Any, Any]:
        """The runnable with usage asked for in streams, where its owner left that open."""
        return counting(self._called)

    @property
    def _called(self) -> Runnable[Any, Any]:
        """The runnable; a model that was built from a string knows a faster way to be called."""
        model = self.chat_model
        as_called = getattr(getattr(model, "async_client", None), "as_called", None)
        return self.runnable if as_called is None else _on(self.runnable, as_called(model))

    def limited(self, runnable: Runnable[Any, Any], seconds: float) -> Runnable[Any, Any]:
        """The runnable with a timeout for the client, where that is known and was left open.

        A request in a thread can't be ended from outside, so the client has to end it.
        """
        if seconds == math.inf or not _is_without_timeout(self.chat_model):
            return runnable
        return with_arguments(runnable, {"timeout": seconds})

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The keys of all models inside, to be kept out of errors and logs."""
        found = {
            value.get_secret_value()
            for model in language_models(self.runnable)
            for value in vars(model).values()
            if isinstance(value, SecretStr)
        }
        return frozenset(secret for secret in found if len(secret) >= _MIN_SECRET)


def as_message(output: Any) -> AIMessage:
    """A member's output as an `AIMessage`.

    Args:
        output: A message, a string, or an agent's state with `messages`.

    Raises:
        TypeError: The output is none of these, or a graph's that was interrupted.
    """
    if isinstance(output, dict) and "__interrupt__" in output:
        msg = "the member asked for a person's input, which a mixture has no one to give"
        raise TypeError(msg)
    if isinstance(output, dict) and "messages" in output:
        # a graph that adds no message leaves the question last, which is no answer
        last = output["messages"][-1:]
        output = last[0] if last and isinstance(last[0], AIMessage) else AIMessage("")
    if isinstance(output, AIMessageChunk):
        return cast("AIMessage", message_chunk_to_message(output))
    if isinstance(output, AIMessage):
        return output
    if isinstance(output, BaseMessage):
        return AIMessage(output.text)
    if isinstance(output, str):
        return AIMessage(output)
    msg = f"a member must return a message or a string, not {type(output).__name__}"
    raise TypeError(msg)


def as_chunk(output: Any) -> AIMessageChunk:
    """One piece of a member's streamed output as an `AIMessageChunk`."""
    if isinstance(output, AIMessageChunk):
        return output
    message = as_message(output)
    return AIMessageChunk(**message.model_dump(exclude={"type"}))


def _on(runnable: Runnable[Any, Any], model: BaseChatModel) -> Runnable[Any, Any]:
    """The bindings around a chat model, around another one."""
    if not isinstance(runnable, RunnableBindingBase):
        return model
    return runnable.model_copy(update={"bound": _on(runnable.bound, model)})


def _is_without_timeout(model: BaseChatModel | None) -> bool:
    """Whether it is one of OpenAI's family, whose requests take a timeout, and has none."""
    return is_openai(model) and getattr(model, "request_timeout", None) is None


def _adapter(runnable: Runnable[Any, Any], field: str) -> Callable[[Conversation], Any]:
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


def _asked(prompt: Any) -> set[str]:
    """The variables in a prompt's human messages."""
    humans = [
        m for m in getattr(prompt, "messages", []) if isinstance(m, HumanMessagePromptTemplate)
    ]
    return {name for message in humans for name in message.input_variables}


def _placeholder(prompt: BasePromptTemplate[Any]) -> str | None:
    """The placeholder to fill: a required one first, never one that is already filled."""
    free = [p for p in _placeholders(prompt) if not prompt.partial_variables.get(p.variable_name)]
    best = sorted(free, key=lambda placeholder: placeholder.optional)
    return best[0].variable_name if best else None


def _placeholders(prompt: Any) -> Iterator[MessagesPlaceholder]:
    for message in getattr(prompt, "messages", []):
        if isinstance(message, MessagesPlaceholder):
            yield message
        elif isinstance(message, BaseChatPromptTemplate):
            yield from _placeholders(message)


def _as_text(messages: Conversation) -> str:
    if len(messages) == 1 and isinstance(messages[0], HumanMessage):
        return messages[0].text
    return get_buffer_string(messages)
