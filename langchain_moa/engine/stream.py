"""The aggregator's stream: opened up to the start of its answer, then read on with a deadline.

Reasoning and blanks are held back, for they are no answer: until there is something that can be
one, a stream may be given up for another one. After that what was sent stays valid, and a failure
is an error after the partial text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from concurrent import futures
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, cast

from langchain_core.exceptions import ModelTimeoutError
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks

from langchain_moa.engine.request import MemberRequest, is_given_up
from langchain_moa.members.adapters import as_chunk, as_message
from langchain_moa.messages.verdicts import AnswerSoFar, judge
from langchain_moa.proposals.cleaning import CleanStream, cleaned
from langchain_moa.reliability.quorum import NEVER
from langchain_moa.reliability.threads import Worker
from langchain_moa.reliability.waiting import Result
from langchain_moa.tracing.callbacks import isolated, silenced_handlers
from langchain_moa.tracing.stepping import astepped, stepped

_END: Final = object()
_CLOSE_SECONDS: Final = 1.0
_LATE: Final = "the stream was not finished in time"


@dataclass(frozen=True)
class OpenedStream:
    """A stream that has begun: its first chunks, and the rest to come."""

    head: list[AIMessageChunk]
    rest: Generator[object, None, None]

    def chunks(self, until: float) -> Generator[AIMessageChunk, None, None]:
        """All chunks; the consumer's own pauses don't count for the deadline.

        Raises:
            ModelTimeoutError: The stream has not ended in time.
        """
        worker: Worker[object] = Worker()
        try:
            paused = monotonic()
            yield from self.head
            while True:
                until += monotonic() - paused
                step = worker.submit(partial(next, self.rest, _END))
                if (piece := _waited_for(step, until)) is _END:
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


def _waited_for(step: futures.Future[object], until: float) -> object:
    """What a step gives; to wait by `result` takes half the CPU of `futures.wait`."""
    try:
        return step.result(None if until == NEVER else max(0.0, until - monotonic()))
    except TimeoutError:
        if not step.done():
            raise ModelTimeoutError(_LATE) from None
        return step.result()  # the stream raised it, or was just in time


@dataclass(frozen=True)
class AsyncOpenedStream:
    """The async twin of `OpenedStream`."""

    head: list[AIMessageChunk]
    rest: AsyncGenerator[object, None]

    async def chunks(self, until: float) -> AsyncGenerator[AIMessageChunk, None]:
        """All chunks; see `OpenedStream.chunks`."""
        async with aclosing(self.rest):
            watchdog = _Watchdog(until)
            with closing(watchdog):
                for chunk in self.head:
                    yield chunk
                while (piece := await watchdog.step(self.rest)) is not _END:
                    yield as_chunk(piece)

    async def aclose(self) -> None:
        """Close a stream that nobody reads."""
        await self.rest.aclose()


class _Watchdog:
    """Ends a stream that is out of time.

    One timer for the whole stream: `asyncio.timeout` around each token would cost more than
    passing the token on does.

    Args:
        until: The deadline, on the clock of `time.monotonic`.
    """

    def __init__(self, until: float) -> None:
        self._until = until
        self._paused = monotonic()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fired = False

    async def step(self, steps: AsyncGenerator[object, None]) -> object:
        """The next item, or `_END`.

        Raises:
            ModelTimeoutError: The time is over.
        """
        self._until += monotonic() - self._paused
        self._task = task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        if self._timer is None:
            self._wait()
        try:
            return await anext(steps, _END)
        except asyncio.CancelledError as error:
            if self._fired and task is not None:
                self._fired = False
                if task.uncancel() <= before:
                    raise ModelTimeoutError(_LATE) from error
            raise
        finally:
            if self._fired and task is not None:  # a client made something else of it
                self._fired = False
                task.uncancel()
            self._task = None
            self._paused = monotonic()

    def close(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._until < NEVER:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._until - monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:  # the consumer pauses; the next step waits anew
            return
        if monotonic() < self._until:
            self._wait()
            return
        self._fired = True
        self._task.cancel()


def opened(request: MemberRequest) -> Result:
    """Make a request, up to the first piece that can be an answer; what came before is kept."""
    pieces = stepped(_pieces(request), _scope(request))
    head, answer = list[AIMessageChunk](), AnswerSoFar()
    for piece in pieces:
        if is_given_up():  # reasoning may be long
            pieces.close()
            break
        head.append(as_chunk(piece))
        if answer.take(head[-1]):
            return Result(good=True, value=OpenedStream(head, pieces), request=request)
    return _all(request, answer, OpenedStream(head, pieces))


async def aopened(request: MemberRequest) -> Result:
    """The async twin of `opened`."""
    pieces = astepped(_apieces(request), _scope(request))
    head, answer = list[AIMessageChunk](), AnswerSoFar()
    try:
        async for piece in pieces:
            if is_given_up():  # by whom asked a mixture inside, say, whose loop is another one
                await pieces.aclose()
                break
            head.append(as_chunk(piece))
            if answer.take(head[-1]):
                return Result(good=True, value=AsyncOpenedStream(head, pieces), request=request)
    except asyncio.CancelledError:
        await pieces.aclose()
        raise
    return _all(request, answer, AsyncOpenedStream(head, pieces))


def close_late(result: Result) -> None:
    """Close the stream of a request that came second."""
    if isinstance(result.value, OpenedStream):
        result.value.close()


async def aclose_late(result: Result) -> None:
    """The async twin of `close_late`."""
    if isinstance(result.value, AsyncOpenedStream):
        await result.value.aclose()


def _scope(request: MemberRequest) -> Any:
    return partial(isolated, silenced_handlers(request.config))


def _all(
    request: MemberRequest, answer: AnswerSoFar, opened: OpenedStream | AsyncOpenedStream
) -> Result:
    """What came of a stream that has ended before there was an answer in it."""
    first, *others = opened.head or [AIMessageChunk(content="")]
    message = cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(first, *others)))
    request.require_end(answer, message)
    request.answered(message)
    return request.result(message, judge(message, for_caller=True), opened)


def _pieces(request: MemberRequest) -> Iterator[object]:
    """The aggregator's output piece by piece; a graph's all at once."""
    if not request.member.streams:
        answer = as_message(request.runnable.invoke(request.input, request.config), request.input)
        yield as_chunk(cleaned(request.take(answer), request.fence_key))
        return
    clean, read = CleanStream(request.fence_key), request.pieces()
    pieces = cast(
        "Generator[Any, None, None]", request.runnable.stream(request.input, request.config)
    )
    with closing(pieces):
        for piece in pieces:
            if (chunk := read.take(piece)) is not None:
                yield clean.take(request.take(chunk))
    if (held := read.rest()) is not None:
        yield clean.take(request.take(held))
    if (rest := clean.rest()) is not None:
        yield rest


async def _apieces(request: MemberRequest) -> AsyncIterator[object]:
    """The async twin of `_pieces`."""
    if not request.member.streams:
        answer = as_message(
            await request.runnable.ainvoke(request.input, request.config), request.input
        )
        yield as_chunk(cleaned(request.take(answer), request.fence_key))
        return
    clean, read = CleanStream(request.fence_key), request.pieces()
    pieces = cast(
        "AsyncGenerator[Any, None]", request.runnable.astream(request.input, request.config)
    )
    async with aclosing(pieces):
        async for piece in pieces:
            if (chunk := read.take(piece)) is not None:
                yield clean.take(request.take(chunk))
    if (held := read.rest()) is not None:
        yield clean.take(request.take(held))
    if (rest := clean.rest()) is not None:
        yield rest
