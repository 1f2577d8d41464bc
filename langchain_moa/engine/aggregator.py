"""The final call: the aggregator reads the last proposals and writes the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractContextManager, aclosing, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.accounting.usage import aggregator_usage
from langchain_moa.engine.admission import commit_final, final_estimate
from langchain_moa.engine.answer import (
    AnswerStream,
    answering,
    best_proposal_answer,
    finished_answer,
)
from langchain_moa.engine.call import CallInProgress, shown_proposals
from langchain_moa.engine.reading import read_by, require_taken, seen_by
from langchain_moa.engine.request import MemberCall, prepare_call
from langchain_moa.engine.stream import aclose_late, aopened, close_late, opened
from langchain_moa.engine.turn import Turn, said
from langchain_moa.errors import AggregationError, UnsupportedContentError
from langchain_moa.members.adapters import as_chunk, as_message
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_aggregator import history_for_aggregator
from langchain_moa.messages.verdicts import judge
from langchain_moa.reliability.provider_errors import provider_error
from langchain_moa.reliability.waiting import Result, acarried_out, carried_out
from langchain_moa.tracing.callbacks import deaf_handlers, isolated
from langchain_moa.types import RECORD_KEY, EventName, Proposal

_NOT_OURS: Final = (GraphBubbleUp, UnsupportedContentError)
"""What is raised as it is: the graph's business, and the caller's."""

_NONE_IN_FORM: Final = (
    "no proposal is in the form that was asked for; structured_proposals=True has reference "
    "models answer in the schema of with_structured_output"
)

_Message = TypeVar("_Message", bound=AIMessage)


@dataclass(frozen=True)
class FinalCall:
    """The aggregator's call, ready to be made, with all proposals so far.

    Attributes:
        call: The call in progress.
        messages: The conversation as the caller gave it, tool turns and all.
        proposals: All proposals; the aggregator reads those of the last layer that gave any.
        config: The run's configuration.
        aggregating: What is called of the aggregator or a fallback: with the call's arguments.
    """

    call: CallInProgress
    messages: Sequence[BaseMessage]
    proposals: Sequence[Proposal]
    config: RunnableConfig
    aggregating: Callable[[Member], Runnable[Any, Any]]

    def invoke(self) -> AIMessage:
        """The answer with its record.

        Raises:
            AggregationError: No aggregator answered.
        """
        turn = self._turn(_ask)
        with _Watch(self, turn) as watch:
            result = carried_out(turn.plan())
            return watch.done(self._answer(turn, result))

    async def ainvoke(self) -> AIMessage:
        """The async twin of `invoke`."""
        turn = self._turn(_aask)
        async with _Watch(self, turn) as watch:
            result = await acarried_out(turn.plan())
            return watch.done(self._answer(turn, result))

    def stream(self) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record.

        Raises:
            AggregationError: No aggregator answered, or the one that did failed after some chunks.
        """
        turn = self._turn(opened)
        with _Watch(self, turn) as watch:
            result = carried_out(turn.plan())
            if not result.good:
                yield watch.done(_only_chunk(self._answer(turn, result)))
                return
            answer = AnswerStream(turn, result.request, self.proposals)
            with closing(result.value.chunks(turn.deadline)) as chunks:
                for chunk in chunks:
                    if watch.begins_with(chunk):
                        self.emit("first_token", turn, seconds=turn.seconds)
                    if (passed := answer.passed_on(chunk)) is not None:
                        yield passed
            yield watch.done(answer.last())

    async def astream(self) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        turn = self._turn(aopened)
        async with _Watch(self, turn) as watch:
            result = await acarried_out(turn.plan())
            if not result.good:
                yield watch.done(_only_chunk(self._answer(turn, result)))
                return
            answer = AnswerStream(turn, result.request, self.proposals)
            async with aclosing(result.value.chunks(turn.deadline)) as chunks:
                async for chunk in chunks:
                    if watch.begins_with(chunk):
                        await self.aemit("first_token", turn, seconds=turn.seconds)
                    if (passed := answer.passed_on(chunk)) is not None:
                        yield passed
            yield watch.done(answer.last())

    @cached_property
    def _shown(self) -> list[Proposal]:
        """The proposals that the aggregator reads."""
        return shown_proposals(self.proposals, self.call.mixture.layers)

    def _turn(self, ask: Callable[[MemberCall], Any]) -> Turn:
        mixture = self.call.mixture
        refused = commit_final(self.call, self.messages, self.proposals)
        return Turn(
            call=self.call,
            member=mixture.aggregator,
            about={"layer": mixture.layers, "index": 0, "role": "aggregator"},
            prepare=self._prepare,
            ask=ask,
            timeout=mixture.policy.aggregator_timeout,
            limit=f"aggregator_timeout={mixture.policy.aggregator_timeout:g} s",
            until=self.call.until,
            estimate=lambda member: final_estimate(mixture, member, self.messages, self._shown),
            refused=refused,
            discard=close_late,
            adiscard=aclose_late,
        )

    def _prepare(self, member: Member) -> MemberCall:
        mixture = self.call.mixture
        runnable = self.aggregating(member)
        model, arguments = model_and_arguments(runnable)
        history = history_for_aggregator(seen_by(mixture, member, self.messages), model, arguments)
        read, left_out = read_by(mixture, member, history, self._shown)
        require_taken(mixture, member, left_out)
        return prepare_call(member, runnable, read, self.config, left_out)

    def _answer(self, turn: Turn, result: Result) -> AIMessage:
        """The answer that came, or the best proposal instead.

        Raises:
            AggregationError: Neither is to be had.
        """
        if result.good:
            return finished_answer(turn, result.request, result.value, self.proposals)
        reason = turn.why(result)
        settings = self.call.mixture.settings
        wanted = self._shown if settings.on_aggregator_failure == "best_proposal" else []
        _, arguments = model_and_arguments(self.aggregating(turn.member))
        able = answering(self.call, wanted, arguments)
        if wanted and not able:
            reason += f"; {_NONE_IN_FORM}"
        error = self.error(turn, reason, result.error)
        if not able:
            raise error from error.causes.get("aggregator")
        return best_proposal_answer(turn, able, self.proposals, str(error))

    def error(self, turn: Turn, text: str, cause: Exception | None) -> AggregationError:
        """What the caller gets when the aggregator gave nothing: the proposals are kept."""
        reason = self.call.mixture.redacted(text)
        usable = sum(p.usable for p in self.proposals)
        asked = turn.requests[-1].model if turn.requests else turn.member.model
        msg = (
            f"the aggregator {asked} failed ({reason}); "
            f"the error's .proposals holds the {usable} proposals that were usable"
        )
        causes = {"aggregator": cause} if cause is not None and reason == text else {}
        return AggregationError(msg, proposals=self.proposals, causes=causes)

    def emit(self, event: EventName, turn: Turn, **values: Any) -> None:
        """Tell the call's listeners of the aggregator."""
        self.call.progress.emit(event, **turn.told, **values)

    async def aemit(self, event: EventName, turn: Turn, **values: Any) -> None:
        """The async twin of `emit`."""
        await self.call.progress.aemit(event, **turn.told, **values)


