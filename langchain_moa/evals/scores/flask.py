"""FLASK's means of each skill, domain and difficulty, from reviews.

Example:
    >>> rows = [{"idx": 1, "domain": ["Math"], "difficulty": "expert level knowledge",
    ...          "score": {"logical correctness": 4, "readability": "N/A"}}]
    >>> scores = score_flask(rows, model="mine")
    >>> scores["skills"]["correctness"], scores["n_unparsed"]
    ({'mean': 4.0, 'sum': 4.0, 'count': 1}, 0)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypedDict

from langchain_moa.evals.parsing import counting_scores, is_review
from langchain_moa.evals.suites.flask import DIFFICULTIES, SKILLS
from langchain_moa.evals.upstream_types import Review

_SIZE: Final = 1740


class Mean(TypedDict):
    """A mean with what it was made of."""

    mean: float
    sum: float
    count: int


class FlaskScores(TypedDict):
    """What reviews of one model by one judge come to, from 1 to 5.

    A skill that is not applicable to a row, or could not be read, is in no mean.
    """

    model: str
    judge: str | None
    """`None` where the reviews name none."""
    n: int
    """Reviews."""
    n_unparsed: int
    """Reviews without a score that can be read; `"N/A"` for all skills is one that could be."""
    n_duplicates: int
    """Reviews that repeat a row; they stay in the means."""
    n_missing: int
    """Rows of the suite without a review."""
    skills: dict[str, Mean]
    domains: dict[str, Mean]
    """Of all skills; a row of two domains counts in both."""
    difficulties: dict[str, Mean]


def score_flask(
    reviews: Sequence[Review], *, model: str, judge: str | None = None, size: int = _SIZE
) -> FlaskScores:
    """Score the reviews of one model by one judge.

    Args:
        reviews: Rows as FLASK's scripts write them, in any order.
        model: Whose answers they are about.
        judge: Who wrote them.
        size: Rows of the whole suite.

    Example:
        >>> review = {
        ...     "idx": 1,
        ...     "skill": ["Logical Correctness"],
        ...     "domain": ["Math"],
        ...     "difficulty": "1",
        ...     "review": "",
        ...     "score": {"logical correctness": 4},
        ... }
        >>> score_flask([review], model="mine")["skills"]["correctness"]["mean"]
        4.0
    """
    by_skill: dict[str, list[float]] = defaultdict(list)
    by_domain: dict[str, list[float]] = defaultdict(list)
    by_difficulty: dict[str, list[float]] = defaultdict(list)
    unparsed = 0
    for review in reviews:
        scores = counting_scores(review["score"])
        unparsed += not is_review(review["score"])
        for skill, score in scores:
            by_skill[skill].append(score)
        numbers = [score for _, score in scores]
        for domain in review["domain"]:
            by_domain[str(domain)] += numbers
        by_difficulty[str(review["difficulty"])] += numbers
    rows = {review["idx"] for review in reviews}
    return {
        "model": model,
        "judge": judge,
        "n": len(reviews),
        "n_unparsed": unparsed,
        "n_duplicates": len(reviews) - len(rows),
        "n_missing": max(size - len(rows), 0),
        "skills": _means(by_skill, SKILLS),
        "domains": _means(by_domain, sorted(by_domain)),
        "difficulties": _means(by_difficulty, DIFFICULTIES),
    }


def _means(values: Mapping[str, Sequence[float]], order: Iterable[str]) -> dict[str, Mean]:
    known = [name for name in order if values.get(name)]
    others = sorted(name for name in values if name not in known and values[name])
    return {
        name: {
            "mean": sum(values[name]) / len(values[name]),
            "sum": sum(values[name]),
            "count": len(values[name]),
        }
        for name in (*known, *others)
    }
