"""The final call: the aggregator reads the last proposals and writes the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, Protocol

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.accounting.budget import Amount
from langchain_moa.accounting.usage import aggregator_usage
from langchain_moa.engine.admission import commit_final, final_estimate
from langchain_moa.engine.answer import (
    AnswerStream,
    answering,
    best_proposal_answer,
    finished_answer,
    selected_answer,
)
from langchain_moa.engine.attempt import said
from langchain_moa.engine.call import CallInProgress, read_proposals
from langchain_moa.engine.reading import Rooms, read_by, require_taken, seen_by, weight_of
from langchain_moa.engine.request import MemberRequest, prepare_call
from langchain_moa.engine.stream import aclose_late, aopened, close_late, opened
from langchain_moa.engine.tries import Assignment
from langchain_moa.engine.turn import Turn
from langchain_moa.engine.watch import Watch
from langchain_moa.errors import (
    AggregationError,
    AggregationOverflowError,
    AggregationRefusedError,
    ModelRefusalError,
    UnsupportedContentError,
    forget_variables,
)
from langchain_moa.members.adapters import as_chunk, as_message
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_aggregator import history_for_aggregator
from langchain_moa.messages.verdicts import judge
from langchain_moa.proposals.cleaning import CleanStream, cleaned
from langchain_moa.proposals.fences import Beside
from langchain_moa.reliability.provider_errors import provider_error
from langchain_moa.reliability.threads import off_loop
from langchain_moa.reliability.waiting import Result, acarried_out, carried_out
from langchain_moa.strategies.base import NO_FINDINGS, Findings
from langchain_moa.strategies.select import pieces_of
from langchain_moa.tracing.callbacks import isolated, silenced_handlers, with_clean_tokens
from langchain_moa.types import LARGE, RECORD_KEY, AnyDict, AnyRunnable, EventName, Proposal

_NOT_OURS: Final = (GraphBubbleUp, UnsupportedContentError)
"""What is raised as it is: the graph's business, and the caller's."""

_NONE_IN_FORM: Final = (
    "no proposal is in the form that was asked for; structured_proposals=True has reference "
    "models answer in the schema of with_structured_output"
)


class Aggregating(Protocol):
    """Gives what is called of the aggregator or a fallback."""

    def __call__(self, member: Member, *, in_thread: bool) -> AnyRunnable:
        """What is called, in a thread or in an event loop."""


@dataclass(frozen=True)
class FinalCall:
    """The aggregator's call, ready to be made, with all proposals so far.

    Attributes:
        call: The call in progress.
        messages: The conversation as the caller gave it, tool turns and all.
        proposals: All proposals; the aggregator reads those of the last layer that gave any.
        config: The run's configuration.
        aggregating: Gives what is called of the aggregator or a fallback: with the call's
            arguments, and limits of its client's where it is called in a thread.
        findings: What was found before the answer, which may be a proposal that is the answer.
    """

    call: CallInProgress
    messages: Sequence[BaseMessage]
    proposals: Sequence[Proposal]
    config: RunnableConfig
    aggregating: Aggregating
    findings: Findings = NO_FINDINGS

    def invoke(self) -> AIMessage:
        """The answer with its record.

        Raises:
            AggregationError: No aggregator answered.
        """
        if (selected := self._selected) is not None:
            return selected
        turn = self._turn(AnswerQuestion)
        with self._watch(turn) as watch, self._failing(turn):
            return watch.answered(self._answer(turn, carried_out(turn.plan())))

    async def ainvoke(self) -> AIMessage:
        """The async twin of `invoke`."""
        if (selected := self._selected) is not None:
            return selected
        turn = await self._aturn(AnswerQuestion)
        async with self._watch(turn) as watch:
            with self._failing(turn):
                result = await acarried_out(turn.plan())
                return watch.answered(await self._aanswer(turn, result))

    def stream(self) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record.

        Raises:
            AggregationError: No aggregator answered, or the one that did failed after some chunks.
        """
        if (selected := self._selected) is not None:
            yield from _in_pieces(selected)
            return
        turn = self._turn(StreamedQuestion)
        with self._watch(turn) as watch, self._failing(turn):
            result = carried_out(turn.plan())
            if not result.good:
                yield watch.answered(_only_chunk(self._answer(turn, result)))
                return
            answer = AnswerStream(turn, result.request, self.proposals, self.findings)
            with closing(result.value.chunks(turn.deadline)) as chunks:
                for chunk in chunks:
                    if answer.begins_with(chunk):
                        self._emit("first_token", turn, seconds=turn.seconds)
                    if (passed := answer.passed_on(chunk)) is not None:
                        yield passed
            yield watch.answered(answer.last())

    async def astream(self) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        if (selected := self._selected) is not None:
            for piece in _in_pieces(selected):
                yield piece
                await asyncio.sleep(0)  # others may have their turn
            return
        turn = await self._aturn(StreamedQuestion)
        async with self._watch(turn) as watch:
            with self._failing(turn):
                result = await acarried_out(turn.plan())
                if not result.good:
                    yield watch.answered(_only_chunk(await self._aanswer(turn, result)))
                    return
                answer = AnswerStream(turn, result.request, self.proposals, self.findings)
                async with aclosing(result.value.chunks(turn.deadline)) as chunks:
                    async for chunk in chunks:
                        if answer.begins_with(chunk):
                            await self._aemit("first_token", turn, seconds=turn.seconds)
                        if (passed := answer.passed_on(chunk)) is not None:
                            yield passed
                yield watch.answered(await off_loop(answer.last, self._size(result.request.size)))

    @cached_property
    def shown(self) -> list[Proposal]:
        """The proposals that the aggregator reads."""
        mixture = self.call.mixture
        return read_proposals(mixture, self.proposals, mixture.layers, self.messages)

    @property
    def beside(self) -> Beside:
        """What it reads with them."""
        shared = self.call.mixture.settings.share_reasoning
        return self.findings.beside([p.reasoning for p in self.shown] if shared else ())

    @property
    def _selected(self) -> AIMessage | None:
        """The proposal that is the answer, where one was selected."""
        selection = self.findings.selection
        if selection is None:
            return None
        place = (selection["layer"], selection["index"])
        chosen = next((p for p in self.proposals if (p.layer, p.index) == place), None)
        if chosen is None:  # another version left the selection in a checkpoint
            return None
        return selected_answer(self.call, chosen, self.proposals, self.findings)

    async def _aturn(self, kind: type[AnswerQuestion]) -> Turn:
        return await off_loop(partial(self._turn, kind), self._size(0))

    def _turn(self, kind: type[AnswerQuestion]) -> Turn:
        mixture = self.call.mixture
        return Turn(
            Assignment(
                call=self.call,
                member=mixture.aggregator,
                question=kind(self),
                layer=mixture.layers,
                index=0,
                role="aggregator",
                timeout=mixture.policy.aggregator_timeout,
                limit=f"aggregator_timeout={mixture.policy.aggregator_timeout:g} s",
                until=self.call.until,
                refused=commit_final(self.call, self.messages, self.proposals, self.findings),
            )
        )

    def _answer(self, turn: Turn, result: Result) -> AIMessage:
        """The answer that came, or the best proposal instead.

        Raises:
            AggregationError: Neither is to be had.
        """
        if result.good:
            return finished_answer(
                turn, result.request, result.value, self.proposals, self.findings
            )
        reason = turn.why(result)
        settings = self.call.mixture.settings
        wanted = self.shown if settings.on_aggregator_failure == "best_proposal" else []
        # an error's traceback holds no arguments, which may be headers with keys
        called = partial(self.aggregating, turn.member, in_thread=False)
        able = answering(self.call, wanted, model_and_arguments(called())[1])
        if wanted and not able:
            reason += f"; {_NONE_IN_FORM}"
        error = self._error(turn, reason, result.error)
        if not able:
            raise error from error.causes.get("aggregator")
        return best_proposal_answer(turn, able, self.proposals, str(error), self.findings)

    async def _aanswer(self, turn: Turn, result: Result) -> AIMessage:
        """The async twin of `_answer`: to compare long proposals takes a while."""
        compared = 0 if result.good else sum(len(proposal.text) for proposal in self.shown)
        return await off_loop(partial(self._answer, turn, result), self._size(compared))

    def _size(self, size: int) -> int:
        """How much some work is: prices of the user's may take any time."""
        return LARGE if self.call.mixture.asks_prices else size

    def _error(self, turn: Turn, text: str, cause: Exception | None) -> AggregationError:
        """What the caller gets when the aggregator gave nothing: the proposals are kept."""
        mixture = self.call.mixture
        reason, causes = mixture.redacted(text), {}
        if cause is not None:
            mixture.redaction.error(cause)
            forget_variables(cause)
            if mixture.redacted(str(cause)) == str(cause):  # one that quotes a key is not handed on
                causes = {"aggregator": cause}
        asked = turn.last_request
        msg = f"the aggregator {asked.model if asked else turn.member.model} failed ({reason})"
        if isinstance(cause, ContextOverflowError):
            return AggregationOverflowError(msg, proposals=self.proposals, causes=causes)
        if isinstance(cause, ModelRefusalError):
            refused = AggregationRefusedError(msg, proposals=self.proposals, causes=causes)
            refused.raw_message = cause.raw_message if causes else None
            return refused
        return AggregationError(msg, proposals=self.proposals, causes=causes)

    @contextmanager
    def _failing(self, turn: Turn) -> Iterator[None]:
        """Ends the turn, and makes what is raised meanwhile an error of ours."""
        try:
            yield
        except (AggregationError, *_NOT_OURS):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the proposals are kept
            self.call.mixture.redaction.error(error)
            cause = provider_error(error)
            ours = self._error(turn, said(cause, turn.member), cause)
            raise ours from ours.causes.get("aggregator")
        finally:
            turn.end()

    def _watch(self, turn: Turn) -> Watch:
        return Watch(self.call.progress, partial(_outcome, turn))

    def _emit(self, event: EventName, turn: Turn, **values: object) -> None:
        self.call.progress.emit(event, **turn.assignment.about, **values)

    async def _aemit(self, event: EventName, turn: Turn, **values: object) -> None:
        await self.call.progress.aemit(event, **turn.assignment.about, **values)


