"""Models' answers from files, upstream's and one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.answer_files import read_answer_file
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.suites import get_suite
from tests.evaluations import INSTRUCTIONS, made_up, recorded
from tests.unit_tests.evals.judged import as_lines, as_list


def output(instruction: str, text: str | None, **fields: Any) -> dict[str, Any]:
    return {"instruction": instruction, "output": text, "generator": "acme/mine", **fields}


def turns(question: int, *texts: str, **fields: Any) -> dict[str, Any]:
    return {"question_id": question, "choices": [{"index": 0, "turns": [*texts]}], **fields}


def read(folder: Path, suite: str, rows: list[Any], **options: Any) -> list[tuple[Any, ...]]:
    known = get_suite(suite)
    path = as_list(folder / "stem.json", rows)
    answers = read_answer_file(known, path, known.rows(folder), **options)
    assert len({answer["settings"] for answer in answers}) == 1
    return [(a["row"], a["turn"], a["model"], a["output"]) for a in answers]


def test_upstreams_formats(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    [found] = read(data, "alpaca_eval", [output(INSTRUCTIONS[3], "Three.")])
    assert found[1:] == (1, "acme/mine", "Three.")
    [found] = read(data, "alpaca_eval", [output(INSTRUCTIONS[3], "", generator=None)])
    assert found[1:] == (1, "stem", "")
    assert read(data, "mt_bench", [turns(81, "One.", "Two.", model_id="acme/mine")]) == [
        ("81", 1, "acme/mine", "One."),
        ("81", 2, "acme/mine", "Two."),
    ]
    rows = [{"question_id": 1, "text": "a"}, {"idx": 2, "output": "b", "model": "acme/x"}]
    assert read(data, "flask", rows) == [("1", 1, "stem", "a"), ("2", 1, "acme/x", "b")]
    assert read(data, "flask_hard", rows, model="mine")[1] == ("2", 1, "mine", "b")


def test_answers_to_ones_own_prompts(tmp_path: Path) -> None:
    mine = as_lines(tmp_path / "mine.jsonl", [{"input": "What?", "id": "a"}, {"input": "Why?"}])
    suite = get_suite(mine)
    path = as_lines(
        tmp_path / "answers.jsonl",
        [{"id": "a", "output": "That.", "model": "acme/x"}, {"input": "Why?", "output": "So."}],
    )
    found = read_answer_file(suite, path, suite.rows())
    assert [(a["model"], a["output"]) for a in found] == [("acme/x", "That."), ("answers", "So.")]
    as_lines(path, [{"output": "x"}])
    with pytest.raises(DataFileError, match="row 1 has neither field 'id' nor 'input'"):
        read_answer_file(suite, path, suite.rows())


def test_a_row_without_an_answer_is_a_failed_one(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    rows = get_suite("alpaca_eval").rows(data)
    path = as_list(tmp_path / "a.json", [output(INSTRUCTIONS[0], None)])
    [answer] = read_answer_file(get_suite("alpaca_eval"), path, rows)
    assert (answer["output"], answer["error"]) == (None, "the file has no output for this row")


@pytest.mark.parametrize(
    ("suite", "rows", "problem"),
    [
        ("alpaca_eval", [{"instruction": INSTRUCTIONS[0]}], "row 1 has no field 'output'"),
        ("alpaca_eval", [output("new", "x")], "is no row of alpaca_eval"),
        ("alpaca_eval", [turns(81, "a")], "row 1 has no field 'instruction'"),
        ("alpaca_eval", [output(INSTRUCTIONS[0], n) for n in "ab"], "a second time, otherwise"),
        (
            "mt_bench",
            [turns(1, "a", "b")],
            "is no row of mt_bench (the file looks like MT-Bench",
        ),
        (
            "mt_bench",
            [{"question_id": 81, "choices": []}],
            "'choices[0].turns' must be",
        ),
        ("flask", [{"question_id": 1}], "row 1 has no field 'text'"),
        ("flask", [turns(81, "a")], "row 1 has no field 'text'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, suite: str, rows: list[Any], problem: str) -> None:
    with pytest.raises(DataFileError) as error:
        read(made_up(tmp_path), suite, rows)
    assert str(error.value).startswith(str(tmp_path / "stem.json"))
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("suite", "file", "answers", "failed"),
    [
        ("alpaca_eval", "alpaca_eval/model_outputs/Together-MoA.json", 805, 0),
        ("alpaca_eval", "alpaca_eval/model_outputs/moa_repo_Qwen-72B-round-2.json", 805, 0),
        ("mt_bench", "mt_bench/recorded/lmsys_answers/gpt-4.jsonl", 160, 0),
        ("flask", "flask/model_output/gpt4.jsonl", 1700, 0),
    ],
)
def test_recorded_answers(suite: str, file: str, answers: int, failed: int) -> None:
    known = get_suite(suite)
    found = read_answer_file(known, recorded(file), known.rows(recorded()))
    assert len(found) == answers
    assert sum(answer["output"] is None for answer in found) == failed
