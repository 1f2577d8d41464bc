"""The settings for waiting, failing and load."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.reliability.breaker import CircuitBreaker, checked_breaker
from langchain_moa.settings import (
    Count,
    Grace,
    Retries,
    Seconds,
    SettingsGroup,
    checked_limits,
)

OnNoProposals: TypeAlias = Literal["raise", "aggregate_alone"]
"""What to do when a layer gives fewer than `min_proposals`."""
OnAggregatorFailure: TypeAlias = Literal["raise", "best_proposal"]
"""What to do when no aggregator answers."""
Quorum: TypeAlias = int | float | None
"""A count of proposals, or a share of a layer's reference models."""
MemberConcurrency: TypeAlias = int | dict[str, int] | None
"""A limit for each member, or one per model name."""


class ReliabilitySettings(SettingsGroup):
    """Time, failures and load."""

    proposer_timeout: Seconds | None = Field(
        default=120.0,
        description="Seconds that a reference model has in a layer, its retries included; each of "
        "its fallbacks has as many. `None` is no limit, here and below.",
    )
    aggregator_timeout: Seconds | None = Field(
        default=300.0,
        description="Seconds that an aggregator has for its answer. In a stream, the consumer's "
        "own pauses don't count.",
    )
    analyst_timeout: Seconds | None = Field(
        default=120.0,
        description="Seconds that a strategy's analyst or judge has, its retries included; each "
        "of its fallbacks has as many, and so have all calls of `check` together.",
    )
    layer_timeout: Seconds | None = Field(
        default=None, description="Seconds that a layer of reference models has."
    )
    timeout: Seconds | None = Field(default=600.0, description="Seconds that a whole call has.")
    quorum: SkipValidation[Quorum] = Field(
        default=None,
        description="How many usable proposals of a layer are enough, as a count or as a share "
        "(`0.5`); members that have not answered by then are cut. `None` waits for all, as in the "
        "paper.",
    )
    grace: Grace = Field(
        default=0.5,
        description="Seconds that the other members still have once the quorum is reached.",
    )
    hedge_after: Seconds | None = Field(
        default=None,
        description="Seconds after which a second request is made if the first has no answer yet, "
        "to the same member or its fallback; the first good answer counts. Both are paid for.",
    )
    max_answer_bytes: Count | None = Field(
        default=16 * 2**20,
        description="How many bytes one answer of a member may have, decompressed; a member whose "
        "answer is longer has failed. In a stream the limit holds for each event, and for all of "
        "the text. Of members given as strings for Together, OpenAI, Azure, DeepSeek, xAI, "
        "Anthropic, Mistral or Google's Gemini, no more than that is read; of others, what their "
        "clients return is counted. `None` is no limit.",
    )
    stream_requests: bool = Field(
        default=False,
        description="Whether proposals are streamed from the provider, although nobody sees the "
        "stream. For servers that continue to write an answer that nobody waits for (quorum, "
        "hedges, cancelled calls) unless a stream is closed, and for sync code, which can give up "
        "a request only in this way.",
    )
    max_retries: Retries = Field(
        default=2,
        description="How often a failed request is repeated if its error says that this may help "
        "(429, 5xx, a lost connection), after a random pause, and not before `Retry-After`. If a "
        "member's own client repeats requests (its `max_retries` is not 0), the mixture does not.",
    )
    min_proposals: Count = Field(
        default=1,
        description="How many usable proposals each layer must give; with fewer, "
        "`on_no_proposals` decides. If the budget makes a layer smaller, no more is asked of it "
        "than the budget allows.",
    )
    on_no_proposals: OnNoProposals = Field(
        default="raise",
        description='What to do when a layer gives fewer than `min_proposals`: `"raise"` '
        '`NotEnoughProposalsError`, or `"aggregate_alone"`, go on with the proposals that there '
        "are, or with none.",
    )
    on_aggregator_failure: OnAggregatorFailure = Field(
        default="raise",
        description='What to do when no aggregator answers: `"raise"` `AggregationError`, or '
        '`"best_proposal"`, answer with the proposal that is most like the others (cosine '
        "similarity of the sets of 4-character sequences). If a schema is bound, only a proposal "
        "in the schema can be the answer, see `structured_proposals`.",
    )
    circuit_breaker: Annotated[
        SkipValidation[CircuitBreaker | None], AfterValidator(checked_breaker)
    ] = Field(
        default=None,
        description="When a member that keeps failing is skipped for a while, see "
        "`CircuitBreaker`; `None` never.",
    )
    max_concurrency: Count | None = Field(
        default=None,
        description="How many requests to members may run at the same time, in all calls of the "
        "mixture.",
    )
    member_concurrency: Annotated[
        SkipValidation[MemberConcurrency], AfterValidator(checked_limits)
    ] = Field(
        default=None,
        description='The same for each member: a number, or `{"model name": number}`.',
    )
    sequential: bool = Field(
        default=False,
        description="Whether one member is called after the other, which suits a single GPU.",
    )


def check_waiting(settings: ReliabilitySettings, smallest: int) -> None:
    """Check the settings against each other and the number of reference models.

    Args:
        settings: The settings.
        smallest: Number of reference models in the smallest layer.

    Raises:
        MoAConfigurationError: A setting is wrong; the message names it and what to give.
    """
    if settings.sequential and settings.max_concurrency not in (None, 1):
        msg = (
            f"max_concurrency={settings.max_concurrency} contradicts sequential=True; leave one of "
            "them out."
        )
        raise MoAConfigurationError(msg)
    if settings.min_proposals > smallest:
        msg = (
            f"min_proposals={settings.min_proposals} must be from 1 to {smallest}, "
            "the number of reference models in the smallest layer."
        )
        raise MoAConfigurationError(msg)
    _check_quorum(settings, smallest)


def _check_quorum(settings: ReliabilitySettings, smallest: int) -> None:
    quorum: Any = settings.quorum
    if quorum is None:
        return
    is_count = isinstance(quorum, int) and not isinstance(quorum, bool)
    is_share = isinstance(quorum, float)
    if not (is_count and 1 <= quorum <= smallest) and not (is_share and 0 < quorum <= 1):
        msg = (
            f"quorum={shown(quorum)} must be a count from 1 to {smallest}, the number of reference "
            "models in the smallest layer, or a share above 0.0 and up to 1.0."
        )
        raise MoAConfigurationError(msg)
    count = quorum_of(quorum, smallest) or 0
    if count < settings.min_proposals:
        msg = (
            f"quorum={quorum!r} goes on with {count} proposals, fewer than "
            f"min_proposals={settings.min_proposals}; give a larger quorum or a smaller minimum."
        )
        raise MoAConfigurationError(msg)


def quorum_of(quorum: Quorum, members: int) -> int | None:
    """The quorum of a layer with so many reference models, as a count."""
    # rounded first: 0.28 * 25 is a little more than 7
    return math.ceil(round(quorum * members, 9)) if isinstance(quorum, float) else quorum
