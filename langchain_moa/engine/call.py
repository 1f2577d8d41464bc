"""What the nodes of a call share, and what counts as enough proposals of a layer."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import BaseMessage

from langchain_moa.accounting.budget import Ledger
from langchain_moa.errors import (
    ModelRefusalError,
    NotEnoughProposalsError,
    ProposalsOverflowError,
    ProposalsRefusedError,
)
from langchain_moa.members.bindings import Bindings
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.state import proposals_from_state
from langchain_moa.reliability.causes import told_once
from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.strategies.order import shuffled
from langchain_moa.tracing.progress import Progress
from langchain_moa.types import AnyDict, FanOutDecision, Proposal

if TYPE_CHECKING:
    from langchain_moa.engine.renewal import Failures


@dataclass(eq=False, slots=True)
class LayerInProgress:
    """What the members of one layer share.

    Attributes:
        gate: Says when the layer waits no longer.
        until: The layer's deadline, on the clock of `time.monotonic`.
        ends: When its share of the call's time is over, on the same clock; never after `until`.
        refused: Why the budget does not admit some reference models, by place, once that is
            decided.
        lock: Held while that is decided.
    """

    gate: Gate
    until: float
    ends: float
    refused: Mapping[int, str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(eq=False, slots=True)
class CallInProgress:
    """What the nodes of one call share, apart from graph state, which is plain JSON.

    Attributes:
        mixture: The mixture that is running.
        progress: Who listens to the call's progress.
        until: The call's deadline, on the clock of `time.monotonic`.
        started: When it began, on the clock of `time.perf_counter`.
        causes: Exceptions of failed proposers, by slot.
        layers: The proposer layers that have begun.
        ledger: What the call has spent.
        bindings: What the call's tools or schema mean for reference models.
        tools_note: What to tell reference models that do not have these tools, or `None`.
        fan_out: What the fan-out gate decided.
        kept: Usable proposals of an earlier try of this call, by slot; their authors are not asked.
        failures: Those of the graph's runs that go on; `None` outside of a graph.
        renewals: What the nodes of a layer renew of the layer before, by the layer's number.
    """

    mixture: Mixture
    progress: Progress
    until: float = NEVER
    started: float = field(default_factory=perf_counter)
    causes: dict[str, Exception] = field(default_factory=dict)
    layers: dict[int, LayerInProgress] = field(default_factory=dict)

    ledger: Ledger = field(default_factory=Ledger)
    bindings: Bindings = field(default_factory=Bindings)
    tools_note: str | None = None
    fan_out: FanOutDecision = "layers"
    kept: Mapping[str, Proposal] = field(default_factory=dict)
    failures: Failures | None = None
    renewals: dict[int, Future[list[Proposal]]] = field(default_factory=dict)

    def layer(self, number: int) -> LayerInProgress:
        """The state of a proposer layer, whose time begins when it is first asked for."""
        known = self.layers.get(number)
        if known is None:
            policy = self.mixture.policy
            until = min(self.until, monotonic() + policy.layer_timeout)
            gate = policy.gate(len(self.mixture.proposers[number - 1]))
            share_ends = monotonic() + self.share_of(number)
            if share_ends < until:
                limit = f"timeout={policy.timeout:g} s"
                gate.keep_time(share_ends, f"{limit}: what is left is kept for the layers to come")
            begun = LayerInProgress(gate, until, min(until, share_ends))
            known = self.layers.setdefault(number, begun)
        return known

    def share_of(self, number: int) -> float:
        """Seconds that a layer may take of what the call has left.

        That of the aggregator's number is what may be taken before it is asked, by an analyst say.
        """
        if self.until == NEVER:
            return NEVER
        left = max(0.0, self.until - monotonic())
        consulted = int(self.mixture.adviser is not None)
        return self.mixture.policy.share(left, self.mixture.layers - number + 1 + consulted)

    def limit_of(self, number: int) -> str:
        """Which setting ends a layer that is out of time."""
        policy = self.mixture.policy
        layer = self.layers.get(number)
        if layer is not None and layer.until < self.until:
            return f"layer_timeout={policy.layer_timeout:g} s"
        return f"timeout={policy.timeout:g} s"


def usable_by_slot(proposals: Sequence[Proposal]) -> dict[str, Proposal]:
    """The usable proposals by slot: those of an earlier try that a call need not pay for again."""
    return {proposal.key: proposal for proposal in proposals if proposal.usable}


def own_proposals(mixture: Mixture, state: dict[str, AnyDict]) -> list[Proposal]:
    """The proposals of this mixture in a graph's state, in (layer, index) order.

    A checkpointed thread may still hold slots of a larger mixture that ran in it before.
    """
    sizes = {layer: len(members) for layer, members in enumerate(mixture.proposers, start=1)}
    return [p for p in proposals_from_state(state) if p.index < sizes.get(p.layer, 0)]


def shown_proposals(proposals: Sequence[Proposal], layer: int) -> list[Proposal]:
    """The proposals that a layer reads: of the last layer before it that gave any."""
    before = [p for p in proposals if p.layer < layer and p.usable]
    last = max((p.layer for p in before), default=0)
    return [p for p in before if p.layer == last]


def read_proposals(
    mixture: Mixture, proposals: Sequence[Proposal], layer: int, messages: Sequence[BaseMessage]
) -> list[Proposal]:
    """The same in the order in which they are read."""
    shown = shown_proposals(proposals, layer)
    return shuffled(shown, messages) if mixture.settings.shuffle else shown


def has_enough(call: CallInProgress, proposals: Sequence[Proposal]) -> bool:
    """Whether a layer gave `min_proposals` usable proposals, or none are demanded."""
    usable = sum(p.usable for p in proposals)
    return usable >= _needed(call, proposals) or not call.mixture.policy.raises_below_minimum


def _needed(call: CallInProgress, proposals: Sequence[Proposal]) -> int:
    # of a layer that the budget made smaller, no more can be asked than it has
    admitted = sum(p.status != "over_budget" for p in proposals)
    return min(call.mixture.settings.min_proposals, admitted)


def require_enough(
    call: CallInProgress, proposals: Sequence[Proposal], paid_for: Sequence[Proposal] = ()
) -> None:
    """Check that a layer gave `min_proposals` usable proposals, where that is demanded.

    Args:
        call: The call in progress.
        proposals: The layer's proposals.
        paid_for: All proposals so far, for the error to keep; by default the layer's.

    Raises:
        NotEnoughProposalsError: It did not; the error carries every member's failure.
    """
    if has_enough(call, proposals):
        return
    usable, needed = [p for p in proposals if p.usable], _needed(call, proposals)
    failures = told_once((p.model, p.reason) for p in proposals if not p.usable)
    layer = proposals[0].layer if proposals else 1
    msg = (
        f"layer {layer} gave {len(usable)} usable of {len(proposals)} proposals, "
        f"min_proposals={needed} ({failures})"
    )
    causes = [call.causes.get(p.key) for p in proposals if not p.usable]
    raise _kind_of(causes)(msg, proposals=paid_for or proposals, causes=call.causes)


def _kind_of(causes: Sequence[Exception | None]) -> type[NotEnoughProposalsError]:
    """The error that says what all failures of a layer have in common."""
    for kind, error in (
        (ContextOverflowError, ProposalsOverflowError),
        (ModelRefusalError, ProposalsRefusedError),
    ):
        if causes and all(isinstance(cause, kind) for cause in causes):
            return error
    return NotEnoughProposalsError
