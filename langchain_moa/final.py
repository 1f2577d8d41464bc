"""The final call: the aggregator reads the last proposals and writes the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.answer import RECORD_KEY, AnswerStream, aggregator_usage, finished_answer
from langchain_moa.callbacks import deaf_handlers, isolated
from langchain_moa.calls import MemberCall, prepare_call
from langchain_moa.errors import AggregationError
from langchain_moa.handlers import WithoutTokens
from langchain_moa.layers import CallInProgress
from langchain_moa.members import as_chunk, as_message
from langchain_moa.stepping import astepped, stepped
from langchain_moa.types import EventName, Proposal

_Message = TypeVar("_Message", bound=AIMessage)


@dataclass(frozen=True)
class FinalCall:
    """The aggregator's call, ready to be made, with all proposals so far."""

    call: CallInProgress
    request: MemberCall
    proposals: Sequence[Proposal]

    @classmethod
    def prepare(
        cls,
        call: CallInProgress,
        messages: Sequence[BaseMessage],
        proposals: Sequence[Proposal],
        config: RunnableConfig,
        runnable: Runnable[Any, Any],
    ) -> Self:
        """Make the aggregator's call ready.

        Args:
            call: The call in progress.
            messages: The conversation as the caller gave it, tool turns and all.
            proposals: All proposals; the aggregator reads those of the last proposer layer.
            config: The run's configuration.
            runnable: The aggregator with the arguments of this call.
        """
        mixture = call.mixture
        last = [p for p in proposals if p.layer == mixture.layers - 1]
        conversation = mixture.conversation_with(messages, last)
        request = prepare_call(mixture.aggregator, runnable, conversation, config)
        return cls(call, request, proposals)

    def invoke(self) -> AIMessage:
        """The answer with its record.

        Raises:
            AggregationError: The aggregator failed.
        """
        with _Watch(self) as watch:
            output = self.request.runnable.invoke(self.request.input, self.request.config)
            return watch.done(self._finished(as_message(output)))

    async def ainvoke(self) -> AIMessage:
        """The async twin of `invoke`."""
        async with _Watch(self) as watch:
            output = await self.request.runnable.ainvoke(self.request.input, self.request.config)
            return watch.done(self._finished(as_message(output)))

    def stream(self) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record.

        Raises:
            AggregationError: The aggregator failed, be it after some chunks.
        """
        answer = AnswerStream(self.call.mixture, self.request, self.proposals)
        with (
            _Watch(self) as watch,
            closing(stepped(_pieces(self.request), self.isolated)) as pieces,
        ):
            for chunk in map(as_chunk, pieces):
                if watch.begins_with(chunk):
                    self.emit("first_token", seconds=self.request.seconds)
                yield from answer.passed_on(chunk)
            yield watch.done(answer.last())

    async def astream(self) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        answer = AnswerStream(self.call.mixture, self.request, self.proposals)
        async with (
            _Watch(self) as watch,
            aclosing(astepped(_apieces(self.request), self.isolated)) as pieces,
        ):
            async for piece in pieces:
                chunk = as_chunk(piece)
                if watch.begins_with(chunk):
                    await self.aemit("first_token", seconds=self.request.seconds)
                for passed in answer.passed_on(chunk):
                    yield passed
            yield watch.done(answer.last())

    def isolated(self) -> AbstractContextManager[None]:
        """The scope of the call inside the chat model, or of one step of its stream."""
        return isolated(self._deaf)

    @cached_property
    def _deaf(self) -> list[WithoutTokens]:
        return deaf_handlers(self.request.config)

    def _finished(self, message: AIMessage) -> AIMessage:
        return finished_answer(self.call.mixture, self.request, message, self.proposals)

    def error(self, cause: Exception) -> AggregationError:
        """What the caller gets for what the aggregator raised: the proposals are kept."""
        text = f"{type(cause).__name__}: {cause}"
        reason = self.call.mixture.redacted(text)
        usable = sum(p.usable for p in self.proposals)
        msg = (
            f"the aggregator {self.request.model} failed ({reason}); "
            f"the error's .proposals holds the {usable} proposals that were usable"
        )
        causes = {"aggregator": cause} if reason == text else {}
        return AggregationError(msg, proposals=self.proposals, causes=causes)

    def emit(self, event: EventName, **values: Any) -> None:
        """Tell the call's listeners of the aggregator."""
        self.call.progress.emit(event, **self._about, **values)

    async def aemit(self, event: EventName, **values: Any) -> None:
        """The async twin of `emit`."""
        await self.call.progress.aemit(event, **self._about, **values)

    @property
    def _about(self) -> dict[str, Any]:
        layer, model = self.call.mixture.layers, self.request.model
        return {"layer": layer, "index": 0, "role": "aggregator", "model": model}


class _Watch:
    """Stands around the aggregator's call: tells of it, and makes its errors ours."""

    def __init__(self, final: FinalCall) -> None:
        self._final = final
        self._answer: AIMessage | None = None
        self._begun = False

    def begins_with(self, chunk: AIMessageChunk) -> bool:
        """Whether this chunk is the first with anything in it."""
        begins = not self._begun and bool(chunk.content or chunk.tool_call_chunks)
        self._begun = self._begun or begins
        return begins

    def done(self, answer: _Message) -> _Message:
        """Keep the finished answer, for the event that tells of it."""
        self._answer = answer
        return answer

    def __enter__(self) -> Self:
        self._final.emit("member_started")
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        event, values = self._outcome(error)
        self._final.emit(event, **values)
        self._convert(error)

    async def __aenter__(self) -> Self:
        await self._final.aemit("member_started")
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            await self._final.request.cancelled(error)
        event, values = self._outcome(error)
        await self._final.aemit(event, **values)
        self._convert(error)

    def _outcome(self, error: BaseException | None) -> tuple[EventName, dict[str, Any]]:
        if self._answer is not None:
            return "member_finished", _cost(self._answer)
        seconds = self._final.request.seconds
        if isinstance(error, Exception) and not isinstance(error, GraphBubbleUp):
            return "member_failed", {"seconds": seconds, "error": str(self._final.error(error))}
        return "member_cut", {"seconds": seconds}

    def _convert(self, error: BaseException | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, GraphBubbleUp):
            ours = self._final.error(error)
            raise ours from ours.causes.get("aggregator")


def _cost(answer: AIMessage) -> dict[str, Any]:
    """What the aggregator's call took, from the record on the answer."""
    seconds = answer.response_metadata[RECORD_KEY]["aggregator"]["seconds"]
    return {"seconds": seconds, "usage": aggregator_usage(answer)}


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
