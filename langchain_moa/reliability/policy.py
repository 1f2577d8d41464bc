"""What the settings for waiting come to: times as numbers, and the gate of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.reliability.settings import ReliabilitySettings, quorum_of

_PATIENCE: Final = 5.0
"""Seconds that are long for a function between two requests, and short for whoever waits."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How long a mixture waits. Times are in seconds, `NEVER` where there is no limit.

    Attributes:
        settings: The settings.
        proposer_timeout: For one reference model's turn in a layer, per candidate.
        aggregator_timeout: For one aggregator's answer.
        analyst_timeout: For the analyst or the judge.
        layer_timeout: For a layer of reference models.
        timeout: For a whole call.
        hedge_after: When a second request is made.
        max_concurrency: Member calls at the same time, or `None`.
    """

    settings: ReliabilitySettings
    proposer_timeout: float
    aggregator_timeout: float
    analyst_timeout: float
    layer_timeout: float
    timeout: float
    hedge_after: float
    max_concurrency: int | None

    @classmethod
    def of(cls, settings: ReliabilitySettings) -> Self:
        """The policy of some settings."""
        return cls(
            settings=settings,
            proposer_timeout=_seconds(settings.proposer_timeout),
            aggregator_timeout=_seconds(settings.aggregator_timeout),
            analyst_timeout=_seconds(settings.analyst_timeout),
            layer_timeout=_seconds(settings.layer_timeout),
            timeout=_seconds(settings.timeout),
            hedge_after=_seconds(settings.hedge_after),
            max_concurrency=1 if settings.sequential else settings.max_concurrency,
        )

    @property
    def raises_below_minimum(self) -> bool:
        """Whether too few proposals end the call."""
        return self.settings.on_no_proposals == "raise"

    @property
    def patience(self) -> float:
        """Seconds for which functions of the user's may hold a call up: a tenth of its time."""
        return min(_PATIENCE, 0.1 * min(self.timeout, self.layer_timeout, self.aggregator_timeout))

    @property
    def longest_proposal(self) -> float:
        """Seconds that a request to a reference model may take at most, for its client."""
        return min(self.proposer_timeout, self.layer_timeout, self.timeout)

    @property
    def longest_answer(self) -> float:
        """Seconds that a request to the aggregator may take at most, for its client."""
        return min(self.aggregator_timeout, self.timeout)

    def share(self, left: float, layers: int) -> float:
        """Seconds that a layer may take of what the call has left.

        For the aggregator is kept what it may take, but no more than an equal part of all layers to
        come; the others share the rest equally.

        Args:
            left: Seconds that the call has left.
            layers: Layers to come: this one, those after it, and the aggregator's.
        """
        kept = min(self.aggregator_timeout, left / layers)
        return (left - kept) / (layers - 1)

    def gate(self, members: int) -> Gate:
        """The gate of a layer with so many reference models."""
        return Gate(
            members,
            quorum=quorum_of(self.settings.quorum, members),
            grace=self.settings.grace,
            needed=self.settings.min_proposals if self.raises_below_minimum else 0,
        )


def _seconds(limit: float | None) -> float:
    return NEVER if limit is None else limit
