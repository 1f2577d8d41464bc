"""What the aggregator does for the mixture: tools, schemas, token counts, the profile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.tools import BaseTool
from pydantic import BaseModel
from typing_extensions import override

from langchain_moa.binding import FallbackBindings, bound_arguments, rebound
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.members import Member
from langchain_moa.mixture import Mixture
from langchain_moa.outer_run import CompositeChatModel


class DelegatingChatModel(CompositeChatModel, ABC):
    """A chat model that asks its aggregator what only a single model can know."""

    @property
    @abstractmethod
    def _mixture(self) -> Mixture:
        """The checked mixture."""

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the aggregator, which acts; reference models advise in text.

        Args:
            tools: As the aggregator's own `bind_tools` takes them.
            tool_choice: Which tool must be called, in the aggregator's terms.
            **kwargs: Further arguments of the aggregator's `bind_tools`.

        Raises:
            MoAConfigurationError: The aggregator is no chat model.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self._bound("bind_tools", lambda model: model.bind_tools(tools, **kwargs))

    @override
    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answer in a schema, by the aggregator's own method; proposals stay free text.

        Args:
            schema: As the aggregator's own `with_structured_output` takes it.
            include_raw: Whether the result holds the raw message and a parsing error too.
            **kwargs: Further arguments, such as `method` and `strict`.

        Raises:
            MoAConfigurationError: The aggregator is no chat model.
        """
        return self._bound(
            "with_structured_output",
            lambda model: model.with_structured_output(schema, include_raw=include_raw, **kwargs),
        )

    def _bound(
        self, use: str, bind: Callable[[BaseChatModel], Runnable[Any, Any]]
    ) -> Runnable[Any, Any]:
        """What the aggregator makes of a binding, with the mixture in its place."""
        candidates = self._mixture.aggregator.candidates
        model, *fallbacks = [_chat_model(member, use) for member in candidates]
        binding = bind(model)
        bindings = FallbackBindings(
            own=frozenset(bound_arguments(binding, model)),
            others=tuple(bound_arguments(bind(fallback), fallback) for fallback in fallbacks),
        )
        return rebound(binding, model, self._with_bindings(bindings) if fallbacks else self)

    @abstractmethod
    def _with_bindings(self, bindings: FallbackBindings) -> Self:
        """A copy that knows what a binding means for the aggregator's fallbacks."""

    @override
    def get_token_ids(self, text: str) -> list[int]:
        model = self._mixture.aggregator.chat_model
        return super().get_token_ids(text) if model is None else model.get_token_ids(text)

    @override
    def get_num_tokens(self, text: str) -> int:
        model = self._mixture.aggregator.chat_model
        return super().get_num_tokens(text) if model is None else model.get_num_tokens(text)

    @override
    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> int:
        model = self._mixture.aggregator.chat_model
        count = (
            super().get_num_tokens_from_messages
            if model is None
            else (model.get_num_tokens_from_messages)
        )
        return count(messages, *args, **kwargs)

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        """The aggregator's profile, with the smallest input that every member takes."""
        mixture = self._mixture
        aggregator = mixture.aggregator.chat_model
        if aggregator is None or not aggregator.profile:
            return None
        members = [mixture.aggregator, *(m for layer in mixture.proposers for m in layer)]
        profiles = [m.chat_model.profile or {} for m in members if m.chat_model is not None]
        limits = [p["max_input_tokens"] for p in profiles if p.get("max_input_tokens")]
        profile: ModelProfile = {**aggregator.profile}
        if limits:
            profile["max_input_tokens"] = min(limits)
        return profile


def _chat_model(member: Member, use: str) -> BaseChatModel:
    if member.chat_model is None:
        kind = type(member.runnable).__name__
        msg = f"{member.field}=<{kind}> is no chat model, which {use} needs; give a chat model."
        if isinstance(member.runnable, RunnableWithFallbacks):
            msg += " Fallbacks can be given as a list: aggregator=[first, second]."
        raise MoAConfigurationError(msg)
    return member.chat_model
