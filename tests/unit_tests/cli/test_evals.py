"""`langchain-moa eval suites`, `data`, `score` and `report`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.cli.evals.commands import evals
from langchain_moa.evals.suites import get_suite, sample
from tests.conftest import Cli
from tests.evaluations import made_up, recorded
from tests.unit_tests.evals.judged import annotated, as_lines, as_list, judgment, pair, review
from tests.unit_tests.evals.runs import MIXTURE, ROLES, answer, judged, run_folder

ALPACA_KEYS = {
    "model", "judge", "n_total", "n_unscored", "win_rate", "standard_error", "discrete_win_rate",
    "n_wins", "n_wins_base", "n_draws", "avg_length", "length_controlled_win_rate",
    "lc_standard_error", "lc_baselines", "lc_reason",
}  # fmt: skip
BENCH_KEYS = {
    "model", "judge", "turn_1", "turn_2", "average", "n", "n_failed", "n_duplicates", "categories",
}  # fmt: skip
FLASK_KEYS = {"model", "judge", "n", "n_unparsed", "skills", "domains", "difficulties"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, cli: Cli) -> Path:
    """An empty cache, and no way to anywhere."""
    cli.environment.setenv("LANGCHAIN_MOA_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        cli.environment.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "cache"


def results(cli: Cli, *words: object, code: int = 0) -> list[dict[str, Any]]:
    """The results of `eval score … --json`."""
    ran = cli("eval", "score", *map(str, words), "--json")
    assert ran.code == code, ran.err
    found = json.loads(ran.out)
    assert set(found) == {"suite", "results"}
    assert found["suite"] == str(words[0])
    return list(found["results"])


def test_scores_as_json(cli: Cli, tmp_path: Path) -> None:
    [alpaca] = results(cli, "alpaca_eval", as_list(tmp_path / "a.json", annotated(2, 1)))
    assert alpaca.keys() >= ALPACA_KEYS
    assert (alpaca["win_rate"], alpaca["n_wins"], alpaca["n_wins_base"]) == (50, 1, 1)
    assert alpaca["length_controlled_win_rate"] is alpaca["lc_baselines"] is None
    assert alpaca["lc_reason"].startswith("2 of 805 rows")
    bench_file = as_lines(tmp_path / "b.jsonl", [judgment(81, 1, 9), judgment(81, 2, 8)])
    [bench] = results(cli, "mt_bench", bench_file)
    assert bench.keys() >= BENCH_KEYS
    assert (bench["turn_1"], bench["turn_2"], bench["average"], bench["n"]) == (9, 8, 8.5, 2)
    [flask] = results(cli, "flask", as_lines(tmp_path / "r.jsonl", [review(1, {"readability": 4})]))
    assert flask.keys() >= FLASK_KEYS
    assert (flask["model"], flask["judge"]) == ("r", None)
    assert flask["skills"] == {"readability": {"mean": 4, "sum": 4, "count": 1}}


def test_rows_left_unscored_are_told_by_the_exit_code(cli: Cli, tmp_path: Path) -> None:
    path = as_list(tmp_path / "a.json", annotated(2, None, 1))
    [found] = results(cli, "alpaca_eval", path, code=3)
    assert (found["n_total"], found["n_unscored"]) == (2, 1)
    ran = cli("eval", "score", "alpaca_eval", str(path))
    assert ran.code == 3
    assert "acme/mine: rows: 1 not scored, 802 of the suite are missing." in ran.err
    failed = as_lines(tmp_path / "b.jsonl", [judgment(81, 1, -1), judgment(81, 1, 7)])
    [retried] = results(cli, "mt_bench", failed)
    assert (retried["n_failed"], retried["average"]) == (1, 7)
    assert results(cli, "flask", as_lines(tmp_path / "r.jsonl", [review(1, {})]), code=3)


def test_scores_as_tables(cli: Cli, tmp_path: Path) -> None:
    ran = cli("eval", "score", "alpaca_eval", str(as_list(tmp_path / "a.json", annotated(2, 1))))
    assert "acme/mine" in ran.out
    assert "50.00" in ran.out
    assert "no length-controlled win rate: 2 of 805 rows" in ran.err
    reviews = [review(1, {"readability": 4, "completeness": 2, "comprehension": 3})]
    ran = cli("eval", "score", "flask", str(as_lines(tmp_path / "r.jsonl", reviews)))
    for skill, mean in (("readability", "4.00"), ("completeness", "2.00"), ("harmlessness", "-")):
        assert next(line for line in ran.out.splitlines() if skill in line).split() == [skill, mean]
    pairs = as_lines(tmp_path / "p.jsonl", [pair(81, "model_1", "model_1")])
    ran = cli("eval", "score", "mt_bench", str(pairs))
    assert [line.split()[:4] for line in ran.out.splitlines()[1:]] == [
        ["acme/mine", "1", "0", "0"],
        ["acme/other", "0", "1", "0"],
    ]


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"[]", "holds no rows"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'[{"instruction": "a"}]', "has no field"),
        (json.dumps([judgment(81, 1, 5)]).encode(), "holds MT-Bench single judgments"),
        (None, "there is no such file"),
    ],
)
def test_bad_files_are_named(
    cli: Cli, tmp_path: Path, content: bytes | None, problem: str, as_json: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    ran = cli("eval", "score", "alpaca_eval", str(path), *as_json)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {path}: ")
    assert problem in ran.err


def test_bad_words(cli: Cli, tmp_path: Path) -> None:
    assert cli("eval", "score", "alpaca_eval").code == 2
    ran = cli("eval", "score", "alpaca", str(tmp_path))
    assert ran.code == 2
    assert "Did you mean 'alpaca_eval'?" in ran.err
    ran = cli("eval", "data", "alpacaeval")
    assert (ran.code, "is none of alpaca_eval" in ran.err) == (2, True)
    mine = as_lines(tmp_path / "mine.jsonl", [{"input": "x"}])
    ran = cli("eval", "data", str(mine))
    assert (ran.code, "there is nothing to fetch" in ran.err) == (2, True)
    assert "Traceback" in cli("eval", "score", "x", "y", "--debug").err


def test_recorded_scores(cli: Cli) -> None:
    data = recorded()
    files = sorted((data / "alpaca_eval/annotations").glob("*.json"))
    baselines = data / "alpaca_eval/derived_df_gamed_surrogate.csv"
    found = results(cli, "alpaca_eval", *files, "--data", data, "--lc-baselines", baselines)
    rates = {row["model"]: row["length_controlled_win_rate"] for row in found}
    published = {
        "FuseChat-Gemma-2-9B-Instruct": 70.18106263911686,
        "claude-2.1": 25.251943886133027,
        "vicuna-13b-v1.5": 10.484438298504218,
    }
    assert rates == pytest.approx(published, abs=0.25)
    assert {row["lc_baselines"] for row in found} == {"derived_df_gamed_surrogate.csv"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made_up(tmp_path / "data")


@pytest.mark.parametrize("suite", ["alpaca_eval", "mt_bench", "flask"])
def test_a_limit_scores_the_rows_of_such_a_run(
    cli: Cli, tmp_path: Path, data: Path, suite: str
) -> None:
    rows = get_suite(suite).rows(data)
    kept = {row["id"] for row in sample(rows, 3)}
    good = [row["id"] in kept for row in rows]
    if suite == "alpaca_eval":
        texts = [{"instruction": row["messages"][0]["content"]} for row in rows]
        found = [{**a, **t} for a, t in zip(annotated(*(1 + g for g in good)), texts, strict=True)]
    elif suite == "mt_bench":
        found = [judgment(int(r["id"]), 1, 9 if g else 1) for r, g in zip(rows, good, strict=True)]
    else:
        given = [{"readability": 5 if g else 1} for g in good]
        found = [review(int(r["id"]), scores) for r, scores in zip(rows, given, strict=True)]
    path = as_lines(tmp_path / "rows.jsonl", found)
    words = (suite, path, "--limit", 3)
    [result] = results(cli, *words, "--data", data, "--concurrency", 2, "--yes")
    wanted = {
        "alpaca_eval": {"n_total": 3, "n_missing": 0, "win_rate": 100},
        "mt_bench": {"n": 3, "n_missing": 3, "average": 9},  # the second turns
        "flask": {"n": 3, "n_missing": 0},
    }[suite]
    assert result.items() >= wanted.items()
    without = cli("eval", "score", *map(str, words))
    assert (without.code, f"needs the rows of {suite}" in without.err) == (2, True)


def test_what_asks_nobody_takes_nothing(cli: Cli, tmp_path: Path) -> None:
    for words in (["score", "flask", "no-file"], ["report", "no-run", "--out", str(tmp_path)]):
        assert "all  0 calls" in cli("eval", *words, "--estimate").out
        found = json.loads(cli("eval", *words, "--estimate", "--json").out)
        assert (found["calls"], found["usd"]) == (0, 0)


def test_a_part_is_length_controlled_where_that_is_wanted(cli: Cli, tmp_path: Path) -> None:
    path = as_list(tmp_path / "a.json", annotated(2, 1))
    assert "--lc-any-size fits it" in cli("eval", "score", "alpaca_eval", str(path)).err
    [found] = results(cli, "alpaca_eval", path)
    assert "--" not in found["lc_reason"]  # other commands have no such option


def test_suites(cli: Cli, tmp_path: Path, own_cache: Path) -> None:
    ran = cli("eval", "suites")
    assert ran.code == 0
    assert "CC BY-NC 4.0" in ran.out
    assert f"Files: {own_cache}" in ran.out
    ran = cli("eval", "suites", "--json", "--data", str(made_up(tmp_path / "data")))
    found = {row["suite"]: row for row in json.loads(ran.out)["suites"]}
    assert {name: (row["rows"], row["judgments"]) for name, row in found.items()} == {
        "alpaca_eval": (805, 805),
        "mt_bench": (80, 160),
        "flask": (1740, 1740),
        "flask_hard": (89, 89),
    }
    assert found["mt_bench"]["missing"] == []
    assert found["alpaca_eval"]["missing"] == ["alpaca_eval/df_gamed.csv"]


def test_data_without_a_network(cli: Cli, own_cache: Path) -> None:
    ran = cli("eval", "data", "mt_bench")
    assert ran.code == 2
    licence, fetching, error = ran.err.splitlines()
    assert licence.startswith("MT-Bench: Apache-2.0")
    assert fetching == "Fetching mt_bench/question.jsonl …"
    assert error.startswith(f"error: {own_cache}/mt_bench/question.jsonl: cannot be fetched")
    assert "Without a network: fetch https://raw.githubusercontent.com/lm-sys/FastChat/" in error


def test_data_of_a_folder_are_verified(cli: Cli, tmp_path: Path) -> None:
    data = made_up(tmp_path / "data")
    ran = cli("eval", "data", "mt_bench", "--data", str(data))
    assert (ran.code, "is another file than the pinned one" in ran.err) == (2, True)
    ran = cli("eval", "data", "mt_bench", "--data", str(tmp_path / "none"))
    assert (ran.code, "is no folder" in ran.err) == (2, True)


def test_recorded_data_are_the_pinned_files(cli: Cli) -> None:
    ran = cli("eval", "data", "--json", "--data", str(recorded()))
    assert ran.code == 0
    assert len(json.loads(ran.out)["files"]) == 9
    assert "without the length-controlled win rate: " in ran.err


def metric_run(folder: Path, *, failed: bool, **fields: Any) -> Path:
    rows = [str(n) for n in range(8)]
    answers = [answer(row, name) for row in rows for name, _ in ROLES]
    if failed:
        answers[0] = answer("0", MIXTURE, None)
    judgments = [
        judged(row, name, score=float(name == MIXTURE), read="metric", judge="metric:exact")
        for row in rows
        for name, _ in ROLES
    ]
    return run_folder(folder, answers, judgments, metric="metric:exact", judge=None, **fields)


def test_reports(cli: Cli, tmp_path: Path) -> None:
    folder = metric_run(tmp_path / "run", failed=False)
    out = tmp_path / "out"
    ran = cli("eval", "report", str(folder), "--out", str(out), "--no-plots")
    assert ran.code == 0
    assert ran.out.startswith(f'"{MIXTURE}" is better than its best member')
    assert ran.err == f"Written to {out / 'report.md'}.\n"
    ran = cli("eval", "report", str(folder), "--out", str(out), "--no-plots", "--json")
    assert json.loads(ran.out) == json.loads((out / "report.json").read_text("utf-8"))
    prompts = as_lines(
        tmp_path / "prompts.jsonl", [{"id": f"{n}", "input": f"{n}?"} for n in range(20)]
    )
    folder = metric_run(tmp_path / "run", failed=False, source=str(prompts))
    words = ("--out", str(out), "--no-plots", "--json", "--limit", "3")
    [run] = json.loads(cli("eval", "report", str(folder), *words).out)["runs"]
    assert (run["run"]["rows"], run["run"]["limit"], run["models"][0]["score"]["n"]) == (3, 3, 3)
    failed = metric_run(tmp_path / "failed", failed=True)
    assert cli("eval", "report", str(failed), "--out", str(out), "--no-plots").code == 3
    ran = cli("eval", "report", str(tmp_path), "--out", str(out))
    assert (ran.code, f"{tmp_path}/run.json: there is no such file" in ran.err) == (2, True)


def test_no_option_of_a_command_is_there_twice() -> None:
    """A setting of mixtures may have the name of a command's own option."""
    names = {
        command.name: [word for option in command.params for word in (*option.opts, option.name)]
        for command in evals.commands.values()
    }
    assert {"run", "judge", "score", "report"} <= names.keys()
    for command, words in names.items():
        options = [word for word in words if word and word.startswith("-")]
        assert len(options) == len(set(options)), command


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from langchain_moa.cli import main\n"
        "main(['eval', 'score', '--help'])\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    loaded = set(ran.stdout.splitlines()[-1].split())
    heavy = {"langchain_core", "numpy", "sklearn", "scipy", "matplotlib", "pooch", "rich"}
    assert not loaded & heavy
    assert "Score FILE" in ran.stdout
