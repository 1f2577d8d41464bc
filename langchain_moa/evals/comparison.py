"""Is a mixture better than its members? Paired differences, row by row, with intervals.

All here are pure functions over plain numbers.

Example:
    >>> mixture = {"a": 9.0, "b": 8.0, "c": 9.5}
    >>> member = {"a": 8.0, "b": 8.5, "c": 8.0}
    >>> result = compare(mixture, member)
    >>> result.win, result.loss, round(result.difference.mean, 2), result.verdict
    (2, 1, 0.67, 'not told apart')
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Literal

from langchain_moa.evals.extra import extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
SEED: Final = 20_240_607
"""The day on which Mixture-of-Agents was published (arXiv 2406.04692)."""
POWER: Final = 0.8
"""Chance to tell a difference of the size that was seen, with the rows that are said to do."""
_CHUNK: Final = 1_000
"""Resamples that are drawn together: memory grows with the rows alone."""
_FEWEST: Final = 2
"""Rows that a spread can be told of."""
_FEWEST_FOR_A_VERDICT: Final = 6
"""With fewer rows not even a sign test can reach 5 %, and a bootstrap's interval is too narrow."""
_STEPS: Final = 50
_CONVERGED: Final = 1e-9
_SINGULAR: Final = 1e12
_SEPARATED: Final = 20.0
"""A logit this large means that the likelihood has no maximum."""

Verdict = Literal["better", "worse", "not told apart"]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        mean: The estimate.
        low: The lower end of the 95 % interval; `None` below two rows.
        high: The upper end.
        n: How many rows it is made of.

    Example:
        >>> Estimate(mean=0.5, low=0.4, high=0.6, n=40).mean
        0.5
    """

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Ceiling:
    """What no selection among the members can pass.

    Attributes:
        n: Rows that every member has a score for.
        best: Mean of the best member's score of each row.
        all_fail: Share of rows on which every member fails (β).
        low: The lower end of its Clopper-Pearson interval (95 %).
        high: The upper end.
        limit: 1 - β: the largest share of rows that choosing a member's answer can get right.

    Example:
        >>> ceiling([{"1": 1.0, "2": 0.0}, {"1": 0.0, "2": 0.0}], 1.0).limit
        0.5
    """

    n: int
    best: float
    all_fail: float
    low: float
    high: float
    limit: float


@dataclass(frozen=True)
class Comparison:
    """One model against another, on the rows that both have a score for.

    Attributes:
        n: Rows compared.
        win: Rows on which the first is better.
        tie: Rows on which they are equal, or closer than `tie_within`.
        loss: Rows on which the first is worse.
        difference: Mean of the first's score less the other's.
        at_equal_length: The first's win rate (0 to 1, ties counted half) had both answers the same
            length; `None` where that cannot be told.
        verdict: Whether the interval of the difference leaves out zero, and on which side.
        rows_needed: Rows that would do to tell a difference of this size (80 % power, 5 %
            significance); `None` where there is no difference, or too few rows to tell.

    Example:
        >>> found = compare({"1": 9.0, "2": 8.0}, {"1": 7.0, "2": 8.0})
        >>> found.n, found.win, found.tie, found.loss
        (2, 1, 1, 0)
    """

    n: int
    win: int
    tie: int
    loss: int
    difference: Estimate
    at_equal_length: Estimate | None
    verdict: Verdict
    rows_needed: int | None


def compare(
    first: Mapping[str, float],
    other: Mapping[str, float],
    *,
    lengths: Mapping[str, float] | None = None,
    tie_within: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two models' scores, row by row.

    Args:
        first: The first model's score of each row, by the row's id.
        other: The other's.
        lengths: The first's answer's length less the other's, by row.
        tie_within: Differences no larger than this are ties.
        resamples: For the interval of the mean difference.
        seed: The same seed gives the same interval.

    Raises:
        ValueError: They have no row in common.

    Example:
        >>> ours = {f"row {n}": 8.0 for n in range(30)}
        >>> theirs = {f"row {n}": 7.0 for n in range(30)}
        >>> compare(ours, theirs).difference.mean
        1.0
    """
    rows = sorted(row for row in first if row in other)  # resamples depend on the order
    if not rows:
        msg = "the models have no scored row in common."
        raise ValueError(msg)
    differences = [first[row] - other[row] for row in rows]
    win = sum(value > tie_within for value in differences)
    loss = sum(value < -tie_within for value in differences)
    difference = bootstrap(differences, resamples=resamples, seed=seed)
    return Comparison(
        n=len(rows),
        win=win,
        tie=len(rows) - win - loss,
        loss=loss,
        difference=difference,
        at_equal_length=(
            win_rate_at_equal_length(
                [_outcome(value, tie_within) for value in differences],
                [lengths[row] for row in rows],
            )
            if lengths is not None and all(row in lengths for row in rows)
            else None
        ),
        verdict=verdict(difference),
        rows_needed=rows_needed(differences),
    )


