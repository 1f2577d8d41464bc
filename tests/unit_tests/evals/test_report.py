"""What a run comes to, and the report's files."""

from __future__ import annotations

import csv
import json
import math
import platform
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.report import plots
from langchain_moa.evals.report.published import published
from langchain_moa.evals.report.summary import Summary, read_run, summaries
from langchain_moa.evals.report.writing import write_report
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.suites.flask import SKILLS
from langchain_moa.evals.types import Answer, Judgment
from tests.evaluations import made_up
from tests.unit_tests.evals.runs import (
    ALPHA,
    BETA,
    MIXTURE,
    ROLES,
    SELF,
    answer,
    both_orders,
    judged,
    run_folder,
)

NAMES = [name for name, _ in ROLES]
ROWS = [str(n) for n in range(12)]


def metric_run(folder: Path, **fields: Any) -> Path:
    """A run scored by a metric: the mixture is right on all rows but one."""
    right = {MIXTURE: 11, ALPHA: 6, BETA: 3, SELF: 8}
    answers = [answer(row, name, "x" * (int(row) + 1)) for row in ROWS for name in NAMES]
    judgments = [
        judged(row, name, score=float(int(row) < right[name]), read="metric", judge="metric:exact")
        for row in ROWS
        for name in NAMES
    ]
    return run_folder(folder, answers, judgments, judge=None, metric="metric:exact", **fields)


def pairs_run(folder: Path) -> Path:
    """A run judged in pairs, with a row that the judge would not decide."""
    judgments: list[Judgment] = []
    for row in ROWS:
        judgments += both_orders(row, ALPHA, "model", "model" if int(row) % 2 else "baseline")
        judgments += both_orders(row, BETA, "model", "model")
        judgments += both_orders(row, SELF, "baseline", "baseline" if row != "3" else None)
    return run_folder(folder, [answer(row, name) for row in ROWS for name in NAMES], judgments)


def suite_run(folder: Path, data: Path, suite: str) -> Path:
    """A run of a suite, over its made-up rows."""
    rows = get_suite(suite).rows(data)
    answers: list[Answer] = []
    judgments: list[Judgment] = []
    for place, row in enumerate(rows):
        for rank, name in enumerate(NAMES):
            for turn in range(1, 2 + len(row["follow_ups"])):
                given = answer(
                    row["id"], name, "word " * (place + rank + 1), suite=suite, turn=turn
                )
                answers.append(given)
                said = _said(suite, place, rank, row.get("skills", []))
                judgments.append(judged(row["id"], name, suite=suite, turn=turn, **said))
    return run_folder(folder, answers, judgments, suite=suite)


def _said(suite: str, place: int, rank: int, skills: Sequence[str]) -> dict[str, Any]:
    if suite == "alpaca_eval":
        return {"preference": 2 - rank * 0.2 - place % 3 * 0.1, "baseline": "base"}
    if suite == "mt_bench":
        return {"score": 10.0 - rank - place % 3}
    return {"scores": {skill.lower(): 5 - (rank + place) % 3 for skill in skills}}


def only(folder: Path) -> Summary:
    [found] = summaries(read_run(folder))
    return found


def test_scores_by_a_metric(tmp_path: Path) -> None:
    found = only(metric_run(tmp_path))
    means = {model.name: model.score.mean if model.score else None for model in found.models}
    assert means == {
        MIXTURE: pytest.approx(100 * 11 / 12),
        ALPHA: 50,
        BETA: 25,
        SELF: pytest.approx(800 / 12),
    }
    assert [(a.other, a.best_member) for a in found.comparisons] == [
        (ALPHA, True),
        (SELF, False),
        (BETA, False),
    ]
    best = found.comparisons[0].result
    assert (best.win, best.tie, best.loss, best.verdict) == (5, 7, 0, "better")
    assert found.headline.startswith(f'"{MIXTURE}" is better than its best member "{ALPHA}" on 12')
    assert found.ceiling is not None
    assert (found.ceiling.best, found.ceiling.all_fail) == (50, 0.5)
    tally = found.first.tally
    assert (tally.usd, tally.seconds, tally.tokens) == pytest.approx((0.03, 2, 30))
    assert tally.length == 6.5
    assert found.how_read == {"metric": 48}


