"""What an analyst found in the proposals, and how it is shown: to programs, and to people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field

from langchain_moa.types import RECORD_KEY

_MARKUP: Final = re.compile(r"([\\`*_\[\]<>#|~]|&(?=#?\w+;))")
"""Signs that would be Markdown or HTML in the middle of a line."""
_ITEM: Final = re.compile(r"^(\d{0,9})([-+.)])(?=\s|$)")
"""What would begin a list where a line begins."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stance(_Part):
    """What one member says in a contradiction."""

    model: str
    stance: str


class Contradiction(_Part):
    """What members disagree on."""

    topic: str
    stances: list[Stance]

    @property
    def minority(self) -> list[Stance]:
        """The stances of fewer members than the most common one has; none where all have as many.

        Example:
            >>> held = [("a", "Lyon"), ("b", "Paris"), ("c", "Paris")]
            >>> stances = [Stance(model=model, stance=stance) for model, stance in held]
            >>> [one.model for one in Contradiction(topic="capital", stances=stances).minority]
            ['a']
        """
        held = Counter(_one_line(one.stance).casefold() for one in self.stances)
        most = max(held.values(), default=0)
        return [one for one in self.stances if held[_one_line(one.stance).casefold()] < most]


class PartialCoverage(_Part):
    """What some members cover, and others do not."""

    models: list[str]
    point: str


class UniqueInsight(_Part):
    """What one member alone saw."""

    model: str
    insight: str


class Analysis(_Part):
    """Where the proposals agree, where they contradict each other, who alone saw what.

    Its fields are named as OpenRouter documents them for its Fusion. Members are named as in the
    record of the call; of equal names in a layer the second is `"name#2"`.

    Example:
        >>> analysis = Analysis(
        ...     consensus=["The capital is on a river."],
        ...     unique_insights=[UniqueInsight(model="acme/alpha", insight="It floods.")],
        ... )
        >>> print(analysis.report("Paris."))
        Paris.
        <BLANKLINE>
        ## Consensus
        <BLANKLINE>
        - The capital is on a river.
        <BLANKLINE>
        ## Minority view
        <BLANKLINE>
        - **acme/alpha** alone: It floods.
    """

    consensus: list[str] = Field(default_factory=list)
    """What all or most agree on."""
    contradictions: list[Contradiction] = Field(default_factory=list)
    partial_coverage: list[PartialCoverage] = Field(default_factory=list)
    unique_insights: list[UniqueInsight] = Field(default_factory=list)
    blind_spots: list[str] = Field(default_factory=list)
    """What nobody looked at."""

    @classmethod
    def of(cls, answer: BaseMessage) -> Self | None:
        """The analysis behind an answer of a mixture; `None` where there is none.

        Args:
            answer: The answer, with its record.

        Example:
            >>> from langchain_core.messages import AIMessage
            >>> record = {"analysis": {"consensus": ["It rains."]}}
            >>> Analysis.of(AIMessage("Yes.", response_metadata={"moa": record})).consensus
            ['It rains.']
            >>> Analysis.of(AIMessage("Yes.")) is None
            True
        """
        record = answer.response_metadata.get(RECORD_KEY)
        found = record.get("analysis") if isinstance(record, Mapping) else None
        return None if found is None else cls.model_validate(found)

    def report(self, answer: str = "") -> str:
        """The answer and the analysis as Markdown, for a terminal, a notebook or a page.

        Args:
            answer: The text of the answer, which stands first as it is. What the analyst wrote is
                shown as text, without any Markdown of its own.

        Returns:
            Sections for the consensus, the disagreements with who holds which, the minority's view,
            what some cover and others do not, and blind spots; those that are empty are left out.
        """
        sections = (
            ("Consensus", map(_shown, self.consensus)),
            ("Disagreements", self._disagreements()),
            ("Minority view", self._minority()),
            ("Partial coverage", self._coverage()),
            ("Blind spots", map(_shown, self.blind_spots)),
        )
        written = [_section(title, list(items)) for title, items in sections]
        return "\n\n".join(filter(None, [answer.strip("\n"), *written]))

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.report()

    def _disagreements(self) -> Iterator[str]:
        for one in self.contradictions:
            yield _shown(one.topic)
            for stance, models in _holders(one.stances).items():
                yield f"  {_names(models)}: {_shown(stance)}"

    def _minority(self) -> Iterator[str]:
        for one in self.contradictions:
            for stance, models in _holders(one.minority).items():
                yield f"{_names(models)} on {_shown(one.topic)}: {_shown(stance)}"
        for insight in self.unique_insights:
            yield f"{_names([insight.model])} alone: {_shown(insight.insight)}"

    def _coverage(self) -> Iterator[str]:
        return (f"{_names(one.models)}: {_shown(one.point)}" for one in self.partial_coverage)


def _holders(stances: Sequence[Stance]) -> dict[str, list[str]]:
    """Who holds each stance, in the order in which they are named."""
    found: dict[str, list[str]] = {}
    for one in stances:
        found.setdefault(_one_line(one.stance), []).append(one.model)
    return found


def _section(title: str, items: Sequence[str]) -> str:
    """A section with a list; an item that begins with blanks belongs to the one before it."""
    if not items:
        return ""
    lines = (f"  - {item.strip()}" if item.startswith("  ") else f"- {item}" for item in items)
    return "\n".join([f"## {title}", "", *lines])


def _names(models: Iterable[str]) -> str:
    return ", ".join(f"**{_shown(model)}**" for model in models)


def _shown(text: str) -> str:
    """A text as it is in one line of Markdown: models wrote it, and it may hold anything."""
    return _ITEM.sub(r"\1\\\2", _MARKUP.sub(r"\\\1", _one_line(text)))


def _one_line(text: str) -> str:
    return " ".join(text.split())
