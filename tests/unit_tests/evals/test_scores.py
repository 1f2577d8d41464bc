"""Scores as pure functions: rows in, numbers out; recorded judgments give the published ones."""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Sequence
from typing import Any, cast

import pytest

from langchain_moa.evals.length_files import load_length_control
from langchain_moa.evals.reading import read_table
from langchain_moa.evals.recorded import (
    read_annotations,
    read_pair_judgments,
    read_reviews,
    read_single_judgments,
)
from langchain_moa.evals.scores.alpaca_eval import AlpacaEvalScores, score_alpaca_eval
from langchain_moa.evals.scores.flask import score_flask
from langchain_moa.evals.scores.length_control import (
    Coefficients,
    GamedRow,
    LengthControl,
    NoLengthControlError,
    predict,
)
from langchain_moa.evals.scores.mt_bench import score_mt_bench, score_mt_bench_pairs
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.upstream_types import Annotation, PairJudgment, Review, SingleJudgment
from tests.evaluations import recorded
from tests.unit_tests.evals.judged import annotated, annotation, judgment, pair, review

ANNOTATED = ("FuseChat-Gemma-2-9B-Instruct", "claude-2.1", "vicuna-13b-v1.5")
LEADERBOARD = "alpaca_eval/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
OTHERWISE_PUBLISHED = {
    "NullModel",
    "dbrx-instruct",
    "Snorkel-Mistral-PairRM-DPO",
    "Meta-Llama-3.1-8B-Instruct-Turbo",
    "Qwen1.5-1.8B-Chat",
}
"""Models whose published length-controlled win rate is not what their coefficients give."""


def alpaca(rows: Sequence[dict[str, Any]], **options: Any) -> AlpacaEvalScores:
    return score_alpaca_eval(cast("list[Annotation]", rows), **options)


def test_win_rates() -> None:
    scores = alpaca(annotated(2, 1, 1.5, 0, 1.9, 1.2))
    assert scores["win_rate"] == pytest.approx(100 * (1 + 0 + 0.5 + 0.5 + 0.9 + 0.2) / 6)
    assert (scores["n_wins"], scores["n_wins_base"], scores["n_draws"]) == (2, 2, 2)
    assert scores["discrete_win_rate"] == pytest.approx(50)
    assert (scores["n_total"], scores["n_unscored"], scores["n_missing"]) == (6, 0, 799)
    assert scores["avg_length"] == 4
    assert (scores["model"], scores["judge"]) == ("acme/mine", "judge")
    assert "6 of 805 rows" in (scores["lc_reason"] or "")


def test_rows_without_a_preference_are_counted_and_left_out() -> None:
    scores = alpaca(annotated(2, None, math.nan, 1))
    assert (scores["n_total"], scores["n_unscored"], scores["win_rate"]) == (2, 2, 50)
    nothing = alpaca(annotated(None))
    assert (nothing["win_rate"], nothing["discrete_win_rate"], nothing["n_total"]) == (
        None,
        None,
        0,
    )
    one = alpaca(annotated(2))
    assert (one["win_rate"], one["standard_error"]) == (100, None)


