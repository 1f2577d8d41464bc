"""What a judge's text says: upstream's rules, and nothing guessed.

What cannot be read is `None` (or an empty dict): it stays unscored and is counted.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from langchain_moa.evals.suites.flask import SKILLS

_RATING: Final = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_IN_SINGLE_BRACKETS: Final = re.compile(r"\[(\d+\.?\d*)\]")
"""Two ratings no further apart than this are a tie."""
_LOWEST, _HIGHEST = 1, 10
"""The scale that MT-Bench's judge is told."""
_SKILL_LOWEST, _SKILL_HIGHEST = 1, 5
"""The scale that FLASK's judge is told."""
_NOT_APPLICABLE: Final = ("na", "n/a", "not applicable")
_NONE: Final = "N/A"
"""What stands for the score of a skill that is not applicable."""

Winner = Literal["A", "B", "tie"]


def rating(text: str) -> float | None:
    """MT-Bench's rating of one answer: the first `[[n]]`, else the first `[n]`, from 1 to 10.

    A number off the scale is no rating (FastChat would take the year of `[2023]` for one).

    Example:
        >>> rating("Helpful and correct. Rating: [[9]]")
        9.0
        >>> rating("Rating: [[8/10]]") is None
        True
    """
    found = _RATING.search(text) or _RATING_IN_SINGLE_BRACKETS.search(text)
    value = float(found[1]) if found else math.nan
    return value if _LOWEST <= value <= _HIGHEST else None


def winner(text: str) -> Winner | None:
    """MT-Bench's verdict on two answers: `[[A]]`, else `[[B]]`, else `[[C]]`, anywhere in it.

    Example:
        >>> winner("Assistant B is more precise. [[B]]"), winner("Both are good. [[C]]")
        ('B', 'tie')
    """
    marks: tuple[tuple[str, Winner], ...] = (("[[A]]", "A"), ("[[B]]", "B"), ("[[C]]", "tie"))
    return next((name for mark, name in marks if mark in text), None)


def skill_scores(text: str) -> dict[str, float | str]:
    """FLASK's scores: the last Python dict in the text, its names in lower case.

    Returns:
        A number for each skill, or `"N/A"`; empty where there is no such dict.

    Example:
        >>> skill_scores("Good. {'Readability': 5, 'Logical_Correctness': 'N/A'}")
        {'readability': 5, 'logical correctness': 'N/A'}
    """
    found = list(_braces(text))
    try:
        written = found[-1].replace("\n", "").replace("_", " ").lower() if found else "{}"
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    if not isinstance(value, dict) or any(not isinstance(name, str) for name in value):
        return {}
    return {name: _NONE if said in _NOT_APPLICABLE else said for name, said in value.items()}


def _braces(text: str) -> Iterator[str]:
    """What stands in braces, from the first to the next closing one; linear in the text."""
    start = text.find("{")
    while start >= 0:
        end = text.find("}", start + 1)
        if end < 0:
            return
        if end > start + 1:
            yield text[start : end + 1]
        start = text.find("{", end)


def counting_scores(said: Mapping[str, object]) -> list[tuple[str, float]]:
    """A review's scores that count, by the skills' short names.

    Example:
        >>> counting_scores({"logical correctness": 4, "readability": "N/A", "style": 5})
        [('correctness', 4.0)]
    """
    return [
        (name, score)
        for key, value in said.items()
        if (name := skill_name(key)) and (score := skill_score(value)) is not None
    ]


def is_review(said: Mapping[str, object]) -> bool:
    """Whether a review could be read: it has a score, or says that no skill is applicable.

    Example:
        >>> is_review({"readability": 4}), is_review({"readability": "N/A"})
        (True, True)
        >>> is_review({"readability": "4/5"}), is_review({})
        (False, False)
    """
    nothing_applies = bool(said) and all(value == _NONE for value in said.values())
    return bool(counting_scores(said)) or nothing_applies


def skill_name(key: str) -> str | None:
    """A skill's short name for what a judge called it, as upstream's aggregator has it.

    Example:
        >>> skill_name("logical robustness"), skill_name("commonsense understanding")
        ('robustness', 'commonsense')
        >>> skill_name("style") is None
        True
    """
    words = key.lower().split(" ")
    word = words[1] if "logical" in key.lower() and len(words) > 1 else words[0]
    return word if word in SKILLS else None


def skill_score(value: object) -> float | None:
    """A skill's score as a number from 1 to 5; `None` for `"N/A"` and what is none.

    Example:
        >>> skill_score(4), skill_score("4.5"), skill_score("N/A"), skill_score("4/5")
        (4.0, 4.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if _SKILL_LOWEST <= number <= _SKILL_HIGHEST else None
