"""What the nodes of a call share, and what counts as enough proposals of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_moa.errors import NotEnoughProposalsError
from langchain_moa.mixture import Mixture
from langchain_moa.progress import Progress
from langchain_moa.types import Proposal, proposals_from_state


@dataclass(frozen=True)
class CallInProgress:
    """What the nodes of one call share, apart from graph state, which is plain JSON.

    Attributes:
        mixture: The mixture that is running.
        progress: Who listens to the call's progress.
        causes: Exceptions of failed proposers, by slot.
    """

    mixture: Mixture
    progress: Progress
    causes: dict[str, Exception] = field(default_factory=dict)


def own_proposals(mixture: Mixture, state: dict[str, dict[str, Any]]) -> list[Proposal]:
    """The proposals of this mixture in a graph's state, in (layer, index) order.

    A checkpointed thread may still hold slots of a larger mixture that ran in it before.
    """
    sizes = {layer: len(members) for layer, members in enumerate(mixture.proposers, start=1)}
    return [p for p in proposals_from_state(state) if p.index < sizes.get(p.layer, 0)]


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
    raise NotEnoughProposalsError(msg, proposals=paid_for or proposals, causes=call.causes)
