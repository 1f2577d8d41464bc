"""The aggregator's stream: opened up to its first token, then read on with a deadline.

Until the first token a stream may be given up for another one. After that what was sent stays
valid, and a failure is an error after the partial text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from concurrent import futures
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, cast

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langgraph.errors import GraphBubbleUp

from langchain_moa.attempts import raised
from langchain_moa.callbacks import deaf_handlers, isolated
from langchain_moa.calls import MemberCall
from langchain_moa.gate import OPEN
from langchain_moa.judging import judge_answer
from langchain_moa.members import as_chunk
from langchain_moa.racing import Result
from langchain_moa.stepping import astepped, stepped
from langchain_moa.threads import Worker

_END: Final = object()
_CLOSE_SECONDS: Final = 1.0
_LATE: Final = "the stream was not finished in time"


@dataclass(frozen=True)
class OpenedStream:
    """A stream that has begun: its first chunks, and the rest to come."""

    head: list[AIMessageChunk]
    rest: Generator[Any, None, None]

    def chunks(self, until: float) -> Generator[AIMessageChunk, None, None]:
        """All chunks; the consumer's own pauses don't count for the deadline.

        Raises:
            ModelTimeoutError: The stream has not ended in time.
        """
        worker: Worker[Any] = Worker()
        try:
            paused = monotonic()
            yield from self.head
            while True:
                until += monotonic() - paused
                step = worker.submit(partial(next, self.rest, _END))
                futures.wait([step], None if until == OPEN else until - monotonic())
                if not step.done():
                    raise ModelTimeoutError(_LATE)
                if (piece := step.result()) is _END:
                    return
                paused = monotonic()
                yield as_chunk(piece)
        finally:
            closing = worker.submit(self.rest.close)
            worker.stop()
            futures.wait([closing], _CLOSE_SECONDS)

    def close(self) -> None:
        """Close a stream that nobody reads."""
        self.rest.close()


@dataclass(frozen=True)
class AsyncOpenedStream:
    """The async twin of `OpenedStream`."""

    head: list[AIMessageChunk]
    rest: AsyncGenerator[Any, None]

    async def chunks(self, until: float) -> AsyncGenerator[AIMessageChunk, None]:
        """All chunks; see `OpenedStream.chunks`."""
        async with aclosing(self.rest):
            paused = monotonic()
            for chunk in self.head:
                yield chunk
            while True:
                until += monotonic() - paused
                try:
                    async with asyncio.timeout(_left(until)):
                        piece = await anext(self.rest, _END)
                except TimeoutError as error:
                    raise ModelTimeoutError(_LATE) from error
                if piece is _END:
                    return
                paused = monotonic()
                yield as_chunk(piece)

    async def aclose(self) -> None:
        """Close a stream that nobody reads."""
        await self.rest.aclose()


def opened(request: MemberCall) -> Result:
    """Make a request, up to the first token of its answer."""
    pieces = stepped(_pieces(request), _scope(request))
    head: list[AIMessageChunk] = []
    try:
        for piece in pieces:
            head.append(as_chunk(piece))
            if _has_begun(head[-1]):
                return Result(good=True, value=OpenedStream(head, pieces), request=request)
    except GraphBubbleUp:
        raise
    except Exception as error:  # noqa: BLE001 - a fallback may answer
        return raised(request, error)
    return _nothing(request, head)


async def aopened(request: MemberCall) -> Result:
    """The async twin of `opened`."""
    pieces = astepped(_apieces(request), _scope(request))
    head: list[AIMessageChunk] = []
    try:
        async for piece in pieces:
            head.append(as_chunk(piece))
            if _has_begun(head[-1]):
                return Result(good=True, value=AsyncOpenedStream(head, pieces), request=request)
    except GraphBubbleUp:
        raise
    except asyncio.CancelledError as error:
        await pieces.aclose()
        await request.cancelled(error)
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return raised(request, error)
    return _nothing(request, head)


def close_late(result: Result) -> None:
    """Close the stream of a request that came second."""
    if isinstance(result.value, OpenedStream):
        result.value.close()


async def aclose_late(result: Result) -> None:
    """The async twin of `close_late`."""
    if isinstance(result.value, AsyncOpenedStream):
        await result.value.aclose()


def _scope(request: MemberCall) -> Any:
    return partial(isolated, deaf_handlers(request.config))


def _has_begun(chunk: AIMessageChunk) -> bool:
    """Whether a chunk has anything in it that a reader would see."""
    return bool(chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs)


def _nothing(request: MemberCall, head: list[AIMessageChunk]) -> Result:
    first, *others = head or [AIMessageChunk(content="")]
    message = cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(first, *others)))
    request.answered(message)
    return Result(reason=judge_answer(message) or "no text", request=request)


def _left(until: float) -> float | None:
    return None if until == OPEN else until - monotonic()


def _pieces(call: MemberCall) -> Iterator[Any]:
    """The aggregator's output piece by piece; a graph's all at once."""
    if not call.member.streams:
        yield call.runnable.invoke(call.input, call.config)
        return
    yield from call.runnable.stream(call.input, call.config)


async def _apieces(call: MemberCall) -> AsyncIterator[Any]:
    """The async twin of `_pieces`."""
    if not call.member.streams:
        yield await call.runnable.ainvoke(call.input, call.config)
        return
    pieces = cast("AsyncGenerator[Any, None]", call.runnable.astream(call.input, call.config))
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
