"""How a reference model is asked for a proposal: what it reads, and how its answer is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.budget import Amount
from langchain_moa.engine.admission import proposer_estimate
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.reading import Rooms, read_by, require_taken, seen_by, weight_of
from langchain_moa.engine.request import MemberRequest, is_given_up, prepare_call
from langchain_moa.members.adapters import as_message
from langchain_moa.members.bindings import Bound
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import with_arguments
from langchain_moa.messages.for_proposers import ending_on_user, history_for_proposers
from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.messages.thoughts import reasoning_of
from langchain_moa.messages.tools import arguments_text, calls_as_text, with_tools_note
from langchain_moa.messages.verdicts import AnswerSoFar, judge
from langchain_moa.proposals.cleaning import CleanStream, cleaned_text
from langchain_moa.reliability.threads import off_loop
from langchain_moa.reliability.waiting import Result
from langchain_moa.tracing.callbacks import isolated, proposer_config, silenced_handlers
from langchain_moa.tracing.stepping import astepped, stepped
from langchain_moa.types import AnyDict, AnyRunnable, EventName, Proposal

_Event: TypeAlias = tuple[EventName, AnyDict]
"""An event and its values."""


@dataclass(frozen=True, kw_only=True)
class ProposalQuestion:
    """What a reference model and its fallbacks are asked for in one layer.

    Attributes:
        call: The call in progress.
        layer: The layer, counted from 1.
        index: The reference model's place in it, counted from 0.
        messages: The caller's conversation.
        shown: The proposals that it reads.
        config: The configuration of its node.
        rooms: How much of these it gets after an endpoint said that a prompt did not fit.
    """

    call: CallInProgress
    layer: int
    index: int
    messages: Sequence[BaseMessage]
    shown: Sequence[Proposal]
    config: RunnableConfig
    rooms: Rooms = field(default_factory=Rooms)

    def estimate(self, member: Member) -> Amount:
        """What a request to one of them may cost."""
        return proposer_estimate(self.call.mixture, member, self.messages, self.shown)

    def request(self, member: Member, *, in_thread: bool) -> MemberRequest:
        """A request to one of them, ready to be made."""
        mixture = self.call.mixture
        bound = self._bound(member)
        given = bound.arguments if bound is not None else {}
        read = read_by(mixture, member, self._history(member), self.shown, self.rooms, bound=given)
        require_taken(mixture, member, read.left_out)
        asked = self._asked(member, in_thread=in_thread)
        limit, redaction = mixture.settings.max_answer_bytes, mixture.redaction
        config = self._own_config
        return prepare_call(member, asked, read, config, redaction=redaction, limit=limit)

    @property
    def weight(self) -> int:
        """How much there is to be read and written for a request, in characters."""
        return weight_of(self.call.mixture, self.messages, self.shown)

    def asks_anew(self, result: Result) -> bool:
        """Whether to ask once more with shorter proposals: the prompt did not fit."""
        request = result.request
        return request is not None and self.rooms.shrink(request.member, result.error)

    def ask(self, request: MemberRequest) -> Result:
        """Make the request in a thread."""
        answer = self._streamed(request) if self._streams else whole(request)
        return self._judged(request, answer)

    async def aask(self, request: MemberRequest) -> Result:
        """Make the request in an event loop."""
        answer = await (self._astreamed(request) if self._streams else awhole(request))
        return await off_loop(partial(self._judged, request, answer), request.size)

    def discard(self, result: Result) -> None:
        """Nothing is to be let go of: a proposal is whole."""

    async def adiscard(self, result: Result) -> None:
        """Nothing is to be let go of, either."""

    @property
    def _member(self) -> Member:
        return self.call.mixture.proposers[self.layer - 1][self.index]

    @property
    def _streams(self) -> bool:
        return self.call.mixture.streams_from(self._member)

    @property
    def _shows(self) -> bool:
        return self.call.mixture.settings.stream_proposals

    @cached_property
    def _own_config(self) -> RunnableConfig:
        return proposer_config(
            self.config, layer=self.layer, index=self.index, tokens=not self._streams
        )

    def _history(self, member: Member) -> list[BaseMessage]:
        """The conversation as the member may see it, in a shape that its provider takes."""
        seen = seen_by(self.call.mixture, member, self.messages)
        tools_note = self.call.tools_note if self._bound(member) is None else None
        history = with_tools_note(history_for_proposers(seen), tools_note)
        return history if self.shown else ending_on_user(history)

    def _asked(self, member: Member, *, in_thread: bool) -> AnyRunnable:
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

    def _streamed(self, request: MemberRequest) -> AIMessageChunk:
        answer, scope = (
            _StreamedProposal(request),
            partial(isolated, silenced_handlers(request.config)),
        )
        for piece in stepped(request.runnable.stream(request.input, request.config), scope):
            if is_given_up():  # a thread can't be ended from outside, but it can see that it is
                break
            for event, values in answer.take(piece, shows=self._shows):
                self.call.progress.emit(event, **self._about, **values)
        for event, values in answer.end(shows=self._shows):
            self.call.progress.emit(event, **self._about, **values)
        return answer.whole()

    async def _astreamed(self, request: MemberRequest) -> AIMessageChunk:
        answer, scope = (
            _StreamedProposal(request),
            partial(isolated, silenced_handlers(request.config)),
        )
        pieces = request.runnable.astream(request.input, request.config)
        async with aclosing(astepped(pieces, scope)) as steps:
            async for piece in steps:
                if is_given_up():  # by whom asked a mixture inside, say, whose loop is another one
                    break
                for event, values in answer.take(piece, shows=self._shows):
                    await self.call.progress.aemit(event, **self._about, **values)
        for event, values in answer.end(shows=self._shows):
            await self.call.progress.aemit(event, **self._about, **values)
        return answer.whole()

    @property
    def _about(self) -> AnyDict:
        place = {"layer": self.layer, "index": self.index}
        return {**place, "role": "proposer", "model": self._member.model}

    def _judged(self, request: MemberRequest, answer: AIMessage) -> Result:
        message = as_message(answer)
        request.answered(message)
        said = strip_reasoning(message.text)
        parts = [said, self._calls(request, message)]
        text = cleaned_text("\n".join(filter(None, parts)), request.fence_key).strip()
        verdict = judge(message, text)
        if self.call.mixture.settings.strategy == "select" and text == message.text.strip():
            text = message.text  # it may be the answer, with all that it begins and ends with
        value = {
            "model_name": request.model_name(message),
            "status": verdict.status,
            "text": text if verdict.usable else "",
        }
        if self.call.mixture.settings.share_reasoning and verdict.usable:
            value["reasoning"] = cleaned_text(reasoning_of(message), request.fence_key)
        return request.result(message, verdict, value)

    def _calls(self, request: MemberRequest, message: AIMessage) -> str:
        """The calls of a reference model that tools or a schema were bound to, as text."""
        if self._bound(request.member) is None or not message.tool_calls:
            return ""
        if self.call.bindings.schema:
            return arguments_text(message.tool_calls[0]["args"])
        return calls_as_text(message)


def whole(request: MemberRequest) -> AIMessage:
    """What a member answers in a thread, unheard by those who hear tokens."""
    with isolated(silenced_handlers(request.config)):
        answer = request.runnable.invoke(request.input, request.config)
    return request.take(as_message(answer, request.input))


async def awhole(request: MemberRequest) -> AIMessage:
    """The async twin of `whole`."""
    with isolated(silenced_handlers(request.config)):
        answer = await request.runnable.ainvoke(request.input, request.config)
    return request.take(as_message(answer, request.input))


class _StreamedProposal:
    """The pieces of one streamed proposal, and the events that tell of them."""

    def __init__(self, request: MemberRequest) -> None:
        self._request = request
        self._pieces = request.pieces()
        self._chunks: list[AIMessageChunk] = []
        self._answer = AnswerSoFar()
        self._begun = False
        self._clean = CleanStream(request.fence_key)

    def take(self, piece: object, *, shows: bool) -> Iterator[_Event]:
        """Keep a piece; gives the events to tell."""
        return self._taken(self._pieces.take(piece), shows=shows)

    def end(self, *, shows: bool) -> Iterator[_Event]:
        """Keep what was held back; gives the events to tell."""
        return self._taken(self._pieces.rest(), shows=shows)

    def whole(self) -> AIMessageChunk:
        """All pieces as one message."""
        rest = self._clean.rest() or AIMessageChunk(content="")
        first, *others = [*self._chunks, rest]
        whole = add_ai_message_chunks(first, *others)
        self._request.require_end(self._answer, whole)
        return whole

    def _taken(self, chunk: AIMessageChunk | None, *, shows: bool) -> Iterator[_Event]:
        if chunk is None:
            return
        chunk = self._clean.take(self._request.take(chunk))
        self._chunks.append(chunk)
        self._answer.take(chunk)
        if not chunk.text or not shows:
            return
        if not self._begun:
            self._begun = True
            yield "first_token", {"seconds": self._request.seconds}
        yield "token", {"text": chunk.text}
