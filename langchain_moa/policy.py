"""How long a mixture waits, how often it tries, and what it does when too little comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, SkipValidation

# typing.TypedDict below Python 3.12 leaves graph schemas empty
from typing_extensions import TypedDict

from langchain_moa.breaker import CircuitBreaker
from langchain_moa.checks import checked_choice, checked_limits
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.gate import OPEN, Gate
from langchain_moa.types import Retries, Seconds

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


class PolicyOptions(TypedDict, total=False):
    """The settings of a mixture for troubles and load; `MoAChatModel` documents them."""

    min_proposals: int
    proposer_timeout: Seconds | None
    aggregator_timeout: Seconds | None
    layer_timeout: Seconds | None
    timeout: Seconds | None
    quorum: SkipValidation[Quorum]
    grace: Grace
    hedge_after: Seconds | None
    max_retries: Retries
    on_no_proposals: SkipValidation[OnNoProposals]
    on_aggregator_failure: SkipValidation[OnAggregatorFailure]
    circuit_breaker: SkipValidation[CircuitBreaker | None]
    max_concurrency: Calls | None
    member_concurrency: SkipValidation[MemberConcurrency]
    sequential: bool


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


def build_policy(options: Mapping[str, Any], proposers: Sequence[Sequence[object]]) -> Policy:
    """Check the settings against each other and the layers.

    Args:
        options: The settings that are given.
        proposers: The reference models per layer.

    Raises:
        MoAConfigurationError: A setting is wrong; the message names it and the mend.
    """
    smallest = min(map(len, proposers))
    given = {name: options[name] for name in Policy.__dataclass_fields__ if name in options}
    given |= {name: OPEN for name in _TIMES if given.get(name, OPEN) is None}
    checked_choice(given, "on_no_proposals", ("raise", "aggregate_alone"))
    checked_choice(given, "on_aggregator_failure", ("raise", "best_proposal"))
    if options.get("sequential"):
        _check_sequential(options)
        given["max_concurrency"] = 1
    policy = Policy(**given)
    _check_minimum(policy, smallest)
    _check_quorum(policy, smallest)
    _check_breaker(policy)
    checked_limits(given, "member_concurrency")
    return policy


_TIMES: Final = (
    "proposer_timeout",
    "aggregator_timeout",
    "layer_timeout",
    "timeout",
    "hedge_after",
)


def _check_sequential(options: Mapping[str, Any]) -> None:
    limit = options.get("max_concurrency")
    if limit not in (None, 1):
        msg = f"max_concurrency={limit} contradicts sequential=True; leave one of them out."
        raise MoAConfigurationError(msg)


def _check_minimum(policy: Policy, smallest: int) -> None:
    if not 1 <= policy.min_proposals <= smallest:
        msg = (
            f"min_proposals={policy.min_proposals} must be from 1 to {smallest}, "
            "the number of reference models in the smallest layer."
        )
        raise MoAConfigurationError(msg)


def _check_quorum(policy: Policy, smallest: int) -> None:
    quorum: Any = policy.quorum
    if quorum is None:
        return
    is_count = isinstance(quorum, int) and not isinstance(quorum, bool)
    is_share = isinstance(quorum, float)
    if not (is_count and 1 <= quorum <= smallest) and not (is_share and 0 < quorum <= 1):
        msg = (
            f"quorum={quorum!r} must be a count from 1 to {smallest}, the number of reference "
            "models in the smallest layer, or a share above 0.0 and up to 1.0."
        )
        raise MoAConfigurationError(msg)
    count = policy.gate(smallest).quorum or 0
    if count < policy.min_proposals:
        msg = (
            f"quorum={quorum!r} goes on with {count} proposals, fewer than "
            f"min_proposals={policy.min_proposals}; give a larger quorum or a smaller minimum."
        )
        raise MoAConfigurationError(msg)


def _check_breaker(policy: Policy) -> None:
    given: Any = policy.circuit_breaker
    if given is not None and not isinstance(given, CircuitBreaker):
        msg = (
            f"circuit_breaker={shown(given)} is none; "
            "give CircuitBreaker(failures=5, reset_after=30)."
        )
        raise MoAConfigurationError(msg)
