"""What runnables are composed of: the models inside, and copies with these changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_core.runnables.retry import RunnableRetry
from langgraph.pregel.protocol import PregelProtocol

from langchain_moa.errors import MoAConfigurationError

_NAME_ATTRIBUTES: Final = ("model_name", "model", "model_id", "deployment_name")


def with_arguments(
    runnable: Runnable[Any, Any], arguments: Mapping[str, Any]
) -> Runnable[Any, Any]:
    """The runnable with call arguments bound to the model (the last one) inside.

    Arguments given to a chain's `invoke` reach its first step, which is not the model.

    Raises:
        MoAConfigurationError: There is no model inside that could take them.
    """
    if not arguments:
        return runnable
    bound = _replace_model(runnable, lambda model: model.bind(**arguments))
    if bound is None:
        names = ", ".join(sorted(arguments))
        msg = (
            f"{names}: {model_of(runnable)!r} is a {type(runnable).__name__} without a chat model "
            "that could take call arguments; set them inside it, or leave them out here."
        )
        raise MoAConfigurationError(msg)
    return bound


def model_of(runnable: Runnable[Any, Any]) -> str:
    """The name of the model that a runnable asks for, or the runnable's own name.

    Of a chain it is the last model, of a model with fallbacks the first choice.
    """
    if isinstance(runnable, RunnableBindingBase):
        bound = runnable.kwargs.get("model")
        return bound if isinstance(bound, str) else model_of(runnable.bound)
    if isinstance(runnable, RunnableWithFallbacks):
        return model_of(runnable.runnable)
    if isinstance(runnable, RunnableSequence):
        models = [step for step in runnable.steps if any(language_models(step))]
        return model_of(models[-1]) if models else runnable.get_name()
    for attribute in _NAME_ATTRIBUTES:
        name = getattr(runnable, attribute, None)
        if isinstance(name, str) and name:
            return name
    return runnable.get_name()


def model_and_arguments(
    runnable: Runnable[Any, Any],
) -> tuple[BaseChatModel | None, dict[str, Any]]:
    """The chat model that answers (the last one of a chain), and the arguments bound to it.

    There is none where several could answer, or where it is not known who does.
    """
    if isinstance(runnable, RunnableBindingBase):
        model, arguments = model_and_arguments(runnable.bound)
        return model, {**arguments, **runnable.kwargs}
    if isinstance(runnable, RunnableSequence):
        models = [step for step in runnable.steps if any(language_models(step))]
        return model_and_arguments(models[-1]) if models else (None, {})
    return (runnable if isinstance(runnable, BaseChatModel) else None), {}


def language_models(runnable: Any) -> Iterator[BaseLanguageModel[Any]]:
    """The language models inside a runnable, as far as its composition is known."""
    if isinstance(runnable, BaseLanguageModel):
        yield runnable
    for part in _parts(runnable):
        yield from language_models(part)


def holds(value: Any, wanted: Runnable[Any, Any]) -> bool:
    """Whether a runnable, or a list or dict of them, has another one somewhere inside."""
    left, seen = [value], set[int]()
    while left:
        item = left.pop()
        if item is wanted:
            return True
        if id(item) in seen:
            continue
        seen.add(id(item))
        left += _runnables_in(item) if isinstance(item, list | tuple | dict) else _parts(item)
    return False


def _parts(runnable: Any) -> Iterable[Any]:
    """What a runnable is composed of."""
    parts: Iterable[Any] = ()
    match runnable:
        case RunnableBindingBase():
            parts = [runnable.bound]
        case RunnableWithFallbacks():
            parts = runnable.runnables
        case RunnableSequence():
            parts = runnable.steps
        case RunnableParallel():
            parts = runnable.steps__.values()
        case RunnableAssign():
            parts = [runnable.mapper]
        case RunnableBranch():
            parts = [*(branch for _, branch in runnable.branches), runnable.default]
        case RunnableLambda():
            parts = _dependencies(runnable)
        case BaseLanguageModel():  # a mixture holds its members in fields
            parts = [item for value in vars(runnable).values() for item in _runnables_in(value)]
    return parts


def _dependencies(function: RunnableLambda[Any, Any]) -> Iterable[Any]:
    """The runnables that a function uses, as far as they are there already."""
    try:
        return function.deps
    except ValueError:  # it names a variable that is assigned later
        return ()


def _runnables_in(value: Any) -> Iterator[Runnable[Any, Any]]:
    if isinstance(value, Runnable):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _runnables_in(item)
    elif isinstance(value, dict):
        yield from _runnables_in(list(value.values()))


def repeats(runnable: Any) -> bool:
    """Whether a runnable repeats what fails, as `.with_retry()` makes it."""
    return isinstance(runnable, RunnableRetry) or any(map(repeats, _parts(runnable)))


def is_openai(model: BaseChatModel | None) -> bool:
    """Whether it is of the family of langchain-openai's clients, which `ChatTogether` is too."""
    return any(base.__name__ == "BaseChatOpenAI" for base in type(model).__mro__)


