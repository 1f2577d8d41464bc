"""MT-Bench's averages from judgments, single and pairwise.

Example:
    >>> rows = [
    ...     {"question_id": 81, "model": "mine", "judge": ["gpt-4", "single-v1"], "turn": 1,
    ...      "score": 9},
    ...     {"question_id": 81, "model": "mine", "judge": ["gpt-4", "single-v1-multi-turn"],
    ...      "turn": 2, "score": -1},
    ... ]
    >>> scores = score_mt_bench(rows, {81: "writing"})
    >>> scores["average"], scores["turn_2"], scores["n_failed"], scores["categories"]
    (9.0, None, 1, {'writing': 9.0})
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypedDict

from langchain_moa.evals.suites.mt_bench import CATEGORIES
from langchain_moa.evals.upstream_types import PairJudgment, SingleJudgment

FAILED: Final = -1
"""The score of a judgment that failed or could not be read."""
_JUDGMENTS: Final = 160
"""Of the whole suite: 80 questions of two turns."""


class MTBenchScores(TypedDict):
    """What ratings of one model by one judge come to, from 1 to 10; `None` where none is scored."""

    model: str
    judge: str
    turn_1: float | None
    turn_2: float | None
    average: float | None
    """Over all scored rows, which is not the mean of both turns where some failed."""
    n: int
    """Rows, the failed ones counted."""
    n_failed: int
    """Rows with the score -1; they are in no average."""
    n_unscored: int
    """Questions and turns that have failed rows alone."""
    n_duplicates: int
    """Scored rows that repeat a question and turn; they stay in the average."""
    n_missing: int
    """Questions and turns of the suite that have no row."""
    categories: dict[str, float | None]


class MTBenchPairs(TypedDict):
    """How one model fared against others, each answer compared in both orders."""

    model: str
    judge: str
    against: list[str]
    n: int
    """Comparisons, those with an error counted."""
    n_failed: int
    """Comparisons with an error in either order; they count for nobody."""
    win: int
    """Won in both orders."""
    loss: int
    tie: int
    win_rate: float | None
    """Share of wins; rates are from 0 to 1, as FastChat prints them."""
    loss_rate: float | None
    win_rate_adjusted: float | None
    """Share of wins, ties counted half."""


def score_mt_bench(
    judgments: Sequence[SingleJudgment],
    categories: Mapping[int, str],
    *,
    size: int = _JUDGMENTS,
) -> MTBenchScores:
    """Score the ratings of one model by one judge.

    Args:
        judgments: Rows as in `gpt-4_single.jsonl`, in any order.
        categories: The category of each question.
        size: Questions times turns of the whole suite.

    Example:
        >>> rating = {"question_id": 81, "turn": 1, "model": "mine", "judge": ["judge", "v1"]}
        >>> score_mt_bench([{**rating, "score": 8}], {81: "writing"})["average"]
        8.0
    """
    scored = [row for row in judgments if row["score"] != FAILED]
    every = {(row["question_id"], row["turn"]) for row in judgments}
    keys = {(row["question_id"], row["turn"]) for row in scored}
    by_category = defaultdict(list)
    for row in scored:
        by_category[categories[row["question_id"]]].append(row["score"])
    return {
        "model": judgments[0]["model"],
        "judge": judgments[0]["judge"][0],
        "turn_1": _mean_of_turn(scored, 1),
        "turn_2": _mean_of_turn(scored, 2),
        "average": _mean(row["score"] for row in scored),
        "n": len(judgments),
        "n_failed": len(judgments) - len(scored),
        "n_unscored": len(every - keys),
        "n_duplicates": len(scored) - len(keys),
        "n_missing": max(size - len(every), 0),
        "categories": {
            name: _mean(by_category[name]) for name in _in_order(by_category, CATEGORIES)
        },
    }


def score_mt_bench_pairs(judgments: Sequence[PairJudgment]) -> list[MTBenchPairs]:
    """Count the comparisons of one judge, for each model that takes part in them.

    A win needs the same winner in both orders; a comparison with an error in either is left out.

    Example:
        >>> pair = {"question_id": 81, "model_1": "a", "model_2": "b", "turn": 1}
        >>> won = {"judge": ["judge", "pair-v2"], "g1_winner": "model_1", "g2_winner": "model_1"}
        >>> first, second = score_mt_bench_pairs([{**pair, **won}])
        >>> first["model"], first["win_rate"], second["win_rate"]
        ('a', 1.0, 0.0)
    """
    names = dict.fromkeys(name for row in judgments for name in (row["model_1"], row["model_2"]))
    return [_pairs_of(name, judgments) for name in names]


def _pairs_of(name: str, judgments: Iterable[PairJudgment]) -> MTBenchPairs:
    rows = [row for row in judgments if name in (row["model_1"], row["model_2"])]
    read = [row for row in rows if "error" not in (row["g1_winner"], row["g2_winner"])]
    won = [
        row["g1_winner"] == ("model_1" if row["model_1"] == name else "model_2")
        for row in read
        if row["g1_winner"] == row["g2_winner"] != "tie"
    ]
    n, wins = len(read), sum(won)
    losses = len(won) - wins
    ties = n - len(won)
    return {
        "model": name,
        "judge": rows[0]["judge"][0],
        "against": list(
            dict.fromkeys(
                other for row in rows for other in (row["model_1"], row["model_2"]) if other != name
            )
        ),
        "n": len(rows),
        "n_failed": len(rows) - n,
        "win": wins,
        "loss": losses,
        "tie": ties,
        "win_rate": wins / n if n else None,
        "loss_rate": losses / n if n else None,
        "win_rate_adjusted": (wins + ties / 2) / n if n else None,
    }


def _mean_of_turn(rows: Iterable[SingleJudgment], turn: int) -> float | None:
    return _mean(row["score"] for row in rows if row["turn"] == turn)


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None


def _in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names in a known order, unknown ones last."""
    known = {name: place for place, name in enumerate(order)}
    return sorted(names, key=lambda name: (known.get(name, len(known)), name))
