"""`langchain-moa eval judge`: answers from files judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from langchain_moa.cli.evals.carrying import CommonOptions, carried_out
from langchain_moa.cli.exits import say
from langchain_moa.cli.mixture import given_prices
from langchain_moa.evals.answer_files import read_answer_file
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.suites import Suite, get_suite, sample
from langchain_moa.evals.types import Answer, Row


@dataclass(frozen=True, kw_only=True)
class JudgeOptions(CommonOptions):
    """The options of `eval judge`, as they were given."""

    answers: Sequence[Path]
    out: Path
    prices: Path | None


def run(suite: str, **given: Any) -> int:
    """Have answers judged that are there already.

    Args:
        suite: The suite's name, or a file's path.
        **given: The options: `JudgeOptions`.

    Raises:
        click.UsageError: There is no judge, or a metric beside it.
        MoAConfigurationError: The set-up is wrong: a key, a model's name, a file, the folder.
    """
    options = JudgeOptions(**given)
    if (options.judge is None) == (options.metric is None):
        msg = "give --judge MODEL, or --metric NAME for prompts of your own."
        raise click.UsageError(msg)
    found = get_suite(suite)
    everything = found.rows(options.data, tell=say)
    rows = sample(everything, options.limit)
    answers = _answers(found, options, everything, {row["id"] for row in rows})
    plan = Plan(
        suite=found,
        rows=rows,
        folder=options.out,
        given=answers,
        judging=options.judging(found, answers[0]["model"], rows),
        judge=options.judge_model(**given_prices(options.prices)),
        limit=options.limit,
        concurrency=options.concurrency,
        retry_failed=options.retry_failed,
        engine=options.engine,
    )
    return carried_out(plan, options)


def _answers(
    suite: Suite, options: JudgeOptions, rows: Sequence[Row], wanted: set[str]
) -> list[Answer]:
    """The answers of all files to the rows that are judged.

    Raises:
        DataFileError: A file is broken, of another suite, or has no answer to those rows.
    """
    answers: list[Answer] = []
    for path in options.answers:
        found = [a for a in read_answer_file(suite, path, rows) if a["row"] in wanted]
        if not found:
            raise DataFileError(path, "has no answer to the rows that are to be judged.")
        answers += found
    return answers