def test_pairs(tmp_path: Path) -> None:
    found = only(pairs_run(tmp_path))
    by_name = {against.other: against.result for against in found.comparisons}
    assert (by_name[ALPHA].win, by_name[ALPHA].tie, by_name[ALPHA].loss) == (6, 6, 0)
    assert by_name[BETA].difference.mean == 50
    assert (by_name[SELF].loss, by_name[SELF].n, by_name[SELF].verdict) == (11, 11, "worse")
    assert found.models[0].score is None
    assert {m.name: m.unscored for m in found.models} == {MIXTURE: 0, ALPHA: 0, BETA: 0, SELF: 1}
    assert found.failed_judgments == 1
    assert found.ceiling is not None
    assert found.ceiling.all_fail == 0.5  # on every second row both members lost
    assert "points of win rate" in found.headline


def test_answers_that_nobody_judged(tmp_path: Path) -> None:
    answers = [answer("1", MIXTURE), answer("1", "acme/extra", None)]
    found = only(run_folder(tmp_path, answers, [], models=ROLES[:1], judge=None))
    assert found.headline == f'"{MIXTURE}" has no scored row yet.'
    assert [(m.name, m.tally.failed) for m in found.models] == [(MIXTURE, 0), ("acme/extra", 1)]
    assert (found.judge, found.judged, found.ceiling) == (None, None, None)


def test_one_model_alone(tmp_path: Path) -> None:
    judgments = [judged(row, MIXTURE, score=0.5, read="metric", judge="m") for row in ROWS]
    folder = run_folder(
        tmp_path, [answer(row, MIXTURE) for row in ROWS], judgments, models=ROLES[:1], metric="m"
    )
    headline = "has 50.0 on 12 rows; nothing is there to compare it with."
    assert only(folder).headline == f'"{MIXTURE}" {headline}'


def test_each_judge_has_a_summary_of_its_own(tmp_path: Path) -> None:
    rows = [judged(row, MIXTURE, score=1.0, read="metric", judge="one") for row in ROWS]
    again = [judged(row, MIXTURE, score=0.0, read="metric", judge="two") for row in ROWS]
    answers = [answer(row, MIXTURE) for row in ROWS]
    folder = run_folder(tmp_path / "run", answers, [*rows, *again], models=ROLES[:1], metric="m")
    found = summaries(read_run(folder))
    assert [(s.judge, s.first.score.mean if s.first.score else None) for s in found] == [
        ("one", 100),
        ("two", 0),
    ]
    report = write_report([folder], tmp_path / "out")
    heads = (tmp_path / "out" / "report.md").read_text("utf-8").splitlines()[2:4]
    assert [head.partition(":")[0] for head in heads] == [f"- {s.title}" for s in found]
    assert found[0].title != found[1].title
    pictures = [name for run in report["runs"] for name in run["pictures"]]
    assert sorted(pictures) == [
        f"run_{who}_scores.{form}" for who in ("one", "two") for form in ("png", "svg")
    ]


