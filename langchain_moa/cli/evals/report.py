"""`langchain-moa eval report`: runs' folders in, tables and pictures out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from langchain_moa.cli.exits import Exit, say
from langchain_moa.evals.report.writing import write_report


def run(
    runs: Sequence[Path],
    *,
    out: Path,
    data: Path | None,
    lc_baselines: Path | None,
    no_plots: bool,
    limit: int | None,
    as_json: bool,
) -> int:
    """Write a report, and print each run's sentence.

    Returns:
        0, or 3 where answers or scores are left out.

    Raises:
        DataFileError: A run's folder is none, or a file is missing or broken.
    """
    report = write_report(
        runs, out, data=data, lc_baselines=lc_baselines, limit=limit, pictures=not no_plots
    )
    if as_json:
        click.echo(json.dumps(report, indent=2, ensure_ascii=False, default=str))
    else:
        for found in report["runs"]:
            title = f"{found['title']}: " if len(report["runs"]) > 1 else ""
            click.echo(f"{title}{found['headline']}")
    say(f"Written to {out / 'report.md'}.")
    left = sum(
        model["tally"]["failed"] + model["unscored"]
        for found in report["runs"]
        for model in found["models"]
    )
    return Exit.NO_ANSWER if left else Exit.ANSWER
