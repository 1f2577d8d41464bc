"""What a model's answers took: money, time, tokens, length, failures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from langchain_moa.evals.types import Answer, Judgment


@dataclass(frozen=True)
class Tally:
    """What the answers of one model took; means are over the answers that came.

    Attributes:
        answers: Answers that came.
        failed: Answers that did not.
        usd: Per answer; `None` where a price is not known.
        usd_total: Of all answers, the failed ones' included; `None` where a price is not known.
        usd_known: Of those whose price is known.
        seconds: Per answer.
        tokens: Per answer, of all members.
        length: Characters of an answer.
    """

    answers: int
    failed: int
    usd: float | None
    usd_total: float | None
    usd_known: float | None
    seconds: float | None
    tokens: float | None
    length: float | None


def tally(answers: Sequence[Answer]) -> Tally:
    """What the answers of one model took."""
    came = [answer for answer in answers if answer["output"] is not None]
    prices = [answer["usd"] for answer in came]
    paid = total(answer["usd"] for answer in answers)
    return Tally(
        answers=len(came),
        failed=len(answers) - len(came),
        usd=_mean(price for price in prices if price is not None) if None not in prices else None,
        usd_total=paid.whole,
        usd_known=paid.known,
        # an answer from a file has no time of its own
        seconds=_mean(answer["seconds"] for answer in came if answer["seconds"]),
        tokens=_mean(answer["usage"]["total_tokens"] for answer in came if answer["usage"]),
        length=_mean(len(answer["output"] or "") for answer in came),
    )


class Total(NamedTuple):
    """Costs added up.

    Attributes:
        whole: All of them; `None` where one is not known, or there are none.
        known: Those that are known; `None` where none is.
    """

    whole: float | None
    known: float | None


def total(costs: Iterable[float | None]) -> Total:
    """Costs added up, with what is not known kept apart.

    Example:
        >>> total([1.0, 2.0]), total([1.0, None])
        (Total(whole=3.0, known=3.0), Total(whole=None, known=1.0))
    """
    every = list(costs)
    known = [usd for usd in every if usd is not None]
    paid = sum(known) if known else None
    return Total(paid if len(known) == len(every) else None, paid)


def judge_cost(judgments: Sequence[Judgment]) -> tuple[Total, int]:
    """What the judge took: USD and tokens."""
    usages = [judgment["usage"] for judgment in judgments]
    tokens = sum(usage["total_tokens"] for usage in usages if usage is not None)
    return total(judgment["usd"] for judgment in judgments), tokens


def lengths_of(answers: Iterable[Answer]) -> dict[str, dict[str, float]]:
    """By model, the characters of each row's answers, all turns together."""
    lengths: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for answer in answers:
        if answer["output"] is not None:
            lengths[answer["model"]][answer["row"]] += len(answer["output"])
    return {model: dict(rows) for model, rows in lengths.items()}


def length_differences(first: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """The first's answer's length less the other's, by row."""
    return {row: length - other[row] for row, length in first.items() if row in other}


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return statistics.fmean(numbers) if numbers else None
