"""What a call will probably take: an estimate, before anything is paid."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_moa.types import Role


@dataclass(frozen=True, kw_only=True)
class MemberEstimate:
    """What one member's part of a call will probably take.

    Attributes:
        layer: Its layer, counted from 1; the aggregator's is the last.
        index: Its place in the layer, counted from 0.
        role: What it does in the call.
        model: Name that it is asked for by.
        calls: Requests; those inside a chain or an agent are not known and count as one.
        input_low: Tokens that it reads, at least.
        input_high: Tokens that it reads, at most.
        output_low: Tokens that it writes, at least.
        output_high: Tokens that it writes, at most.
        usd_low: USD, at least; `None` where no price is known.
        usd_high: USD, at most; `None` where no price is known.
        limit: Whether its answer has a limit of tokens (`max_tokens`); else one was assumed.
    """

    layer: int
    index: int
    role: Role
    model: str
    calls: int = 1
    input_low: int = 0
    input_high: int = 0
    output_low: int = 0
    output_high: int = 0
    usd_low: float | None = None
    usd_high: float | None = None
    limit: bool = True


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a call will probably take, if no request has to be repeated.

    `str()` is a table. Retries, hedges and fallbacks come on top, and an aggregator's answer where
    a judge finds no proposal to choose; `max_calls`, `max_total_tokens` and `max_cost` bound a call
    in any case.

    Attributes:
        calls: Requests to members.
        waits: How many of them come one after the other, at most: the length of the wait.
        tokens_low: Tokens of all of them, at least.
        tokens_high: The same, at most.
        usd_low: USD, at least; `None` where a price is unknown.
        usd_high: USD, at most; `None` where a price is unknown.
        members: One of each member, in the order of the call.
        assumed: Tokens that an answer was assumed to have at most where it has no limit.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> estimate = MoAChatModel.self_moa(ScriptedChatModel.saying("4"), samples=3).estimate(
        ...     "2 + 2?"
        ... )
        >>> estimate.calls, estimate.waits, estimate.usd_high
        (4, 2, None)
    """

    calls: int
    waits: int
    tokens_low: int
    tokens_high: int
    usd_low: float | None
    usd_high: float | None
    members: tuple[MemberEstimate, ...]
    assumed: int

    def __str__(self) -> str:
        """A table of all members, and the sums."""
        rows = [("", "member", "calls", "tokens in", "tokens out", "USD")]
        rows += [
            (
                f"layer {one.layer}" if one.role == "proposer" else one.role,
                "".join(filter(str.isprintable, one.model)),
                str(one.calls),
                _range(one.input_low, one.input_high),
                _range(one.output_low, one.output_high) + ("" if one.limit else " *"),
                _usd_range(one.usd_low, one.usd_high),
            )
            for one in self.members
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        if not all(one.limit for one in self.members):
            lines.append(
                f"* no limit is set: at most {self.assumed:,} assumed; max_tokens and "
                "proposal_max_tokens set one"
            )
        waits = "call" if self.waits == 1 else "calls"
        lines.append(
            f"{self.calls} calls, {self.waits} {waits} one after the other · "
            f"{_range(self.tokens_low, self.tokens_high)} tokens · "
            f"{_usd_range(self.usd_low, self.usd_high) or 'unknown'} USD"
        )
        return "\n".join(lines)


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _usd_range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.6f}-{high:.6f}"
