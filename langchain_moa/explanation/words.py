"""What all renderings share: plain text of what models said, numbers, and how things are called."""

from __future__ import annotations

import re
from typing import Final

from langchain_moa.explanation.rows import MemberRow, Span, Totals

NOT_RECORDED: Final = (
    "The texts of the proposals are not recorded; include_proposals=True of the mixture has them "
    "recorded."
)
"""What is said in place of proposals and of influence."""
OVERLAP: Final = (
    "How much of the answer's wording stands in each proposal that the aggregator read. It is "
    "overlap of wording, not proof of where a sentence came from."
)
NO_TIMES: Final = "The record does not tell when requests were made."

_SMALL: Final = 0.01
"""USD below which four digits would say little."""

# C0 but for tabs and line ends, DEL, C1, what turns text around, and what XML does not allow
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def plain(text: str) -> str:
    r"""A text without characters that command terminals, turn text around, or are none.

    Example:
        >>> plain("a\x1b[31m\u202eb")
        'a[31mb'
    """
    return _UNSEEN.sub("", text.replace("\r\n", "\n"))


def line(text: str, longest: int = 300) -> str:
    """The same on one line, shortened."""
    joined = " ".join(plain(text[: 8 * longest]).split())
    return joined if len(joined) <= longest else f"{joined[: longest - 1]}…"


def count(number: int | None) -> str:
    """A number of tokens."""
    return "" if number is None else f"{number:,}"


def seconds(number: float | None) -> str:
    """A duration."""
    return "" if number is None else f"{number:.2f}"


def usd(number: float | None) -> str:
    """An amount of USD; small ones with more digits.

    Example:
        >>> usd(0.000123456), usd(1.5), usd(0)
        ('0.000123', '1.5000', '0.0000')
    """
    if number is None:
        return ""
    return f"{number:.6f}" if 0 < number < _SMALL else f"{number:.4f}"


def percent(share: float) -> str:
    """A share of one, in percent."""
    return f"{100 * share:.0f} %"


def who(row: MemberRow | Span) -> str:
    """A member's place and what it does there."""
    return f"layer {row.layer}" if row.role == "proposer" else row.role


def span_name(span: Span) -> str:
    """What a request was, in a few words."""
    told = {"first": "", "retry": "retry", "hedge": "hedge", "fallback": "fallback"}
    words = [
        told.get(span.kind, ""),
        {"failed": "failed", "given_up": "given up"}.get(span.outcome, ""),
    ]
    return ", ".join(word for word in words if word)


def totals_line(totals: Totals, end: float | None) -> str:
    """All calls together on one line."""
    parts = [f"{totals.usable} of {totals.proposals} proposals", f"{totals.requests} requests"]
    if end is not None:
        parts.append(f"{end:.2f} s")
    tokens = f"{totals.tokens_in:,} tokens in, {totals.tokens_out:,} out"
    if totals.unknown_tokens:
        tokens += f" and unknown ones of {', '.join(map(line, totals.unknown_tokens))}"
    parts.append(tokens)
    if totals.usd is not None:
        more = f" and an unknown cost of {', '.join(map(line, totals.unknown_usd))}"
        parts.append(f"{usd(totals.usd)} USD{more if totals.unknown_usd else ''}")
    return " · ".join(parts)