def _outcome(difference: float, tie_within: float) -> float:
    if abs(difference) <= tie_within:
        return 0.5
    return 1.0 if difference > 0 else 0.0


def verdict(difference: Estimate) -> Verdict:
    """What an interval of a difference says; below six rows nothing, whatever the interval."""
    if difference.n < _FEWEST_FOR_A_VERDICT:
        return "not told apart"
    if difference.low is not None and difference.low > 0:
        return "better"
    if difference.high is not None and difference.high < 0:
        return "worse"
    return "not told apart"


def bootstrap(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED) -> Estimate:
    """The mean of values with a percentile bootstrap interval (95 %).

    Example:
        >>> bootstrap([1.0, 1.0, 1.0])
        Estimate(mean=1.0, low=1.0, high=1.0, n=3)
    """
    with extra():
        import numpy as np  # noqa: PLC0415 - an extra

    sample = np.asarray(values, dtype=float)
    n = len(sample)
    mean = math.fsum(values) / n
    if n < _FEWEST:
        return Estimate(mean, None, None, n)
    chance = np.random.default_rng(seed)
    means = np.concatenate(
        [
            sample[chance.integers(0, n, (min(_CHUNK, resamples - start), n))].mean(axis=1)
            for start in range(0, resamples, _CHUNK)
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)


def rows_needed(differences: Sequence[float]) -> int | None:
    """How many rows would do to tell a mean difference of this size, by a normal approximation.

    Example:
        >>> rows_needed([1.0, -1.0, 1.0, 1.0])
        32
    """
    n = len(differences)
    mean = math.fsum(differences) / n if n else 0.0
    if n < _FEWEST or mean == 0:
        return None
    variance = math.fsum((value - mean) ** 2 for value in differences) / (n - 1)
    return max(
        _FEWEST, math.ceil((_z(1 - (1 - CONFIDENCE) / 2) + _z(POWER)) ** 2 * variance / mean**2)
    )


def _z(share: float) -> float:
    return NormalDist().inv_cdf(share)


def ceiling(members: Sequence[Mapping[str, float]], good: float) -> Ceiling:
    """How good the best member's answer of each row is, and how often all fail together.

    "No selection among them can beat 1 - β": arXiv 2606.27288.

    Args:
        members: Each member's score of each row, by the row's id.
        good: The lowest score that is no failure.

    Raises:
        ValueError: The members have no row in common.

    Example:
        >>> found = ceiling([{"a": 1, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 0}], good=1)
        >>> round(found.best, 2), round(found.all_fail, 2), round(found.limit, 2)
        (0.67, 0.33, 0.67)
    """
    rows = (
        [row for row in members[0] if all(row in scores for scores in members)] if members else []
    )
    if not rows:
        msg = "the members have no scored row in common."
        raise ValueError(msg)
    best = [max(scores[row] for scores in members) for row in rows]
    failed = sum(score < good for score in best)
    low, high = clopper_pearson(failed, len(rows))
    return Ceiling(
        n=len(rows),
        best=math.fsum(best) / len(rows),
        all_fail=failed / len(rows),
        low=low,
        high=high,
        limit=1 - failed / len(rows),
    )


def clopper_pearson(hits: int, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share.

    Example:
        >>> low, high = clopper_pearson(0, 10)
        >>> low, round(high, 4)
        (0.0, 0.3085)
    """
    with extra():
        from scipy.special import betaincinv  # noqa: PLC0415 - an extra

    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def win_rate_at_equal_length(
    outcomes: Sequence[float], lengths: Sequence[float]
) -> Estimate | None:
    """The win rate that a logistic regression on the difference in length gives at no difference.

    Args:
        outcomes: 1 for a win, 0.5 for a tie, 0 for a loss.
        lengths: The winner-to-be's length less the other's, row by row.

    Returns:
        The rate from 0 to 1 with its interval (95 %, normal on the scale of the logit), or `None`
        where wins and losses can be told apart by length alone, or all are the same.

    Example:
        >>> win_rate_at_equal_length([1.0, 1.0, 0.0, 0.0], [5.0, -5.0, 5.0, -5.0]).mean
        0.5
    """
    with extra():
        import numpy as np  # noqa: PLC0415 - an extra

    y = np.asarray(outcomes, dtype=float)
    given = np.asarray(lengths, dtype=float)
    spread = given.std(ddof=1) if len(given) > 1 else 0.0
    columns = [np.ones_like(y)]
    if spread:
        columns.append(given / spread)  # not centred: no difference must stay zero
    found = _logistic_fit(np.column_stack(columns), y)
    if found is None:
        return None
    logit, error = found
    z = _z(1 - (1 - CONFIDENCE) / 2)
    mean, low, high = (_logistic(x) for x in (logit, logit - z * error, logit + z * error))
    return Estimate(mean, low, high, len(y))


def _logistic_fit(
    features: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The intercept and its standard error by Newton's steps; `None` where there is no maximum."""
    with extra():
        import numpy as np  # noqa: PLC0415 - an extra

    weights = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        shares = 1 / (1 + np.exp(-features @ weights))
        information = (features * (shares * (1 - shares))[:, None]).T @ features
        if not np.isfinite(information).all() or np.linalg.cond(information) > _SINGULAR:
            return None
        step = np.linalg.solve(information, features.T @ (y - shares))
        weights = weights + step
        if np.abs(weights).max() > _SEPARATED:
            return None
        if np.abs(step).max() < _CONVERGED:
            return float(weights[0]), float(np.sqrt(np.linalg.inv(information)[0, 0]))
    return None


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def sentence(first: str, other: str, result: Comparison, *, unit: str, digits: int = 2) -> str:
    """One plain sentence: better, worse, or not told apart, and what it would take to tell.

    Args:
        first: The first model's name.
        other: The other's.
        result: Their comparison.
        unit: Of the scores, as `points`.
        digits: After the decimal point.

    Example:
        >>> result = compare({"a": 9.0, "b": 8.0}, {"a": 8.0, "b": 8.5})
        >>> print(sentence("mixture", "acme/a", result, unit="points"))
        "mixture" and "acme/a" cannot be told apart with 2 rows (+0.25 points, ...
    """
    found = result.difference
    seen = f"{found.mean:+.{digits}f} {unit}"
    if found.low is not None and found.high is not None:
        seen += f", 95 % interval {found.low:+.{digits}f} to {found.high:+.{digits}f}"
    rows = f"{result.n} row" + "s" * (result.n != 1)
    if result.verdict != "not told apart":
        return f'"{first}" is {result.verdict} than "{other}" on {rows} ({seen}).'
    text = f'"{first}" and "{other}" cannot be told apart with {rows} ({seen})'
    if result.rows_needed is None:
        return f"{text}."
    needed = rounded(result.rows_needed)
    return f"{text}; about {needed:,} rows would be needed to tell a difference of this size."


def rounded(rows: int) -> int:
    """A number of rows with two digits: more of them are not known.

    Example:
        >>> rounded(46_003), rounded(7)
        (47000, 7)
    """
    unit: int = 10 ** max(len(str(rows)) - 2, 0)
    return -(-rows // unit) * unit
