"""Daemon threads in the caller's context: what sync code can wait for with a deadline.

A thread pool would do, but its threads are joined at the interpreter's exit, so that one hanging
request would keep a finished program alive.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from langchain_moa.types import LARGE

_T = TypeVar("_T")
_Job = tuple[Callable[[], Any], "Future[Any]"]


def in_thread(work: Callable[[], _T]) -> Future[_T]:
    """Do some work in a thread of its own, in a copy of the caller's context."""
    future: Future[_T] = Future()
    context = copy_context()
    thread = threading.Thread(
        target=context.run, args=(_do, work, future), name="moa-request", daemon=True
    )
    thread.start()
    return future


def woken_by(future: Future[Any]) -> asyncio.Future[None]:
    """A future for the running loop, which can be cancelled without cancelling the first."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, waiter)

    future.add_done_callback(wake)
    return waiter


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def off_loop(work: Callable[[], _T], size: int) -> _T:
    """What some work gives, done in a thread where it would hold the event loop up.

    Args:
        work: The work; it goes on where nobody waits for it any more.
        size: Characters or bytes that it works on.
    """
    if size < LARGE:
        return work()
    done = in_thread(work)
    await woken_by(done)
    return done.result()


async def woken_by_or_late(future: Future[Any], seconds: float) -> None:
    """Wait until a future is done, or so many seconds are over."""
    await asyncio.wait([woken_by(future)], timeout=seconds)


class Worker(Generic[_T]):
    """One thread that does one job after the other, in a copy of the context it was made in."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        in_thread(self._work)

    def submit(self, work: Callable[[], _T]) -> Future[_T]:
        """Have a job done after those before it."""
        future: Future[_T] = Future()
        self._jobs.put((work, future))
        return future

    def stop(self) -> None:
        """End the thread after the jobs that it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(*job)
            del job  # or the last result would live as long as the thread


def _do(work: Callable[[], object], future: Future[object]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is raised where the future is asked
        future.set_exception(error)
    else:
        future.set_result(result)
