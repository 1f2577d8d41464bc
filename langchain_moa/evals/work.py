"""Many things at a time, with a bound; what is under way is finished before a run stops."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from langsmith.run_helpers import tracing_context

T = TypeVar("T")


@dataclass
class Stop:
    """Whether a run is to begin nothing more.

    Attributes:
        asked: True once it is to stop; what is under way is still finished.
        error: Why, where an error is the reason.
        on_interrupt: Is called when Ctrl-C is pressed, before what is under way has finished.
    """

    asked: bool = False
    error: BaseException | None = None
    on_interrupt: Callable[[], None] | None = None

    def because(self, error: BaseException) -> None:
        """Stop for an error; the first one counts."""
        self.asked = True
        self.error = self.error or error


async def work_through(
    things: Iterable[T],
    do: Callable[[T], Awaitable[None]],
    *,
    concurrency: int,
    stop: Stop | None = None,
) -> None:
    """Do something with each thing, so many at a time.

    Nothing of what happens is traced: a judge's calls are no runs of the user's project.

    Args:
        things: The things; the next one is taken when there is room for it.
        do: What is done with one.
        concurrency: How many at a time.
        stop: Ends it early.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; what was under way has been finished. A second
            Ctrl-C cancels that, too.
        BaseException: What `do` raised first; what was under way has been finished.
    """
    stopping = stop or Stop()
    waiting = iter(things)

    async def worker() -> None:
        for thing in waiting:
            if stopping.asked:
                return
            try:
                await do(thing)
            except Exception as error:  # noqa: BLE001 - raised when the others have finished
                stopping.because(error)

    with untraced(), _stops_on_ctrl_c(stopping):
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(worker())
        except asyncio.CancelledError:
            if not isinstance(stopping.error, KeyboardInterrupt):
                raise
    if stopping.error is not None:
        raise stopping.error


def untraced() -> AbstractContextManager[None]:
    """Nothing below is traced, whatever the environment says."""
    return tracing_context(enabled=False)


@contextmanager
def _stops_on_ctrl_c(stop: Stop) -> Iterator[None]:
    """Ctrl-C lets what is under way finish; a second one does not."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.asked and task is not None:
            task.cancel()
        elif stop.on_interrupt is not None:
            stop.on_interrupt()
        stop.because(KeyboardInterrupt())

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        loop.add_signal_handler(signal.SIGINT, interrupted)
    except NotImplementedError:  # Windows: Ctrl-C cancels at once
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def run_blocking(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, main).result()