def test_ratings_and_pairs_of_mt_bench(tmp_path: Path) -> None:
    data = made_up(tmp_path / "data")
    rows = [row["id"] for row in get_suite("mt_bench").rows(data)]
    answers = [
        answer(row, name, suite="mt_bench", turn=turn)
        for row in rows
        for name in (MIXTURE, ALPHA)
        for turn in (1, 2)
    ]
    judgments = [
        cast("Judgment", {**pair, "suite": "mt_bench", "turn": turn})
        for row in rows
        for turn in (1, 2)
        for pair in both_orders(row, ALPHA, "model", "model" if turn == 1 else "tie")
    ]
    folder = run_folder(tmp_path / "run", answers, judgments, suite="mt_bench", models=ROLES[:2])
    [run] = write_report([folder], tmp_path / "out", data=data)["runs"]
    assert [(s["model"], s["win"], s["tie"]) for s in run["scores"]] == [
        (MIXTURE, 7, 7),
        (ALPHA, 0, 7),
    ]
    [against] = run["comparisons"]
    assert (against["result"]["win"], against["result"]["difference"]["mean"]) == (7, 25)
    assert run["measure"]["title"] == "Win rate of the pairs (%)"


def test_a_price_that_is_not_known_is_no_price(tmp_path: Path) -> None:
    answers = [answer("1", MIXTURE), answer("2", MIXTURE, usd=None), answer("3", MIXTURE, None)]
    tally = only(run_folder(tmp_path, answers, [], models=ROLES[:1])).first.tally
    assert (tally.usd, tally.answers, tally.failed) == (None, 2, 1)
    assert tally.usd_total is None
    assert tally.usd_known == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("prices", "whole", "told"),
    [
        ([0.25, 0.5], 0.75, "Judging took 202 tokens, 0.7500 USD"),
        ([0.25, None], None, "0.2500 USD and what judgments without a known price cost"),
        ([None, None], None, "Judging took 202 tokens, cost not known"),
    ],
)
def test_a_judges_cost_is_whole_or_told_to_be_a_part(
    tmp_path: Path, prices: list[float | None], whole: float | None, told: str
) -> None:
    answers = [answer(row, MIXTURE) for row in ("1", "2")]
    judgments = [
        judged(row, MIXTURE, score=1.0, usd=usd) for row, usd in zip("12", prices, strict=True)
    ]
    folder = run_folder(tmp_path / "run", answers, judgments, models=ROLES[:1])
    [run] = write_report(folder, tmp_path / "out", pictures=False)["runs"]
    assert run["judge_usd"] == whole
    assert told in (tmp_path / "out/report.md").read_text("utf-8")


@pytest.mark.parametrize("suite", ["alpaca_eval", "mt_bench", "flask", "flask_hard"])
def test_reports_of_suites(tmp_path: Path, suite: str) -> None:
    data = made_up(tmp_path / "data")
    folder = suite_run(tmp_path / "run", data, suite)
    report = write_report([folder], tmp_path / "out", data=data)
    [run] = report["runs"]
    assert [score["model"] for score in run["scores"]] == NAMES
    assert run["headline"].startswith(f'"{MIXTURE}"')
    kinds = {name.rpartition(".")[0].partition("_")[2] for name in run["pictures"]}
    extra = {"mt_bench": "categories", "alpaca_eval": "cost"}.get(suite, "skills")
    assert kinds == {"scores", "cost", extra}
    text = (tmp_path / "out/report.md").read_text("utf-8")
    for part in (
        "### The ceiling",
        "### Models",
        "### The suite's own numbers",
        "### How it was measured",
        "Judge: `openai:gpt-5`, prompt SHA-256 `abab",
        "temperature = 0.0",
        "`moa` (mixture): `layers",
        "langchain-moa 0.1.0",
        "2026-11-20T10:00:00+00:00",
        "Judging took",
    ):
        assert part in text
    # what others have published stands apart, and no line has both
    ours, _, theirs = text.partition("### Published elsewhere, judge: ")
    if suite != "flask_hard":
        assert theirs.startswith(published()[suite]["judge"])
    assert "GPT-4o" not in ours
    assert MIXTURE not in theirs.replace("arxiv", "")


