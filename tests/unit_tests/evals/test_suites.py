"""Rows, settings and judges' prompts of each suite, made up and recorded."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.answer_files import read_answer_file
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.suites import Custom, Flask, all_suites, get_suite, row_id, sample
from langchain_moa.evals.suites.base import fill
from tests.evaluations import lines, made_up, recorded, row

SIZES = {"alpaca_eval": 805, "mt_bench": 80, "flask": 1740, "flask_hard": 89}


def test_made_up_rows(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    alpaca, bench, flask, hard = (suite.rows(data) for suite in all_suites())
    assert alpaca[0]["id"] == row_id(alpaca[0]["messages"][0]["content"])
    assert alpaca[0]["baseline"] == {"model": "base", "output": "base 0"}
    assert (bench[0]["id"], bench[0]["follow_ups"]) == ("81", ["Second 0?"])
    references = {r["category"]: r["references"] for r in bench}
    assert references["math"] == ["Reference 1.", "Reference 2."]
    assert references["writing"] == []
    assert flask[0]["skills"] == ["Logical Robustness", "Readability", "Commonsense Understanding"]
    assert {r["suite"] for r in hard} == {"flask_hard"}


def test_settings(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    bench = get_suite("mt_bench")
    found = {r["category"]: bench.settings(r) for r in bench.rows(data)}
    temperatures = {name: given["temperature"] for name, given in found.items() if given}
    assert temperatures == {
        "writing": 0.7, "roleplay": 0.7, "reasoning": 0.0, "math": 0.0, "coding": 0.0,
        "extraction": 0.0, "stem": 0.1,
    }  # fmt: skip
    assert {given["max_tokens"] for given in found.values() if given} == {1024}
    alpaca = get_suite("alpaca_eval")
    assert alpaca.settings(alpaca.rows(data)[0]) == {"temperature": 0.7, "max_tokens": 2048}
    assert Custom(source="x").settings(row("a")) is None


def test_prompts_and_rubrics(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    prompt = get_suite("alpaca_eval").judge_prompts(data)["alpaca_eval_clf"]
    assert prompt.system == "You pick outputs."
    assert prompt.filled(instruction="{output_1}", output_1="{x}", output_2="$") == (
        "Asked: {output_1}\nm: {x}\nM: $\nSay m or M."
    )
    assert len(get_suite("mt_bench").judge_prompts(data)) == 8
    assert get_suite("flask").judge_prompts(data)["2"].fields["prompt1"] == "Rate."
    assert Flask().rubrics(data)["Readability"].scoring["5"] == "is 5"
    assert Custom(source="x").judge_prompts() == {}
    with pytest.raises(KeyError):
        fill("{unknown}", {})


@pytest.mark.parametrize("name", list(SIZES))
def test_recorded_rows(name: str) -> None:
    rows = get_suite(name).rows(recorded())
    assert len(rows) == len({r["id"] for r in rows}) == SIZES[name] == get_suite(name).size


def test_recorded_oddities() -> None:
    rows = {r["id"]: r for r in get_suite("flask").rows(recorded())}
    assert len(rows["1417"]["skills"]) == 2
    assert Counter(r["difficulty"] for r in rows.values())["-1"] == 2
    bench = get_suite("mt_bench").rows(recorded())
    assert Counter(len(r["references"]) for r in bench) == {0: 50, 2: 30}


@pytest.mark.parametrize(
    ("run", "model", "answers"),
    [
        ("claude", "claude-3-opus-20240229", "model_answer/claude-3-opus-20240229.jsonl"),
        ("claude", "claude-3-5-sonnet-20240620", "model_answer/claude-3-5-sonnet-20240620.jsonl"),
        ("phi-3", "phi-3-dpo", "model_answer/phi-3-dpo.jsonl"),
        ("moa", "mt_bench-together-MoA-round1", "mt_bench-together-MoA-round1.jsonl"),
    ],
)
def test_recorded_prompts_are_built_again(run: str, model: str, answers: str) -> None:
    folder = recorded(f"mt_bench/recorded/{run}")
    suite = get_suite("mt_bench")
    rows = {r["id"]: r for r in suite.rows(recorded())}
    prompts = suite.judge_prompts(recorded())
    given = read_answer_file(suite, folder / answers, list(rows.values()), model=model)
    outputs = {(a["row"], a["turn"]): a["output"] or "" for a in given}
    judged = [r for r in lines(folder / "gpt-4_single.jsonl") if r["model"] == model]
    assert len(judged) >= 160
    for found in judged:
        asked = rows[str(found["question_id"])]
        question, (second,) = asked["messages"][0]["content"], asked["follow_ups"]
        first, last = outputs[asked["id"], 1], outputs[asked["id"], 2]
        places = {
            "question": question, "answer": first, "question_1": question, "question_2": second,
            "answer_1": first, "answer_2": last,
        }  # fmt: skip
        for turn, text in enumerate(asked["references"], 1):
            places[f"ref_answer_{turn}"] = text
        assert prompts[found["judge"][1]].filled(**places) == found["user_prompt"]


def break_suite(data: Path, name: str, change: str, into: str) -> Path:
    path = data / name
    text = path.read_text("utf-8")
    assert change in text
    path.write_text(text.replace(change, into, 1), "utf-8")
    return path


ALPACA = "alpaca_eval/gpt4_1106_preview.json"
BENCH = "mt_bench/question.jsonl"
FLASK = "flask/flask_evaluation.jsonl"


@pytest.mark.parametrize(
    ("file", "change", "into", "problem"),
    [
        (ALPACA, '"output"', '"x"', "no field 'output'"),
        (ALPACA, "1 of {ten}", "0 of {ten}", "repeats"),
        (BENCH, '"question_id": 82', '"question_id": 81', "repeats question_id 81"),
        (BENCH, '["First 0?", "Second 0?"]', "[1]", "'turns'"),
        ("mt_bench/reference_answer_gpt-4.jsonl", '"turns"', '"x"', "choices[0].turns"),
        (FLASK, '"idx": 2', '"idx": 1', "repeats idx 1"),
        (FLASK, '"domain"', '"x"', "no field 'domain'"),
    ],
)
def test_broken_suites(tmp_path: Path, file: str, change: str, into: str, problem: str) -> None:
    path = break_suite(made_up(tmp_path), file, change, into)
    with pytest.raises(DataFileError) as error:
        get_suite(file.partition("/")[0]).rows(tmp_path)
    assert str(error.value).startswith(str(path))
    assert problem in str(error.value)


def test_a_prompt_file_of_another_kind(tmp_path: Path) -> None:
    data = made_up(tmp_path)
    (data / "alpaca_eval/alpaca_eval_clf_prompt.txt").write_text("no sections")
    with pytest.raises(DataFileError, match="has no section"):
        get_suite("alpaca_eval").judge_prompts(data)


def custom(folder: Path, *records: object) -> list[str]:
    path = folder / "mine.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return [r["id"] for r in get_suite(path).rows()]


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    ids = custom(
        tmp_path,
        {"input": "What?", "id": 7, "category": "c", "reference": "That."},
        {
            "input": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Why?"},
            ]
        },
        {"input": "What?"},
    )
    assert ids[0] == "7"
    assert len(set(ids)) == 3
    [first, second, _] = get_suite(tmp_path / "mine.jsonl").rows()
    assert (first["references"], first["category"]) == (["That."], "c")
    assert [message["role"] for message in second["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"id": "a"}, "has no field 'input'"),
        ({"input": ""}, "field 'input' must be text or a list of messages"),
        ({"input": []}, "field 'input' must be text or a list of messages"),
        ({"input": 3}, "field 'input' must be text or a list of messages"),
        ({"input": [{"role": "human", "content": "x"}]}, "field 'input[0]' must be"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "must be the user's"),
        ({"input": "x", "id": True}, "field 'id' must be text or a whole number"),
        ({"input": "x", "category": 3}, "field 'category' must be text"),
        ({"input": "x", "reference": ["a"]}, "field 'reference' must be text"),
        ({"input": "x", "refrence": "a"}, "unknown field 'refrence'"),
    ],
)
def test_bad_prompts_of_ones_own(tmp_path: Path, record: object, problem: str) -> None:
    with pytest.raises(DataFileError) as error:
        custom(tmp_path, {"input": "good"}, record)
    assert str(error.value).startswith(f"{tmp_path / 'mine.jsonl'}: row 2")
    assert problem in str(error.value)
    with pytest.raises(DataFileError, match="row 2 repeats an earlier row"):
        custom(tmp_path, {"input": "same"}, {"input": "same"})


def test_unknown_suites() -> None:
    with pytest.raises(MoAConfigurationError, match="Did you mean 'mt_bench'"):
        get_suite("mtbench")
    with pytest.raises(DataFileError, match="no such file"):
        get_suite("nowhere.jsonl").rows()


def test_samples_keep_the_categories_shares() -> None:
    rows = [
        row(f"{name}{n}", category=name)
        for name, k in (("a", 60), ("b", 30), ("c", 10))
        for n in range(k)
    ]
    kept = sample(rows, 10)
    assert Counter(r["category"] for r in kept) == {"a": 6, "b": 3, "c": 1}
    assert kept == sample(rows, 10)
    assert kept != sample(rows, 10, seed=1)
    places = [rows.index(r) for r in kept]
    assert places == sorted(places)
    assert [len(sample(rows, n)) for n in (1, 7, 99, 100, 1000)] == [1, 7, 99, 100, 100]
    samples = [{r["id"] for r in sample(rows, n)} for n in range(1, 101)]
    assert all(one < other for one, other in pairwise(samples))  # a larger run goes on
    assert {r["id"] for r in sample(rows[::-1], 10)} == {r["id"] for r in kept}
    assert sample(rows, None) == rows
    with pytest.raises(MoAConfigurationError, match="limit=0"):
        sample(rows, 0)


def test_prompts_may_be_given_without_a_file() -> None:
    suite = get_suite([{"input": "2 + 2?", "reference": "4"}, {"id": "b", "input": "3 + 3?"}])
    first, second = suite.rows()
    assert (suite.name, first["references"], second["id"]) == ("custom", ["4"], "b")
    with pytest.raises(DataFileError, match="row 1 has no field 'input'"):
        get_suite([{"id": "b"}]).rows()
    with pytest.raises(MoAConfigurationError, match=r"suite=\[\] has no prompts"):
        get_suite([])
