"""How much of an answer stands in which proposal, sentence by sentence.

It is the overlap of wordings, by the runs of four characters that proposals are compared by
elsewhere. A high one does not prove that the aggregator took a sentence from there: it may have
known it itself. A low one does not prove that it did not, for it may have put it in other words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from langchain_moa.explanation.rows import MemberRow
from langchain_moa.proposals.similarity import Wording

_SENTENCE: Final = re.compile(r"(?<=[.!?…])[\"')\]»”]*\s+|(?<=[。！？])|\n+")
_MARKER: Final = re.compile(r"^[ \t>]*(?:(?:[-*+•]|#{1,6}|\d{1,3}[.)])[ \t]+)+", re.MULTILINE)
"""What a line of Markdown begins with; the number of a list's item is no sentence."""
_LEAST: Final = 0.5
"""Any two texts in one language share some runs: below that a sentence is said to follow nobody."""


class SentenceSource(NamedTuple):
    """A sentence of the answer, and the proposal that has most of it.

    Attributes:
        text: The sentence.
        share: How much of its wording stands in that proposal, from 0 to 1.
        key: The proposal's key; empty where no proposal has half of it.
        model: The proposal's author.
    """

    text: str
    share: float
    key: str
    model: str


class MemberShare(NamedTuple):
    """How much of the answer stands in one proposal.

    Attributes:
        key: The proposal's key, `"<layer>.<index>"`.
        model: Its author.
        share: The part of the answer's wording that stands in it, from 0 to 1. The parts of all
            proposals add up to more than 1 where they say the same.
        sentences: Sentences of the answer of which this proposal has most.
    """

    key: str
    model: str
    share: float
    sentences: int


class Influence(NamedTuple):
    """Where the wording of an answer stands.

    Attributes:
        members: One of each proposal that the aggregator could read, in their order.
        sentences: One of each sentence of the answer.
    """

    members: tuple[MemberShare, ...]
    sentences: tuple[SentenceSource, ...]


def influence(answer: str, rows: Sequence[MemberRow]) -> Influence | None:
    """Where the wording of an answer stands; `None` where no proposal's text is recorded.

    Only proposals of the last layer that gave any are looked at, for the others are not shown to
    the aggregator. Sentences are weighed by their length.
    """
    given = [row for row in rows if row.role == "proposer" and row.usable and row.text]
    last = max((row.layer for row in given), default=0)
    read = [(row, Wording(row.text or "")) for row in given if row.layer == last]
    if not read:
        return None
    sentences, shares = list[SentenceSource](), [0.0] * len(read)
    best = [0] * len(read)
    whole = 0
    for sentence in _sentences(answer):
        own = Wording(sentence)
        parts = [own.share_in(wording) for _, wording in read]
        place = parts.index(max(parts))
        follows = parts[place] >= _LEAST
        best[place] += follows
        row = read[place][0]
        source = (row.key, row.model) if follows else ("", "")
        sentences.append(SentenceSource(sentence, parts[place], *source))
        whole += len(own)
        shares = [sum_ + part * len(own) for sum_, part in zip(shares, parts, strict=True)]
    members = [
        MemberShare(row.key, row.model, shares[place] / whole if whole else 0.0, best[place])
        for place, (row, _) in enumerate(read)
    ]
    return Influence(tuple(members), tuple(sentences))


def _sentences(text: str) -> list[str]:
    found = (part.replace("**", "").strip() for part in _SENTENCE.split(_MARKER.sub("", text)))
    return [part for part in found if any(map(str.isalnum, part))]
