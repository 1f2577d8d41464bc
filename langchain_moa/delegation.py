"""What the aggregator does for the mixture: tools, schemas, token counts, the profile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel
from typing_extensions import override

from langchain_moa.binding import rebound
from langchain_moa.errors import MoAConfigurationError
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
        model = self._aggregator_model("bind_tools")
        return rebound(model.bind_tools(tools, **kwargs), model, self)

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
        model = self._aggregator_model("with_structured_output")
        bound = model.with_structured_output(schema, include_raw=include_raw, **kwargs)
        return rebound(bound, model, self)

    def _aggregator_model(self, use: str) -> BaseChatModel:
        member = self._mixture.aggregator
        if member.chat_model is None:
            kind = type(member.runnable).__name__
            msg = f"aggregator=<{kind}> is no chat model, which {use} needs; give a chat model."
            raise MoAConfigurationError(msg)
        return member.chat_model

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
