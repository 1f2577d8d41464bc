"""What a model's answers took: money, time, tokens, length, failures."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from langchain_moa.evals.types import Answer, Judgment


@dataclass(frozen=True)
class Tally:
    """What the answers of one model took; means are over the answers that came.

    Attributes:
        answers: Answers that came.
        failed: Answers that did not.
        usd: Per answer; `None` where a price is not known.
        usd_total: Of all answers with a known price, the failed ones' included.
        seconds: Per answer.
        tokens: Per answer, of all members.
        length: Characters of an answer.
    """

    answers: int
    failed: int
    usd: float | None
    usd_total: float | None
    seconds: float | None
    tokens: float | None
    length: float | None


def tally(answers: Sequence[Answer]) -> Tally:
    """What the answers of one model took."""
    came = [answer for answer in answers if answer["output"] is not None]
    prices = [answer["usd"] for answer in came]
    paid = [answer["usd"] for answer in answers if answer["usd"] is not None]
    return Tally(
        answers=len(came),
        failed=len(answers) - len(came),
        usd=_mean(price for price in prices if price is not None) if None not in prices else None,
        usd_total=sum(paid) if paid else None,
        # an answer from a file has no time of its own
        seconds=_mean(answer["seconds"] for answer in came if answer["seconds"]),
        tokens=_mean(answer["usage"]["total_tokens"] for answer in came if answer["usage"]),
        length=_mean(len(answer["output"] or "") for answer in came),
    )


def judge_cost(judgments: Iterable[Judgment]) -> tuple[float | None, int]:
    """What the judge took: USD, where its prices are known, and tokens."""
    usd: list[float] = []
    tokens = 0
    for judgment in judgments:
        if judgment["usd"] is not None:
            usd.append(judgment["usd"])
        if judgment["usage"] is not None:
            tokens += judgment["usage"]["total_tokens"]
    return (sum(usd) if usd else None), tokens


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
