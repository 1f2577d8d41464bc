"""Run configuration of inner calls: parent run, tags, metadata, what may stream.

A chat model's run manager is no parent manager (it has no `get_child`), `stream` hands
none to `_stream`, and LangGraph merges the caller's ambient config into whatever runs
below it. So inner runs get a child manager made by hand, and run apart from the ambient
config; otherwise they vanish from the trace, turn up beside it, print into the caller's
streams or number the caller's checkpoint namespaces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers import context as langchain_context
from typing_extensions import override

from langchain_moa.tracing.handlers import (
    Cleaning,
    WithoutTokens,
    hearing_clean,
    shows_messages,
    silenced,
)
from langchain_moa.types import AnyDict, AnyMapping, Role

RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun

_NOSTREAM: Final = "nostream"
"""Tag by which LangGraph leaves a model's tokens out of its `messages` stream."""

_ManagerT = TypeVar("_ManagerT", CallbackManagerForLLMRun, AsyncCallbackManagerForLLMRun)
_configurable: ContextVar[AnyDict] = ContextVar("moa_configurable", default={})  # noqa: B039 - never changed
_current_run: ContextVar[RunManager | None] = ContextVar("moa_current_run", default=None)


class Setting(AbstractContextManager[None]):
    """Context variables that have other values for a while.

    One is made for each streamed token, and a generator made a context manager costs twice as much.
    """

    __slots__ = ("_tokens", "_values")

    def __init__(self, values: Sequence[tuple[ContextVar[Any], object]]) -> None:
        self._values = values
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []

    @override
    def __enter__(self) -> None:
        self._tokens = [(var, var.set(value)) for var, value in self._values]

    @override
    def __exit__(self, *_: object) -> None:
        for var, token in reversed(self._tokens):
            var.reset(token)


def current_run(
    manager: RunManager | None, config: RunnableConfig | None = None
) -> AbstractContextManager[None]:
    """Make a run manager known to `_stream`, to which the base class hands none.

    Args:
        manager: The run.
        config: The call's config where it is at hand, for its `configurable`.
    """
    known = [] if config is None else [(_configurable, _configurable_of(config))]
    return Setting([(_current_run, manager), *known])


def get_current_run() -> RunManager | None:
    """The run manager that `current_run` made known."""
    return _current_run.get()


def isolated(handlers: Sequence[WithoutTokens] = ()) -> AbstractContextManager[None]:
    """Run inner calls apart from the caller's ambient config.

    Args:
        handlers: The inner call's `silenced_handlers`. LangChain's configure hooks would add the
            handlers that they stand for beside them; here they find these instead.
    """
    hooks = _hooks() if handlers else ()
    heard = [(var, one) for one in handlers for var in hooks if var.get() is one.original()]
    return Setting([(var_child_runnable_config, None), *heard])


def _hooks() -> list[ContextVar[object]]:
    """The variables of langchain-core's configure hooks, which has no public list of them."""
    hooks = getattr(langchain_context, "_configure_hooks", [])
    return [hook[0] for hook in hooks]


def silenced_handlers(config: RunnableConfig) -> list[WithoutTokens]:
    """The handlers of a call that must not hear its tokens."""
    callbacks = config.get("callbacks")
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else []
    return [handler for handler in handlers if type(handler) is WithoutTokens]


def known_configurable(config: RunnableConfig | None) -> AbstractContextManager[None]:
    """Make a call's `configurable` known to its members; the base class hands none on."""
    return Setting([(_configurable, _configurable_of(config))])


def _configurable_of(config: RunnableConfig | None) -> AnyDict:
    return (config or {}).get("configurable") or {}


def caller_configurable() -> AnyDict:
    """The caller's own `configurable`, without the keys that LangGraph keeps there."""
    ambient = var_child_runnable_config.get() or {}
    return own_configurable({**ambient.get("configurable", {}), **_configurable.get()})


def caller_thread(metadata: AnyMapping) -> tuple[str, ...]:
    """The thread that the caller's conversation is in, and the place of its agent in the graph.

    Args:
        metadata: The run's, where callers put a thread that no checkpointer knows of.

    Returns:
        The thread's id and the names of the graph's nodes above the agent, without what differs
        from step to step; empty where there is no thread.
    """
    ambient = var_child_runnable_config.get() or {}
    configurable = {**ambient.get("configurable", {}), **_configurable.get()}
    thread = configurable.get("thread_id", metadata.get("thread_id"))
    if thread is None:
        return ()
    nodes = str(configurable.get("checkpoint_ns", "")).split("|")[:-1]
    return (str(thread), *(node.partition(":")[0] for node in nodes))


def own_configurable(configurable: AnyDict | None) -> AnyDict:
    """The user's own keys of a `configurable`."""
    foreign = ("__", "checkpoint_")
    return {
        key: value
        for key, value in (configurable or {}).items()
        if not key.startswith(foreign) and key != "thread_id"
    }


def prepare_stream_run(
    manager_class: type[_ManagerT], callbacks: BaseCallbackManager, run_id: UUID
) -> _ManagerT:
    """The run manager of the run that `stream` is about to open with these callbacks and id."""
    names = (
        "handlers",
        "inheritable_handlers",
        "parent_run_id",
        "tags",
        "inheritable_tags",
        "metadata",
        "inheritable_metadata",
    )
    values = {name: getattr(callbacks, name) for name in names}
    return manager_class(run_id=run_id, **values)


