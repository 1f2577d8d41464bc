"""What a call may cost, and what would break that."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from langchain_moa.accounting.settings import AccountingSettings


class Amount(NamedTuple):
    """What requests cost: their number, tokens of input and output together, and USD.

    Where a price is not known it is infinite, so that no limit of cost admits it.
    """

    calls: int = 1
    tokens: int = 0
    usd: float = 0.0

    def plus(self, other: Amount) -> Amount:
        """The sum of two amounts."""
        return Amount(self.calls + other.calls, self.tokens + other.tokens, self.usd + other.usd)

    def beyond(self, credit: Amount) -> Amount:
        """What is left to pay when so much is promised already."""
        return Amount(
            max(0, self.calls - credit.calls),
            max(0, self.tokens - credit.tokens),
            max(0.0, self.usd - credit.usd),
        )


NOTHING: Final = Amount(calls=0)
ONE_CALL: Final = Amount()


@dataclass(frozen=True)
class Budget:
    """The most that a call may cost, as the settings say."""

    settings: AccountingSettings

    @property
    def bounds(self) -> tuple[float | None, ...]:
        """The limits: requests, tokens, USD."""
        return (self.settings.max_calls, self.settings.max_total_tokens, self.settings.max_cost)

    @property
    def limits(self) -> bool:
        """Whether there is any limit."""
        return any(bound is not None for bound in self.bounds)

    def excess(self, amount: Amount) -> str | None:
        """Which limit an amount breaks, in words, or `None`."""
        limits = {
            "max_calls": (self.settings.max_calls, amount.calls),
            "max_total_tokens": (self.settings.max_total_tokens, amount.tokens),
            "max_cost": (self.settings.max_cost, amount.usd),
        }
        for name, (limit, needed) in limits.items():
            if limit is not None and needed == math.inf:
                return f"{name}={limit:g} admits nothing whose price is not known"
            if limit is not None and needed > limit:
                return f"{name}={limit:g} would be exceeded"
        return None

    def refused(
        self, spent: Amount, wanted: Sequence[Amount], reserve: Amount
    ) -> tuple[dict[int, str], Amount]:
        """Which of the wanted requests do not fit, when something is kept for later.

        Args:
            spent: What the call has cost so far.
            wanted: What each request may cost, in the order in which they are admitted.
            reserve: What the aggregator's call may cost.

        Returns:
            The limit that each refused request would break, by its place; and what is spent and
            promised with all others.
        """
        total, refused = spent.plus(reserve), dict[int, str]()
        for place, amount in enumerate(wanted):
            excess = self.excess(total.plus(amount))
            if excess is None:
                total = total.plus(amount)
            else:
                refused[place] = excess
        return refused, total


class Ledger:
    """What one call has spent and promised, for requests that nobody planned."""

    def __init__(self) -> None:
        self._committed = NOTHING
        self._lock = threading.Lock()

    def commit(self, amount: Amount) -> None:
        """Say anew what is spent and promised, when a layer starts."""
        with self._lock:
            self._committed = amount

    def take(self, amount: Amount, budget: Budget) -> bool:
        """Whether a retry, a hedge or a fallback may be made; it counts as promised then."""
        if not budget.limits:
            return True
        with self._lock:
            total = self._committed.plus(amount)
            if budget.excess(total) is not None:
                return False
            self._committed = total
            return True
