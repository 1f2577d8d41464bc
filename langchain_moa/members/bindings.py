"""Tools and schemas bound: what a binding holds, and the mixture in the aggregator's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding
from langchain_core.runnables.fallbacks import RunnableWithFallbacks

from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import (
    children,
    model_and_arguments,
    on,
    rebuilt,
    with_arguments,
)
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

_SHOWN: Final = 300
"""Characters of what a model's own method says of its arguments."""


def rebound(binding: AnyRunnable, model: BaseChatModel, mixture: AnyRunnable) -> AnyRunnable:
    """A copy of what a model made of itself, with the mixture in the model's place.

    `bind_tools` and `with_structured_output` of any provider give a composition of bindings,
    sequences and maps around the model: formats and parsers stay the provider's own.

    Args:
        binding: What the model's method returned.
        model: The model itself.
        mixture: What takes its place.

    Raises:
        MoAConfigurationError: The model is not found in the composition. Going on would
            return the bare aggregator, and the mixture would silently be gone.
    """

    def replaced(node: AnyRunnable) -> AnyRunnable:
        return mixture if _is_model(node, model) else rebuilt(node, replaced)

    result = replaced(binding)
    if result is binding:
        msg = (
            f"aggregator=<{type(model).__name__}> builds a {type(binding).__name__} that does not "
            "hold the model itself; use an aggregator with the usual bind_tools."
        )
        raise MoAConfigurationError(msg)
    return result


@dataclass(frozen=True)
class Bound:
    """What tools or a schema mean for one member.

    Attributes:
        model: The chat model that they were bound to.
        inside: The model as the binding has it: itself, or a copy that a mixture made, which knows
            what the binding means for its own members.
        arguments: The call arguments.
    """

    model: BaseChatModel
    inside: BaseChatModel
    arguments: AnyDict = field(default_factory=dict)


@dataclass(frozen=True)
class Bindings:
    """What tools or a schema mean for the members, which may be of several providers.

    Attributes:
        aggregators: For the aggregator and each fallback of it.
        proposers: For reference models and their fallbacks, by layer, index and place among these;
            those that answer in free text have none.
        schema: Whether the schema that is bound permits some values; `None` where tools are.
        tool: The tool that the schema is asked for by; `None` where it is asked for as text.
        vote: Fields of the schema that the members vote on; per field, a value as the schema
            writes it, or nothing where it does not permit it.
    """

    aggregators: tuple[Bound, ...] = ()
    proposers: Mapping[tuple[int, int, int], Bound] = field(default_factory=dict)
    schema: Callable[[AnyMapping], bool] | None = None
    tool: str | None = None
    vote: Mapping[str, Callable[[Any], Sequence[Any]]] = field(default_factory=dict)

    def aggregator(self, place: int) -> Bound | None:
        """What was bound to the aggregator, which is the first, or to a fallback."""
        return self.aggregators[place] if place < len(self.aggregators) else None

    def arguments(self, place: int, given: AnyDict) -> AnyDict:
        """A call's arguments, which hold those of the aggregator's binding, for one candidate."""
        bound = self.aggregator(place)
        if not place or bound is None:
            return given
        own = self.aggregators[0].arguments
        free = {name: value for name, value in given.items() if name not in own}
        return {**free, **bound.arguments}


def tools_of(aggregator: Member, bindings: Bindings, arguments: AnyMapping) -> object:
    """The aggregator's tools, bound to the mixture or to itself; none where a schema is bound.

    Args:
        aggregator: The aggregator.
        bindings: What was bound to the mixture.
        arguments: Those of the final answer.
    """
    if bindings.schema:
        return None
    _, own = model_and_arguments(aggregator.runnable)
    return arguments.get("tools", own.get("tools"))


def bound_in(binding: AnyRunnable, model: BaseChatModel) -> Bound | None:
    """What a composition binds to a model; `None` where it does not hold it."""
    if _is_model(binding, model):
        return Bound(model, binding)
    found = (bound_in(child, model) for child in children(binding))
    below = next(filter(None, found), None)
    if below is None or not isinstance(binding, RunnableBinding):
        return below
    return replace(below, arguments={**below.arguments, **binding.kwargs})


def _is_model(node: AnyRunnable, model: BaseChatModel) -> TypeGuard[BaseChatModel]:
    """Whether it is the model, or a copy: a mixture binds tools to a copy of itself."""
    return type(node) is type(model)


Bind: TypeAlias = Callable[[BaseChatModel], AnyRunnable]