def test_a_radar_draws_the_models_that_matter_though_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [MIXTURE, *(f"acme/m{n}" for n in range(7)), SELF]
    roles = [(name, {MIXTURE: "mixture", SELF: "self-moa"}.get(name, "member")) for name in names]
    data = made_up(tmp_path / "data")
    rows = [row["id"] for row in get_suite("flask").rows(data)]
    answers = [answer(row, name, suite="flask") for row in rows for name in names]
    ratings = dict(zip(names, (1, 2, 2, 3, 2, 3, 2, 5, 1), strict=True))
    judgments = [
        judged(row, name, suite="flask", scores={"readability": ratings[name]})
        for row in rows
        for name in names
    ]
    folder = run_folder(tmp_path / "run", answers, judgments, suite="flask", models=roles)
    drawn: list[list[str]] = []

    def radar(_: str, __: object, values: dict[str, object], ___: object) -> None:
        drawn.append(list(values))

    monkeypatch.setattr(plots, "radar", radar)
    write_report(folder, tmp_path / "out", data=data)
    assert drawn[0][:5] == [MIXTURE, "acme/m6", SELF, "acme/m2", "acme/m4"]


def test_a_report_names_what_it_was_made_with(tmp_path: Path) -> None:
    report = write_report(metric_run(tmp_path / "run"), tmp_path / "out", pictures=False)
    assert report["versions"].keys() >= {"numpy", "scipy", "matplotlib", "scikit-learn", "python"}
    text = (tmp_path / "out/report.md").read_text("utf-8")
    assert f"- Versions of this report: python {platform.python_version()}, langchain-moa" in text


def test_each_sentence_is_told_once(tmp_path: Path) -> None:
    """With a best member, and without one."""
    for place, models in enumerate((ROLES, [ROLES[0], ROLES[3]])):
        folder = metric_run(tmp_path / f"{place}", models=models)
        [run] = write_report(folder, tmp_path / "out", pictures=False)["runs"]
        text = (tmp_path / "out/report.md").read_text("utf-8")
        told = [run["headline"], *(a["sentence"] for a in run["comparisons"][1:])]
        assert [text.count(sentence) for sentence in told] == [1] * len(told)
        assert text.count("is better than") + text.count("told apart with") == len(told)


def opened(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_files_of_a_report(tmp_path: Path) -> None:
    folders = [metric_run(tmp_path / "one"), pairs_run(tmp_path / "two")]
    report = write_report(folders, tmp_path / "out")
    out = tmp_path / "out"
    assert json.loads((out / "report.json").read_text("utf-8")) == json.loads(json.dumps(report))
    for run in report["runs"]:
        assert len(run["pictures"]) == 4
        for name in run["pictures"]:
            if name.endswith(".png"):
                assert opened(out / name) > (1000, 200)
            else:
                assert ET.parse(out / name).getroot().tag.endswith("svg")  # noqa: S314 - ours
    with (out / "models.csv").open(encoding="utf-8") as file:
        models = list(csv.DictReader(file))
    assert [row["model"] for row in models] == [*NAMES, *NAMES]
    assert float(models[0]["mean"]) == pytest.approx(100 * 11 / 12)
    with (out / "comparisons.csv").open(encoding="utf-8") as file:
        comparisons = list(csv.DictReader(file))
    assert len(comparisons) == 6
    assert comparisons[0]["verdict"] == "better"
    text = (out / "report.md").read_text("utf-8")
    assert text.startswith(
        f'# Evaluation\n\n- prompts.jsonl, metric:exact: "{MIXTURE}" is better than its best member'
    )
    assert "Metric: `metric:exact`" in text
    assert "| acme/alpha (best member) | 12 | 5 / 7 / 0 |" in text


def test_reports_without_pictures(tmp_path: Path) -> None:
    report = write_report([metric_run(tmp_path / "run")], tmp_path / "out", pictures=False)
    assert report["runs"][0]["pictures"] == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.md", "report.json", "models.csv", "comparisons.csv",
    }  # fmt: skip


