"""How `eval run` and `eval judge` carry out a plan: estimate, question, work, end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from langchain_moa.accounting.prices import Prices
from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.evals.show import Progress, agreed, ended, shown
from langchain_moa.cli.exits import say
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.contestants import named_members
from langchain_moa.evals.judges.alpaca_eval import Method
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import judging_of
from langchain_moa.evals.plans import Outcome, Plan
from langchain_moa.evals.running import Listeners, estimated
from langchain_moa.evals.running import run as run_plan
from langchain_moa.evals.scoring import score_files
from langchain_moa.evals.suites import Suite
from langchain_moa.evals.types import Row
from langchain_moa.evals.uploading import check_key, upload
from langchain_moa.evals.work import Stop


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """The options that both commands have, as they were given."""

    judge: str | None
    judge_base_url: str | None
    judge_api_key_env: str | None
    judge_method: Method
    samples: int
    pairwise: bool
    metric: str | None
    data: Path | None
    limit: int | None
    concurrency: int
    retry_failed: bool
    only_estimate: bool
    yes: bool
    engine: str
    langsmith: str | None
    as_json: bool

    def judging(self, suite: Suite, first: str, rows: list[Row]) -> Judging | None:
        """How answers are judged; `None` where they are not.

        Args:
            suite: The suite.
            first: The model that pairs are made with.
            rows: The rows that are judged.

        Raises:
            MoAConfigurationError: The suite is not judged in this way.
        """
        if self.judge is None and self.metric is None:
            return None
        return judging_of(
            suite,
            first,
            data=self.data,
            pairwise=self.pairwise,
            metric=self.metric,
            method=self.judge_method,
            samples=self.samples,
            rows=rows,
            tell=say,
        )

    def judge_model(
        self,
        like: MoAChatModel | None = None,
        addresses: Mapping[str, str] | None = None,
        prices: Prices | Literal[True] | None = None,
    ) -> Judge | None:
        """Who judges.

        Args:
            like: The mixture whose keys and prices the judge has.
            addresses: What stands in hashes for addresses that are others in each run.
            prices: What its tokens cost.

        Raises:
            MoAConfigurationError: The model is unknown, or its key is missing.
        """
        if self.judge is None:
            return None
        key = None
        if self.judge_api_key_env is not None:
            key = os.environ.get(self.judge_api_key_env, "").strip()
            if not key:
                msg = f"--judge-api-key-env: the variable {self.judge_api_key_env} is empty."
                raise MoAConfigurationError(msg)
        try:
            judge = Judge(
                self.judge, base_url=self.judge_base_url, api_key=key, prices=prices, like=like
            )
        except MoAConfigurationError as error:
            # a judge is built as a mixture's member, which its user knows nothing of
            msg = str(error).replace("reference_models[0]", "judge")
            if like is not None:
                own = ", ".join(named_members(like))
                msg += f" A member of the mixture judges under its own name: {own}."
            raise MoAConfigurationError(msg) from None
        judge.known_as(addresses or {})
        return judge


def carried_out(plan: Plan, options: CommonOptions) -> int:
    """Estimate, ask, carry out, and tell how it ended.

    Returns:
        The exit code.

    Raises:
        MoAConfigurationError: The set-up is wrong.
        MoAError: The upload to LangSmith failed; the run is recorded.
    """
    found = estimated(plan)
    code = agreed(
        found,
        only_estimate=options.only_estimate,
        yes=options.yes,
        as_json=options.as_json,
    )
    if code is not None:
        return code
    if options.langsmith is not None:
        check_key()
    for name in plan.judged_by_themselves:
        say(
            f"warning: {name} is judged by itself; judges are known to prefer their own answers. "
            "Take another judge, or do not rank by this one."
        )
    outcome = _run(plan, found["judgments"])
    if options.langsmith is not None:
        for name in upload(options.langsmith, plan.rows, outcome.answers, outcome.judgments):
            say(f"uploaded to LangSmith: {name}")
    scores = _scores(plan, outcome, options.data)
    return ended(plan, outcome, scores, data=options.data, as_json=options.as_json)


def _run(plan: Plan, judgments: int) -> Outcome:
    progress = Progress(plan, judgments)
    stop = Stop(on_interrupt=lambda: say("finishing what is under way; Ctrl-C again leaves it."))
    listeners = Listeners(progress.on_answer, progress.on_judgment, stop)
    try:
        with shown(progress):
            return asyncio.run(run_plan(plan, listeners))
    except KeyboardInterrupt:
        say(f"stopped; what came is recorded in {plan.folder}, and the same command goes on.")
        raise


def _scores(plan: Plan, outcome: Outcome, data: Path | None) -> list[object]:
    """What upstream's files of the run come to."""
    if not outcome.judged or plan.suite.name == "custom":
        return []
    return list(score_files(plan.suite.name, outcome.judged, data=data)["results"])