def _only_chunk(answer: AIMessage) -> AIMessageChunk:
    return as_chunk(answer).model_copy(update={"chunk_position": "last"})


def _ask(request: MemberCall) -> Result:
    with _scope(request):
        return _judged(request, request.runnable.invoke(request.input, request.config))


async def _aask(request: MemberCall) -> Result:
    with _scope(request):
        output = await request.runnable.ainvoke(request.input, request.config)
    return _judged(request, output)


def _scope(request: MemberCall) -> AbstractContextManager[None]:
    return isolated(deaf_handlers(request.config))


def _judged(request: MemberCall, output: Any) -> Result:
    message = as_message(output, request.input)
    request.answered(message)
    verdict = request.judged(judge(message, for_caller=True))
    return Result(good=verdict.usable, value=message, reason=verdict.reason, request=request)


class _Watch:
    """Stands around the aggregator's turn: tells of its end, and makes its errors ours."""

    def __init__(self, final: FinalCall, turn: Turn) -> None:
        self._final = final
        self._turn = turn
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
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._turn.end()
        ours = self._ours(error)
        event, values = self._outcome(ours)
        self._final.emit(event, self._turn, **values)
        self._raise(ours, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._turn.end()
        ours = self._ours(error)
        event, values = self._outcome(ours)
        await self._final.aemit(event, self._turn, **values)
        self._raise(ours, error)

    def _ours(self, error: BaseException | None) -> AggregationError | None:
        """The error as callers get it; `None` for no error, and for what is no failure."""
        if isinstance(error, AggregationError):
            return error
        if not isinstance(error, Exception) or isinstance(error, _NOT_OURS):
            return None
        error = provider_error(error)
        return self._final.error(self._turn, said(error, self._turn.member), error)

    def _outcome(self, error: AggregationError | None) -> tuple[EventName, dict[str, Any]]:
        if error is not None:
            return "member_failed", {"seconds": self._turn.seconds, "error": str(error)}
        if self._answer is None:
            return "member_cut", {"seconds": self._turn.seconds}
        record = self._answer.response_metadata[RECORD_KEY]["aggregator"]
        values = {"seconds": record["seconds"], "usage": aggregator_usage(self._answer)}
        if record["status"] == "failed":
            return "member_failed", {**values, "error": record["error"]}
        return "member_finished", values

    def _raise(self, ours: AggregationError | None, error: BaseException | None) -> None:
        if ours is not None and ours is not error:
            raise ours from ours.causes.get("aggregator")
