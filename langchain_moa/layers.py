"""One layer: a proposer's call from start to record, and what counts as enough."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from langchain_moa.callbacks import isolated, proposer_config
from langchain_moa.calls import MemberCall, prepare_call
from langchain_moa.errors import NotEnoughProposalsError
from langchain_moa.members import as_message
from langchain_moa.mixture import Mixture
from langchain_moa.prompts import strip_reasoning, without_tool_turns
from langchain_moa.types import Proposal, ProposalStatus, proposals_from_state

logger = logging.getLogger(__name__)

LayerState = Mapping[str, Any]
"""`messages` and `moa_proposals` of a graph in progress."""


@dataclass(frozen=True)
class CallInProgress:
    """What the nodes of one call share, apart from graph state, which is plain JSON.

    Attributes:
        mixture: The mixture that is running.
        causes: Exceptions of failed proposers, by slot.
    """

    mixture: Mixture
    causes: dict[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposing:
    """One proposer's turn in one layer."""

    call: CallInProgress
    layer: int
    index: int

    def run(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """Ask the proposer; a failure is a proposal that is not usable."""
        request = self._prepare(state, config)
        try:
            with isolated():
                output = request.runnable.invoke(request.input, request.config)
            return self._finished(request, as_message(output))
        except GraphBubbleUp:  # an interrupt is an exception too, and the graph's business
            raise
        except Exception as error:  # noqa: BLE001 - no member may end its siblings
            return self._failed(request, error)

    async def arun(self, state: LayerState, config: RunnableConfig) -> Proposal:
        """The async twin of `run`."""
        request = self._prepare(state, config)
        try:
            with isolated():
                output = await request.runnable.ainvoke(request.input, request.config)
            return self._finished(request, as_message(output))
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(request, error)

    def _prepare(self, state: LayerState, config: RunnableConfig) -> MemberCall:
        mixture = self.call.mixture
        member = mixture.proposers[self.layer - 1][self.index]
        before = layer_proposals(state.get("moa_proposals", {}), self.layer - 1)
        if self.layer > 1:
            require_enough(self.call, before)
        history = without_tool_turns(state["messages"])
        return prepare_call(
            member,
            mixture.conversation_with(history, before),
            proposer_config(config, layer=self.layer, index=self.index),
            mixture.proposal_arguments,
            quiet=True,
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
            text=text if status == "ok" else "",
        )

    def _failed(self, request: MemberCall, error: Exception) -> Proposal:
        reason = request.member.redact(f"{type(error).__name__}: {error}")
        proposal = self._proposal(
            request,
            status="failed",
            error=reason,
            usage_by_model=dict(request.meter.usage_metadata) if request.meter else {},
        )
        self.call.causes[proposal.key] = error
        return proposal

    def _proposal(self, request: MemberCall, **values: Any) -> Proposal:
        proposal = Proposal(
            layer=self.layer,
            index=self.index,
            model=request.member.model,
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


def layer_proposals(state: dict[str, dict[str, Any]], layer: int) -> list[Proposal]:
    """The proposals of one layer, in order."""
    return [p for p in proposals_from_state(state) if p.layer == layer]


def require_enough(
    call: CallInProgress, proposals: Sequence[Proposal], paid_for: Sequence[Proposal] = ()
) -> None:
    """Check that a layer gave `min_proposals` usable proposals.

    Args:
        call: The call in progress.
        proposals: The layer's proposals.
        paid_for: All proposals so far, for the error to keep; by default the layer's.

    Raises:
        NotEnoughProposalsError: It did not; the error carries every member's failure.
    """
    needed = call.mixture.min_proposals
    usable = [p for p in proposals if p.usable]
    if len(usable) >= needed:
        return
    failures = "; ".join(f"{p.model}: {p.reason}" for p in proposals if not p.usable)
    layer = proposals[0].layer if proposals else 1
    msg = (
        f"layer {layer} gave {len(usable)} usable of {len(proposals)} proposals, "
        f"min_proposals={needed} ({failures})"
    )
    causes = [call.causes[p.key] for p in proposals if p.key in call.causes]
    raise NotEnoughProposalsError(msg, proposals=paid_for or proposals, causes=causes)


def is_degraded(proposals: Iterable[Proposal]) -> bool:
    """Whether any proposal is missing."""
    return not all(p.usable for p in proposals)


def _judge(message: AIMessage, text: str) -> tuple[ProposalStatus, str | None]:
    """Whether an answer may be passed on, and why not."""
    finish_reason = message.response_metadata.get("finish_reason")
    if finish_reason == "content_filter":
        return "filtered", "finish_reason is content_filter"
    if text:
        return "ok", None
    refusal = message.additional_kwargs.get("refusal")
    if refusal:
        return "filtered", f"refused: {refusal}"
    if _has_reasoning(message):
        return "reasoning_only", "the answer holds only reasoning"
    if message.tool_calls or message.invalid_tool_calls:
        return "empty", "the answer holds only tool calls"
    return "empty", f"no text; finish_reason is {finish_reason}"


def _has_reasoning(message: AIMessage) -> bool:
    return bool(message.text.strip()) or any(
        block["type"] == "reasoning" for block in message.content_blocks
    )
