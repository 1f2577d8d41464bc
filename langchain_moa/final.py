"""The final call: the aggregator reads the last proposals and writes the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.answer import AnswerStream, aggregator_usage, finished_answer
from langchain_moa.callbacks import isolated
from langchain_moa.calls import MemberCall, prepare_call
from langchain_moa.errors import AggregationError
from langchain_moa.layers import CallInProgress
from langchain_moa.members import as_chunk, as_message
from langchain_moa.stepping import astepped, stepped
from langchain_moa.types import EventName, Proposal


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
        arguments: Mapping[str, Any],
    ) -> Self:
        """Make the aggregator's call ready.

        Args:
            call: The call in progress.
            messages: The conversation as the caller gave it, tool turns and all.
            proposals: All proposals; the aggregator reads those of the last proposer layer.
            config: The run's configuration.
            arguments: Arguments of this call, over the mixture's own.
        """
        mixture = call.mixture
        last = [p for p in proposals if p.layer == mixture.layers - 1]
        request = prepare_call(
            mixture.aggregator,
            mixture.conversation_with(messages, last),
            config,
            {**mixture.final_arguments, **arguments},
        )
        return cls(call, request, proposals)

    def invoke(self) -> AIMessage:
        """The answer with its record.

        Raises:
            AggregationError: The aggregator failed.
        """
        self._emit("member_started")
        with self._errors():
            output = self.request.runnable.invoke(self.request.input, self.request.config)
            answer = self._finished(as_message(output))
        self._emit("member_finished", **_cost(answer))
        return answer

    async def ainvoke(self) -> AIMessage:
        """The async twin of `invoke`."""
        await self._aemit("member_started")
        with self._errors():
            try:
                runnable, config = self.request.runnable, self.request.config
                answer = self._finished(
                    as_message(await runnable.ainvoke(self.request.input, config))
                )
            except asyncio.CancelledError as error:
                await self.request.cancelled(error)
                await self._aemit("member_cut", seconds=self.request.seconds)
                raise
        await self._aemit("member_finished", **_cost(answer))
        return answer

    def stream(self) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record.

        Raises:
            AggregationError: The aggregator failed, be it after some chunks.
        """
        self._emit("member_started")
        answer, begun = self._answer_stream(), False
        pieces = stepped(_pieces(self.request), isolated)
        with self._errors(), closing(pieces):
            for piece in pieces:
                chunk = as_chunk(piece)
                if not begun and chunk.content:
                    begun = True
                    self._emit("first_token", seconds=self.request.seconds)
                yield from answer.passed_on(chunk)
        last = answer.last()
        self._emit("member_finished", **_cost(last))
        yield last

    async def astream(self) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        await self._aemit("member_started")
        answer, begun = self._answer_stream(), False
        with self._errors():
            async with aclosing(astepped(_apieces(self.request), isolated)) as pieces:
                async for piece in pieces:
                    chunk = as_chunk(piece)
                    if not begun and chunk.content:
                        begun = True
                        await self._aemit("first_token", seconds=self.request.seconds)
                    for passed in answer.passed_on(chunk):
                        yield passed
        last = answer.last()
        await self._aemit("member_finished", **_cost(last))
        yield last

    def _finished(self, message: AIMessage) -> AIMessage:
        return finished_answer(self.call.mixture, self.request, message, self.proposals)

    def _answer_stream(self) -> AnswerStream:
        return AnswerStream(self.call.mixture, self.request, self.proposals)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn whatever the aggregator raises into an error that keeps the proposals."""
        try:
            yield
        except (GraphBubbleUp, AggregationError):
            raise
        except Exception as error:
            reason = self.request.member.redact(f"{type(error).__name__}: {error}")
            usable = sum(p.usable for p in self.proposals)
            msg = (
                f"the aggregator {self.request.member.model} failed ({reason}); "
                f"the error's .proposals holds the {usable} proposals that were usable"
            )
            causes = {"aggregator": error}
            raise AggregationError(msg, proposals=self.proposals, causes=causes) from error

    @property
    def _about(self) -> dict[str, Any]:
        layer, model = self.call.mixture.layers, self.request.member.model
        return {"layer": layer, "index": 0, "role": "aggregator", "model": model}

    def _emit(self, event: EventName, **values: Any) -> None:
        self.call.progress.emit(event, **self._about, **values)

    async def _aemit(self, event: EventName, **values: Any) -> None:
        await self.call.progress.aemit(event, **self._about, **values)


def _cost(answer: AIMessage) -> dict[str, Any]:
    """What the aggregator's call took, from the record on the answer."""
    seconds = answer.response_metadata["moa"]["aggregator"]["seconds"]
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
