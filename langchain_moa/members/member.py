"""What a member is: its runnable, its name, what it is given and how its answer is read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.runnables import (
    RunnableBinding,
)
from langchain_core.runnables.base import RunnableBindingBase

from langchain_moa.members.arguments import require_one_answer, require_sendable
from langchain_moa.members.discreet import discreet
from langchain_moa.members.identity import fingerprint
from langchain_moa.members.prompts import Conversation, adapter_of
from langchain_moa.members.runnables import (
    counting,
    holds_graph,
    is_openai,
    model_and_arguments,
    model_of,
    on,
    quiet,
    repeats,
    streams_totals,
    with_arguments,
)
from langchain_moa.members.secrets import secrets_of
from langchain_moa.members.telling import telling_all
from langchain_moa.providers.foreign import tidily_read
from langchain_moa.tracing.redaction import HEADER_NAMES
from langchain_moa.types import AnyMapping, AnyRunnable

MemberLike: TypeAlias = str | AnyMapping | AnyRunnable
"""What a user may give as a member: see `MoAChatModel.reference_models`."""


@dataclass(frozen=True, eq=False)
class Member:
    """A reference model or the aggregator.

    Attributes:
        runnable: What is called. It is the user's own object, or was built from a string.
        field: The argument it was given as, for error messages.
        fallbacks: Who is asked, in turn, when this one gives nothing.
    """

    runnable: AnyRunnable = dataclasses.field(repr=False)
    field: str = "member"
    fallbacks: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        _ = self.adapt  # a prompt that cannot be filled is an error at construction
        model, arguments = model_and_arguments(self.runnable)
        own = {} if model is None else vars(model)
        require_one_answer({**own, **arguments}, f"{self.field}.")
        require_sendable(model, arguments, f"{self.field}.")

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
        return adapter_of(self.runnable, self.field)

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
        return dataclasses.replace(self, runnable=on(self.runnable, copy))

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
    def streams_totals(self) -> bool:
        """Whether each piece of its stream stands for all before it."""
        return streams_totals(self.runnable)

    @cached_property
    def marks_end(self) -> bool:
        """Whether its streams always say why they ended, so that one that doesn't is cut off."""
        return isinstance(self.runnable, BaseChatModel | RunnableBinding) and is_openai(
            self.chat_model
        )

    @cached_property
    def quiet(self) -> AnyRunnable:
        """The runnable with streaming off, so that no handler upstream turns it on."""
        return quiet(self._called)

    @cached_property
    def counting(self) -> AnyRunnable:
        """The runnable with usage asked for in streams, where its owner left that open."""
        return counting(self._called)

    @property
    def _called(self) -> AnyRunnable:
        """The runnable; a model that was built from a string knows a faster way to be called."""
        model = self.chat_model
        called = _as_called(model)
        if called is not None and is_openai(called):
            called = telling_all(called)
        if called is not None and HEADER_NAMES & model_and_arguments(self.runnable)[1].keys():
            called = discreet(called)
        return self.runnable if called is None else on(self.runnable, called)

    def limited(self, runnable: AnyRunnable, seconds: float) -> AnyRunnable:
        """The runnable with a timeout for the client, where that is known and was left open.

        A request in a thread can't be ended from outside, so the client has to end it.
        """
        if seconds == math.inf or not _is_without_timeout(self.chat_model):
            return runnable
        return with_arguments(runnable, {"timeout": seconds})

    @cached_property
    def secrets(self) -> frozenset[str]:
        """What must be kept out of all that leaves the process, see `secrets_of`."""
        return secrets_of(self.runnable)


def _as_called(model: BaseChatModel | None) -> BaseChatModel | None:
    """The model as a mixture calls it: what is odd in an answer is tidied before it is read."""
    as_called = getattr(getattr(model, "async_client", None), "as_called", None)
    if as_called is not None:
        called: BaseChatModel = as_called(model)
        return called
    if model is None or not is_openai(model):
        return model if model is None else tidily_read(model)
    from langchain_moa.providers.completions import plainly_asked  # noqa: PLC0415 - slow to import

    return plainly_asked(model)


def _is_without_timeout(model: BaseChatModel | None) -> bool:
    """Whether it is one of OpenAI's family, whose requests take a timeout, and has none."""
    return is_openai(model) and getattr(model, "request_timeout", None) is None
