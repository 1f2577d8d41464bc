"""Upstream's files: what they hold where something failed, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.answer_files import read_answer_file
from langchain_moa.evals.recorded import (
    read_annotations,
    read_pair_judgments,
    read_reviews,
    read_single_judgments,
)
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.evals.upstream import (
    JudgeFiles,
    alpaca_eval_annotations,
    file_stems,
    flask_reviews,
    mt_bench_judgments,
    mt_bench_pairs,
    write_answers,
    write_judgments,
)
from tests.evaluations import answered, made_up

AT = "2026-11-27T12:00:00+00:00"


def judged(row: Row, model: str, turn: int = 1, **fields: Any) -> Judgment:
    made: dict[str, Any] = {
        "suite": row["suite"], "row": row["id"], "turn": turn, "model": model, "baseline": None,
        "swapped": False, "judge": "acme/judge", "prompt": "p", "settings": "s",
        "preference": None, "score": None, "scores": None, "verdict": None, "read": None,
        "raw": None, "error": None, "usage": None, "usd": None, "seconds": 1.0, "at": AT,
    }  # fmt: skip
    return Judgment(**{**made, **fields})  # type: ignore[typeddict-item]


def given(row: Row, model: str, output: str | None, turn: int = 1) -> Answer:
    return answered(row["id"], model, output, suite=row["suite"], turn=turn, at=AT)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made_up(tmp_path / "data")


def test_annotations_hold_every_answer_and_null_where_there_is_no_preference(data: Path) -> None:
    rows = get_suite("alpaca_eval").rows(data)[:3]
    answers = [given(rows[0], "m", "ours"), given(rows[1], "m", "ours"), given(rows[2], "m", None)]
    found = alpaca_eval_annotations(
        rows,
        answers,
        [judged(rows[0], "m", preference=1.75, read="logprobs"), judged(rows[1], "m")],
    )
    assert [row["preference"] for row in found] == [1.75, None, None]
    assert [row["output_2"] for row in found] == ["ours", "ours", None]
    assert {(row["generator_1"], row["generator_2"], row["annotator"]) for row in found} == {
        ("base", "m", "acme/judge")
    }


def test_ratings_that_failed_are_minus_one_and_name_their_prompt(data: Path) -> None:
    rows = get_suite("mt_bench").rows(data)
    found = mt_bench_judgments(
        rows,
        [
            judged(rows[0], "m", score=7.0, raw="Rating: [[7]]", read="rating"),
            judged(rows[3], "m", turn=2, error="ConnectError: no"),
            judged(rows[0], "m", baseline="other", verdict="tie"),
        ],
        {(rows[0]["id"], 1, "m", None, False): "what it was told"},
    )
    assert [(r["score"], r["judgment"], r["user_prompt"]) for r in found] == [
        (7.0, "Rating: [[7]]", "what it was told"),
        (-1, "$ERROR$", ""),
    ]
    assert [r["judge"][1] for r in found] == ["single-v1", "single-math-v1-multi-turn"]


@pytest.mark.parametrize(
    ("first", "second", "winners"),
    [
        ("model", "model", ("model_1", "model_1")),
        ("baseline", "tie", ("model_2", "tie")),
        ("model", None, ("model_1", "error")),
        (None, None, ("error", "error")),
    ],
)
def test_pairs_hold_both_games(
    data: Path, first: str | None, second: str | None, winners: tuple[str, str]
) -> None:
    [row, *_] = get_suite("mt_bench").rows(data)
    games = [
        judged(row, "m", baseline="o", swapped=True, verdict=first, raw="one"),
        judged(row, "m", baseline="o", swapped=False, verdict=second, raw="two"),
    ]
    [found] = mt_bench_pairs([row], games)
    assert (found["g1_winner"], found["g2_winner"]) == winners
    assert (found["g1_judgment"], found["g2_judgment"]) == ("one", "two")
    [half] = mt_bench_pairs([row], games[:1])
    assert (half["g2_winner"], half["g2_judgment"]) == ("error", "$ERROR$")


def test_reviews_hold_the_row_the_answer_and_the_scores(data: Path) -> None:
    [row, other, *_] = get_suite("flask").rows(data)
    scores: dict[str, float | str] = {"readability": 5, "logical robustness": "N/A"}
    found = flask_reviews(
        [row, other],
        [given(row, "m", "ours")],
        [judged(row, "m", scores=scores, raw="said"), judged(other, "n")],
    )
    assert found["m"][0]["score"] == scores
    assert (found["m"][0]["target_txt"], found["m"][0]["review"]) == ("ours", "said")
    assert (found["n"][0]["score"], found["n"][0]["review"]) == ({}, "")


READERS: dict[str, Any] = {
    "annotations.json": read_annotations,
    "acme_judge_single.jsonl": read_single_judgments,
    "acme_judge_pair.jsonl": read_pair_judgments,
    "a_m_review.jsonl": read_reviews,
}


@pytest.mark.parametrize("name", ["alpaca_eval", "mt_bench", "flask"])
def test_what_is_written_can_be_read_as_upstreams(name: str, data: Path, tmp_path: Path) -> None:
    suite = get_suite(name)
    rows = suite.rows(data)
    answers = [
        given(row, model, f"{model} {row['id']}", turn)
        for row in rows
        for model in ("a/m", "a:m")
        for turn in range(1, suite.turns + 1)
    ]
    answers[0]["output"] = None
    files = write_answers(tmp_path, rows, answers)
    assert sorted(path.stem for path in files) == ["a_m", "a_m-2"]
    again = [a for path in files for a in read_answer_file(suite, path, rows)]
    assert len(again) == len(answers) - suite.turns
    judgments = [judged(row, "a/m", preference=2.0, score=5.0, scores={"x": 1}) for row in rows]
    judgments += [judged(row, "a/m", baseline="a:m", verdict="tie") for row in rows]
    for path in write_judgments(JudgeFiles(tmp_path, ["acme/judge"]), rows, answers, judgments, {}):
        assert READERS[path.name](path)


def test_one_models_outputs_are_called_as_upstream_calls_them(data: Path, tmp_path: Path) -> None:
    rows = get_suite("alpaca_eval").rows(data)
    answers = [given(row, "m", None if n == 0 else "x") for n, row in enumerate(rows)]
    [path] = write_answers(tmp_path, rows, answers)
    assert path == tmp_path / "model_outputs.json"
    outputs = json.loads(path.read_text("utf-8"))
    assert [row["instruction"] for row in outputs] == [
        row["messages"][0]["content"] for row in rows[1:]
    ]


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["../../etc/passwd"], ["etc_passwd"]),
        (["", "/"], ["model", "model-2"]),
        (["A", "a"], ["A", "a-2"]),
        (["self-moa (acme/a)"], ["self-moa_acme_a"]),
    ],
)
def test_names_are_files_of_the_folder_and_never_each_others(
    names: list[str], stems: list[str]
) -> None:
    assert file_stems(names) == stems


def test_a_users_own_prompts_have_no_upstream(tmp_path: Path) -> None:
    own = Row(suite="custom", id="1", messages=[], follow_ups=[], category="", references=[])
    assert not write_answers(tmp_path, [own], [given(own, "m", "x")])
    assert not write_judgments(
        JudgeFiles(tmp_path, ["acme/judge"]), [own], [], [judged(own, "m")], {}
    )
    assert not list(tmp_path.glob("*.json*"))
