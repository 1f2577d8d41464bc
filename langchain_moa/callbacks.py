"""Run configuration of inner calls: parent run, tags, metadata, what may stream.

A chat model's run manager is no parent manager (it has no `get_child`), `stream` hands
none to `_stream`, and LangGraph merges the caller's ambient config into whatever runs
below it. So inner runs get a child manager made by hand, and run apart from the ambient
config; otherwise they vanish from the trace, turn up beside it, print into the caller's
streams or number the caller's checkpoint namespaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.base import BaseTracer
from typing_extensions import override

RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun

CALL_KEY: Final = "__moa_call"
"""Key of `configurable` for the call in progress; a leading `__` keeps it out of traces."""

_NOSTREAM: Final = "nostream"
"""Tag by which LangGraph leaves a model's tokens out of its `messages` stream."""

_ManagerT = TypeVar("_ManagerT", CallbackManagerForLLMRun, AsyncCallbackManagerForLLMRun)
_current_run: ContextVar[RunManager | None] = ContextVar("moa_current_run", default=None)


@contextmanager
def current_run(manager: RunManager | None) -> Iterator[None]:
    """Make a run manager known to `_stream`, to which the base class hands none."""
    token = _current_run.set(manager)
    try:
        yield
    finally:
        _current_run.reset(token)


def get_current_run() -> RunManager | None:
    """The run manager that `current_run` made known."""
    return _current_run.get()


@contextmanager
def isolated() -> Iterator[None]:
    """Run inner calls apart from the caller's ambient config."""
    token = var_child_runnable_config.set(None)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def caller_configurable() -> dict[str, Any]:
    """The caller's own `configurable`, without the keys that LangGraph keeps there."""
    ambient = var_child_runnable_config.get() or {}
    return own_configurable(ambient.get("configurable"))


def own_configurable(configurable: dict[str, Any] | None) -> dict[str, Any]:
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
    handlers = manager.inheritable_handlers
    if not streaming:
        silent = _no_token_async if is_async else _no_token
        heard = [handler for handler in handlers if not _streams(handler)]
        handlers = [_WithoutTokens(h, silent) if _wants_tokens(h) else h for h in heard]
    child.set_handlers(handlers)
    child.add_tags(manager.inheritable_tags)
    # ls_* describe the outer run; each inner model brings its own
    metadata = manager.inheritable_metadata
    child.add_metadata({k: v for k, v in metadata.items() if not k.startswith("ls_")})
    return child


class _WithoutTokens(BaseCallbackHandler):
    """A handler that hears everything but tokens."""

    def __init__(self, handler: BaseCallbackHandler, silent: Callable[..., Any]) -> None:
        self._handler = handler
        self._silent = silent

    def __getattribute__(self, name: str) -> Any:
        if name == "on_llm_new_token":
            return object.__getattribute__(self, "_silent")
        return getattr(object.__getattribute__(self, "_handler"), name)


def _no_token(*_: Any, **__: Any) -> None:
    """Hear nothing."""


async def _no_token_async(*_: Any, **__: Any) -> None:
    """Hear nothing; in an event loop a sync handler would cost a thread switch per token."""


def _wants_tokens(handler: BaseCallbackHandler) -> bool:
    """Whether a handler listens to tokens; tracers note those of every run, each its own."""
    own = type(handler).on_llm_new_token
    none = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)
    return own not in none and not isinstance(handler, BaseTracer)


def _streams(handler: BaseCallbackHandler) -> bool:
    """Whether a handler makes models stream (`astream_events`, LangGraph's `messages`).

    Their marker classes are private to langchain-core, so they are told by the public
    method of the one and by the class name of the other.
    """
    return hasattr(handler, "tap_output_aiter") or any(
        base.__name__ == "_V2StreamingCallbackHandler" for base in type(handler).__mro__
    )


def layers_config(
    manager: RunManager | None, configurable: dict[str, Any], call: object
) -> RunnableConfig:
    """The config of the layers inside the chat model, with the call in progress in it."""
    return RunnableConfig(
        callbacks=child_callbacks(manager, streaming=True),
        configurable={**configurable, CALL_KEY: call},
    )


def final_config(manager: RunManager | None, configurable: dict[str, Any]) -> RunnableConfig:
    """The config of the aggregator's call inside the chat model."""
    return RunnableConfig(
        callbacks=child_callbacks(manager, streaming=False),
        run_name="aggregator",
        tags=[_NOSTREAM],
        metadata={"moa_role": "aggregator"},
        configurable=configurable,
    )


def aggregator_config(config: RunnableConfig) -> RunnableConfig:
    """The config of the aggregator's call as a graph node, which may stream upwards."""
    return RunnableConfig(
        callbacks=config.get("callbacks"),
        metadata={"moa_role": "aggregator"},
        configurable=own_configurable(config.get("configurable")),
    )


def proposer_config(config: RunnableConfig, *, layer: int, index: int) -> RunnableConfig:
    """The config of one proposer's call, from the config of its graph node."""
    return RunnableConfig(
        callbacks=config.get("callbacks"),
        tags=[_NOSTREAM],
        metadata={"moa_role": "proposer", "moa_layer": layer, "moa_index": index},
        configurable=own_configurable(config.get("configurable")),
    )


class OpenRuns(BaseCallbackHandler):
    """Knows which model runs below a call are open, to close those of a cancelled call.

    langchain-core never closes the run of a model whose `ainvoke` is cancelled: in a trace it
    stays pending for ever.
    """

    run_inline = True  # in an event loop, a handler that is not inline costs a thread switch

    def __init__(self) -> None:
        self._open: dict[UUID, UUID | None] = {}

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._open[run_id] = parent_run_id

    @override
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        self._open[run_id] = parent_run_id

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        self._open.pop(run_id, None)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._open.pop(run_id, None)

    async def close(self, callbacks: Callbacks, error: BaseException) -> None:
        """End every open run with the error, for all handlers of the call."""
        if not isinstance(callbacks, BaseCallbackManager):
            return
        for run_id, parent_run_id in list(self._open.items()):
            run = AsyncCallbackManagerForLLMRun(
                run_id=run_id,
                handlers=callbacks.handlers,
                inheritable_handlers=callbacks.inheritable_handlers,
                parent_run_id=parent_run_id,
                tags=callbacks.tags,
                inheritable_tags=callbacks.inheritable_tags,
                metadata=callbacks.metadata,
                inheritable_metadata=callbacks.inheritable_metadata,
            )
            await run.on_llm_error(error)


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
