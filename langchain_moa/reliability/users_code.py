"""Functions of the user's, called so that none holds a call up: each in a thread, with a limit.

A function that hangs can't be ended. What waits for it goes on without it, and its thread is a
daemon's, which ends with the program.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from threading import Lock, current_thread, main_thread
from time import monotonic
from typing import Generic, ParamSpec, TypeVar

from langchain_moa.reliability.threads import in_thread, woken_by_or_late

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def as_errors() -> Iterator[None]:
    """Makes errors of what would end more than the function that raises it.

    That is `sys.exit`, and interrupts and cancellations of its own. In the main thread and in an
    event loop these may be somebody else's.

    Raises:
        RuntimeError: In the place of any of them.
    """
    try:
        yield
    except Exception:
        raise
    except SystemExit as error:
        msg = f"it called sys.exit({error.code!r})"
        raise RuntimeError(msg) from None
    except BaseException as error:
        if current_thread() is main_thread() or _in_loop():
            raise
        msg = f"it raised {type(error).__name__}({str(error)!r})"
        raise RuntimeError(msg) from None


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Bounded(Generic[_P, _T]):
    """A user's function that may take so long and no longer.

    While a call of it hangs it is not called again, for that one would hang, too.

    Args:
        function: The function.
        seconds: How long it may take.
    """

    def __init__(self, function: Callable[_P, _T], seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._hangs: Future[_T] | None = None

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What the function gives.

        Raises:
            TimeoutError: It takes too long, or still did not end an earlier time.
        """
        if self._hangs is not None and not self._hangs.done():
            msg = "it has not ended the call before"
            raise TimeoutError(msg)
        done = in_thread(as_errors()(partial(self._function, *args, **kwargs)))
        futures.wait([done], self._seconds)
        if not done.done():
            self._hangs = done
            msg = f"it took more than {self._seconds:g} s"
            raise TimeoutError(msg)
        return done.result()


class Listener(Generic[_T]):
    """A user's function that is told of events, one after the other in their order.

    Whoever tells it waits until it knows, but for so many seconds in all: one that is slow hears of
    everything later, and one that hangs of nothing more.

    Args:
        function: The function.
        patience: How many seconds those are.
    """

    def __init__(self, function: Callable[[_T], object], patience: float) -> None:
        self._function = function
        self._patience = patience
        self._untold: deque[tuple[_T, Future[None]]] = deque()
        self._busy = False
        self._lock = Lock()

    def tell(self, event: _T, *, waits: bool = True) -> None:
        """Tell of an event."""
        told, started = self._telling(event), monotonic()
        if waits and self._patience > 0:
            futures.wait([told], self._patience)
            self._patience -= monotonic() - started

    async def atell(self, event: _T, *, waits: bool = True) -> None:
        """The same in an event loop."""
        told, started = self._telling(event), monotonic()
        if waits and self._patience > 0:
            await woken_by_or_late(told, self._patience)
            self._patience -= monotonic() - started

    def _telling(self, event: _T) -> Future[None]:
        told: Future[None] = Future()
        with self._lock:
            self._untold.append((event, told))
            begins, self._busy = not self._busy, True
        if begins:
            in_thread(self._tell_all)
        return told

    def _tell_all(self) -> None:
        while True:
            with self._lock:
                if not self._untold:
                    self._busy = False
                    return
                event, told = self._untold.popleft()
            try:
                with as_errors():
                    self._function(event)
            except Exception:
                logger.exception("a function that was told of an event failed")
            finally:
                told.set_result(None)
