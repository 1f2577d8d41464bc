"""A run's scores as `eval score` gives them: each suite's own numbers, model by model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from langchain_moa.evals.length_files import load_length_control
from langchain_moa.evals.report.measures import suite_of
from langchain_moa.evals.report.summary import Records
from langchain_moa.evals.scores.alpaca_eval import score_alpaca_eval
from langchain_moa.evals.scores.flask import score_flask
from langchain_moa.evals.scores.length_control import LengthControl, NoLengthControlError
from langchain_moa.evals.scores.mt_bench import score_mt_bench, score_mt_bench_pairs
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.evals.upstream import (
    alpaca_eval_annotations,
    flask_reviews,
    mt_bench_judgments,
    mt_bench_pairs,
)
from langchain_moa.evals.upstream_types import Annotation, SingleJudgment
from langchain_moa.types import AnyDict


def official_scores(
    records: Records,
    judge: str | None,
    *,
    data: str | Path | None = None,
    lc_baselines: str | Path | None = None,
) -> list[AnyDict]:
    """The suite's own numbers for each model; none for a user's own prompts.

    Args:
        records: The run.
        judge: Whose judgments are scored.
        data: A folder with the suite's files.
        lc_baselines: AlpacaEval: another file of gamed baselines than the official one.

    Raises:
        DataFileError: The suite's files cannot be had.
    """
    suite = suite_of(records.run)
    judgments = [judgment for judgment in records.judgments if judgment["judge"] == judge]
    if suite.name == "custom" or not judgments:
        return []
    rows = suite.rows(data)
    size = min(records.run["rows"], suite.size or records.run["rows"])
    if suite.name == "alpaca_eval":
        return _alpaca_eval(rows, records.answers, judgments, data, lc_baselines)
    if suite.name == "mt_bench":
        return _mt_bench(rows, judgments, 2 * size)
    reviews = flask_reviews(rows, records.answers, judgments)
    return [
        {**score_flask(found, model=model, judge=judge, size=size)}
        for model, found in reviews.items()
    ]


def _alpaca_eval(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    judgments: Sequence[Judgment],
    data: str | Path | None,
    baselines: str | Path | None,
) -> list[AnyDict]:
    groups: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in alpaca_eval_annotations(rows, answers, judgments):
        groups[annotation["generator_2"]].append(annotation)
    control: LengthControl | None = None
    reason = ""
    if any(len(group) >= len(rows) for group in groups.values()):
        try:
            control = load_length_control(data, baselines)
        except NoLengthControlError as error:
            reason = str(error)
    return [
        {**score_alpaca_eval(group, length_control=control, no_length_control=reason)}
        for group in groups.values()
    ]


def _mt_bench(rows: Sequence[Row], judgments: Sequence[Judgment], size: int) -> list[AnyDict]:
    categories = {int(row["id"]): row["category"] for row in rows}
    singles: dict[str, list[SingleJudgment]] = defaultdict(list)
    for single in mt_bench_judgments(rows, judgments):
        singles[single["model"]].append(single)
    pairs = mt_bench_pairs(rows, judgments)
    return [
        *({**score_mt_bench(group, categories, size=size)} for group in singles.values()),
        *({**result} for result in (score_mt_bench_pairs(pairs) if pairs else ())),
    ]
