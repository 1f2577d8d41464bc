"""`langchain-moa eval run` and `eval judge`: the options; their work is imported when they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import click

from langchain_moa.cli.evals.app import (
    Command,
    concurrency_option,
    data_option,
    estimate_option,
    evals,
    json_option,
    limit_option,
    yes_option,
)
from langchain_moa.cli.options import MixtureOptions, mixture_command, prices_option

_CODES: Final = (
    "Without a terminal nothing is asked: give --yes, or the estimate is printed and the exit code "
    "is 2. Exit codes: 0 done, 2 usage, a bad file, or --yes is missing, 3 rows are left "
    "unanswered or unscored, 130 Ctrl-C."
)
_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_NUMBER: Final = "NUMBER"

__all__ = ["evals", "judge", "run"]


def _split(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


_JUDGE: Final = (
    click.option("--judge", metavar="MODEL", help="Who judges: a model as members are named."),
    click.option(
        "--judge-base-url",
        metavar="URL",
        help="An endpoint of the judge that speaks OpenAI's chat completions.",
    ),
    click.option(
        "--judge-api-key-env",
        metavar="NAME",
        help="The variable with its key, in place of TOGETHER_API_KEY.",
    ),
    click.option(
        "--judge-method",
        type=click.Choice(["auto", "logprobs", "samples", "verdict"]),
        default="auto",
        show_default=True,
        help="AlpacaEval: how a preference is got.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        metavar=_NUMBER,
        help="AlpacaEval: answers of a judge without log-probabilities.",
    ),
    click.option(
        "--pairwise", is_flag=True, help="MT-Bench: compare in both orders in place of rating."
    ),
    click.option(
        "--metric",
        metavar="NAME",
        help="Own prompts: exact, contains, regex or MODULE:FUNCTION in place of a judge.",
    ),
)
_COMMON: Final = (
    data_option,
    limit_option,
    concurrency_option,
    click.option("--retry-failed", is_flag=True, help="Ask again what failed before."),
    estimate_option,
    yes_option,
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Ask from this process, or from Ray's workers (extra ray).",
    ),
    click.option(
        "--langsmith",
        metavar="PROJECT",
        help="Upload dataset and experiment to LangSmith at the end.",
    ),
    json_option,
)


def _with(*options: Callable[[Any], object]) -> Callable[[Command], Command]:
    """Give a command options, in this order."""

    def decorate(command: Command) -> Command:
        decorated: object = command
        for option in reversed(options):
            decorated = option(decorated)
        return cast("Command", decorated)

    return decorate


# --judge is the evaluation's; the mixture's is in --config
@mixture_command(evals, without=["judge"], epilog=_CODES)
@click.argument("suite")
@_with(
    click.option(
        "--single", metavar="MODEL", help="Evaluate this one model in place of a mixture."
    ),
    click.option("--name", metavar="NAME", help="What reports call it."),
    click.option(
        "--against",
        multiple=True,
        callback=_split,
        metavar="WHO,...",
        help="Compare with: members, self-moa, or other models.",
    ),
    *_JUDGE,
    click.option("--out", type=_FOLDER, metavar="DIR", help="The run's folder. [runs/SUITE]"),
    *_COMMON,
)
def run(options: MixtureOptions, suite: str, **given: object) -> int:
    """Answer SUITE and have the answers judged.

    SUITE is alpaca_eval, mt_bench, flask, flask_hard, or a JSONL file with a field "input" and,
    if wanted, "id", "category" and "reference". The same command again goes on where it ended.
    """
    from langchain_moa.cli.evals.run import run as carry_out  # noqa: PLC0415 - imports LangChain

    return carry_out(options, suite, **given)


@evals.command(epilog=_CODES)
@click.argument("suite")
@_with(
    click.option(
        "--answers",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        required=True,
        metavar="FILE",
        help="Answers as upstream's tools write them; repeatable.",
    ),
    *_JUDGE,
    prices_option,
    click.option("--out", type=_FOLDER, required=True, metavar="DIR", help="The run's folder."),
    *_COMMON,
)
def judge(suite: str, **given: object) -> int:
    """Have answers judged that are there already; the models are not asked again."""
    from langchain_moa.cli.evals.judge import run as carry_out  # noqa: PLC0415 - imports LangChain

    return carry_out(suite, **given)
