"""One proposer's turn in one layer, from the request to the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.callbacks import deaf_handlers, isolated, proposer_config
from langchain_moa.calls import MemberCall, prepare_call
from langchain_moa.layers import CallInProgress, own_proposals, require_enough
from langchain_moa.members import Member, as_chunk, as_message
from langchain_moa.prompts import strip_reasoning, without_tool_turns
from langchain_moa.stepping import astepped, stepped
from langchain_moa.types import EventName, Proposal, ProposalStatus
from langchain_moa.usage import is_cached, sum_usage

logger = logging.getLogger(__name__)

LayerState = Mapping[str, Any]
"""`messages` and `moa_proposals` of a graph in progress."""

_FINISH_KEYS: Final = ("finish_reason", "stop_reason", "stopReason")
"""Where OpenAI and Gemini, Anthropic, and Bedrock say why a model stopped."""
_FILTERS: Final = frozenset(
    (
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "refusal",
        "safety",
        "blocklist",
        "prohibited_content",
        "recitation",
        "spii",
    )
)
"""The reasons that mean a filter, in lower case."""

_Outcome: TypeAlias = tuple[EventName, dict[str, Any]]
"""An event and its values."""


@dataclass(frozen=True)
class Proposing:
    """One proposer's turn in one layer."""

    call: CallInProgress
    layer: int
    index: int

    def run(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """Ask the proposer; a failure is a proposal that is not usable."""
        request = self._prepare(state, config)
        self._emit("member_started")
        try:
            proposal = self._finished(request, as_message(self._ask(request)))
        except GraphBubbleUp:  # an interrupt is an exception too, and the graph's business
            raise
        except Exception as error:  # noqa: BLE001 - no member may end its siblings
            proposal = self._failed(request, error)
        event, values = _outcome(proposal)
        self._emit(event, **values)
        return proposal

    async def arun(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """The async twin of `run`."""
        request = self._prepare(state, config)
        await self._aemit("member_started")
        try:
            proposal = self._finished(request, as_message(await self._aask(request)))
        except GraphBubbleUp:
            raise
        except asyncio.CancelledError as error:
            await request.cancelled(error)
            await self._aemit("member_cut", seconds=request.seconds)
            raise
        except Exception as error:  # noqa: BLE001 - as above
            proposal = self._failed(request, error)
        event, values = _outcome(proposal)
        await self._aemit(event, **values)
        return proposal

    def _ask(self, request: MemberCall) -> Any:
        if not self._streams:
            with isolated(deaf_handlers(request.config)):
                return request.runnable.invoke(request.input, request.config)
        answer, scope = _StreamedProposal(request), partial(isolated, deaf_handlers(request.config))
        for piece in stepped(request.runnable.stream(request.input, request.config), scope):
            for event, values in answer.take(as_chunk(piece)):
                self._emit(event, **values)
        return answer.whole()

    async def _aask(self, request: MemberCall) -> Any:
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
        return self.call.mixture.stream_proposals and self._member.streams

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

    def _prepare(self, state: LayerState, config: RunnableConfig) -> MemberCall:
        mixture = self.call.mixture
        proposals = own_proposals(mixture, state.get("moa_proposals", {}))
        before = [p for p in proposals if p.layer == self.layer - 1]
        if self.layer > 1:
            require_enough(self.call, before, [p for p in proposals if p.layer < self.layer])
        history = without_tool_turns(state["messages"])
        return prepare_call(
            self._member,
            mixture.proposing(self._member),
            mixture.conversation_with(history, before),
            proposer_config(config, layer=self.layer, index=self.index, tokens=not self._streams),
        )

    def _finished(self, request: MemberCall, message: AIMessage) -> Proposal:
        text = strip_reasoning(message.text)
        status, error = _judge(message, text)
        return self._proposal(
            request,
            model_name=request.model_name(message),
            status=status,
            error=error,
            usage_by_model=request.usage(message),
            text=text if status in ("ok", "cached") else "",
        )

    def _failed(self, request: MemberCall, error: Exception) -> Proposal:
        text = _said(error)
        reason = self.call.mixture.redacted(text)
        proposal = self._proposal(
            request,
            status="failed",
            error=reason,
            is_retryable=bool(getattr(error, "is_retryable", False)),
            usage_by_model=dict(request.meter.usage_metadata) if request.meter else {},
        )
        if reason == text:  # an original that quotes a key is not handed on
            self.call.causes[proposal.key] = error
        return proposal

    def _proposal(self, request: MemberCall, **values: Any) -> Proposal:
        proposal = Proposal(
            layer=self.layer,
            index=self.index,
            model=request.model,
            seconds=request.seconds,
            **values,
        )
        if not proposal.usable:
            logger.warning(
                "layer %d, reference model %d (%s) gave no usable proposal: %s",
                proposal.layer,
                proposal.index,
                proposal.model,
                proposal.reason,
            )
        return proposal


def _outcome(proposal: Proposal) -> _Outcome:
    """The event that tells what became of a proposer."""
    values = {
        "seconds": proposal.seconds,
        "usage": sum_usage(proposal.usage_by_model.values()),
        "error": None if proposal.usable else proposal.reason,
    }
    return ("member_finished" if proposal.usable else "member_failed"), values


class _StreamedProposal:
    """The pieces of one streamed proposal, and the events that tell of them."""

    def __init__(self, request: MemberCall) -> None:
        self._request = request
        self._chunks: list[AIMessageChunk] = []
        self._begun = False

    def take(self, chunk: AIMessageChunk) -> Iterator[_Outcome]:
        """Keep a piece; gives the events to tell."""
        self._chunks.append(chunk)
        if not chunk.text:
            return
        if not self._begun:
            self._begun = True
            yield "first_token", {"seconds": self._request.seconds}
        yield "token", {"text": chunk.text}

    def whole(self) -> AIMessageChunk:
        """All pieces as one message."""
        first, *others = self._chunks or [AIMessageChunk(content="")]
        return add_ai_message_chunks(first, *others)


def _said(error: Exception) -> str:
    if isinstance(error, KeyError) and "__pregel" in str(error):
        return "the member called interrupt() or another function of LangGraph's context"
    return f"{type(error).__name__}: {error}"


def _judge(message: AIMessage, text: str) -> tuple[ProposalStatus, str | None]:
    """Whether an answer may be passed on, and why not."""
    metadata = message.response_metadata
    finish_reason = next((metadata[key] for key in _FINISH_KEYS if metadata.get(key)), None)
    if str(finish_reason).lower() in _FILTERS:
        return "filtered", f"finish_reason is {finish_reason}"
    if text:
        return ("cached" if is_cached(message) else "ok"), None
    refusal = message.additional_kwargs.get("refusal") or _block(message, "refusal")
    if refusal:
        return "filtered", f"refused: {refusal}"
    if _has_reasoning(message):
        return "reasoning_only", "the answer holds only reasoning"
    if message.tool_calls or message.invalid_tool_calls:
        return "empty", "the answer holds only tool calls"
    return "empty", f"no text; finish_reason is {finish_reason}"


def _has_reasoning(message: AIMessage) -> bool:
    blocks = ("reasoning", "thinking", "redacted_thinking")
    return bool(message.text.strip()) or any(_block(message, kind) for kind in blocks)


def _block(message: AIMessage, kind: str) -> Any:
    """The first content block of a kind, as the provider gave it, or `None`."""
    content = message.content if isinstance(message.content, list) else []
    for block in content:
        if isinstance(block, dict) and block.get("type") == kind:
            return block.get(kind) or block
    return None
