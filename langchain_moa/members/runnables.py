"""What runnables are composed of: the models inside, and copies with these changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, cast

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.output_parsers import BaseCumulativeTransformOutputParser
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
from langchain_moa.members.discreet import discreet
from langchain_moa.providers.classes import is_a
from langchain_moa.tracing.redaction import HEADER_NAMES
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

_NAME_ATTRIBUTES: Final = ("model_name", "model", "model_id", "deployment_name")

_PLAIN: Final = (str, int, float, bool, type(None))

_Change: TypeAlias = Callable[[AnyRunnable], AnyRunnable]


def children(runnable: object) -> Iterable[Any]:
    """What a runnable is composed of, as far as that is known."""
    parts: Iterable[object] = ()
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
            parts = _runnables_in(vars(runnable))
    return parts


def rebuilt(runnable: AnyRunnable, change: _Change) -> AnyRunnable:
    """A copy of a composition with its children changed; itself where none of them changes.

    Functions, branches and models stay as they are: what is in them is called by them alone.

    Args:
        runnable: The composition.
        change: What is made of a child.
    """
    if not isinstance(
        runnable, RunnableBindingBase | RunnableWithFallbacks | RunnableSequence | RunnableParallel
    ):
        return runnable
    given = list(children(runnable))
    changed = [change(child) for child in given]
    if all(new is old for new, old in zip(changed, given, strict=True)):
        return runnable
    if isinstance(runnable, RunnableSequence):
        return RunnableSequence(*changed, name=runnable.name)
    update: AnyDict
    if isinstance(runnable, RunnableParallel):
        update = {"steps__": dict(zip(runnable.steps__, changed, strict=True))}
    elif isinstance(runnable, RunnableWithFallbacks):
        update = {"runnable": changed[0], "fallbacks": changed[1:]}
    else:
        update = {"bound": changed[0]}
    return runnable.model_copy(update=update)


def nodes(runnable: object, *, in_models: bool = True) -> Iterator[object]:
    """A runnable and all that it is composed of, each once, from the outside in.

    Args:
        runnable: The composition, or a list or dict of several.
        in_models: Whether to look into models, too: a mixture is one that holds others.
    """
    left, seen = [runnable], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, list | tuple | dict):
            left += reversed(list(_runnables_in(node)))
            continue
        yield node
        if in_models or not isinstance(node, BaseLanguageModel):
            left += reversed(list(children(node)))


def answering(runnable: AnyRunnable) -> AnyRunnable | None:
    """The child whose answer is the runnable's: of a chain the last that holds a model.

    `None` where it has no such child.
    """
    if isinstance(runnable, RunnableBindingBase):
        return runnable.bound
    if isinstance(runnable, RunnableSequence):
        return next((step for step in reversed(runnable.steps) if _holds_model(step)), None)
    return None


def _holds_model(runnable: object) -> bool:
    return any(True for _ in language_models(runnable))


def with_arguments(runnable: AnyRunnable, arguments: AnyMapping) -> AnyRunnable:
    """The runnable with call arguments bound to the model (the last one) inside.

    Arguments given to a chain's `invoke` reach its first step, which is not the model.

    Raises:
        MoAConfigurationError: There is no model inside that could take them.
    """
    if not arguments:
        return runnable
    hides = bool(HEADER_NAMES & arguments.keys())
    bound = _with_model(
        runnable, lambda model: (discreet(model) if hides else model).bind(**arguments)
    )
    if bound is None:
        names = ", ".join(sorted(arguments))
        msg = (
            f"{names}: {model_of(runnable)!r} is a {type(runnable).__name__} without a chat model "
            "that could take call arguments; set them inside it, or leave them out here."
        )
        raise MoAConfigurationError(msg)
    return bound


def _with_model(runnable: AnyRunnable, change: _Change) -> AnyRunnable | None:
    """A copy of a composition with the model that answers changed; `None` if it holds none."""
    bound_model = isinstance(runnable, RunnableBinding) and isinstance(
        runnable.bound, BaseLanguageModel
    )
    if bound_model or isinstance(runnable, BaseLanguageModel):
        return change(runnable)
    if isinstance(runnable, RunnableSequence):
        steps = list(runnable.steps)
        for place in reversed(range(len(steps))):
            if (changed := _with_model(steps[place], change)) is not None:
                return RunnableSequence(
                    *steps[:place], changed, *steps[place + 1 :], name=runnable.name
                )
        return None
    if not isinstance(runnable, RunnableBindingBase | RunnableWithFallbacks):
        return None
    options = [_with_model(option, change) for option in children(runnable)]
    found = iter([option for option in options if option is not None])
    return rebuilt(runnable, lambda _: next(found)) if all(options) else None


def model_of(runnable: AnyRunnable) -> str:
    """The name of the model that a runnable asks for, or the runnable's own name.

    Of a chain it is the last model, of a model with fallbacks the first choice.
    """
    named = runnable.kwargs.get("model") if isinstance(runnable, RunnableBindingBase) else None
    if isinstance(named, str):
        return named
    first = runnable.runnable if isinstance(runnable, RunnableWithFallbacks) else None
    if (child := first or answering(runnable)) is not None:
        return model_of(child)
    names = (getattr(runnable, attribute, None) for attribute in _NAME_ATTRIBUTES)
    found = next((name for name in names if isinstance(name, str) and name), None)
    return found or runnable.get_name()


def model_and_arguments(
    runnable: AnyRunnable,
) -> tuple[BaseChatModel | None, AnyDict]:
    """The chat model that answers (the last one of a chain), and the arguments bound to it.

    There is none where several could answer, or where it is not known who does.
    """
    child = answering(runnable)
    if child is None:
        return (runnable if isinstance(runnable, BaseChatModel) else None), {}
    model, arguments = model_and_arguments(child)
    own = runnable.kwargs if isinstance(runnable, RunnableBindingBase) else {}
    return model, {**arguments, **own}


def language_models(runnable: object) -> Iterator[BaseLanguageModel[Any]]:
    """The language models inside a runnable, as far as its composition is known."""
    return (node for node in nodes(runnable) if isinstance(node, BaseLanguageModel))


def holds(value: object, wanted: AnyRunnable) -> bool:
    """Whether a runnable, or a list or dict of them, has another one somewhere inside."""
    return any(node is wanted for node in nodes(value))


def repeats(runnable: object) -> bool:
    """Whether a runnable repeats what fails, as `.with_retry()` makes it."""
    return any(isinstance(node, RunnableRetry) for node in nodes(runnable))


def holds_graph(runnable: object) -> bool:
    """Whether a graph is among the steps, which streams updates of its state."""
    return any(isinstance(node, PregelProtocol) for node in nodes(runnable, in_models=False))


def streams_totals(runnable: AnyRunnable) -> bool:
    """Whether each piece of its stream stands for all before it, as those of JSON parsers do."""
    while True:
        match runnable:
            case RunnableBindingBase():
                runnable = runnable.bound
            case RunnableSequence():
                runnable = runnable.last
            case RunnableWithFallbacks():
                runnable = runnable.runnable
            case _:
                return isinstance(runnable, BaseCumulativeTransformOutputParser)


def root_of(runnable: AnyRunnable) -> AnyRunnable:
    """The runnable that receives the input first."""
    if isinstance(runnable, RunnableBindingBase | RunnableWithFallbacks | RunnableSequence):
        return root_of(next(iter(children(runnable))))
    return runnable


def _dependencies(function: RunnableLambda[object, object]) -> Iterable[object]:
    """The runnables that a function uses, as far as they are there already."""
    try:
        return function.deps
    except ValueError:  # it names a variable that is assigned later
        return ()


def _runnables_in(value: object) -> Iterator[AnyRunnable]:
    if isinstance(value, Runnable):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            if type(item) not in _PLAIN:  # most are, and Runnable's own look at them is slow
                yield from _runnables_in(item)


def is_openai(model: BaseChatModel | None) -> bool:
    """Whether it is of the family of langchain-openai's clients, which `ChatTogether` is too."""
    return is_a(model, "BaseChatOpenAI")


def quiet(runnable: AnyRunnable) -> AnyRunnable:
    """A copy in which no chat model streams."""
    if not isinstance(runnable, BaseChatModel):
        return rebuilt(runnable, quiet)
    update: AnyDict = {"disable_streaming": True}
    if "streaming" in type(runnable).model_fields:  # clients look at it on their own
        update["streaming"] = False
    return runnable.model_copy(update=update)


def counting(runnable: AnyRunnable) -> AnyRunnable:
    """`ChatTogether` reports no usage in streams unless asked to; any other is left alone."""
    if isinstance(runnable, RunnableBindingBase):
        return rebuilt(runnable, counting)
    if is_a(runnable, "ChatTogether") and getattr(runnable, "stream_usage", False) is None:
        return cast("BaseChatModel", runnable).model_copy(update={"stream_usage": True})
    return runnable


def on(runnable: AnyRunnable, model: BaseChatModel) -> AnyRunnable:
    """The bindings around a chat model, around another one."""
    if not isinstance(runnable, RunnableBindingBase):
        return model
    return rebuilt(runnable, lambda inner: on(inner, model))
