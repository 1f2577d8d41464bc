"""Runs an iterator step by step, each step inside a context manager.

A generator runs in its consumer's context, so a context variable that it sets must be reset
before each `yield`; and a stream that is left early must be closed at once, not by chance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, closing
from typing import TypeVar, cast

_T = TypeVar("_T")

Around = Callable[[], AbstractContextManager[None]]
"""Makes the context manager of one step."""


def stepped(steps: Iterator[_T], around: Around) -> Generator[_T, None, None]:
    """The items of a stream, each asked for inside `around()`; closes the stream at the end."""
    generator = cast("Generator[_T, None, None]", steps)
    with closing(generator):
        while True:
            with around():
                try:
                    step = next(generator)
                except StopIteration:
                    return
            yield step


async def astepped(steps: AsyncIterator[_T], around: Around) -> AsyncGenerator[_T, None]:
    """The async twin of `stepped`.

    Raises:
        asyncio.CancelledError: The task was cancelled, which a client has taken for its own matter:
            `asyncio.wait_for` of Python 3.11 does so where a piece comes at the same moment.
    """
    generator = cast("AsyncGenerator[_T, None]", steps)
    async with aclosing(generator):
        while True:
            before = _cancellations()
            with around():
                try:
                    step = await anext(generator)
                except StopAsyncIteration:
                    return
            if _cancellations() > before:
                raise asyncio.CancelledError
            yield step


def _cancellations() -> int:
    """How often this task was cancelled, as far as nobody has said that it is done with."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
