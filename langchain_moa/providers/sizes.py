"""How much of an answer is read: a limit that a call sets and every HTTP client of ours keeps.

A whole answer is counted as it comes out of its compression, so that a few bytes on the wire which
become many are read no further than the limit. Of a stream each event is: it comes in as many
pieces as it has tokens, and what is around them may be a hundred times as long as the text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

from langchain_moa.errors import AnswerTooLargeError

answer_limit: Final[ContextVar[int | None]] = ContextVar("moa_answer_limit", default=None)
"""The most bytes of an answer that is asked for in this context; `None` is no limit."""
_PAUSE: Final = 2**20
"""Bytes after which an event loop may do something else."""
_EVENT_ENDS: Final = (b"\n\n", b"\r\r", b"\n\r\n")


class Size:
    """How long an answer is that is being read.

    Args:
        limit: The most bytes that it may have.
        in_events: Whether it is a stream, of which each event may have as many.
    """

    def __init__(self, limit: int, *, in_events: bool) -> None:
        self._limit = limit
        self._in_events = in_events
        self._bytes = 0

    def take(self, piece: bytes) -> None:
        """Count a piece.

        Raises:
            AnswerTooLargeError: The answer is too long with it.
        """
        self._bytes += len(piece)
        if self._bytes > self._limit:
            raise AnswerTooLargeError(self._limit)
        if self._in_events:
            end = max(piece.rfind(mark) for mark in _EVENT_ENDS)
            if end >= 0:
                self._bytes = len(piece) - end


def limit_answer(response: Any) -> None:
    """Have no more read of a response's body than its limit: a hook of the sync HTTP client."""
    if (new_size := _sizes_of(response)) is not None:
        pieces = response.iter_bytes

        def iter_bytes(chunk_size: int | None = None) -> Iterator[bytes]:
            size = new_size()
            for piece in pieces(chunk_size):
                size.take(piece)
                yield piece

        response.iter_bytes = iter_bytes


async def limit_async_answer(response: Any) -> None:
    """The same of the async client, which leaves its loop some time between large pieces."""
    if (new_size := _sizes_of(response)) is not None:
        pieces = response.aiter_bytes

        async def aiter_bytes(chunk_size: int | None = None) -> AsyncIterator[bytes]:
            size, since = new_size(), 0
            async with aclosing(pieces(chunk_size)) as given:
                async for piece in given:
                    size.take(piece)
                    yield piece
                    since += len(piece)
                    if since >= _PAUSE:
                        since = 0
                        await asyncio.sleep(0)

        response.aiter_bytes = aiter_bytes


def _sizes_of(response: Any) -> partial[Size] | None:
    """Makes what counts a response's bytes; `None` where there is no limit.

    Raises:
        AnswerTooLargeError: It says of itself that it is too long.
    """
    limit = answer_limit.get()
    if limit is None:
        return None
    in_events = "event-stream" in response.headers.get("content-type", "")
    told = response.headers.get("content-length", "")
    if not in_events and told.isdecimal() and len(told) < len(str(2**64)) and int(told) > limit:
        raise AnswerTooLargeError(limit)
    return partial(Size, limit, in_events=in_events)
