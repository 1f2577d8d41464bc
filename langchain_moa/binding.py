"""The aggregator's own tool and schema binding, with the mixture in the aggregator's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel, RunnableSequence

from langchain_moa.errors import MoAConfigurationError


def rebound(
    binding: Runnable[Any, Any], model: Runnable[Any, Any], mixture: Runnable[Any, Any]
) -> Runnable[Any, Any]:
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
    result = _replaced(binding, model, mixture)
    if result is None:
        msg = (
            f"aggregator=<{type(model).__name__}> builds a {type(binding).__name__} that does not "
            "hold the model itself; use an aggregator with the usual bind_tools."
        )
        raise MoAConfigurationError(msg)
    return result


@dataclass(frozen=True)
class Bindings:
    """What tools or a schema mean for other members, which may be of other providers.

    Attributes:
        own: Names of the arguments that the aggregator's own binding has.
        others: The arguments of the binding of each fallback of the aggregator.
        proposers: The arguments of reference models' bindings, by layer and index; empty where
            they answer in free text.
        schema: Whether these are a schema's and not tools'.
        vote: Fields of the schema that the members vote on, and what values they may have.
    """

    own: frozenset[str] = frozenset()
    others: tuple[dict[str, Any], ...] = ()
    proposers: Mapping[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    schema: bool = False
    vote: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)

    def arguments(self, place: int, given: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments for one candidate: the aggregator is the first."""
        if not place or not self.others:
            return given
        free = {name: value for name, value in given.items() if name not in self.own}
        return {**free, **self.others[place - 1]}


def bound_arguments(binding: Runnable[Any, Any], model: Runnable[Any, Any]) -> dict[str, Any]:
    """The arguments that a composition binds to a model; none where it does not hold it."""
    if isinstance(binding, RunnableBinding):
        own = dict(binding.kwargs) if binding.bound is model else {}
        return {**bound_arguments(binding.bound, model), **own}
    if isinstance(binding, RunnableSequence):
        return bound_arguments(binding.first, model)
    if isinstance(binding, RunnableParallel):
        found = [bound_arguments(step, model) for step in binding.steps__.values()]
        return next(filter(None, found), {})
    return {}


def _replaced(
    node: Runnable[Any, Any], old: Runnable[Any, Any], new: Runnable[Any, Any]
) -> Runnable[Any, Any] | None:
    """The copy with `old` replaced, `None` where `old` does not occur."""
    if node is old:
        return new
    if isinstance(node, RunnableBinding):
        bound = _replaced(node.bound, old, new)
        return bound and node.model_copy(update={"bound": bound})
    if isinstance(node, RunnableSequence):
        first = _replaced(node.first, old, new)
        return first and RunnableSequence(first, *node.middle, node.last, name=node.name)
    if isinstance(node, RunnableParallel):
        steps = {key: _replaced(step, old, new) for key, step in node.steps__.items()}
        if not any(steps.values()):
            return None
        merged = {key: steps[key] or step for key, step in node.steps__.items()}
        return node.model_copy(update={"steps__": merged})
    return None