def _outcome(
    turn: Turn, error: BaseException | None, answer: AIMessage | None
) -> tuple[EventName, AnyDict]:
    """The event that tells what became of the aggregator."""
    about = {**turn.assignment.about, "seconds": turn.seconds}
    if isinstance(error, AggregationError):
        return "member_failed", {**about, "error": str(error)}
    if answer is None:
        return "member_cut", about
    record = answer.response_metadata[RECORD_KEY]["aggregator"]
    values = {**about, "seconds": record["seconds"], "usage": aggregator_usage(answer)}
    if record["status"] == "failed":
        return "member_failed", {**values, "error": record["error"]}
    return "member_finished", values


def _in_pieces(answer: AIMessage) -> Iterator[AIMessageChunk]:
    """A selected answer as a stream brings it, the record on its last piece."""
    if not isinstance(answer.content, str) or answer.tool_calls or answer.additional_kwargs:
        yield _only_chunk(answer)
        return
    for piece in pieces_of(answer.content):
        yield AIMessageChunk(content=piece)
    yield _only_chunk(answer.model_copy(update={"content": ""}))


def _only_chunk(answer: AIMessage) -> AIMessageChunk:
    return as_chunk(answer).model_copy(update={"chunk_position": "last"})


@dataclass(frozen=True)
class AnswerQuestion:
    """What the aggregator and its fallbacks are asked for: the answer as a whole.

    Attributes:
        final: The aggregator's call.
        rooms: How much of the proposals they get after an endpoint said that a prompt did not fit.
    """

    final: FinalCall
    rooms: Rooms = field(default_factory=Rooms)

    def estimate(self, member: Member) -> Amount:
        """What a request to one of them may cost."""
        final = self.final
        return final_estimate(
            final.call.mixture, member, final.messages, final.shown, beside=final.beside
        )

    def request(self, member: Member, *, in_thread: bool) -> MemberRequest:
        """A request to one of them, ready to be made."""
        final, mixture = self.final, self.final.call.mixture
        runnable = final.aggregating(member, in_thread=in_thread)
        model, arguments = model_and_arguments(runnable)
        history = history_for_aggregator(seen_by(mixture, member, final.messages), model, arguments)
        read = read_by(
            mixture,
            member,
            history,
            final.shown,
            self.rooms,
            bound=arguments,
            beside=final.beside,
        )
        require_taken(mixture, member, read.left_out)
        limit, redaction = mixture.settings.max_answer_bytes, mixture.redaction
        config = _with_clean_tokens(final.config, read.fence_key)
        return prepare_call(member, runnable, read, config, redaction=redaction, limit=limit)

    @property
    def weight(self) -> int:
        """How much there is to be read and written for a request, in characters."""
        return weight_of(self.final.call.mixture, self.final.messages, self.final.shown)

    def asks_anew(self, result: Result) -> bool:
        """Whether to ask once more with shorter proposals: the prompt did not fit."""
        request = result.request
        return request is not None and self.rooms.shrink(request.member, result.error)

    def ask(self, request: MemberRequest) -> Result:
        """Make the request in a thread."""
        with _scope(request):
            output = request.runnable.invoke(request.input, request.config)
        return _judged(request, request.take(as_message(output, request.input)))

    async def aask(self, request: MemberRequest) -> Result:
        """Make the request in an event loop."""
        with _scope(request):
            output = await request.runnable.ainvoke(request.input, request.config)
        message = request.take(as_message(output, request.input))
        return await off_loop(partial(_judged, request, message), request.size)

    def discard(self, result: Result) -> None:
        """Nothing is to be let go of: the answer is whole."""

    async def adiscard(self, result: Result) -> None:
        """Nothing is to be let go of, either."""


class StreamedQuestion(AnswerQuestion):
    """What they are asked for where the answer is streamed: its beginning, and the rest to come."""

    def ask(self, request: MemberRequest) -> Result:
        """Make the request in a thread, up to the answer's first token."""
        return opened(request)

    async def aask(self, request: MemberRequest) -> Result:
        """Make the request in an event loop, up to the answer's first token."""
        return await aopened(request)

    def discard(self, result: Result) -> None:
        """Close a stream that nobody reads."""
        close_late(result)

    async def adiscard(self, result: Result) -> None:
        """Close a stream that nobody reads."""
        await aclose_late(result)


def _scope(request: MemberRequest) -> AbstractContextManager[None]:
    return isolated(silenced_handlers(request.config))


def _with_clean_tokens(config: RunnableConfig, key: str | None) -> RunnableConfig:
    """The config whose listeners hear no tag of the call's fences: in a graph they hear a model."""
    if key is None:
        return config
    return with_clean_tokens(config, lambda: CleanStream(key), lambda m: cleaned(m, key))


def _judged(request: MemberRequest, answer: AIMessage) -> Result:
    message = cleaned(answer, request.fence_key)
    request.answered(message)
    return request.result(message, judge(message, for_caller=True), message)
