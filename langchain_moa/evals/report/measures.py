"""What is measured on each suite: the score of a row, its unit, and when it counts as failed."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from langchain_moa.evals.parsing import counting_scores
from langchain_moa.evals.suites import Custom, Suite, get_suite
from langchain_moa.evals.types import Judgment, Run

Scores = dict[str, dict[str, float]]
"""By model, the score of each row that has one."""

_BOTH_ORDERS: Final = 2


@dataclass(frozen=True)
class Measure:
    """The score of a row.

    Attributes:
        title: What it is, for axes.
        unit: In sentences.
        digits: Shown after the decimal point.
        low: The lowest it can be.
        high: The highest.
        good: The lowest that is no failure.
        failure: What counts as one, in words.
        tie_within: Differences no larger than this are ties.
    """

    title: str
    unit: str
    digits: int
    low: float
    high: float
    good: float
    failure: str
    tie_within: float = 0.0


_WIN_RATE: Final = Measure(
    title="Win rate against the baseline (%)",
    unit="points of win rate",
    digits=1,
    low=0,
    high=100,
    good=50,
    failure="the baseline's answer is preferred",
)
_RATING: Final = Measure(
    title="Rating (1 to 10)",
    unit="points",
    digits=2,
    low=1,
    high=10,
    good=7,
    failure="rated below 7 of 10",
    tie_within=0.1,  # as FastChat compares ratings
)
_SKILLS: Final = Measure(
    title="Mean over the row's skills (1 to 5)",
    unit="points",
    digits=2,
    low=1,
    high=5,
    good=4,
    failure="rated below 4 of 5",
)
_PAIRS: Final = Measure(
    title="Win rate of the pairs (%)",
    unit="points of win rate",
    digits=1,
    low=0,
    high=100,
    good=50,
    failure="the answer lost the comparison",
)
_METRIC: Final = Measure(
    title="Mean of the metric (%)",
    unit="points",
    digits=1,
    low=0,
    high=100,
    good=50,
    failure="scored below 50 %",
)


def measure_of(run: Run, judgments: Sequence[Judgment]) -> Measure:
    """What a run's judgments measure."""
    if run["suite"] == "alpaca_eval":
        return _WIN_RATE
    if run["suite"] == "mt_bench" and not is_pairwise(judgments):
        return _RATING
    if run["suite"] in ("flask", "flask_hard"):
        return _SKILLS
    return _METRIC if is_metric(judgments) else _PAIRS


def suite_of(run: Run) -> Suite:
    """A run's suite; the file of a user's own prompts need not be there any more."""
    return Custom(source=run["source"]) if run["suite"] == "custom" else get_suite(run["suite"])


def is_metric(judgments: Sequence[Judgment]) -> bool:
    """Whether a metric judged, in the place of a model."""
    return any(j["read"] == "metric" or not j["prompt"] for j in judgments)


def is_pairwise(judgments: Sequence[Judgment]) -> bool:
    """Whether two models of the run are compared with each other."""
    return any(j["baseline"] is not None and j["suite"] != "alpaca_eval" for j in judgments)


def row_scores(run: Run, judgments: Sequence[Judgment]) -> Scores:
    """Each model's score of each row, where every judgment of it could be read.

    MT-Bench: the mean over the row's turns. FLASK: the mean over its skills.

    Example:
        >>> from langchain_moa.evals import answer, get_suite, judge, judging_of
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> answers = answer(rows, ScriptedChatModel.saying("4"))
        >>> run = {"suite": "custom", "source": "prompts.jsonl"}
        >>> row_scores(run, judge(rows, answers, judging))
        {'scripted': {'sum': 100.0}}
    """
    turns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for judgment in judgments:
        score = _score(judgment, run)
        if score is not None:
            turns[judgment["model"], judgment["row"]].append(score)
    wanted = suite_of(run).turns
    scores: Scores = defaultdict(dict)
    for (model, row), values in turns.items():
        if len(values) == wanted:
            scores[model][row] = statistics.fmean(values)
    return dict(scores)


def _score(judgment: Judgment, run: Run) -> float | None:
    if run["suite"] == "alpaca_eval":
        preference = judgment["preference"]
        return None if preference is None else 100 * (preference - 1)
    if judgment["scores"] is not None:
        numbers = [score for _, score in counting_scores(judgment["scores"])]
        return statistics.fmean(numbers) if numbers else None
    score = judgment["score"]
    if score is None:
        return None
    return 100 * score if judgment["read"] == "metric" else score


def pair_scores(judgments: Sequence[Judgment]) -> dict[str, dict[str, float]]:
    """The first model's share of each row against each other one, in percent.

    100 where both orders prefer it, 0 where both prefer the other, else 50; a row without both
    orders, or with a verdict that could not be read, has none. Of several turns it is the mean.

    Returns:
        By the other model's name, the share of each row.

    Example:
        >>> one = {"row": "sum", "turn": 1, "model": "a", "baseline": "b", "verdict": "model"}
        >>> pair_scores([{**one, "swapped": False}, {**one, "swapped": True}])
        {'b': {'sum': 100.0}}
    """
    games: dict[tuple[str, str, int], list[str | None]] = defaultdict(list)
    for judgment in judgments:
        other = judgment["baseline"]
        if other is not None:
            games[other, judgment["row"], judgment["turn"]].append(judgment["verdict"])
    turns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (other, row, _), verdicts in games.items():
        share = _share(verdicts)
        if share is not None:
            turns[other, row].append(share)
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for (other, row), values in turns.items():
        shares[other][row] = statistics.fmean(values)
    return dict(shares)


def _share(verdicts: Sequence[str | None]) -> float | None:
    if len(verdicts) != _BOTH_ORDERS or any(
        v not in ("model", "baseline", "tie") for v in verdicts
    ):
        return None
    if len(set(verdicts)) > 1 or verdicts[0] == "tie":
        return 50.0
    return 100.0 if verdicts[0] == "model" else 0.0


def others_scores(shares: Mapping[str, Mapping[str, float]]) -> Scores:
    """What the other models' shares are: the rest of the first one's."""
    return {
        other: {row: 100 - share for row, share in of_rows.items()}
        for other, of_rows in shares.items()
    }
