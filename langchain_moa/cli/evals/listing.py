"""`langchain-moa eval suites` and `langchain-moa eval data`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from langchain_moa.cli.board import console
from langchain_moa.cli.exits import Exit, one_line, say
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.data import cache_folder, data_folder, verify
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.suites import Suite, all_suites, get_suite
from langchain_moa.types import AnyDict


def suites(*, data: Path | None, as_json: bool) -> int:
    """List the suites, and how many calls an answer and a judgment of each row take."""
    folder = data_folder(data) or cache_folder()
    rows = [_described(suite, folder) for suite in all_suites()]
    if as_json:
        click.echo(json.dumps({"suites": rows}, indent=2, ensure_ascii=False))
        return Exit.ANSWER
    table = Table(box=None, pad_edge=False)
    for title in ("suite", "rows", "answers", "judgments", "files"):
        table.add_column(title, justify="left" if title in ("suite", "files") else "right")
    for row in rows:
        lacking = len(row["missing"])
        where = "there" if not lacking else f"{lacking} of {row['files']} missing"
        table.add_row(
            row["suite"], str(row["rows"]), str(row["answers"]), str(row["judgments"]), where
        )
    console().print(table)
    for licence in dict.fromkeys(row["licence"] for row in rows):
        click.echo(licence)
    click.echo(f"Files: {folder}")
    say("answers and judgments: calls for each model, without a mixture's own members.")
    say("Any JSONL file of your own with a field 'input' is a suite, too.")
    return Exit.ANSWER


def _described(suite: Suite, folder: Path) -> AnyDict:
    size = suite.size or 0
    files = suite.files.values()
    return {
        "suite": suite.name,
        "title": suite.title,
        "rows": size,
        "turns": suite.turns,
        "answers": size * suite.turns,
        "judgments": size * suite.turns,
        "licence": suite.licence,
        "data": str(folder),
        "files": len(files),
        "missing": [file.name for file in files if not (folder / file.name).is_file()],
    }


def data(names: Sequence[str], data: Path | None, *, as_json: bool) -> int:
    """Fetch the files of suites, or look through a folder's, and verify each.

    Raises:
        DataFileError: A file cannot be had, or is another than the pinned one.
        MoAConfigurationError: There is no such suite.
    """
    chosen = [get_suite(name) for name in names] or list(all_suites())
    own = next((suite for suite in chosen if not suite.files), None)
    if own:
        msg = f"suite={own.source!r} is a file of your own; there is nothing to fetch for it."
        raise MoAConfigurationError(msg)
    found: dict[str, Path] = {}
    for suite in chosen:
        for name, file in suite.files.items():
            try:
                found[file.name] = verify(file, suite.path(name, data, tell=say))
            except DataFileError as error:
                if not file.only_for:
                    raise
                say(f"without {file.only_for}: {one_line(error)}")
    if as_json:
        files = {name: str(path) for name, path in found.items()}
        click.echo(json.dumps({"files": files}, indent=2, ensure_ascii=False))
    else:
        for path in found.values():
            click.echo(str(path))
        say(f"{len(found)} files are there, each with the pinned SHA-256.")
    return Exit.ANSWER
