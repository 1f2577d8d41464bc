"""What a strategy is: who is consulted before the answer, and what its words mean.

A call goes: layers of reference models, then whom the strategy consults (`role`), then the answer,
which an aggregator writes unless a proposal was selected. To synthesize is to consult nobody. A
strategy is data and pure functions: asking is the business of `engine/consulting.py`, the same for
every strategy and way to call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple, Protocol, Self

from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompts import StringPromptTemplate

from langchain_moa.proposals.fences import PROPOSALS_ALONE, Beside
from langchain_moa.proposals.prompt import parse_prompt
from langchain_moa.types import (
    AnalysisRecord,
    AnyDict,
    AnyMapping,
    ConsultedRecord,
    DegradedReason,
    Proposal,
    Reason,
    Role,
    SelectionRecord,
    StrategyName,
)


class UnusableAnswerError(Exception):
    """What was answered is of no use.

    Args:
        text: Why, in words.
        reason: Why, as the record says it.
    """

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason: Reason = reason


class Numbered(NamedTuple):
    """A proposal as it was shown, by number, and as it is named afterwards.

    Attributes:
        proposal: The proposal.
        name: Its author, by a name that no other author of the layer has.
    """

    proposal: Proposal
    name: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is known when the answer is due; plain data, which graph state keeps.

    Attributes:
        analysis: What the analyst found, for the record.
        notes: The same for the aggregator, who knows proposals by numbers.
        selection: The proposal that is the answer.
        reasons: Why the strategy could not be followed.
        consulted: The call of who was asked, for the record.
        usage: Known tokens of that call per model that answered.
        unknown: Models of its requests of whose tokens nothing is known.
        dropped: How often a proposal was named that there is not.
    """

    analysis: AnalysisRecord | None = None
    notes: str = ""
    selection: SelectionRecord | None = None
    reasons: list[DegradedReason] = field(default_factory=list)
    consulted: ConsultedRecord | None = None
    usage: dict[str, UsageMetadata] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    dropped: int = 0

    def to_state(self) -> AnyDict:
        """The findings as plain JSON, for graph state."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: object) -> Self:
        """The findings in a graph's state, which another version may have written."""
        known = state if isinstance(state, Mapping) else {}
        return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})

    def beside(self, reasoning: Sequence[str] = ()) -> Beside:
        """What the aggregator reads with the proposals.

        Args:
            reasoning: Per proposal, its author's.
        """
        return Beside(self.notes, reasoning) if self.notes or reasoning else PROPOSALS_ALONE


NO_FINDINGS = Findings()


class Strategy(Protocol):
    """How proposals become the answer where somebody is consulted before."""

    @property
    def name(self) -> StrategyName:
        """Its name as a setting."""

    @property
    def role(self) -> Role:
        """Who is consulted between the last layer and the answer."""

    @property
    def prompt(self) -> StringPromptTemplate:
        """How proposals are introduced to who is consulted, with the variable `proposals`."""

    @property
    def schema(self) -> AnyDict:
        """The JSON schema of what it is to answer."""

    def read(self, values: AnyMapping, numbered: Sequence[Numbered]) -> Findings:
        """What the answer of who was consulted means.

        Args:
            values: What it answered.
            numbered: The proposals that it read, the first of them number 1.

        Raises:
            UnusableAnswerError: Nothing that is of use.
        """


_LONGEST_NUMBER: Final = 20
"""Characters of a number; Python refuses to read those of some thousand digits."""


@cache
def prompt_of(text: str) -> StringPromptTemplate:
    """The template of a prompt of our own, made at its first use."""
    return parse_prompt(text)


def number_of(value: object, numbered: Sequence[Numbered]) -> int | None:
    """The number that was meant, given as a number or as digits; `None` where there is none such.

    Example:
        >>> two = [Numbered(Proposal(layer=1, index=i, model="m"), "m") for i in (0, 1)]
        >>> [number_of(value, two) for value in (1, "2", 2.0, "3", "gpt", True, None)]
        [1, 2, 2, None, None, None, None]
    """
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and value.strip().isdecimal():
        value = int(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value not in _range(numbered)
    ):
        return None
    return int(value)


def _range(numbered: Sequence[Numbered]) -> range:
    return range(1, len(numbered) + 1)


def named(shown: Sequence[Proposal], layer: Sequence[Proposal]) -> list[Numbered]:
    """The proposals that are shown, with names that tell any two members apart.

    Args:
        shown: Those that are shown, in the order of their numbers.
        layer: All of their layer, those that are not usable too, by place.

    Example:
        >>> layer = [Proposal(layer=1, index=i, model="acme/alpha") for i in (0, 1)]
        >>> [one.name for one in named(layer[::-1], layer)]
        ['acme/alpha#2', 'acme/alpha']
    """
    names, counts = dict[str, str](), dict[str, int]()
    for proposal in layer:
        counts[proposal.model] = count = counts.get(proposal.model, 0) + 1
        names[proposal.key] = proposal.model if count == 1 else f"{proposal.model}#{count}"
    return [Numbered(proposal, names[proposal.key]) for proposal in shown]
