"""`eval run` and `eval judge` over the wire: whole runs, and what they leave behind."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.conftest import Cli, Ran
from tests.evaluations import CATEGORIES, lines, made_up
from tests.wire import AGGREGATOR, ALPHA, BETA

JUDGE = "acme/judge"
SUITES = ("alpaca_eval", "mt_bench", "flask")
CONFIG = {
    "reference_models": [ALPHA, BETA],
    "aggregator": AGGREGATOR,
    "max_retries": 0,
    "prices": {ALPHA: [1, 2], BETA: [1, 2], AGGREGATOR: [3, 4], JUDGE: [5, 6]},
}
WHO = ["moa", ALPHA, BETA, AGGREGATOR, f"self-moa ({AGGREGATOR})"]


def judges(body: Mapping[str, Any]) -> Reply:
    """A judge for all suites."""
    text = body["messages"][-1]["content"]
    if body.get("logprobs"):
        tops = [{"token": "m", "logprob": -0.5}, {"token": "M", "logprob": -1.5}]
        return Reply(text="m", logprobs={"content": [{"token": "m", "top_logprobs": tops}]})
    if "End with a dict." in text:
        return Reply(text="Good. {'Logical Robustness': 4, 'Readability': 5}")
    if body["messages"][0]["content"].startswith("You are single"):
        return Reply(text="Rating: [[7]]")
    return Reply(text="A is better. [[A]]")


class Wire:
    """The command line with a server that it asks, and a folder with made-up suites."""

    def __init__(self, cli: Cli, server: LoopbackServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.data = made_up(folder / "data")
        self.config = folder / "mine.json"
        self.config.write_text(json.dumps({**CONFIG, "base_url": server.base_url}), "utf-8")
        self.cli = cli
        cli.environment.setenv("TOGETHER_API_KEY", server.api_key)

    def run(self, suite: str | Path, *words: str, judge: bool = True, out: str = "run") -> Ran:
        at = ("--judge", JUDGE, "--judge-base-url", self.server.base_url) if judge else ()
        places = ("--config", str(self.config), "--data", str(self.data))
        return self.cli(
            "eval", "run", str(suite), *places, *at, "--out", str(self.folder / out), *words
        )

    def judge(self, suite: str, *words: str, out: str = "run") -> Ran:
        at = ("--judge", JUDGE, "--judge-base-url", self.server.base_url, "--data", str(self.data))
        return self.cli("eval", "judge", suite, *at, "--out", str(self.folder / out), *words)

    def lines(self, name: str, out: str = "run") -> list[dict[str, Any]]:
        return lines(self.folder / out / name)


@pytest.fixture
def wire(cli: Cli, tmp_path: Path) -> Iterator[Wire]:
    models = {name: ModelBehavior() for name in (ALPHA, BETA, AGGREGATOR)}
    with LoopbackServer({**models, JUDGE: ModelBehavior(reply=judges)}) as server:
        yield Wire(cli, server, tmp_path)


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_with_mixture_members_and_self_moa(wire: Wire, suite: str) -> None:
    ran = wire.run(suite, "--against", "members,self-moa", "--limit", "4", "--yes", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    turns = 2 if suite == "mt_bench" else 1
    assert found["answers"]["total"] == found["judgments"]["total"] == 4 * turns * len(WHO)
    assert sorted(result["model"] for result in found["results"]) == sorted(["mine", *WHO[1:]])
    assert found["answers"]["usd"] > 0
    answers = wire.lines("answers.jsonl")
    assert {(a["model"], a["turn"]) for a in answers} == {
        (name, turn) for name in ["mine", *WHO[1:]] for turn in range(1, turns + 1)
    }
    manifest = json.loads((wire.folder / "run" / "run.json").read_text("utf-8"))
    assert [m["role"] for m in manifest["models"]] == ["mixture", *["member"] * 3, "self-moa"]
    assert manifest["judge"]["name"] == JUDGE
    assert manifest["finished"] is not None
    assert wire.server.api_key not in repr(manifest)
    asked = len(wire.server.requests)
    again = wire.run(suite, "--against", "members,self-moa", "--limit", "4", "--json")
    assert (again.code, len(wire.server.requests)) == (0, asked)
    assert json.loads(again.out)["results"] == found["results"]


def test_the_report_of_a_run_can_be_written(wire: Wire) -> None:
    assert wire.run("mt_bench", "--against", "members", "--yes").code == 0
    words = ("--data", str(wire.data), "--out", str(wire.folder / "report"))
    ran = wire.cli("eval", "report", str(wire.folder / "run"), *words)
    assert ran.code == 0, ran.err
    assert JUDGE in (wire.folder / "report" / "report.md").read_text("utf-8")


def test_each_suites_settings_are_asked_for_and_the_users_own_instead(wire: Wire) -> None:
    assert wire.run("mt_bench", judge=False, out="a").code == 2
    assert wire.run("mt_bench", "--yes", judge=False, out="a").code == 0
    bodies = [request.body for request in wire.server.requests]
    assert {body["max_tokens"] for body in bodies} == {1024}
    assert {body["temperature"] for body in bodies} == {0.0, 0.1, 0.7}
    wire.server.requests.clear()
    words = ("--temperature", "0.3", "--max-tokens", "99", "--yes")
    assert wire.run("mt_bench", *words, judge=False, out="a").code == 0
    bodies = [request.body for request in wire.server.requests]
    assert {(b["temperature"], b["max_tokens"]) for b in bodies} == {(0.3, 99)}
    assert len(bodies) == len(CATEGORIES) * 2 * 3
    wire.server.requests.clear()
    assert wire.run("alpaca_eval", "--yes", "--limit", "2", judge=False, out="b").code == 0
    assert {r.body["max_tokens"] for r in wire.server.requests} == {2048}


def test_a_limit_keeps_the_shares_of_categories(wire: Wire) -> None:
    assert wire.run("mt_bench", "--limit", "7", "--yes", judge=False).code == 0
    assert len({a["row"] for a in wire.lines("answers.jsonl")}) == 7


def test_an_estimate_asks_nobody_and_leaves_nothing_behind(wire: Wire) -> None:
    words = ("--against", "members,self-moa")
    ran = wire.run("mt_bench", *words, "--estimate", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    rows = len(CATEGORIES) * 2
    assert [part["calls"] for part in found["answers"]] == [3 * rows, rows, rows, rows, 3 * rows]
    assert found["judge"]["calls"] == found["judgments"] == 5 * rows
    assert found["calls"] == 14 * rows
    assert found["usd"] > 0
    assert not wire.server.requests
    assert not (wire.folder / "run").exists()
    assert wire.run("mt_bench", *words, "--yes").code == 0
    assert len(wire.server.requests) == found["calls"]
    later = json.loads(wire.run("mt_bench", *words, "--estimate", "--json").out)
    assert (later["calls"], later["judgments"]) == (0, 5 * rows)


@pytest.mark.parametrize("command", ["run", "judge"])
def test_without_a_terminal_and_without_yes_the_estimate_is_all(wire: Wire, command: str) -> None:
    if command == "run":
        ran = wire.run("alpaca_eval")
    else:
        answers = wire.folder / "outputs.json"
        base = json.loads((wire.data / "alpaca_eval/gpt4_1106_preview.json").read_text("utf-8"))
        rows = [{**row, "output": "ours", "generator": "x"} for row in base]
        answers.write_text(json.dumps(rows), "utf-8")
        ran = wire.judge("alpaca_eval", "--answers", str(answers))
    assert ran.code == 2
    assert "10 calls" in ran.out
    assert "give --yes" in ran.err
    assert not wire.server.requests


def test_what_answers_from_a_file_took_nobody_knows(wire: Wire) -> None:
    path = wire.folder / "m.jsonl"
    path.write_text('{"question_id": 1, "text": "ours"}\n', "utf-8")
    prices = wire.folder / "prices.json"
    prices.write_text(json.dumps({JUDGE: [5, 6]}), "utf-8")
    told = wire.judge("flask", "--answers", str(path), "--estimate")
    assert f"without the prices of {JUDGE} (--prices FILE)" in told.out
    priced = ("--answers", str(path), "--prices", str(prices), "--yes", "--json")
    ran = wire.judge("flask", *priced)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["answers"]["usd"], found["answers"]["tokens"]) == (None, None)
    assert found["judgments"]["tokens"] > 0
    assert found["judgments"]["usd"] > 0
    # what reports it can be pasted as it is
    words = shlex.split(ran.err.rpartition("to report: ")[2])
    assert words[-2:] == ["--data", str(wire.data)]
    assert wire.cli(*words[1:], "--no-plots").code == 0


def test_the_demo_goes_on_though_its_port_is_another_one(cli: Cli, tmp_path: Path) -> None:
    path, out = own_prompts(tmp_path, reference="scripted"), tmp_path / "run"
    words = ["eval", "run", str(path), "--demo", "--limit", "1", "--out", str(out)]
    words += ["--single", "demo/castro-32b", "--metric", "contains", "--json"]
    assert cli(*words, "--yes").code == 0
    again = cli(*words)  # asks for nothing, so it does not ask whether to begin
    assert (again.code, json.loads(again.out)["answers"]["total"]) == (0, 1)
    assert len(lines(out / "answers.jsonl")) == 1


@pytest.mark.parametrize("served", ["--demo", "--local"])
def test_rays_workers_do_not_reach_models_of_this_process(cli: Cli, served: str) -> None:
    ran = cli("eval", "run", "prompts.jsonl", served, "--engine", "ray", "--metric", "exact")
    assert ran.code == 2
    assert "--engine ray: the models of --demo, --local and --gguf" in ran.err


def test_prices_that_are_not_known_are_told(wire: Wire) -> None:
    config = {**CONFIG, "prices": {ALPHA: [1, 2]}, "base_url": wire.server.base_url}
    wire.config.write_text(json.dumps(config), "utf-8")
    ran = wire.run("alpaca_eval", "--estimate")
    assert f"without the prices of {BETA}, {AGGREGATOR}, {JUDGE}" in ran.out


def own_prompts(folder: Path, **fields: str) -> Path:
    path = folder / "prompts.jsonl"
    rows = [{"input": f"Question {n}?", "id": f"q{n}", **fields} for n in range(3)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def test_own_prompts_are_compared_with_each_other_model_in_both_orders(wire: Wire) -> None:
    ran = wire.run(own_prompts(wire.folder), "--against", "members,self-moa", "--yes")
    assert ran.code == 0, ran.err
    found = wire.lines("judgments.jsonl")
    assert len(found) == 3 * 4 * 2
    # this judge always prefers the first, so the orders disagree
    verdicts = {(j["swapped"], j["verdict"]) for j in found if j["read"] != "identical"}
    assert verdicts == {(True, "model"), (False, "baseline")}
    # Self-MoA says what the mixture says here
    same = {j["baseline"] for j in found if j["read"] == "identical"}
    assert same == {f"self-moa ({AGGREGATOR})"}
    assert len(wire.server.requests_for(JUDGE)) == 3 * 3 * 2


def test_own_prompts_by_a_metric_need_no_judge(wire: Wire) -> None:
    path = own_prompts(wire.folder, reference="answers")
    ran = wire.run(path, "--metric", "contains", "--against", "members", "--yes", judge=False)
    assert ran.code == 0, ran.err
    assert {j["score"] for j in wire.lines("judgments.jsonl")} == {1.0}
    assert not wire.server.requests_for(JUDGE)


@pytest.mark.parametrize(
    ("suite", "words", "says"),
    [
        ("prompts", [], "there is nothing to compare with"),
        ("mt_bench", ["--pairwise"], "there is nothing to compare with"),
        ("flask", ["--pairwise", "--against", "members"], "flask is not judged so"),
        ("mt_bench", ["--metric", "exact"], "--judge and --metric contradict each other"),
        ("mt_bensh", [], "Did you mean 'mt_bench'?"),
        ("nothing.jsonl", [], "nothing.jsonl: there is no such file"),
        ("by metric", ["--metric", "exact"], "prompts.jsonl: row 'q0' has no field 'reference'"),
        ("mt_bench", ["--against", "nosuch:model"], "'nosuch' is no provider"),
        ("mt_bench", ["--judge-api-key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is empty"),
        ("mt_bench", ["--judge", "openai:judge"], "is for a bare id"),
        ("mt_bench", ["--langsmith", "p"], "langsmith: no key"),
        ("mt_bench", ["--data", "/no/such/folder"], "/no/such/folder: is no folder"),
    ],
)
def test_wrong_set_ups_are_refused_before_anything_is_asked(
    wire: Wire, suite: str, words: list[str], says: str
) -> None:
    source = own_prompts(wire.folder) if suite in ("prompts", "by metric") else suite
    ran = wire.run(source, *words, "--yes", judge=suite != "by metric")
    assert ran.code == 2
    assert says in ran.err
    assert not wire.server.requests


@pytest.mark.parametrize(("status", "kept"), [(404, 0), (401, 0), (500, 10)])
def test_a_judge_that_cannot_judge_stops_the_run_or_leaves_gaps(
    wire: Wire, status: int, kept: int
) -> None:
    wire.server.models[JUDGE] = ModelBehavior(status=status, error="this judge is down")
    ran = wire.run("alpaca_eval", "--yes")
    assert ran.code == (3 if kept else 2)
    assert "this judge is down" in ran.err
    assert (f"{kept} of {kept} judgments could not be had or read" in ran.err) is bool(kept)
    assert len(wire.lines("answers.jsonl")) == 10
    assert len(wire.lines("judgments.jsonl")) == kept
    wire.server.models[JUDGE] = ModelBehavior(reply=judges)
    assert wire.run("alpaca_eval", "--yes", "--retry-failed").code == 0
    assert len(wire.server.requests_for(ALPHA)) == 10


def test_a_judge_that_answers_nonsense_leaves_counted_gaps(wire: Wire) -> None:
    def often(body: Mapping[str, Any]) -> Reply:
        nonsense = any(f"Question {n}" in str(body) for n in (0,))
        nonsense = nonsense or "First 2?" in str(body) or "First 4?" in str(body)
        return Reply(text="I like it.") if nonsense else judges(body)

    wire.server.models[JUDGE] = ModelBehavior(reply=often)
    ran = wire.run("mt_bench", "--yes", "--json")
    assert ran.code == 3
    found = json.loads(ran.out)
    assert (found["judgments"]["total"], found["judgments"]["unscored"]) == (14, 4)
    [result] = found["results"]
    assert (result["n"], result["n_unscored"], result["average"]) == (14, 4, 7.0)
    asked = len(wire.server.requests)
    assert wire.run("mt_bench").code == 3
    assert len(wire.server.requests) == asked
    wire.server.models[JUDGE] = ModelBehavior(reply=judges)
    assert wire.run("mt_bench", "--yes", "--retry-failed").code == 0
    assert len(wire.server.requests) == asked + 4


def test_a_row_without_an_answer_is_a_counted_gap(wire: Wire) -> None:
    def fails(body: Mapping[str, Any], _: int) -> ModelBehavior:
        refused = "Instruction 3" in str(body)
        return ModelBehavior(status=400, error="no such thing") if refused else ModelBehavior()

    wire.server.models[AGGREGATOR] = fails
    ran = wire.run("alpaca_eval", "--yes", "--json")
    assert ran.code == 3
    found = json.loads(ran.out)
    assert (found["answers"]["failed"], found["judgments"]["total"]) == (1, 9)
    [failed] = [a for a in wire.lines("answers.jsonl") if a["output"] is None]
    assert "no such thing" in failed["error"]
    assert len(failed["moa"]["proposals"]) == 2
    [result] = found["results"]
    assert (result["n_total"], result["n_unscored"]) == (9, 1)
    wire.server.models[AGGREGATOR] = ModelBehavior()
    before = len(wire.server.requests_for(AGGREGATOR))
    assert wire.run("alpaca_eval", "--yes", "--retry-failed").code == 0
    assert len(wire.server.requests_for(AGGREGATOR)) == before + 1


@pytest.mark.parametrize(
    ("suite", "first", "second"),
    [
        ("alpaca_eval", "annotations.json", "other_judge/annotations.json"),
        ("mt_bench", "acme_judge_single.jsonl", "other_judge_single.jsonl"),
        ("flask", "mine_review.jsonl", "other_judge/mine_review.jsonl"),
    ],
)
def test_each_judge_of_a_folder_has_files_of_its_own(
    wire: Wire, suite: str, first: str, second: str
) -> None:
    assert wire.run(suite, "--yes", "--limit", "2").code == 0
    asked = len(wire.server.requests_for(ALPHA))
    before = (wire.folder / "run" / first).read_bytes()
    wire.server.models["other/judge"] = ModelBehavior(reply=judges)
    ran = wire.run(suite, "--judge", "other/judge", "--yes", "--limit", "2", "--json")
    assert ran.code == 0, ran.err
    assert len(wire.server.requests_for(ALPHA)) == asked  # the same answers
    assert {j["judge"] for j in wire.lines("judgments.jsonl")} == {JUDGE, "other/judge"}
    assert (wire.folder / "run" / first).read_bytes() == before
    assert str(wire.folder / "run" / second) in json.loads(ran.out)["files"]
    assert [row["judge"] for row in json.loads(ran.out)["results"]] == ["other/judge"]
    assert wire.run(suite, "--yes", "--limit", "2").code == 0  # the first one again: its own files
    assert (wire.folder / "run" / first).read_bytes() == before


def test_a_judge_that_is_a_member_is_warned_of(wire: Wire) -> None:
    wire.server.models[ALPHA] = ModelBehavior(reply=judges)
    ran = wire.run("flask", "--judge", ALPHA, "--yes")
    assert ran.code == 0, ran.err
    assert f"warning: {ALPHA} is judged by itself" in ran.err
    manifest = json.loads((wire.folder / "run" / "run.json").read_text("utf-8"))
    assert manifest["judge"]["settings"]["judges_itself"] == [ALPHA]


def test_answers_of_another_suite_are_refused_by_file_and_field(wire: Wire) -> None:
    outputs = wire.data / "alpaca_eval/gpt4_1106_preview.json"
    ran = wire.judge("mt_bench", "--answers", str(outputs), "--yes")
    assert ran.code == 2
    assert f"{outputs}: row 1 has no field 'question_id'" in ran.err
    assert not wire.server.requests


def test_a_folder_of_another_run_is_refused(wire: Wire) -> None:
    assert wire.run("flask", "--yes", judge=False).code == 0
    ran = wire.run("mt_bench", "--yes", judge=False)
    assert ran.code == 2
    assert "holds a run of 'flask', not of 'mt_bench'" in ran.err


def test_one_model_in_place_of_a_mixture(wire: Wire) -> None:
    ran = wire.run("mt_bench", "--single", ALPHA, "--against", BETA, "--yes", "--json")
    assert ran.code == 0, ran.err
    assert [r["model"] for r in json.loads(ran.out)["results"]] == [ALPHA, BETA]
    assert not wire.server.requests_for(AGGREGATOR)


def reported(wire: Wire) -> dict[str, Any]:
    """The one run of a report on the folder."""
    words = ("--data", str(wire.data), "--out", str(wire.folder / "report"), "--no-plots")
    ran = wire.cli("eval", "report", str(wire.folder / "run"), *words)
    assert ran.code == 0, ran.err
    [run] = json.loads((wire.folder / "report" / "report.json").read_text("utf-8"))["runs"]
    return dict(run)


@pytest.mark.parametrize("changed", [("--temperature", "0.33"), ("--max-tokens", "77"), ()])
def test_only_records_that_fit_the_last_run_count(wire: Wire, changed: tuple[str, ...]) -> None:
    assert wire.run("mt_bench", "--limit", "6", "--yes").code == 0
    ran = wire.run("mt_bench", "--limit", "4", *changed, "--yes", "--json")
    assert ran.code == 0, ran.err
    assert "on 4 rows" in json.loads(ran.out)["headline"]
    run = reported(wire)
    assert (run["models"][0]["score"]["n"], run["models"][0]["tally"]["answers"]) == (4, 8)
    assert len({a["row"] for a in wire.lines("answers.jsonl")}) == 6  # nothing is lost
    assert wire.run("mt_bench", "--limit", "6").code == 0  # all is there, and counts again
    assert reported(wire)["models"][0]["score"]["n"] == 6


def test_a_run_that_stopped_does_not_count_what_was_asked_otherwise(wire: Wire) -> None:
    assert wire.run("alpaca_eval", "--limit", "6", "--yes").code == 0
    wire.server.models[AGGREGATOR] = ModelBehavior(status=401, error="this key is wrong")
    assert wire.run("alpaca_eval", "--limit", "6", "--temperature", "0.33", "--yes").code == 2
    run = reported(wire)
    assert (run["judge"], run["models"][0]["tally"]["answers"]) == (None, 0)


def test_a_metric_and_a_judge_in_one_folder_have_reports_of_their_own(wire: Wire) -> None:
    path = own_prompts(wire.folder, reference="answers")
    by_metric = ("--metric", "contains", "--against", "members", "--yes", "--json")
    ran = wire.run(path, *by_metric, judge=False)
    means = json.loads(ran.out)["means"]
    assert means == dict.fromkeys(["mine", *WHO[1:4]], 100)
    assert wire.run(path, "--against", "members", "--yes").code == 0
    words = ("--out", str(wire.folder / "report"))
    assert wire.cli("eval", "report", str(wire.folder / "run"), *words).code == 0
    text = (wire.folder / "report" / "report.md").read_text("utf-8")
    runs = json.loads((wire.folder / "report" / "report.json").read_text("utf-8"))["runs"]
    titles = {run["judge"]: (run["metric"], run["measure"]["title"]) for run in runs}
    assert titles == {
        "metric:contains": ("metric:contains", "Mean of the metric (%)"),
        JUDGE: (None, "Win rate of the pairs (%)"),
    }
    found = {run["judge"]: run["models"][0]["score"] for run in runs}
    assert found["metric:contains"]["mean"] == 100
    assert "## prompts.jsonl, metric:contains" in text
    assert f"## prompts.jsonl, judged by {JUDGE}" in text
    # and again by the metric, what is told of the judge stays
    assert json.loads(wire.run(path, *by_metric, judge=False).out)["means"] == means
    assert wire.cli("eval", "report", str(wire.folder / "run"), *words).code == 0
    text = (wire.folder / "report" / "report.md").read_text("utf-8")
    assert "- Metric: `metric:contains`" in text
    assert f"- Judge: `{JUDGE}`, prompt SHA-256" in text
    assert text.count("- Judge's settings: ") == 1


def test_models_of_earlier_runs_stay_where_all_is_asked_alike(wire: Wire) -> None:
    assert wire.run("alpaca_eval", "--against", "members", "--yes").code == 0
    words = ("--limit", "4", "--against", "self-moa", "--yes")
    assert wire.run("alpaca_eval", *words).code == 0
    roles = {"mine": "mixture", **dict.fromkeys(WHO[1:4], "member"), WHO[4]: "self-moa"}
    models = reported(wire)["models"]
    assert {model["name"]: model["role"] for model in models} == roles
    assert [model["score"]["n"] for model in models] == [4] * len(WHO)
    assert models[0]["name"] == "mine"
    # with other settings they are no longer to be compared
    assert wire.run("alpaca_eval", *words, "--temperature", "0.33").code == 0
    assert [model["name"] for model in reported(wire)["models"]] == ["mine", WHO[4]]
