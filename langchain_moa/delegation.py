"""What the aggregator does for the mixture: tools, schemas, token counts, the profile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import BaseModel
from typing_extensions import override

from langchain_moa.members.bindings import (
    Bind,
    Bindings,
    Bound,
    binding_of,
    bound_if_able,
    bound_in,
    chat_model_of,
    rebound,
)
from langchain_moa.members.profiles import FreshProfile, common_profile
from langchain_moa.messages.tools import first_name
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.schemas import acceptance
from langchain_moa.proposals.voting import votable_fields
from langchain_moa.tracing.outer_run import CompositeChatModel


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
            MoAConfigurationError: The aggregator is no chat model or takes no tools; or a
                reference model refuses them with `tools_for="all"`. One that cannot have any
                advises in text.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self._bound(
            "bind_tools",
            lambda model: model.bind_tools(tools, **kwargs),
            # nobody forces a reference model to call what is never executed
            (lambda model: model.bind_tools(tools)) if self._mixture.tools_for == "all" else None,
        )

    @override
    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        vote: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Answer in a schema, by the aggregator's own method.

        Proposals stay free text, unless `structured_proposals` or `vote` is set.

        Args:
            schema: As the aggregator's own `with_structured_output` takes it.
            include_raw: Whether the result holds the raw message and a parsing error too.
            vote: Whether each field gets the value that most proposals of the last layer have, and
                the aggregator's where they are tied (self-consistency, arXiv 2203.11171). All
                fields must be closed: Literal, enum, bool or number. What the schema does not
                permit has no vote, and if it does not permit the result, the aggregator's answer
                is kept. The record tells the votes; the answer then comes in one piece.
            **kwargs: Further arguments, such as `method` and `strict`.

        Raises:
            MoAConfigurationError: The aggregator is no chat model or has no such method; a field
                is open and cannot be voted on; or a reference model refuses the schema. One that
                cannot have any answers in free text.
        """
        fields = votable_fields(schema) if vote else {}

        def bind(model: BaseChatModel) -> Runnable[Any, Any]:
            return model.with_structured_output(schema, include_raw=include_raw, **kwargs)

        all_in_schema = vote or self._mixture.structured_proposals
        return self._bound(
            "with_structured_output",
            bind,
            bind if all_in_schema else None,
            schema=acceptance(schema),
            vote=fields,
        )

    def _bound(
        self, use: str, bind: Bind, propose: Bind | None = None, **settings: Any
    ) -> Runnable[Any, Any]:
        """What the aggregator makes of a binding, with the mixture in its place.

        Args:
            use: The method, for errors.
            bind: Makes the binding of the aggregator, or a fallback of it.
            propose: The same for reference models; `None` leaves them alone.
            **settings: Further fields of the `Bindings`.
        """
        candidates = self._mixture.aggregator.candidates
        found = [(chat_model_of(member, use), member) for member in candidates]
        made = [(binding_of(bind, model, member, use), model) for model, member in found]
        bindings = Bindings(
            aggregators=tuple(bound_in(own, model) or Bound(model, model) for own, model in made),
            proposers={} if propose is None else dict(self._proposers_bound(propose, use)),
            **settings,
        )
        if bindings.schema is not None:
            tools = bindings.aggregators[0].arguments.get("tools")
            bindings = replace(bindings, tool=first_name(tools))
        binding, model = made[0]
        return rebound(binding, model, self._with_bindings(bindings))

    def _proposers_bound(
        self, bind: Bind, use: str
    ) -> Iterator[tuple[tuple[int, int, int], Bound]]:
        """What the binding is for those reference models that take one; the others write text."""
        for layer, members in enumerate(self._mixture.proposers, start=1):
            for index, first in enumerate(members):
                for place, member in enumerate(first.candidates):
                    bound = bound_if_able(bind, member, use)
                    if bound is not None:
                        yield (layer, index, place), bound

    @abstractmethod
    def _with_bindings(self, bindings: Bindings) -> Self:
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
        """What the current aggregators can, and the most input that fits beside the proposals."""
        mixture = self._mixture
        candidates = mixture.aggregator.candidates
        own = [mixture.profile_of(member) for member in candidates]
        profile = common_profile(own)
        # of several limits the lowest is the one that holds whoever answers
        given = mixture.final_arguments.get("max_tokens")
        outputs = [given or member.max_tokens for member in candidates]
        limits = {
            "max_input_tokens": mixture.room_for_input,
            "max_output_tokens": _lowest(
                [*outputs, *(one.get("max_output_tokens") for one in own)]
            ),
        }
        known = {name: limit for name, limit in limits.items() if limit is not None}
        return cast("ModelProfile", {**profile, **known}) or None


# a descriptor, which pydantic would not take in the class body
DelegatingChatModel.profile = FreshProfile()  # type: ignore[assignment]


def _lowest(limits: Sequence[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
