"""Intervals, the ceiling, verdicts and the sentence: held against known values and simulations."""

from __future__ import annotations

import math
import random

import pytest

from langchain_moa.evals.comparison import (
    Estimate,
    bootstrap,
    ceiling,
    clopper_pearson,
    compare,
    rows_needed,
    sentence,
    verdict,
    win_rate_at_equal_length,
)


def scores(*values: float) -> dict[str, float]:
    return {f"row {n}": value for n, value in enumerate(values)}


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # 0 and n by their closed forms, the others from published tables
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (5, 10, 0.1870860284, 0.8129139716),
        (1, 20, 0.0012650895, 0.2487327628),
    ],
)
def test_clopper_pearson(hits: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(hits, n) == pytest.approx((low, high), abs=1e-8)


def test_the_ceiling() -> None:
    first, second = scores(9, 3, 5, 8), {**scores(2, 4, 9), "row 9": 1.0}
    found = ceiling([first, second], good=7)
    assert found.n == 3
    assert (found.best, found.all_fail, found.limit) == pytest.approx((22 / 3, 1 / 3, 2 / 3))
    assert found.low < found.all_fail < found.high
    for members in ([], [scores(1), {"other": 1.0}]):
        with pytest.raises(ValueError, match="no scored row in common"):
            ceiling(members, good=1)


def test_intervals_do_not_depend_on_the_order_in_which_records_came() -> None:
    first, second = scores(9, 3, 5, 8, 7, 2, 9), scores(2, 4, 9, 1, 1, 2, 3)
    backwards = dict(reversed(first.items()))
    assert compare(backwards, second) == compare(first, second)


def test_bootstrap_of_a_mean_is_the_normal_interval_where_rows_are_many() -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    values = [chance.gauss(1, 2) for _ in range(900)]
    found = bootstrap(values)
    mean = sum(values) / 900
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 899 / 900)
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 1.96 * spread, abs=0.02)
    assert found.high == pytest.approx(mean + 1.96 * spread, abs=0.02)
    assert bootstrap(values) == found
    assert bootstrap(values, seed=1) != found
    assert bootstrap([3.0]) == Estimate(3.0, None, None, 1)


def test_paired_differences() -> None:
    better = compare(scores(*[5] * 10), scores(*[4] * 9, 6), tie_within=0.5)
    assert (better.n, better.win, better.tie, better.loss) == (10, 9, 0, 1)
    assert better.difference.mean == pytest.approx(0.8)
    assert better.verdict == "better"
    worse = compare(scores(*[4] * 9, 6), scores(*[5] * 10))
    assert worse.verdict == "worse"
    same = compare(scores(*[5] * 10), scores(*[5.1] * 10), tie_within=0.2)
    assert (same.tie, same.verdict) == (10, "worse")
    with pytest.raises(ValueError, match="no scored row in common"):
        compare(scores(1), {"other": 1.0})


def test_rows_that_one_lacks_are_left_out() -> None:
    found = compare(scores(1, 2, 3, 4), {"row 1": 1.0, "row 2": 1.0, "new": 9.0})
    assert (found.n, found.difference.mean) == (2, 1.5)


def test_few_rows_tell_nothing() -> None:
    assert compare(scores(*[5] * 5), scores(*[1] * 5)).verdict == "not told apart"
    assert compare(scores(*[5] * 6), scores(*[1] * 6)).verdict == "better"
    assert verdict(Estimate(1.0, None, None, 9)) == "not told apart"


def test_so_many_rows_do_tell() -> None:
    """With the number of rows that is said, about four of five experiments tell a difference."""
    chance = random.Random(8)  # noqa: S311 - no secret
    pilot = [chance.gauss(0.5, 2) for _ in range(4000)]
    needed = rows_needed(pilot)
    assert needed is not None
    assert needed == pytest.approx(126, abs=15)  # (1.96 + 0.84)² · 2² / 0.5²
    told = 0
    for seed in range(120):
        rows = {str(n): chance.gauss(0.5, 2) for n in range(needed)}
        found = compare(rows, dict.fromkeys(rows, 0.0), resamples=400, seed=seed)
        told += found.verdict == "better"
    assert 0.65 < told / 120 < 0.93
    assert rows_needed([1.0, -1.0]) is None
    assert rows_needed([1.0]) is None
    assert rows_needed([2.0, 2.0, 2.0]) == 2


def test_win_rate_at_equal_length() -> None:
    """Wins that only length explains are none at equal length; those that it doesn't, stay."""
    chance = random.Random(4)  # noqa: S311 - no secret
    lengths = [chance.gauss(400, 300) for _ in range(2000)]
    by_length = [float(chance.random() < 1 / (1 + math.exp(-x / 300))) for x in lengths]
    raw = sum(by_length) / 2000
    level = win_rate_at_equal_length(by_length, lengths)
    assert level is not None
    assert level.low is not None
    assert level.high is not None
    assert raw > 0.7
    assert level.low < 0.5 < level.high
    by_merit = [float(chance.random() < 0.75) for _ in lengths]
    merit = win_rate_at_equal_length(by_merit, lengths)
    assert merit is not None
    assert merit.mean == pytest.approx(0.75, abs=0.06)


def test_equal_lengths_that_cannot_be_told() -> None:
    assert win_rate_at_equal_length([1.0] * 8, [1.0, 2.0] * 4) is None
    assert win_rate_at_equal_length([1.0, 0.0] * 4, [5.0, -5.0] * 4) is None
    level = win_rate_at_equal_length([1.0, 1.0, 0.5, 0.0], [3.0] * 4)
    assert level is not None
    assert level.mean == pytest.approx(0.625)


def test_comparisons_with_lengths() -> None:
    first, other = scores(2, 1, 2, 1, 3, 1), scores(1, 2, 1, 2, 1, 2)
    lengths = scores(5, -3, -4, 6, 1, 2)
    found = compare(first, other, lengths=lengths).at_equal_length
    assert found is not None
    assert 0.2 < found.mean < 0.8
    assert compare(first, other).at_equal_length is None
    assert compare(first, other, lengths=scores(1)).at_equal_length is None


def test_sentences() -> None:
    better = compare(scores(*[5] * 10), scores(*[4] * 9, 6))
    assert sentence("moa", "acme/a", better, unit="points").startswith(
        '"moa" is better than "acme/a" on 10 rows (+0.80 points, 95 % interval +'
    )
    even = compare(scores(1, 2), scores(2, 1))
    assert sentence("moa", "acme/a", even, unit="points", digits=1) == (
        '"moa" and "acme/a" cannot be told apart with 2 rows '
        "(+0.0 points, 95 % interval -1.0 to +1.0)."
    )
    one = compare(scores(2), scores(1))
    assert sentence("moa", "acme/a", one, unit="points") == (
        '"moa" and "acme/a" cannot be told apart with 1 row (+1.00 points).'
    )
    close = compare(scores(*[1.0, -0.98] * 20), scores(*[0.0] * 40))
    assert sentence("moa", "acme/a", close, unit="points").endswith(
        "; about 79,000 rows would be needed to tell a difference of this size."
    )
