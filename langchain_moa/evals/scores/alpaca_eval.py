"""AlpacaEval's win rates from annotations.

Example:
    >>> rows = [
    ...     {"instruction": "a", "output_1": "x", "output_2": "longer", "generator_2": "mine",
    ...      "generator_1": "base", "annotator": "judge", "preference": 1.9},
    ...     {"instruction": "b", "output_1": "x", "output_2": "y", "generator_2": "mine",
    ...      "generator_1": "base", "annotator": "judge", "preference": 1.3},
    ... ]
    >>> scores = score_alpaca_eval(rows)
    >>> scores["win_rate"], scores["n_wins"], scores["n_wins_base"]
    (60.0, 1, 1)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final, TypedDict

from langchain_moa.evals.scores.length_control import LengthControl, NoLengthControlError
from langchain_moa.evals.upstream_types import Annotation

_DRAW: Final = 1.5
_SIZE: Final = 805
"""Rows of the whole suite."""


class AlpacaEvalScores(TypedDict):
    """What annotations of one model by one judge come to; rates are in percent."""

    model: str
    judge: str
    n_total: int
    """Rows with a preference."""
    n_unscored: int
    """Rows whose preference is `null`."""
    n_missing: int
    """Rows of the suite that are not among the annotations."""
    n_duplicates: int
    """Rows that repeat an instruction; they stay in the average."""
    win_rate: float | None
    """Mean preference for the model; `None` where nothing is scored."""
    standard_error: float | None
    """Of the win rate; `None` below two rows."""
    discrete_win_rate: float | None
    """Share of wins, draws counted half."""
    n_wins: int
    n_wins_base: int
    n_draws: int
    avg_length: int | None
    """Characters of the model's outputs, rounded down, as the leaderboard has it."""
    length_controlled_win_rate: float | None
    lc_standard_error: float | None
    lc_baselines: str | None
    """With which file of gamed baselines it was fitted."""
    lc_reason: str | None
    """Why there is no length-controlled win rate."""


def score_alpaca_eval(
    annotations: Sequence[Annotation],
    *,
    length_control: LengthControl | None = None,
    no_length_control: str = "no length control was asked for",
    any_size: bool = False,
    size: int = _SIZE,
) -> AlpacaEvalScores:
    """Score the annotations of one model by one judge.

    Args:
        annotations: Rows as in `annotations.json`, in any order.
        length_control: With what the length-controlled win rate is fitted.
        no_length_control: Why that is not to be had, if `length_control` is not given.
        any_size: Fit it with a part of the suite, too.
        size: Rows of the whole suite.

    Example:
        >>> names = {"generator_1": "baseline", "generator_2": "mine"}
        >>> texts = {"instruction": "2 + 2?", "output_1": "4", "output_2": "It is 4."}
        >>> preferred = {**names, **texts, "annotator": "judge", "preference": 2.0}
        >>> score_alpaca_eval([preferred])["win_rate"]
        100.0
    """
    preferences = [value for row in annotations if (value := preference_of(row)) is not None]
    instructions = {row["instruction"] for row in annotations}
    lengths = [len(row["output_2"] or "") for row in annotations]
    scores: AlpacaEvalScores = {
        "model": annotations[0]["generator_2"],
        "judge": annotations[0]["annotator"],
        "n_total": len(preferences),
        "n_unscored": len(annotations) - len(preferences),
        "n_missing": max(size - len(instructions), 0),
        "n_duplicates": len(annotations) - len(instructions),
        **_rates(preferences),
        "avg_length": int(statistics.fmean(lengths)),
        "length_controlled_win_rate": None,
        "lc_standard_error": None,
        "lc_baselines": None,
        "lc_reason": None,
    }
    if len(instructions) < size and not any_size:
        scores["lc_reason"] = f"{len(instructions)} of {size} rows, and it is made for all of them"
    elif length_control is None:
        scores["lc_reason"] = no_length_control
    else:
        try:
            fitted = length_control.fit(annotations)
        except NoLengthControlError as error:
            scores["lc_reason"] = str(error)
        else:
            scores["length_controlled_win_rate"] = fitted.win_rate
            scores["lc_standard_error"] = fitted.standard_error
            scores["lc_baselines"] = length_control.name
    return scores


class _Rates(TypedDict):
    win_rate: float | None
    standard_error: float | None
    discrete_win_rate: float | None
    n_wins: int
    n_wins_base: int
    n_draws: int


def _rates(preferences: Sequence[float]) -> _Rates:
    n = len(preferences)
    wins = sum(value > _DRAW for value in preferences)
    losses = sum(value < _DRAW for value in preferences)
    shares = [value - 1 for value in preferences]
    return {
        "win_rate": 100 * statistics.fmean(shares) if n else None,
        "standard_error": 100 * _sd(shares) / math.sqrt(n) if n > 1 else None,
        "discrete_win_rate": 100 * (wins + (n - wins - losses) / 2) / n if n else None,
        "n_wins": wins,
        "n_wins_base": losses,
        "n_draws": n - wins - losses,
    }


def _sd(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def preference_of(row: Annotation) -> float | None:
    """A row's preference, 1 (baseline) to 2 (model); old files write a draw as 0.

    Example:
        >>> preference_of({"preference": 0}), preference_of({"preference": None})
        (1.5, None)
    """
    value = row["preference"]
    if value is None or math.isnan(value):
        return None
    return value or _DRAW