def test_repeated_rows_are_counted_and_stay_in() -> None:
    rows = annotated(2, 1)
    scores = alpaca([*rows, rows[0]])
    assert (scores["n_duplicates"], scores["n_total"]) == (1, 3)
    assert scores["win_rate"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("model", ANNOTATED)
def test_recorded_annotations_give_the_leaderboards_numbers(model: str) -> None:
    rows = read_annotations(recorded(f"alpaca_eval/annotations/{model}.json"))
    published = {row[""]: row for row in read_table(recorded(LEADERBOARD))}[model]
    found = cast("dict[str, Any]", score_alpaca_eval(rows))
    shuffled = random.Random(5).sample(rows, len(rows))  # noqa: S311 - no secret
    assert cast("dict[str, Any]", score_alpaca_eval(shuffled)) == found
    for name in ("win_rate", "standard_error", "discrete_win_rate"):
        assert abs(found[name] - float(published[name])) < 1e-9
    for name in ("n_wins", "n_wins_base", "n_draws", "n_total", "avg_length"):
        assert found[name] == int(published[name])


def surrogate() -> LengthControl:
    return load_length_control(recorded(), recorded("alpaca_eval/derived_df_gamed_surrogate.csv"))


@pytest.mark.parametrize("model", ANNOTATED)
def test_recorded_annotations_give_nearly_the_published_length_control(model: str) -> None:
    rows = read_annotations(recorded(f"alpaca_eval/annotations/{model}.json"))
    published = {row[""]: row for row in read_table(recorded(LEADERBOARD))}[model]
    control = surrogate()
    found = score_alpaca_eval(rows, length_control=control)
    rate = found["length_controlled_win_rate"]
    assert rate is not None
    assert abs(rate - float(published["length_controlled_winrate"])) < 0.25
    assert found["lc_baselines"] == "derived_df_gamed_surrogate.csv"
    assert found["lc_reason"] is None
    shuffled = random.Random(5).sample(rows, len(rows))  # noqa: S311 - no secret
    assert score_alpaca_eval(shuffled, length_control=control) == found


def test_twenty_models_come_out_as_the_leaderboard_has_them() -> None:
    """From recorded preferences and lengths; the texts of most outputs are not at hand."""
    control = surrogate()
    rows = get_suite("alpaca_eval").rows(recorded())
    table = read_table(recorded("alpaca_eval/derived_recorded_preferences.csv"))
    published = {row[""]: row for row in read_table(recorded(LEADERBOARD))}
    models = [name for name in table[0] if name in published]
    assert len(models) == 20
    for model in models:
        given = [
            annotation(
                row["messages"][0]["content"],
                float(judged[model]),
                output_1=row["baseline"]["output"],
                output_2="x" * int(judged[f"len:{model}"]),
            )
            for row, judged in zip(rows, table, strict=True)
        ]
        found = alpaca(given, length_control=control)
        expected = published[model]
        assert found["win_rate"] == pytest.approx(float(expected["win_rate"]), abs=1e-9)
        assert found["standard_error"] == pytest.approx(float(expected["standard_error"]), abs=1e-9)
        rate = float(expected["length_controlled_winrate"])
        assert found["length_controlled_win_rate"] == pytest.approx(rate, abs=0.25)


def test_published_coefficients_give_the_published_length_control() -> None:
    difficulties = list(surrogate().difficulty.values())
    with recorded("alpaca_eval/length_controlled_v1_weights.csv").open() as file:
        weights = {name: [float(x) for x in rest] for name, *rest in list(csv.reader(file))[1:]}
    compared = set()
    for row in read_table(recorded(LEADERBOARD)):
        if row[""] not in weights or not row["length_controlled_winrate"]:
            continue
        coefficients = Coefficients(*weights[row[""]])
        found = predict(coefficients, difficulties[: int(row["n_total"])])
        if abs(found.win_rate - float(row["length_controlled_winrate"])) < 1e-6:
            compared.add(row[""])
        else:
            assert row[""] in OTHERWISE_PUBLISHED
    assert len(compared) == 194


def gamed() -> list[GamedRow]:
    chance = random.Random(1)  # noqa: S311 - no secret
    return [
        GamedRow(n, chance.random(), chance.uniform(-2, 2), chance.uniform(-1, 1), not_gamed=False)
        for n in range(40)
    ]


def made_up_control() -> tuple[list[dict[str, Any]], LengthControl]:
    """Annotations that harder instructions and longer answers win, and what controls length."""
    chance = random.Random(2)  # noqa: S311 - no secret
    rows, difficulty = [], {}
    for n in range(120):
        text, hard, length = f"task {n}", chance.uniform(-1, 1), chance.randint(20, 80)
        difficulty[text] = hard
        logit = hard + (length - len("the baseline's answer")) / 20
        share = 1 / (1 + math.exp(-logit))
        rows.append(annotation(text, 1 + share, output_2="x" * length))
    return rows, LengthControl("mine.csv", gamed(), difficulty)


def test_length_control_without_the_whole_suite() -> None:
    rows, control = made_up_control()
    part = alpaca(rows, length_control=control)
    assert part["length_controlled_win_rate"] is None
    assert "120 of 805 rows" in (part["lc_reason"] or "")
    found = alpaca(rows, length_control=control, any_size=True)
    assert found["length_controlled_win_rate"] is not None
    assert found["lc_baselines"] == "mine.csv"
    assert alpaca(rows[::-1], length_control=control, any_size=True) == found


def test_longer_answers_win_less_once_length_is_controlled() -> None:
    rows, control = made_up_control()
    scores = alpaca(rows, length_control=control, any_size=True)
    assert scores["length_controlled_win_rate"] is not None
    assert scores["win_rate"] is not None
    assert 30 < scores["length_controlled_win_rate"] < scores["win_rate"] - 10
    found = control.fit(cast("list[Annotation]", rows))
    assert found.coefficients.length < 0 < found.coefficients.difficulty


def test_what_cannot_be_length_controlled_says_why() -> None:
    rows, control = made_up_control()
    reasons = {
        "the differences in length are all the same": [{**row, "output_2": "x"} for row in rows],
        "no row is scored": [{**row, "preference": None} for row in rows],
        "1 instructions have no known difficulty": [{**rows[0], "instruction": "new"}, *rows[1:]],
    }
    for reason, given in reasons.items():
        scores = alpaca(given, length_control=control, any_size=True)
        assert (scores["length_controlled_win_rate"], scores["lc_reason"]) == (None, reason)
    whole = alpaca(rows, size=120, no_length_control="the file is not there")
    assert whole["lc_reason"] == "the file is not there"
    own = [{**row, "generator_2": "base"} for row in rows]
    assert alpaca(own, length_control=control, size=120)["length_controlled_win_rate"] == 50
    with pytest.raises(NoLengthControlError):
        control.fit(cast("list[Annotation]", [{**rows[0], "instruction": "new"}]))


def test_unscored_rows_are_predicted_but_not_fitted() -> None:
    rows, control = made_up_control()
    less = [{**row, "preference": None} if n < 3 else row for n, row in enumerate(rows)]
    found = control.fit(cast("list[Annotation]", less))
    assert found.win_rate != control.fit(cast("list[Annotation]", rows)).win_rate
    expected = predict(found.coefficients, list(control.difficulty.values()))
    assert found == expected


CATEGORIES = {81: "writing", 82: "math", 83: "math"}


def test_ratings() -> None:
    rows = [
        judgment(81, 1, 9), judgment(81, 2, 7), judgment(82, 1, 4), judgment(82, 2, -1),
        judgment(83, 1, -1), judgment(83, 1, 5), judgment(81, 1, 3),
    ]  # fmt: skip
    scores = score_mt_bench(cast("list[SingleJudgment]", rows), CATEGORIES, size=6)
    assert scores == {
        "model": "acme/mine", "judge": "gpt-4", "turn_1": 5.25, "turn_2": 7.0, "average": 5.6,
        "n": 7, "n_failed": 2, "n_unscored": 1, "n_duplicates": 1, "n_missing": 1,
        "categories": {"writing": pytest.approx(19 / 3), "math": 4.5},
    }  # fmt: skip


def test_nothing_rated() -> None:
    scores = score_mt_bench(cast("list[SingleJudgment]", [judgment(81, 1, -1)]), CATEGORIES)
    assert (scores["average"], scores["turn_1"], scores["categories"]) == (None, None, {})


@pytest.mark.parametrize(
    ("run", "model", "expected"),
    [
        ("claude", "claude-3-5-sonnet-20240620", (9.2375, 9.175, 9.20625, 160, 0)),
        ("claude", "claude-3-opus-20240229", (9.04375, 8.30625, 8.675, 160, 0)),
        ("phi-3", "phi-3-dpo", (8.3625, 8.0375, 8.2, 160, 0)),
        ("moa", "mt_bench-together-MoA-round1", (9.28125, 9.1625, 9.221875, 320, 160)),
    ],
)
def test_recorded_ratings(run: str, model: str, expected: tuple[float, ...]) -> None:
    rows = read_single_judgments(recorded(f"mt_bench/recorded/{run}/gpt-4_single.jsonl"))
    categories = {int(row["id"]): row["category"] for row in get_suite("mt_bench").rows(recorded())}
    scores = score_mt_bench([row for row in rows if row["model"] == model], categories)
    found = tuple(scores[name] for name in ("turn_1", "turn_2", "average", "n", "n_failed"))
    assert found == expected
    assert (scores["n_missing"], scores["n_unscored"], scores["n_duplicates"]) == (0, 0, 0)


def test_pairs() -> None:
    rows = [
        pair(81, "model_1", "model_1"), pair(82, "model_1", "model_2"), pair(83, "tie", "tie"),
        pair(84, "model_2", "model_2"), pair(85, "error", "model_1"), pair(86, "model_1", "tie"),
    ]  # fmt: skip
    mine, other = score_mt_bench_pairs(cast("list[PairJudgment]", rows))
    assert (mine["win"], mine["loss"], mine["tie"], mine["n"], mine["n_failed"]) == (1, 1, 3, 6, 1)
    assert (mine["win_rate"], mine["win_rate_adjusted"]) == (0.2, 0.5)
    assert (other["model"], other["against"], other["win"]) == ("acme/other", ["acme/mine"], 1)
    [failed, _] = score_mt_bench_pairs(cast("list[PairJudgment]", rows[4:5]))
    assert failed["win_rate"] is failed["loss_rate"] is failed["win_rate_adjusted"] is None


def test_recorded_pairs() -> None:
    rows = read_pair_judgments(recorded("mt_bench/recorded/phi-3/gpt-4_pair.jsonl"))
    first, second = score_mt_bench_pairs(rows)
    assert (first["model"], first["win"], second["model"], second["win"]) == (
        "phi-3", 18, "phi-3-dpo", 20,
    )  # fmt: skip
    assert (second["tie"], second["n"], second["n_failed"]) == (35, 75, 2)
    assert second["win_rate_adjusted"] == 0.5136986301369864


def test_skills() -> None:
    rows = [
        review(1, {"readability": 4, "logical correctness": 2, "style": 1}),
        review(2, {"readability": "N/A", "logical correctness": "5"}, domain=["Math", "Coding"]),
        review(3, {"readability": "5/5"}, difficulty=-1),
        review(4, {"readability": "N/A"}, difficulty=-1),
        review(3, {"readability": 5, "conciseness": 9}, difficulty=-1),
    ]
    scores = score_flask(cast("list[Review]", rows), model="mine", judge="gpt-4", size=5)
    assert scores["skills"] == {
        "correctness": {"mean": 3.5, "sum": 7.0, "count": 2},
        "readability": {"mean": 4.5, "sum": 9.0, "count": 2},
    }
    assert scores["domains"]["Coding"] == {"mean": 5.0, "sum": 5.0, "count": 1}
    assert scores["domains"]["Math"]["count"] == 4
    assert list(scores["difficulties"]) == ["expert level knowledge", "-1"]
    counts = (scores["n"], scores["n_unparsed"], scores["n_duplicates"], scores["n_missing"])
    assert counts == (5, 1, 1, 1)


def test_recorded_reviews() -> None:
    reviews = read_reviews(recorded("flask/recorded_reviews_odd_idx.jsonl"))
    scores = score_flask(reviews, model="recorded")
    sums = {name: f"{found['sum']:g}/{found['count']}" for name, found in scores["skills"].items()}
    assert json.dumps(sums).replace('"', "") == (
        "{robustness: 34/8, correctness: 88/20, efficiency: 37/9, factuality: 119/30, "
        "commonsense: 119/27, comprehension: 276/64, insightfulness: 81/24, completeness: 78/20, "
        "metacognition: 14/5, readability: 159/37, conciseness: 86/23, harmlessness: 29/6}"
    )
    assert (scores["n"], scores["n_unparsed"]) == (91, 0)