def child_callbacks(
    manager: RunManager | None, *, streaming: bool
) -> CallbackManager | AsyncCallbackManager | None:
    """A manager whose runs are children of the given run.

    Args:
        manager: The outer run. `None` gives `None`: nobody listens.
        streaming: Whether handlers hear the child's tokens. They must not hear those of the
            final call, which they already get from the outer run.
    """
    if manager is None:
        return None
    is_async = isinstance(manager, AsyncCallbackManagerForLLMRun)
    child = (AsyncCallbackManager if is_async else CallbackManager)(
        handlers=[], parent_run_id=manager.run_id
    )
    handlers = heard_below(manager)
    child.set_handlers(handlers if streaming else silenced(handlers, is_async=is_async))
    child.add_tags(manager.inheritable_tags)
    # ls_* and moa_* describe the outer run; each inner one brings its own
    metadata = manager.inheritable_metadata
    child.add_metadata({k: v for k, v in metadata.items() if not k.startswith(("ls_", "moa_"))})
    return child


def heard_below(manager: RunManager) -> list[BaseCallbackHandler]:
    """The handlers of a run that hear of the runs below it.

    Those that LangChain's configure hooks add to every run by itself, as `collect_runs()` does,
    hear of them anyway, and must know the runs in between: else members look like roots to them.
    """
    own = [var.get() for var in _hooks()]
    added = [h for h in manager.handlers if any(h is one for one in own)]
    inherited = manager.inheritable_handlers
    return [*inherited, *(h for h in added if not any(h is one for one in inherited))]


def layers_config(manager: RunManager | None, configurable: AnyDict) -> RunnableConfig:
    """The config of the layers inside the chat model."""
    return RunnableConfig(
        callbacks=child_callbacks(manager, streaming=True), configurable=configurable
    )


def final_config(
    manager: RunManager | None, configurable: AnyDict, layer: int, role: Role = "aggregator"
) -> RunnableConfig:
    """The config of a call after the layers inside the chat model.

    Args:
        manager: The outer run.
        configurable: The caller's own keys.
        layer: The aggregator's layer.
        role: Who is called: the aggregator, or who is consulted before it.
    """
    return RunnableConfig(
        callbacks=child_callbacks(manager, streaming=False),
        run_name=role,
        tags=[_NOSTREAM],
        metadata={"moa_role": role, "moa_layer": layer, "moa_index": 0},
        configurable=configurable,
    )


def aggregator_config(config: RunnableConfig, layer: int) -> RunnableConfig:
    """The config of the aggregator's call as a graph node, which may stream upwards."""
    return RunnableConfig(
        callbacks=config.get("callbacks"),
        metadata={"moa_role": "aggregator", "moa_layer": layer, "moa_index": 0},
        configurable=own_configurable(config.get("configurable")),
    )


def proposer_config(
    config: RunnableConfig, *, layer: int, index: int, tokens: bool, role: Role = "proposer"
) -> RunnableConfig:
    """The config of the call of a proposer, or of who is consulted, from that of its graph node.

    Args:
        config: The node's config.
        layer: The proposer's layer, counted from 1.
        index: Its place in the layer, counted from 0.
        tokens: Whether handlers may hear tokens; streamed proposals have events of their own.
        role: What it does in the call.
    """
    return RunnableConfig(
        callbacks=_unshown(config.get("callbacks"), tokens=tokens),
        tags=[_NOSTREAM],
        metadata={"moa_role": role, "moa_layer": layer, "moa_index": index},
        configurable=own_configurable(config.get("configurable")),
    )


def _unshown(callbacks: Callbacks, *, tokens: bool) -> Callbacks:
    """The callbacks without those that would show a proposal as somebody's message."""
    if not isinstance(callbacks, BaseCallbackManager):
        return callbacks
    own = callbacks.copy()
    handlers = [handler for handler in callbacks.handlers if not shows_messages(handler)]
    if not tokens:
        handlers = silenced(handlers, is_async=isinstance(callbacks, AsyncCallbackManager))
    own.set_handlers(handlers)
    return own


def has_handlers(config: RunnableConfig) -> bool:
    """Whether anybody listens to the runs of a config."""
    callbacks = config.get("callbacks")
    return bool(callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks)


def with_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """The config with one more inherited handler; the given one is not changed."""
    callbacks = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(handler, inherit=True)
    else:
        callbacks = [*(callbacks or []), handler]
    return cast("RunnableConfig", {**config, "callbacks": callbacks})


def with_clean_tokens(
    config: RunnableConfig, pieces: Callable[[], Cleaning], whole: Callable[[AIMessage], AIMessage]
) -> RunnableConfig:
    """The config with handlers that hear of an answer what its reader gets, see `hearing_clean`."""
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        return config
    callbacks = callbacks.copy()
    callbacks.handlers = hearing_clean(callbacks.handlers, pieces, whole)
    inherited = callbacks.inheritable_handlers
    callbacks.inheritable_handlers = [
        next(new for new in callbacks.handlers if new == one) if one in callbacks.handlers else one
        for one in inherited
    ]
    return cast("RunnableConfig", {**config, "callbacks": callbacks})


def with_first_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """The same with the handler before all others, for what it changes of what they hear."""
    callbacks = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.handlers = [handler, *callbacks.handlers]
        callbacks.inheritable_handlers = [handler, *callbacks.inheritable_handlers]
    else:
        callbacks = [handler, *(callbacks or [])]
    return cast("RunnableConfig", {**config, "callbacks": callbacks})
