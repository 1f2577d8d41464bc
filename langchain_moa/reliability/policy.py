"""How long a mixture waits, how often it tries, and what it does when too little comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field

# typing.TypedDict below Python 3.12 leaves graph schemas empty
from langchain_moa.reliability.breaker import CircuitBreaker
from langchain_moa.reliability.quorum import OPEN, Gate

OnNoProposals: TypeAlias = Literal["raise", "aggregate_alone"]
"""What to do when a layer gives fewer than `min_proposals`."""
OnAggregatorFailure: TypeAlias = Literal["raise", "best_proposal"]
"""What to do when no aggregator answers."""
Quorum: TypeAlias = int | float | None
"""A count of proposals, or a share of a layer's reference models."""
Grace = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Calls = Annotated[int, Field(gt=0)]
MemberConcurrency: TypeAlias = int | dict[str, int] | None
"""A limit for each member, or one per model name."""

PROPOSER_TIMEOUT: Final = 120.0
AGGREGATOR_TIMEOUT: Final = 300.0
TIMEOUT: Final = 600.0
GRACE: Final = 0.5
MAX_RETRIES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The checked settings. Times are in seconds, `gate.OPEN` where there is no limit.

    Attributes:
        min_proposals: How many usable proposals each layer must give.
        proposer_timeout: For one reference model's turn in a layer, per candidate.
        aggregator_timeout: For one aggregator's answer.
        layer_timeout: For a layer of reference models.
        timeout: For a whole call.
        quorum: How many usable proposals are enough, `None` for all.
        grace: How much longer the others have then.
        hedge_after: When a second request is made.
        max_retries: How often a failed request is repeated.
        on_no_proposals: What to do below `min_proposals`.
        on_aggregator_failure: What to do when no aggregator answers.
        circuit_breaker: When a failing member is left alone, or `None`.
        max_concurrency: Member calls at the same time, or `None`.
        member_concurrency: The same per member.
    """

    min_proposals: int = 1
    proposer_timeout: float = PROPOSER_TIMEOUT
    aggregator_timeout: float = AGGREGATOR_TIMEOUT
    layer_timeout: float = OPEN
    timeout: float = TIMEOUT
    quorum: Quorum = None
    grace: float = GRACE
    hedge_after: float = OPEN
    max_retries: int = MAX_RETRIES
    on_no_proposals: OnNoProposals = "raise"
    on_aggregator_failure: OnAggregatorFailure = "raise"
    circuit_breaker: CircuitBreaker | None = None
    max_concurrency: int | None = None
    member_concurrency: MemberConcurrency = None

    @property
    def raises_below_minimum(self) -> bool:
        """Whether too few proposals end the call."""
        return self.on_no_proposals == "raise"

    @property
    def shaping(self) -> tuple[Any, ...]:
        """What of it decides which answer is given, beside how fast members are."""
        decisions = (self.on_no_proposals, self.on_aggregator_failure)
        return (self.min_proposals, self.quorum, self.grace, *decisions)

    @property
    def longest_proposal(self) -> float:
        """Seconds that a request to a reference model may take at most, for its client."""
        return min(self.proposer_timeout, self.layer_timeout, self.timeout)

    @property
    def longest_answer(self) -> float:
        """Seconds that a request to the aggregator may take at most, for its client."""
        return min(self.aggregator_timeout, self.timeout)

    def gate(self, members: int) -> Gate:
        """The gate of a layer with so many reference models."""
        quorum = self.quorum
        return Gate(
            members,
            # rounded first: 0.28 * 25 is a little more than 7
            quorum=math.ceil(round(quorum * members, 9)) if isinstance(quorum, float) else quorum,
            grace=self.grace,
            needed=self.min_proposals if self.raises_below_minimum else 0,
        )
