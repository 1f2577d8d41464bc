"""`langchain-moa eval run`: rows answered, and the answers judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from langchain_moa.cli.evals.carrying import CommonOptions, carried_out
from langchain_moa.cli.exits import say
from langchain_moa.cli.mixture import mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.evals.answering import suite_settings
from langchain_moa.evals.contestants import Contestant, alone, contestants, known_as
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.running import overriding
from langchain_moa.evals.suites import Suite, get_suite, sample


@dataclass(frozen=True, kw_only=True)
class RunOptions(CommonOptions):
    """The options of `eval run` beside the mixture's, as they were given."""

    single: str | None
    name: str | None
    against: Sequence[str]
    out: Path | None


def run(options: MixtureOptions, suite: str, **given: Any) -> int:
    """Answer a suite and have the answers judged.

    Args:
        options: Which mixture answers.
        suite: The suite's name, or a file's path.
        **given: The other options: `RunOptions`.

    Raises:
        click.UsageError: Options contradict one another.
        MoAConfigurationError: The set-up is wrong: a key, a model's name, a file, the folder.
    """
    chosen = RunOptions(**given)
    if chosen.judge is not None and chosen.metric is not None:
        msg = "--judge and --metric contradict each other; give one of them."
        raise click.UsageError(msg)
    _check_engine(chosen, options)
    found = get_suite(suite)
    rows = sample(found.rows(chosen.data, tell=say), chosen.limit)
    _check_pairs(chosen, found)
    addresses: dict[str, str] = {}
    with _who(options, chosen, addresses) as who:
        plan = Plan(
            suite=found,
            rows=rows,
            folder=chosen.out or Path("runs") / Path(found.source).stem,
            contestants=who,
            judging=chosen.judging(found, who[0].name, rows),
            judge=chosen.judge_model(who[0].model, addresses),
            settings=overriding(suite_settings, options.temperature, options.max_tokens),
            limit=chosen.limit,
            concurrency=chosen.concurrency,
            retry_failed=chosen.retry_failed,
            engine=chosen.engine,
        )
        return carried_out(plan, chosen)


def _check_engine(chosen: RunOptions, options: MixtureOptions) -> None:
    """Refuse models that the workers cannot ask."""
    if chosen.engine != "local" and (options.demo or options.serves):
        msg = (
            f"--engine {chosen.engine}: the models of --demo, --local and --gguf answer this "
            "process alone; give --base-url of a server that the workers can reach."
        )
        raise click.UsageError(msg)


def _check_pairs(chosen: RunOptions, suite: Suite) -> None:
    """Refuse comparisons with nobody, before a model is built."""
    own = suite.name == "custom"
    paired = chosen.judge is not None and (chosen.pairwise or own)
    if paired and not chosen.against:
        msg = "there is nothing to compare with; give --against members, say."
        if own:
            msg += " Or --metric, with a reference in each row."
        raise click.UsageError(msg)


@contextmanager
def _who(
    options: MixtureOptions, chosen: RunOptions, addresses: dict[str, str]
) -> Iterator[list[Contestant]]:
    """Who answers, the one first that the run is about.

    Args:
        options: Which mixture answers.
        chosen: The other options.
        addresses: Gets what stands in hashes for the address of each server that is started here.
    """
    named = options.config or options.preset or options.settings.get("base_url") or options.serves
    if chosen.single is not None and not named:
        yield contestants(alone(chosen.single, chosen.name or ""), chosen.against)
        return
    with mixture_for(options, asks=not chosen.only_estimate, addresses=addresses) as llm:
        if chosen.single is None:
            found = contestants(llm, chosen.against, name=chosen.name or _named(options))
        else:
            first = alone(chosen.single, chosen.name or "", like=llm)
            found = contestants(first, chosen.against)
        yield [known_as(who, addresses) for who in found]


def _named(options: MixtureOptions) -> str:
    """What reports call the mixture."""
    if options.config is not None:
        return options.config.stem
    return options.preset if options.preset not in (None, "default") else "moa"