def root_of(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The runnable that receives the input first."""
    if isinstance(runnable, RunnableBindingBase):
        return root_of(runnable.bound)
    if isinstance(runnable, RunnableWithFallbacks):
        return root_of(runnable.runnable)
    if isinstance(runnable, RunnableSequence):
        return root_of(runnable.first)
    return runnable


def holds_graph(runnable: Any) -> bool:
    """Whether a graph is among the steps, which streams updates of its state."""
    if isinstance(runnable, BaseLanguageModel):
        return False
    return isinstance(runnable, PregelProtocol) or any(map(holds_graph, _parts(runnable)))


def quiet(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A copy in which no chat model streams."""
    if isinstance(runnable, BaseChatModel):
        update: dict[str, Any] = {"disable_streaming": True}
        if "streaming" in type(runnable).model_fields:  # clients look at it on their own
            update["streaming"] = False
        return runnable.model_copy(update=update)
    if isinstance(runnable, RunnableBindingBase):
        return runnable.model_copy(update={"bound": quiet(runnable.bound)})
    if isinstance(runnable, RunnableWithFallbacks):
        first, *others = map(quiet, runnable.runnables)
        return runnable.model_copy(update={"runnable": first, "fallbacks": others})
    if isinstance(runnable, RunnableSequence):
        return RunnableSequence(*map(quiet, runnable.steps), name=runnable.name)
    return runnable


def counting(runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """`ChatTogether` reports no usage in streams unless asked to; any other is left alone."""
    if isinstance(runnable, RunnableBindingBase):
        return runnable.model_copy(update={"bound": counting(runnable.bound)})
    is_together = any(base.__name__ == "ChatTogether" for base in type(runnable).__mro__)
    if is_together and getattr(runnable, "stream_usage", False) is None:
        return cast("BaseChatModel", runnable).model_copy(update={"stream_usage": True})
    return runnable


def _replace_model(
    runnable: Runnable[Any, Any], change: Callable[[Runnable[Any, Any]], Runnable[Any, Any]]
) -> Runnable[Any, Any] | None:
    """A copy of a composition with its (last) model changed; `None` if it holds none."""
    bound_model = isinstance(runnable, RunnableBinding) and isinstance(
        runnable.bound, BaseLanguageModel
    )
    if bound_model or isinstance(runnable, BaseLanguageModel):
        return change(runnable)
    if isinstance(runnable, RunnableBindingBase):
        inner = _replace_model(runnable.bound, change)
        return inner and runnable.model_copy(update={"bound": inner})
    if isinstance(runnable, RunnableWithFallbacks):
        options = [_replace_model(option, change) for option in runnable.runnables]
        update = {"runnable": options[0], "fallbacks": options[1:]}
        return runnable.model_copy(update=update) if all(options) else None
    if isinstance(runnable, RunnableSequence):
        return _replace_in_sequence(runnable, change)
    return None


def _replace_in_sequence(
    sequence: RunnableSequence[Any, Any],
    change: Callable[[Runnable[Any, Any]], Runnable[Any, Any]],
) -> Runnable[Any, Any] | None:
    steps = list(sequence.steps)
    for place in range(len(steps) - 1, -1, -1):
        changed = _replace_model(steps[place], change)
        if changed is not None:
            steps[place] = changed
            return RunnableSequence(*steps, name=sequence.name)
    return None
