"""Tells of a call in progress, to whoever listens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from copy import deepcopy
from functools import partial
from typing import Final, cast

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.callbacks.manager import ahandle_event, handle_event
from langgraph.config import get_stream_writer

from langchain_moa.reliability.quorum import NEVER
from langchain_moa.reliability.users_code import Listener
from langchain_moa.types import AnyDict, EventName, ProgressEvent

EVENT_NAME: Final = "moa"
"""Name of our `on_custom_event`s."""

OnProgress = Callable[[ProgressEvent], None]
"""Called with each event, one after the other, in a thread of its own."""

logger = logging.getLogger(__name__)


def progress_event(event: EventName, **values: object) -> ProgressEvent:
    """An event with every key; those that are not given are `None`.

    Each listener gets one of its own, which it may change.
    """
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
        **(deepcopy(values) if "usage" in values else values),
    }
    return cast("ProgressEvent", told)


class Progress:
    """The listeners of one call: a LangGraph stream, handlers of custom events, a callback.

    Args:
        run_id: The run that events belong to.
        callbacks: The call's callbacks, or `None`.
        on_progress: The user's callback, or `None`.
        patience: Seconds for which that may hold the call up in all.

    It has to be made in the caller's context: a LangGraph stream writer finds its place there.
    """

    def __init__(
        self,
        run_id: object,
        callbacks: BaseCallbackManager | None,
        on_progress: OnProgress | None,
        patience: float = NEVER,
    ) -> None:
        self._run_id = run_id
        self._tags = callbacks.tags if callbacks else []
        self._metadata = callbacks.metadata if callbacks else {}
        handlers = callbacks.handlers if callbacks else []
        self._handlers = [handler for handler in handlers if _wants_events(handler)]
        self._writer = _stream_writer()
        heard = None if on_progress is None else partial(_heard, on_progress)
        self._listener = None if heard is None else Listener(heard, patience)

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listener or self._writer or self._handlers)

    def emit(self, event: EventName, **values: object) -> None:
        """Tell everybody; a listener that fails is logged and does not fail the call."""
        if self.active:
            if self._listener is not None:
                self._listener.tell(progress_event(event, **values), waits=event != "token")
            told = self._tell(event, values)
            with _logged():
                handle_event(self._handlers, *self._custom_event(told), **self._about())

    async def aemit(self, event: EventName, **values: object) -> None:
        """The async twin of `emit`."""
        if self.active:
            if self._listener is not None:
                told = progress_event(event, **values)
                await self._listener.atell(told, waits=event != "token")
            told = self._tell(event, values)
            with _logged():
                await ahandle_event(self._handlers, *self._custom_event(told), **self._about())

    def _tell(self, event: EventName, values: AnyDict) -> ProgressEvent:
        if self._writer is not None:
            with _logged():
                self._writer(progress_event(event, **values))
        return progress_event(event, **values)

    def _custom_event(self, event: ProgressEvent) -> tuple[str, str, str, ProgressEvent]:
        return "on_custom_event", "ignore_custom_event", EVENT_NAME, event

    def _about(self) -> AnyDict:
        return {"run_id": self._run_id, "tags": self._tags, "metadata": self._metadata}


def _heard(on_progress: OnProgress, event: ProgressEvent) -> None:
    with _logged():
        on_progress(event)


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
