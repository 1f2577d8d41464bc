"""What a run does, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langchain_moa.evals.answering import CONCURRENCY, SettingsOf, suite_settings
from langchain_moa.evals.contestants import Contestant
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge, judges_itself
from langchain_moa.evals.suites import Suite
from langchain_moa.evals.types import Answer, Judgment, Row


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        suite: The suite.
        rows: Those of its rows that are answered.
        folder: Where the run is recorded.
        contestants: Who answers; the first one is what the run is about. Empty where the answers
            are given.
        given: Answers that are there already, from a file.
        judging: How answers are judged; `None` leaves them unjudged.
        judge: Who judges; `None` for a metric.
        settings: Gives a row's temperature and limit of tokens.
        limit: How many of the suite's rows were wanted; `None` for all.
        concurrency: How many rows at a time.
        retry_failed: Whether what failed before is asked again.
        engine: Who asks: `local`, this process, or `ray`, the workers of a Ray cluster.
    """

    suite: Suite
    rows: Sequence[Row]
    folder: Path
    contestants: Sequence[Contestant] = ()
    given: Sequence[Answer] = ()
    judging: Judging | None = None
    judge: Judge | None = None
    settings: SettingsOf = suite_settings
    limit: int | None = None
    concurrency: int = CONCURRENCY
    retry_failed: bool = False
    engine: str = "local"

    @property
    def models(self) -> list[str]:
        """Who answers, by name."""
        named = [who.name for who in self.contestants]
        return named or list(dict.fromkeys(answer["model"] for answer in self.given))

    @property
    def judged_by_themselves(self) -> list[str]:
        """The models that are the judge's own, members of a mixture included."""
        if self.judge is None:
            return []
        names = [*self.models]
        for who in self.contestants:
            names += [str(name) for name in who.member_names]
        return list(dict.fromkeys(judges_itself(self.judge, names)))


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        answers: The answers, those that failed with their `error`.
        judgments: The judgments; those that could not be had or read have no `read`.
        files: Upstream's files that were written.
        judged: Those of them that hold judgments.
    """

    answers: list[Answer] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    judged: list[Path] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Answers that failed."""
        return sum(answer["output"] is None for answer in self.answers)

    @property
    def unscored(self) -> int:
        """Judgments that could not be had or read."""
        return sum(judgment["read"] is None for judgment in self.judgments)
