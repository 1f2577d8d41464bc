"""Tells of a call in progress, to whoever listens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Final, cast

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langgraph.config import get_stream_writer

from langchain_moa.types import AnyDict, EventName, ProgressEvent

EVENT_NAME: Final = "moa"
"""Name of our `on_custom_event`s."""

OnProgress = Callable[[ProgressEvent], None]
"""Called with each event, in the thread or task in which it happens."""

logger = logging.getLogger(__name__)


def progress_event(event: EventName, **values: object) -> ProgressEvent:
    """An event with every key; those that are not given are `None`."""
    told: AnyDict = {
        "type": "moa",
        "event": event,
        "layer": None,
        "index": None,
        "role": None,
        "model": None,
        "seconds": None,
        "usage": None,
        "error": None,
        "text": None,
        **values,
    }
    return cast("ProgressEvent", told)


class Progress:
    """The listeners of one call: a LangGraph stream, handlers of custom events, a callback.

    Args:
        run_id: The run that events belong to.
        callbacks: The call's callbacks, or `None`.
        on_progress: The user's callback, or `None`.

    It has to be made in the caller's context: a LangGraph stream writer finds its place there.
    """

    def __init__(
        self, run_id: Any, callbacks: BaseCallbackManager | None, on_progress: OnProgress | None
    ) -> None:
        self._run_id = run_id
        self._tags = callbacks.tags if callbacks else []
        self._metadata = callbacks.metadata if callbacks else {}
        handlers = callbacks.handlers if callbacks else []
        self._handlers = [handler for handler in handlers if _wants_events(handler)]
        self._callbacks = [one for one in (on_progress, _stream_writer()) if one is not None]

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._callbacks or self._handlers)

    def emit(self, event: EventName, **values: object) -> None:
        """Tell everybody; a listener that fails is logged and does not fail the call."""
        if self.active:
            told = self._tell(event, values)
            with _logged():
                handle_event(self._handlers, *self._custom_event(told), **self._about())

    async def aemit(self, event: EventName, **values: object) -> None:
        """The async twin of `emit`."""
        if self.active:
            told = self._tell(event, values)
            with _logged():
                await ahandle_event(self._handlers, *self._custom_event(told), **self._about())

    def _tell(self, event: EventName, values: AnyDict) -> ProgressEvent:
        told = progress_event(event, **values)
        for callback in self._callbacks:
            with _logged():
                callback(told)
        return told

    def _custom_event(self, event: ProgressEvent) -> tuple[str, str, str, ProgressEvent]:
        return "on_custom_event", "ignore_custom_event", EVENT_NAME, event

    def _about(self) -> AnyDict:
        return {"run_id": self._run_id, "tags": self._tags, "metadata": self._metadata}


@contextmanager
def _logged() -> Iterator[None]:
    """Log what a listener raises: the call that it listens to has been paid for."""
    try:
        yield
    except Exception:
        logger.exception("a listener to the progress of a mixture failed")


def _wants_events(handler: BaseCallbackHandler) -> bool:
    """Whether a handler has an `on_custom_event` of its own; most have not."""
    own = handler.__class__.on_custom_event
    return own not in (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)


def _stream_writer() -> OnProgress | None:
    """The writer to the `custom` stream of the graph that calls us, bound to its context."""
    try:
        writer = get_stream_writer()
    except (RuntimeError, KeyError):  # outside of any graph; in a chain outside of any graph
        return None
    context, lock = copy_context(), threading.Lock()

    def write(event: ProgressEvent) -> None:
        with lock:  # a context can't be entered twice at a time
            context.run(writer, event)

    return write
