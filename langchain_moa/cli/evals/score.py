"""`langchain-moa eval score`: files of judgments in, numbers out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from langchain_moa.cli.board import console
from langchain_moa.cli.exits import Exit, say
from langchain_moa.evals.scoring import Scores, score_files, unscored
from langchain_moa.evals.suites.flask import SKILLS
from langchain_moa.types import AnyMapping

_NOTES: Final = {
    "n_unscored": "not scored",
    "n_failed": "failed",
    "n_unparsed": "could not be read",
    "n_missing": "of the suite are missing",
    "n_duplicates": "are repeated (they stay in the average)",
}
"""What is said of a count that is not zero."""


def run(
    suite: str,
    files: Sequence[Path],
    *,
    data: Path | None,
    lc_baselines: Path | None,
    lc_any_size: bool,
    limit: int | None,
    as_json: bool,
) -> int:
    """Print the scores of files.

    Returns:
        0, or 3 where rows are left unscored.

    Raises:
        DataFileError: A file is broken, or of another suite.
    """
    scores = score_files(
        suite,
        files,
        data=data,
        lc_baselines=lc_baselines,
        lc_any_size=lc_any_size,
        limit=limit,
    )
    if as_json:
        click.echo(json.dumps(scores, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(scores)
    for result in scores["results"]:
        _tell(result)
    return Exit.NO_ANSWER if unscored(scores) else Exit.ANSWER


def _print(scores: Scores) -> None:
    """A table for each kind of results."""
    for mark, columns in _COLUMNS.items():
        rows = [result for result in scores["results"] if mark in result]
        if rows:
            console().print(_table(rows, columns))
    reviewed = [result for result in scores["results"] if "skills" in result]
    if reviewed:
        console().print(_skills(reviewed))


def _table(results: Sequence[AnyMapping], columns: Mapping[str, str]) -> Table:
    table = _empty("model", columns)
    for result in results:
        table.add_row(result["model"], *(_cell(result[name]) for name in columns.values()))
    return table


def _skills(results: Sequence[AnyMapping]) -> Table:
    """Skills from top to bottom, models side by side."""
    table = _empty("skill", [result["model"] for result in results])
    for skill in SKILLS:
        means = [result["skills"].get(skill, {}).get("mean") for result in results]
        table.add_row(skill, *map(_cell, means))
    return table


def _empty(first: str, titles: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", overflow="fold")
    return table


_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "discrete_win_rate": {
        "LC %": "length_controlled_win_rate",
        "win %": "win_rate",
        "±": "standard_error",
        "discrete %": "discrete_win_rate",
        "wins": "n_wins",
        "losses": "n_wins_base",
        "draws": "n_draws",
        "length": "avg_length",
    },
    "turn_1": {"turn 1": "turn_1", "turn 2": "turn_2", "average": "average", "rows": "n"},
    "win_rate_adjusted": {
        "wins": "win",
        "losses": "loss",
        "ties": "tie",
        "win rate": "win_rate",
        "adjusted": "win_rate_adjusted",
    },
}
"""By a field that tells a kind of results: the titles of its table, and their fields."""


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _tell(result: AnyMapping) -> None:
    """Say on stderr what the numbers leave out."""
    parts = [f"{result[name]} {text}" for name, text in _NOTES.items() if result.get(name)]
    if parts:
        say(f"{result['model']}: rows: {', '.join(parts)}.")
    if result.get("lc_reason"):
        say(f"{result['model']}: no length-controlled win rate: {result['lc_reason']}.")
        if result["n_missing"]:
            say("--lc-any-size fits it to a part of the suite, too.")