def _chat_model_of(member: Member, use: str) -> BaseChatModel:
    """The chat model of a member that something is bound to.

    Raises:
        MoAConfigurationError: It is no chat model.
    """
    if member.chat_model is None:
        kind = type(member.runnable).__name__
        msg = f"{member.field}=<{kind}> is no chat model, which {use} needs; give a chat model."
        if isinstance(member.runnable, RunnableWithFallbacks):
            msg += " Fallbacks can be given as a list: aggregator=[first, second]."
        raise MoAConfigurationError(msg)
    return member.chat_model


def _binding_of(bind: Bind, model: BaseChatModel, member: Member, use: str) -> AnyRunnable:
    """What a member's own method makes of its model.

    Raises:
        MoAConfigurationError: It has no such method, or that does not take what it is given.
    """
    try:
        return bind(model)
    except NotImplementedError as error:
        msg = (
            f"{member.field}={member.model!r} has no {use} of its own ({type(model).__name__}); "
            "give a model that has."
        )
        raise MoAConfigurationError(msg) from error
    except MoAError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:_SHOWN]
        msg = (
            f"{use}: {member.field}={member.model!r} does not take what it is given "
            f"({type(error).__name__}: {reason}); give tools, schemas and options in a form that "
            f"{type(model).__name__}.{use} takes."
        )
        raise MoAConfigurationError(msg) from error


def _bound_if_able(bind: Bind, member: Member, use: str) -> Bound | None:
    """A reference model's binding, `None` where it has no such method.

    Raises:
        MoAConfigurationError: Its method does not take what the aggregator's does.
    """
    model = member.chat_model
    if model is None:
        return None
    try:
        return bound_in(bind(model), model)
    except NotImplementedError:
        return None
    except Exception as error:
        msg = (
            f"{member.field}={member.model!r} does not take the same {use} as the aggregator "
            f"({type(error).__name__}: {error}); give another model, or leave reference models "
            "out with tools_for='aggregator', structured_proposals=False or vote=False."
        )
        raise MoAConfigurationError(msg) from error


def bind_members(
    aggregator: Member,
    proposers: Sequence[Sequence[Member]],
    use: str,
    bind: Bind,
    propose: Bind | None = None,
) -> tuple[AnyRunnable, BaseChatModel, Bindings]:
    """What tools or a schema mean for all members.

    Args:
        aggregator: The aggregator, whose fallbacks are bound in a form of their own.
        proposers: The reference models, per layer.
        use: The chat model's method, for errors.
        bind: Makes the binding of the aggregator, or a fallback of it.
        propose: The same for reference models; `None` leaves them alone.

    Returns:
        The aggregator's own binding, its model, and the bindings of all.

    Raises:
        MoAConfigurationError: The aggregator has no such method, or a member's method does not
            take what it is given.
    """
    found = [(_chat_model_of(member, use), member) for member in aggregator.candidates]
    made = [(_binding_of(bind, model, member, use), model) for model, member in found]
    bindings = Bindings(
        aggregators=tuple(bound_in(own, model) or Bound(model, model) for own, model in made),
        proposers={} if propose is None else dict(_bound_proposers(proposers, propose, use)),
    )
    return *made[0], bindings


def _bound_proposers(
    proposers: Sequence[Sequence[Member]], bind: Bind, use: str
) -> Iterator[tuple[tuple[int, int, int], Bound]]:
    """What the binding is for those reference models that take one; the others write text."""
    for layer, members in enumerate(proposers, start=1):
        for index, first in enumerate(members):
            for place, member in enumerate(first.candidates):
                bound = _bound_if_able(bind, member, use)
                if bound is not None:
                    yield (layer, index, place), bound


_AT_ZERO: Final = {"temperature": 0}
_REASONING: Final = ("reasoning_effort", "reasoning", "thinking")
"""How models of OpenAI and Anthropic are set to reason."""


def at_zero(member: Member) -> Member:
    """A member at temperature 0; itself where that is not to be had.

    Models that reason before they answer refuse a temperature, and so does what is no model.
    """
    model = member.chat_model
    reasons = any(getattr(model, name, None) is not None for name in _REASONING)
    if model is None or reasons or member.profile.get("temperature") is False:
        return member
    return replace(member, runnable=with_arguments(member.runnable, _AT_ZERO))


def answering_in(member: Member, schema: AnyDict) -> Member:
    """A member with a schema bound to it by its own best method; itself where it has none.

    It will be told in words, too, what to answer in.

    Args:
        member: The member.
        schema: The JSON schema.
    """
    model = member.chat_model
    if model is None:
        return member
    try:
        bound = bound_in(model.with_structured_output(schema), model)
    except Exception:  # noqa: BLE001 - words will do
        return member
    if bound is None:
        return member
    runnable = with_arguments(on(member.runnable, bound.inside), bound.arguments)
    return replace(member, runnable=runnable)