def test_a_judge_among_the_models_is_named(tmp_path: Path) -> None:
    judge = {"name": "openai:gpt-5", "prompt": "p", "settings": {"judges_itself": ["acme/alpha"]}}
    judgments = [pair for row in ROWS for pair in both_orders(row, ALPHA, "model", "model")]
    answers = [answer(row, name) for row in ROWS for name in (MIXTURE, ALPHA)]
    folder = run_folder(tmp_path / "run", answers, judgments, models=ROLES[:2], judge=judge)
    write_report([folder], tmp_path / "out", pictures=False)
    text = (tmp_path / "out/report.md").read_text("utf-8")
    assert "**The judge is also among the models (`acme/alpha`): it may prefer itself.**" in text


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataFileError) as error:
        write_report([tmp_path], tmp_path / "out")
    assert str(error.value) == f"{tmp_path / 'run.json'}: there is no such file."
    assert not (tmp_path / "out").exists()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataFileError, match="has no field 'finished'"):
        write_report([tmp_path], tmp_path / "out")
    folder = metric_run(tmp_path / "run")
    (folder / "answers.jsonl").write_text('{"broken"\n{}\n')
    with pytest.raises(DataFileError, match=r"answers.jsonl: line 1 is not valid JSON"):
        write_report([folder], tmp_path / "out")


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    folder = metric_run(tmp_path / "run")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFileError, match="cannot be made"):
        write_report([folder], tmp_path / "file")
    (tmp_path / "out/run_scores.png").mkdir(parents=True)
    with pytest.raises(DataFileError, match="a picture cannot be written"):
        write_report([folder], tmp_path / "out")


def test_names_that_markdown_would_misread(tmp_path: Path) -> None:
    name = "a|b\nc"
    judgments = [judged(row, name, score=1.0, read="metric", judge="m") for row in ROWS]
    answers = [answer(row, name) for row in ROWS]
    models = [(name, "model")]
    folder = run_folder(tmp_path / "run", answers, judgments, models=models, metric="m")
    write_report([folder], tmp_path / "out", pictures=False)
    assert "| a\\|b c | model |" in (tmp_path / "out/report.md").read_text("utf-8")


def test_pareto() -> None:
    points = [(3.0, 5.0), (1.0, 4.0), (2.0, 4.5), (2.0, 4.0), (4.0, 5.0)]
    assert plots.pareto(points) == [(1.0, 4.0), (2.0, 4.5), (3.0, 5.0)]


def test_radars() -> None:
    values = {f"model {n}": dict.fromkeys(SKILLS, 3.5 + n / 10) for n in range(7)}
    assert plots.radar("t", SKILLS, {}, (3, 5)) is None
    assert plots.radar("t", SKILLS[:2], values, (3, 5)) is None
    figure = plots.radar("t", SKILLS, {"low": {"robustness": 1.5}, **values}, (3, 5))
    assert figure is not None
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(SKILLS)
    assert axes.get_ylim() == (1, 5)
    assert list(axes.get_yticks()) == [2, 3, 4, 5]
    first, second = (np.asarray(line.get_ydata()).tolist() for line in axes.lines[:2])
    assert (first[0], first[-1], sum(map(math.isnan, first))) == (1.5, 1.5, 11)
    assert second == [3.5] * 13
    assert [text.get_text() for text in axes.texts] == [
        *"12345",  # the middle, too
        "3 more in the table",
    ]


def test_labels_of_points_do_not_overlap(tmp_path: Path) -> None:
    """Models that are alike in cost and quality have their names one below the other."""
    models = [(f"acme/a-model-with-a-long-name-{n}", "member") for n in range(6)]
    judgments = [judged("a", name, score=1.0, read="metric", judge="m") for name, _ in models]
    answers = [answer("a", name) for name, _ in models]
    folder = run_folder(tmp_path, answers, judgments, models=models, metric="m")
    figure = plots.cost(only(folder))
    assert figure is not None
    figure.canvas.draw()
    [axes] = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
