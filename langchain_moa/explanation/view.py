"""What is rendered: the rows of a record, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_moa.explanation.influence import Influence, influence
from langchain_moa.explanation.rows import (
    MemberRow,
    Span,
    Totals,
    analysis,
    facts,
    member_rows,
    reasons,
    spans,
    totals,
)
from langchain_moa.types import AnyMapping


@dataclass(frozen=True, kw_only=True)
class View:
    """The rows of a record.

    Attributes:
        members: Who was to be asked, in the order of the call.
        timeline: The requests on the clock.
        end: Seconds until the last request ended; `None` where the record does not tell.
        influence: Where the answer's wording stands; `None` where that is not known.
        analysis: The comparison of the proposals, part by part.
        reasons: What was degraded and why.
        facts: What else there is to tell.
        totals: All calls together.
    """

    members: Sequence[MemberRow]
    timeline: Sequence[Span]
    end: float | None
    influence: Influence | None
    analysis: Sequence[tuple[str, Sequence[str]]]
    reasons: Sequence[str]
    facts: Sequence[str]
    totals: Totals

    @property
    def has_texts(self) -> bool:
        """Whether the texts of proposals are recorded."""
        return any(row.text is not None for row in self.members)


def view_of(record: AnyMapping, answer: str) -> View:
    """The rows of a record.

    Args:
        record: The record of a call.
        answer: The text of its answer.
    """
    members, timeline = member_rows(record), spans(record)
    return View(
        members=members,
        timeline=timeline,
        end=max((span.end for span in timeline), default=None),
        influence=influence(answer, members),
        analysis=analysis(record),
        reasons=reasons(record),
        facts=facts(record),
        totals=totals(record),
    )
