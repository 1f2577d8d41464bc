"""Files of judgments to scores, and what is refused: `eval score` without the command line."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.data import DATA_VARIABLE
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.scoring import score_files, unscored
from tests.evaluations import INSTRUCTIONS, made_up, recorded
from tests.unit_tests.evals.judged import (
    annotated,
    annotation,
    as_lines,
    as_list,
    judgment,
    pair,
    review,
)


def test_one_result_for_each_model_and_judge(tmp_path: Path) -> None:
    first = as_list(tmp_path / "a.json", [*annotated(2), *annotated(1, generator_2="acme/other")])
    second = as_list(tmp_path / "b.json", annotated(None, 2, annotator="else"))
    third = as_list(tmp_path / "c.json", [annotation(INSTRUCTIONS[1], 1.5)])
    scores = score_files("alpaca_eval", [first, second, third], data=made_up(tmp_path / "data"))
    found = [(r["model"], r["judge"], r["n_total"], r["n_unscored"]) for r in scores["results"]]
    assert found == [
        ("acme/mine", "judge", 2, 0),
        ("acme/other", "judge", 1, 0),
        ("acme/mine", "else", 1, 1),
    ]
    assert scores["suite"] == "alpaca_eval"
    assert unscored(scores) == 1
    json.dumps(scores, allow_nan=False)


def test_a_part_needs_no_data(tmp_path: Path) -> None:
    path = as_list(tmp_path / "a.json", annotated(2, 1))
    [result] = score_files("alpaca_eval", [path])["results"]
    assert (result["win_rate"], result["n_missing"]) == (50, 803)
    [ratings] = score_files("mt_bench", [as_lines(tmp_path / "b", [judgment(115, 1, 8)])])[
        "results"
    ]
    assert ratings["categories"] == {"math": 8}
    [skills] = score_files("flask", [as_lines(tmp_path / "r.jsonl", [review(1, {})])])["results"]
    assert (skills["model"], skills["judge"], skills["n_unparsed"]) == ("r", None, 1)


def test_files_of_pairs_and_of_ratings(tmp_path: Path) -> None:
    ratings = as_lines(tmp_path / "single.jsonl", [judgment(81, 1, -1), judgment(82, 1, 5)])
    pairs = as_lines(tmp_path / "pair.jsonl", [pair(81, "model_1", "model_1")])
    scores = score_files("mt_bench", [pairs, ratings], data=made_up(tmp_path / "data"))
    assert [result["model"] for result in scores["results"]] == [
        "acme/mine",
        "acme/mine",
        "acme/other",
    ]
    assert unscored(scores) == 1


def test_ratings_that_are_none_have_failed(tmp_path: Path) -> None:
    rows = [judgment(81, 1, 8), {**judgment(81, 2, 0), "score": None}, judgment(82, 1, math.nan)]
    [result] = score_files("mt_bench", [as_lines(tmp_path / "a.jsonl", rows)])["results"]
    assert (result["average"], result["n_failed"], result["n_unscored"]) == (8, 2, 2)


def test_reviews_name_their_model_or_the_file_does(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    scores = {"readability": 4}
    files = [
        as_lines(tmp_path / "one/review.jsonl", [review(1, scores)]),
        as_lines(tmp_path / "two/review.jsonl", [review(1, scores)]),
        as_lines(tmp_path / "named.jsonl", [review(1, scores, model="acme/x", judge="gpt-4")]),
    ]
    results = score_files("flask", files)["results"]
    assert [(r["model"], r["judge"]) for r in results] == [
        (str(files[0]), None),
        (str(files[1]), None),
        ("acme/x", "gpt-4"),
    ]
    del (unread := review(2, {"readability": 3}))["score"]
    [result] = score_files("flask_hard", [as_lines(tmp_path / "r.jsonl", [unread])])["results"]
    assert result["skills"]["readability"]["mean"] == 3
    assert result["n_missing"] == 88


LOST = {"a": 1}
ROW = annotation(INSTRUCTIONS[0], 2)


@pytest.mark.parametrize(
    ("suite", "rows", "problem"),
    [
        ("alpaca_eval", [LOST], "row 1 has no field 'instruction'"),
        ("alpaca_eval", [judgment(81, 1, 5)], "holds MT-Bench single judgments, not AlpacaEval"),
        ("alpaca_eval", [{"instruction": "a", "output": "b", "generator": "c"}], "model outputs"),
        ("alpaca_eval", [{**ROW, "preference": "2"}], "'preference' must be a number, not str"),
        ("alpaca_eval", [{**ROW, "preference": True}], "'preference' must be a number, not bool"),
        ("alpaca_eval", annotated(2.5), "field 'preference' is 2.5"),
        ("alpaca_eval", [{**annotation("new", 2)}], "instruction 'new' is no row of the suite"),
        ("alpaca_eval", [annotation(INSTRUCTIONS[0], 2, output_2=3)], "field 'output_2'"),
        ("mt_bench", [LOST], "row 1 has no field 'question_id'"),
        ("mt_bench", [review(1, {})], "holds FLASK reviews, not MT-Bench"),
        ("mt_bench", [judgment(80, 1, 5)], "question_id 80 is no row of the suite"),
        ("mt_bench", [judgment(81, 3, 5)], "field 'turn' must be 1 or 2"),
        ("mt_bench", [judgment(81, 1, 5, judge="gpt-4")], "field 'judge' must be a list"),
        ("mt_bench", [judgment(81, 1, 5, judge=[1])], "field 'judge' must be a list of its name"),
        ("mt_bench", [pair(81, "A", "B")], "field 'g1_winner' is 'A', no known winner"),
        ("mt_bench", [pair(80, "tie", "tie")], "question_id 80 is no row of the suite"),
        ("flask", [LOST], "row 1 has no field 'idx'"),
        ("flask", annotated(2), "holds AlpacaEval annotations, not FLASK reviews"),
        ("flask", [review(0, {})], "idx 0 is no row of the suite"),
        ("flask", [{**review(1, {}), "score": "5"}], "field 'score' must be dict"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, suite: str, rows: list[Any], problem: str) -> None:
    path = as_list(tmp_path / "bad.json", rows)
    with pytest.raises(DataFileError) as error:
        score_files(suite, [path], data=made_up(tmp_path / "data"))
    assert str(error.value).startswith(f"{path}: ")
    assert problem in str(error.value)


def test_missing_fields_of_a_review(tmp_path: Path) -> None:
    for name in ("difficulty", "domain"):
        row = review(1, {"readability": 3})
        del row[name]
        with pytest.raises(DataFileError, match=f"no field '{name}'"):
            score_files("flask", [as_lines(tmp_path / "r.jsonl", [row])])


def test_other_suites_have_no_files_of_judgments(tmp_path: Path) -> None:
    mine = as_lines(tmp_path / "mine.jsonl", [{"input": "What?"}])
    with pytest.raises(MoAConfigurationError, match="has no files of judgments"):
        score_files(str(mine), [mine])
    with pytest.raises(MoAConfigurationError, match="files=\\[\\] is empty"):
        score_files("flask", [])
    with pytest.raises(DataFileError, match="is no folder"):
        score_files("flask", [mine], data=tmp_path / "none")


def small_suite(folder: Path) -> tuple[Path, Path]:
    """A data folder whose suite is as large as the real one, and its annotations."""
    data = made_up(folder / "data")
    rows = json.loads((data / "alpaca_eval/gpt4_1106_preview.json").read_text())
    every = [{**rows[0], "instruction": f"task {n}"} for n in range(805)]
    as_list(data / "alpaca_eval/gpt4_1106_preview.json", every)
    judged = [
        annotation(row["instruction"], 1 + (n % 7) / 6, output_2="x" * (n % 11))
        for n, row in enumerate(every)
    ]
    return data, as_list(folder / "annotations.json", judged)


def baselines(path: Path, rows: int = 805, header: str = "index,preference,std_delta_len") -> Path:
    lines = [f"{header},instruction_difficulty,not_gamed_baseline"]
    lines += [f"{n},{(n % 5) / 4},{n % 3 - 1},{n % 4 / 4},False" for n in range(rows)]
    path.write_text("\n".join(lines))
    return path


def test_length_control_needs_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    data, path = small_suite(tmp_path)
    [without] = score_files("alpaca_eval", [path], data=data)["results"]
    assert without["length_controlled_win_rate"] is None
    assert "df_gamed.csv is in neither" in without["lc_reason"]
    gamed = baselines(tmp_path / "mine.csv")
    [result] = score_files("alpaca_eval", [path], data=data, lc_baselines=gamed)["results"]
    assert (result["lc_baselines"], result["lc_reason"]) == ("mine.csv", None)
    assert 0 < result["length_controlled_win_rate"] < 100
    # by the variable, and with the difficulties in a file of their own
    monkeypatch.setenv(DATA_VARIABLE, str(data))
    table = ["index,instruction_difficulty", *(f"{n},{n % 4 / 4}" for n in range(805))]
    (data / "alpaca_eval/instruction_difficulty.csv").write_text("\n".join(table))
    [again] = score_files("alpaca_eval", [path], lc_baselines=gamed)["results"]
    assert again["length_controlled_win_rate"] == result["length_controlled_win_rate"]
    # a file that bears the official one's name without being it
    for folder in (data, own_cache):
        (folder / "alpaca_eval").mkdir(parents=True, exist_ok=True)
        wrong = shutil.copy(gamed, folder / "alpaca_eval/df_gamed.csv")
        [refused] = score_files("alpaca_eval", [path], data=data)["results"]
        assert "is not the official file" in refused["lc_reason"]
        [named] = score_files("alpaca_eval", [path], data=data, lc_baselines=wrong)["results"]
        assert named["lc_baselines"] == f"{wrong} (not the official file)"
        Path(wrong).unlink()


def test_length_control_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    _, path = small_suite(tmp_path)
    [result] = score_files("alpaca_eval", [path])["results"]
    assert "df_gamed.csv cannot be fetched (ProxyError)" in result["lc_reason"]
    gamed = baselines(tmp_path / "mine.csv")
    [result] = score_files("alpaca_eval", [path], lc_baselines=gamed)["results"]
    assert (
        "instructions (alpaca_eval/gpt4_1106_preview.json) are not at hand" in result["lc_reason"]
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("index,preference\n1,2\n", "has no column 'std_delta_len'"),
        ("", "is empty"),
        ("index,preference,std_delta_len,instruction_difficulty\na,1,1,1\n", "is 'a', no number"),
    ],
)
def test_broken_baselines(tmp_path: Path, content: str, problem: str) -> None:
    data, path = small_suite(tmp_path)
    bad = tmp_path / "bad.csv"
    bad.write_text(content)
    with pytest.raises(DataFileError) as error:
        score_files("alpaca_eval", [path], data=data, lc_baselines=bad)
    assert str(error.value).startswith(str(bad))
    assert problem in str(error.value)


def test_baselines_that_do_not_know_every_instruction(tmp_path: Path) -> None:
    data, path = small_suite(tmp_path)
    few = baselines(tmp_path / "few.csv", rows=800)
    [result] = score_files("alpaca_eval", [path], data=data, lc_baselines=few)["results"]
    assert "5 instructions have no known difficulty" in result["lc_reason"]


def test_recorded_files_need_no_option() -> None:
    files = sorted(recorded("alpaca_eval/annotations").glob("*.json"))
    scores = score_files("alpaca_eval", files, data=recorded())
    assert len(scores["results"]) == 3
    assert unscored(scores) == 0
