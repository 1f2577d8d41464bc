"""The commands of `langchain-moa eval` and their options; their work is imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from langchain_moa.cli.options import TextCommands

_CODES: Final = (
    "Exit codes: 0 done, 2 usage, a bad file, or --yes is missing, 3 rows are left unanswered or "
    "unscored, 130 Ctrl-C."
)
Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)

data_option = click.option(
    "--data",
    type=_PATH,
    metavar="DIR",
    help="A folder with files that are there already (or LANGCHAIN_MOA_DATA).",
)
_NUMBER: Final = "NUMBER"
limit_option = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar=_NUMBER,
    help="A sample of so many rows that keeps the categories' shares; a larger one holds it.",
)
concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    metavar=_NUMBER,
    help="Rows at the same time.",
)
estimate_option = click.option(
    "--estimate", "only_estimate", is_flag=True, help="Estimate calls, tokens and cost, and end."
)
lengths_option = click.option(
    "--lc-baselines",
    type=_PATH,
    metavar="FILE",
    help="Control AlpacaEval's length with another file than the official df_gamed.csv.",
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Begin without asking.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def _asks_nobody(command: Command) -> Command:
    """Give a command the options that all commands have, and that change nothing here."""

    @wraps(command)
    def run(*args: object, concurrency: int, only_estimate: bool, yes: bool, **given: Any) -> int:
        del concurrency, yes
        if only_estimate:
            from langchain_moa.cli.evals.show import nothing_asked  # noqa: PLC0415 - imports much

            return nothing_asked(as_json=given["as_json"])
        return int(command(*args, **given))

    return cast("Command", concurrency_option(estimate_option(yes_option(run))))


@click.group("eval", cls=TextCommands, epilog=_CODES)
def evals() -> None:
    """Compare mixtures: AlpacaEval 2, MT-Bench, FLASK, or your own prompts."""


@evals.command(epilog=_CODES)
@data_option
@json_option
def suites(**given: Any) -> int:
    """List the suites: rows, calls, licence, and where their files are."""
    from langchain_moa.cli.evals import listing  # noqa: PLC0415 - beside the others

    return listing.suites(**given)


@evals.command(epilog=_CODES)
@click.argument("names", nargs=-1, metavar="SUITE...")
@data_option
@json_option
def data(names: tuple[str, ...], *, data: Path | None, as_json: bool) -> int:
    """Fetch the files of SUITE, or of all suites, and verify them.

    With --data nothing is fetched: the files of that folder are verified.
    """
    from langchain_moa.cli.evals import listing  # noqa: PLC0415 - needs an extra

    return listing.data(names, data, as_json=as_json)


@evals.command(epilog=_CODES)
@click.argument("suite")
@click.argument("files", nargs=-1, required=True, type=_PATH, metavar="FILE...")
@data_option
@lengths_option
@click.option("--lc-any-size", is_flag=True, help="Control the length below 805 rows, too.")
@limit_option
@_asks_nobody
@json_option
def score(suite: str, files: tuple[Path, ...], **given: Any) -> int:
    """Score FILE, judgments as upstream's tools or `eval judge` write them.

    It asks nobody anything, and fetches nothing for a part of a suite. The exit code is 3 where a
    judged row of FILE has no score; rows that FILE lacks, or repeats, are told and leave it at 0.
    """
    from langchain_moa.cli.evals import score as scoring  # noqa: PLC0415 - needs an extra

    return scoring.run(suite, files, **given)


@evals.command(epilog=_CODES)
@click.argument("runs", nargs=-1, required=True, type=_PATH, metavar="RUN...")
@click.option("--out", type=_PATH, required=True, metavar="DIR", help="Where to write it.")
@data_option
@lengths_option
@click.option("--no-plots", is_flag=True, help="Tables alone.")
@limit_option
@_asks_nobody
@json_option
def report(runs: tuple[Path, ...], **given: Any) -> int:
    """Write a report of the folders RUN: Markdown, JSON, CSV and pictures."""
    from langchain_moa.cli.evals import report as reporting  # noqa: PLC0415 - needs an extra

    return reporting.run(runs, **given)
