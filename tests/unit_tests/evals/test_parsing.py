"""What a judge's text says: upstream's rules, recorded answers, and nonsense."""

from __future__ import annotations

import pytest

from langchain_moa.evals.parsing import (
    rating,
    skill_name,
    skill_score,
    skill_scores,
    winner,
)
from tests.evaluations import lines, recorded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Rating: [[5]]", 5),
        ("Rating: [[8.5]]", 8.5),
        ("As [1] says, good. Rating: [[9]]", 9),
        ("Rating: [7]", 7),
        ("[[3]] at first, then [[8]]", 3),
        ("Rating: [[10]]", 10),
        ("Rating: [[8/10]]", None),
        ("Rating: [[-1]]", None),
        ("Rating: [[0]]", None),
        ("Rating: [[85]]", None),
        ("As [2023] found.", None),
        ("Rating: 9", None),
        ("$ERROR$", None),
        ("", None),
    ],
)
def test_ratings(text: str, expected: float | None) -> None:
    assert rating(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My final verdict is: [[A]]", "A"),
        ("[[B]]", "B"),
        ("[[C]]", "tie"),
        ("[[C]] and [[B]]", "B"),
        ("[A]", None),
        ("", None),
    ],
)
def test_winners(text: str, expected: str | None) -> None:
    assert winner(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'readability': 4}", {"readability": 4}),
        ("first {'a': 1}, last {'b': 2}", {"b": 2}),
        ('```python\n{\n  "Logical_Correctness": 5,\n}\n```', {"logical correctness": 5}),
        ("{'a': 'NA', 'b': 'n/a', 'c': 'Not applicable'}", {"a": "N/A", "b": "N/A", "c": "N/A"}),
        ("{'a': unquoted}", {}),
        ("{1, 2}", {}),
        ("{1: 2}", {}),
        ("{[]: 1}", {}),
        ("{} and {", {}),
        ("no dict at all", {}),
        ("{" * 100_000, {}),
    ],
)
def test_skill_scores(text: str, expected: dict[str, float | str]) -> None:
    assert skill_scores(text) == expected


def test_names_and_scores_of_skills() -> None:
    assert skill_name("logical efficiency") == "efficiency"
    assert skill_name("Readability") == "readability"
    assert skill_name("logical") is None
    values: list[object] = [3, 4.5, "5", "N/A", "4/5", "nan", 0, 6, True, None, 10**400]
    assert [skill_score(value) for value in values] == [3, 4.5, 5, *[None] * 8]


@pytest.mark.parametrize("run", ["claude", "phi-3", "moa"])
def test_recorded_ratings_are_read_as_they_were(run: str) -> None:
    rows = lines(recorded(f"mt_bench/recorded/{run}/gpt-4_single.jsonl"))
    assert len(rows) >= 160
    assert [rating(row["judgment"]) or -1 for row in rows] == [row["score"] for row in rows]


def test_recorded_verdicts_are_read_as_they_were() -> None:
    rows = lines(recorded("mt_bench/recorded/phi-3/gpt-4_pair.jsonl"))
    names = {"A": "model_1", "B": "model_2", "tie": "tie", None: "error"}
    swapped = {"A": "model_2", "B": "model_1", "tie": "tie", None: "error"}
    assert len(rows) == 75
    assert [names[winner(row["g1_judgment"])] for row in rows] == [r["g1_winner"] for r in rows]
    assert [swapped[winner(row["g2_judgment"])] for row in rows] == [r["g2_winner"] for r in rows]


def test_recorded_reviews_are_read_as_they_were() -> None:
    rows = lines(recorded("flask/recorded_reviews_odd_idx.jsonl"))
    assert len(rows) == 91
    assert [skill_scores(row["review"]) for row in rows] == [row["score"] for row in rows]
