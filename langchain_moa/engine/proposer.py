"""One proposer's turn in one layer, from the request to the record."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_moa.accounting.usage import sum_usage
from langchain_moa.engine.admission import proposer_estimate, refusal
from langchain_moa.engine.call import (
    CallInProgress,
    own_proposals,
    require_enough,
    shown_proposals,
)
from langchain_moa.engine.reading import read_by, require_taken, seen_by
from langchain_moa.engine.request import MemberCall, prepare_call
from langchain_moa.engine.turn import Turn
from langchain_moa.members.adapters import as_chunk, as_message
from langchain_moa.members.bindings import Bound
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import with_arguments
from langchain_moa.messages.characters import WholeCharacters, whole_characters
from langchain_moa.messages.for_proposers import ending_on_user, history_for_proposers
from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.messages.tools import arguments_text, calls_as_text, with_advice
from langchain_moa.messages.verdicts import AnswerSoFar, judge
from langchain_moa.reliability.retries import is_retryable
from langchain_moa.reliability.waiting import Ending, Result, acarried_out, carried_out
from langchain_moa.tracing.callbacks import deaf_handlers, isolated, proposer_config
from langchain_moa.tracing.stepping import astepped, stepped
from langchain_moa.types import EventName, Proposal, ProposalStatus, slot

logger = logging.getLogger(__name__)

LayerState = Mapping[str, Any]
"""`messages` and `moa_proposals` of a graph in progress."""

_STATUS: Final[dict[Ending, ProposalStatus]] = {
    "answered": "empty",
    "raised": "failed",
    "timed_out": "timed_out",
    "cut": "cut",
    "refused": "skipped",
}
"""The status of a turn that ended without an answer."""

_Outcome: TypeAlias = tuple[EventName, dict[str, Any]]
"""An event and its values."""


@dataclass(frozen=True, slots=True)
class Proposing:
    """One proposer's turn in one layer."""

    call: CallInProgress
    layer: int
    index: int

    def run(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """Ask the proposer; a failure is a proposal that is not usable."""
        turn = self._turn(state, config, self._ask)
        proposal = turn if isinstance(turn, Proposal) else self._proposed(turn)
        event, values = _outcome(proposal)
        self._emit(event, **values)
        return proposal

    async def arun(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """The async twin of `run`."""
        turn = self._turn(state, config, self._aask)
        proposal = turn if isinstance(turn, Proposal) else await self._aproposed(turn)
        event, values = _outcome(proposal)
        await self._aemit(event, **values)
        return proposal

    def _proposed(self, turn: Turn) -> Proposal:
        try:
            result = carried_out(turn.plan())
        finally:
            turn.end()
        return self._proposal(turn, result)

    async def _aproposed(self, turn: Turn) -> Proposal:
        try:
            result = await acarried_out(turn.plan())
        except asyncio.CancelledError:
            await self._aemit("member_cut", seconds=turn.seconds)
            raise
        finally:
            turn.end()
        return self._proposal(turn, result)

    def _ask(self, request: MemberCall) -> Result:
        return self._judged(request, as_message(self._answer(request), request.input))

    async def _aask(self, request: MemberCall) -> Result:
        return self._judged(request, as_message(await self._aanswer(request), request.input))

    def _answer(self, request: MemberCall) -> Any:
        if not self._streams:
            with isolated(deaf_handlers(request.config)):
                return request.runnable.invoke(request.input, request.config)
        answer, scope = _StreamedProposal(request), partial(isolated, deaf_handlers(request.config))
        for piece in stepped(request.runnable.stream(request.input, request.config), scope):
            if request.over:  # a thread can't be ended from outside, but it can see that it is
                break
            for event, values in answer.take(as_chunk(piece)):
                self._emit(event, **values)
        return answer.whole()

    async def _aanswer(self, request: MemberCall) -> Any:
        if not self._streams:
            with isolated(deaf_handlers(request.config)):
                return await request.runnable.ainvoke(request.input, request.config)
        answer, scope = _StreamedProposal(request), partial(isolated, deaf_handlers(request.config))
        pieces = request.runnable.astream(request.input, request.config)
        async with aclosing(astepped(pieces, scope)) as steps:
            async for piece in steps:
                for event, values in answer.take(as_chunk(piece)):
                    await self._aemit(event, **values)
        return answer.whole()

    @property
    def _member(self) -> Member:
        return self.call.mixture.proposers[self.layer - 1][self.index]

    @property
    def _streams(self) -> bool:
        return self.call.mixture.settings.stream_proposals and self._member.streams

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "layer": self.layer,
            "index": self.index,
            "role": "proposer",
            "model": self._member.model,
        }

    def _emit(self, event: EventName, **values: Any) -> None:
        self.call.progress.emit(event, **self._about, **values)

    async def _aemit(self, event: EventName, **values: Any) -> None:
        await self.call.progress.aemit(event, **self._about, **values)

    def _turn(
        self, state: LayerState, config: RunnableConfig, ask: Callable[[MemberCall], Any]
    ) -> Turn | Proposal:
        """The turn, or the record of why there is none."""
        mixture, layer = self.call.mixture, self.call.layer(self.layer)
        proposals = own_proposals(mixture, state.get("moa_proposals", {}))
        before = [p for p in proposals if p.layer < self.layer]
        if self.layer > 1:
            require_enough(self.call, [p for p in before if p.layer == self.layer - 1], before)
        refused = refusal(self.call, self.layer, self.index, state["messages"], before)
        if refused is not None:
            return self._left_out(refused)
        shown = shown_proposals(before, self.layer)
        in_thread = not inspect.iscoroutinefunction(ask)

        def prepare(member: Member) -> MemberCall:
            history = self._history(member, state["messages"], shown)
            read, left_out = read_by(mixture, member, history, shown)
            require_taken(mixture, member, left_out)
            asked = self._proposing(member, in_thread=in_thread)
            return prepare_call(member, asked, read, own, left_out)

        own = proposer_config(config, layer=self.layer, index=self.index, tokens=not self._streams)
        return Turn(
            call=self.call,
            member=self._member,
            about=self._about,
            prepare=prepare,
            ask=ask,
            timeout=mixture.policy.proposer_timeout,
            limit=f"proposer_timeout={mixture.policy.proposer_timeout:g} s",
            until=layer.until,
            gate=layer.gate,
            estimate=lambda member: proposer_estimate(mixture, member, state["messages"], shown),
        )

    def _history(
        self, member: Member, messages: Sequence[BaseMessage], shown: Sequence[Proposal]
    ) -> list[BaseMessage]:
        """The conversation as the member may see it, in a shape that its provider takes."""
        seen = seen_by(self.call.mixture, member, messages)
        advice = self.call.advice if self._bound(member) is None else None
        history = with_advice(history_for_proposers(seen), advice)
        return history if shown else ending_on_user(history)

    def _proposing(self, member: Member, *, in_thread: bool) -> Runnable[Any, Any]:
        """What is called, with the tools or the schema bound that it is to know."""
        bound = self._bound(member)
        if bound is None:
            return self.call.mixture.proposing(member, in_thread=in_thread)
        knowing = member.on(bound.inside, of=bound.model)
        called = self.call.mixture.proposing(knowing, in_thread=in_thread)
        return with_arguments(called, bound.arguments)

    def _bound(self, member: Member) -> Bound | None:
        """What is bound to the reference model or a fallback of it."""
        place = self._member.candidates.index(member)
        return self.call.bindings.proposers.get((self.layer, self.index, place))

    def _left_out(self, reason: str) -> Proposal:
        self.call.layer(self.layer).gate.leave_out()
        proposal = Proposal(
            layer=self.layer,
            index=self.index,
            model=self._member.model,
            status="over_budget",
            error=reason,
            attempts=0,
        )
        _log(proposal)
        return proposal

    def _judged(self, request: MemberCall, message: AIMessage) -> Result:
        request.answered(message)
        # half a character, which a model may write as an escape, can be sent to nobody
        text = whole_characters(
            "\n".join(filter(None, [strip_reasoning(message.text), self._calls(request, message)]))
        )
        verdict = request.judged(judge(message, text))
        value = {
            "model_name": request.model_name(message),
            "status": verdict.status,
            "text": text if verdict.usable else "",
        }
        return Result(good=verdict.usable, value=value, reason=verdict.reason, request=request)

    def _calls(self, request: MemberCall, message: AIMessage) -> str:
        """The calls of a reference model that tools or a schema were bound to, as text."""
        if self._bound(request.member) is None or not message.tool_calls:
            return ""
        if self.call.bindings.schema:
            return arguments_text(message.tool_calls[0]["args"])
        return calls_as_text(message)

    def _proposal(self, turn: Turn, result: Result) -> Proposal:
        slot_key = slot(self.layer, self.index)
        if result.error is not None and result.reason == self._redacted(result.reason):
            self.call.causes[slot_key] = result.error  # one that quotes a key is not handed on
        reason = "; ".join(turn.failures) if result.good else turn.why(result)
        asked = result.request or (turn.requests[-1] if turn.requests else None)
        accounts = turn.accounts()
        proposal = Proposal(
            layer=self.layer,
            index=self.index,
            seconds=turn.seconds if turn.requests else 0.0,
            attempts=len(turn.requests),
            model=asked.model if asked else self._member.model,
            error=self._redacted(reason) or None,
            is_retryable=is_retryable(result),
            usage_by_model=accounts.usage,
            unknown=accounts.unknown,
            left_out=asked.left_out if asked else [],
            degraded=bool(asked and asked.degraded),
            **(result.value or {"status": _STATUS[result.ended]}),
        )
        self.call.layer(self.layer).gate.count(usable=proposal.usable)
        _log(proposal)
        return proposal

    def _redacted(self, text: str | None) -> str:
        return self.call.mixture.redacted(text or "")


def _log(proposal: Proposal) -> None:
    if not proposal.usable:
        logger.warning(
            "layer %d, index %d (%s) gave no usable proposal: %s",
            proposal.layer,
            proposal.index,
            proposal.model,
            proposal.reason,
        )


def _outcome(proposal: Proposal) -> _Outcome:
    """The event that tells what became of a proposer."""
    values = {
        "seconds": proposal.seconds,
        "usage": sum_usage(proposal.usage_by_model.values()),
        "error": None if proposal.usable else proposal.reason,
    }
    if proposal.usable:
        return "member_finished", values
    return ("member_cut" if proposal.status == "cut" else "member_failed"), values


class _StreamedProposal:
    """The pieces of one streamed proposal, and the events that tell of them."""

    def __init__(self, request: MemberCall) -> None:
        self._request = request
        self._chunks: list[AIMessageChunk] = []
        self._answer = AnswerSoFar()
        self._begun = False
        self._characters = WholeCharacters()

    def take(self, chunk: AIMessageChunk) -> Iterator[_Outcome]:
        """Keep a piece; gives the events to tell."""
        chunk = self._characters.passed_on(chunk)
        self._chunks.append(chunk)
        self._answer.take(chunk)
        if not chunk.text:
            return
        if not self._begun:
            self._begun = True
            yield "first_token", {"seconds": self._request.seconds}
        yield "token", {"text": chunk.text}

    def whole(self) -> AIMessageChunk:
        """All pieces as one message."""
        first, *others = self._chunks or [AIMessageChunk(content="")]
        whole = add_ai_message_chunks(first, *others)
        self._request.require_end(self._answer, whole)
        return whole
