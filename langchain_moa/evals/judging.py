"""Answers to judgments: each is recorded the moment it is there, and never asked for again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from langchain_moa.errors import MoAConfigurationError, without_variables
from langchain_moa.evals.answering import CONCURRENCY
from langchain_moa.evals.judges.alpaca_eval import SAMPLES, AlpacaEvalJudging, Method
from langchain_moa.evals.judges.base import Answers, Judging, Question, Result
from langchain_moa.evals.judges.flask import SkillJudging
from langchain_moa.evals.judges.metrics import MetricJudging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judges.mt_bench import PairJudging, RatingJudging
from langchain_moa.evals.judges.pairwise import PairwiseJudging
from langchain_moa.evals.records import RecordFile, now
from langchain_moa.evals.suites import Flask, Suite, get_suite
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.evals.work import Stop, work_through

_NEW: Final = False
"""Told of a judgment that was not recorded before."""

OnJudgment: TypeAlias = Callable[[Judgment, bool], None]
"""Is told of each judgment, and whether it was recorded before."""


@without_variables
def judging_of(
    suite: Suite | str,
    first: str = "",
    *,
    data: str | Path | None = None,
    pairwise: bool = False,
    metric: str | None = None,
    method: Method = "auto",
    samples: int = SAMPLES,
    rows: Sequence[Row] = (),
    tell: Callable[[str], None] | None = None,
) -> Judging:
    """A suite's own way of judging.

    Args:
        suite: The suite, or its name, or the path of a file of prompts.
        first: The model that pairs are made with; by default the first one that answers.
        data: The folder with the suite's files.
        pairwise: MT-Bench: whether answers are compared with the first model's, not rated.
        metric: A user's own prompts: the metric that takes the judge's place.
        method: AlpacaEval: how preferences are got.
        samples: AlpacaEval: how often a judge without log-probabilities is asked.
        rows: The rows, which a metric is checked with.
        tell: Is given a line before a file is fetched.

    Raises:
        MoAConfigurationError: The suite is not judged in this way.
        DataFileError: A file of the suite is missing or broken, or lacks a metric's reference.

    Example:
        >>> from langchain_moa.evals import get_suite, judging_of
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> judging.name
        'metric:contains'
    """
    found = get_suite(suite) if isinstance(suite, str) else suite
    judging = _judging(
        found,
        first,
        data=data,
        pairwise=pairwise,
        metric=metric,
        method=method,
        samples=samples,
        rows=rows,
        tell=tell,
    )
    judging.made_with = {
        "suite": found.source,
        "first": first,
        "data": None if data is None else str(Path(data).absolute()),
        "pairwise": pairwise,
        "metric": metric,
        "method": method,
        "samples": samples,
    }
    return judging


def _judging(
    suite: Suite,
    first: str,
    *,
    data: str | Path | None,
    pairwise: bool,
    metric: str | None,
    method: Method,
    samples: int,
    rows: Sequence[Row],
    tell: Callable[[str], None] | None,
) -> Judging:
    if pairwise and suite.name != "mt_bench":
        msg = f"pairwise: {suite.name} is not judged so; leave it out."
        raise MoAConfigurationError(msg)
    if metric is not None:
        if suite.name != "custom":
            msg = f"metric={metric!r}: {suite.name} has a judge of its own; leave the metric out."
            raise MoAConfigurationError(msg)
        return MetricJudging(metric, rows, source=suite.source)
    prompts = suite.judge_prompts(data, tell=tell)
    if suite.name == "alpaca_eval":
        return AlpacaEvalJudging(prompts["alpaca_eval_clf"], method=method, samples=samples)
    if suite.name == "mt_bench":
        return PairJudging(prompts, first) if pairwise else RatingJudging(prompts)
    if isinstance(suite, Flask):
        return SkillJudging(prompts, suite.rubrics(data, tell=tell))
    return PairwiseJudging(first)


class JudgingEngine(Protocol):
    """Asks judges in the place of this process."""

    def judged(
        self, questions: Sequence[tuple[int, Question]]
    ) -> AsyncIterator[tuple[int, Result]]:
        """What came of questions, with their numbers, in the order in which it comes."""


class JudgingRun:
    """Judges answers, of which it asks about only what is not recorded.

    Args:
        judging: The way of judging.
        judge: Who judges; `None` for a metric.
        rows: The rows.
        answers: Their answers.
        records: The judgments that are there; new ones are added.
        retry_failed: Whether what failed or could not be read before is asked again.
        on_judgment: Is told of each judgment.
    """

    def __init__(
        self,
        judging: Judging,
        judge: Judge | None,
        rows: Sequence[Row],
        answers: Sequence[Answer],
        records: RecordFile[Judgment],
        *,
        retry_failed: bool = False,
        on_judgment: OnJudgment | None = None,
    ) -> None:
        self._judging = judging
        self._judge = judge
        self._records = records
        self._retry_failed = retry_failed
        self._tell = on_judgment or (lambda _, __: None)
        self._ask = _asker(judging, judge)
        self.judge_name = judge.name if judge else judging.name
        self._questions = list(judging.questions(rows, Answers(answers)))
        self._settings = [judging.settings(judge, question) for question in self._questions]
        self._judgments: dict[int, Judgment] = {}

    @property
    def judgments(self) -> list[Judgment]:
        """The judgments so far, in the order of the questions."""
        return [self._judgments[place] for place in sorted(self._judgments)]

    @property
    def questions(self) -> list[Question]:
        """All questions, those of which the judgment is recorded too."""
        return self._questions

    @property
    def settings(self) -> list[str]:
        """The `settings` of all judgments, those that are not there yet too."""
        return list(dict.fromkeys(self._settings))

    def learn(self) -> None:
        """Read the judge as the recorded judgments of these questions were read."""
        for place in range(len(self._questions)):
            known = self._known(place)
            if known is not None:
                self._judging.learn(known)

    def missing(self) -> Iterator[Question]:
        """What would be asked now."""
        for place, question in enumerate(self._questions):
            if question.known is None and self._known(place) is None:
                yield question

    async def run(
        self,
        *,
        concurrency: int = CONCURRENCY,
        stop: Stop | None = None,
        engine: JudgingEngine | None = None,
    ) -> None:
        """Ask what is missing.

        Args:
            concurrency: How many questions at the same time.
            stop: Ends it early.
            engine: Who asks, in the place of this process.

        Raises:
            MoAConfigurationError: The judge's set-up is wrong: its key, or its name.
            DataFileError: A judgment can't be recorded.
            KeyboardInterrupt: Ctrl-C was pressed; what was under way has been recorded.
        """
        self.learn()
        if engine is not None:
            await self._judged_elsewhere(engine)
        places = [n for n in range(len(self._questions)) if n not in self._judgments]
        await work_through(places, self._judged, concurrency=concurrency, stop=stop)

    async def _judged_elsewhere(self, engine: JudgingEngine) -> None:
        """Have all but the first question asked, which tells how this judge is to be read."""
        missing = [
            place
            for place, question in enumerate(self._questions)
            if question.known is None and self._known(place) is None
        ]
        await work_through(missing[:1], self._judged, concurrency=1)
        asked = [(place, self._questions[place]) for place in missing[1:]]
        async for place, result in engine.judged(asked):
            judgment = self._record(self._questions[place], self._settings[place], result)
            self._records.append(judgment)
            self._judgments[place] = judgment
            self._tell(judgment, _NEW)

    async def _judged(self, place: int) -> None:
        question, known = self._questions[place], self._known(place)
        if known is not None:
            self._records.use(known)
            judgment = known
        else:
            result = Result(question.known) if question.known else await self._ask(question)
            judgment = self._record(question, self._settings[place], result)
            self._records.append(judgment)
        self._judgments[place] = judgment
        self._tell(judgment, known is not None)

    def _known(self, place: int) -> Judgment | None:
        """The record of a judgment that need not be asked for."""
        question = self._questions[place]
        key = (
            question.row["suite"],
            question.row["id"],
            question.turn,
            question.model,
            question.baseline,
            question.swapped,
            self.judge_name,
            self._settings[place],
        )
        record = self._records.get(key)
        again = record is not None and record["read"] is None and self._retry_failed
        return None if again else record

    def _record(self, question: Question, settings: str, result: Result) -> Judgment:
        return {
            "suite": question.row["suite"],
            "row": question.row["id"],
            "turn": question.turn,
            "model": question.model,
            "baseline": question.baseline,
            "swapped": question.swapped,
            "judge": self.judge_name,
            "prompt": question.prompt,
            "settings": settings,
            **result.outcome,
            "error": result.error,
            **result.spent,
            "seconds": round(result.seconds, 6),
            "at": now(),
        }


def _asker(judging: Judging, judge: Judge | None) -> Callable[[Question], Awaitable[Result]]:
    """What is done about a question.

    Raises:
        MoAConfigurationError: There is no judge, and no metric in its place.
    """
    if isinstance(judging, MetricJudging):
        return judging.scored
    if judge is None:
        msg = "no judge; give a chat model, or the name of one."
        raise MoAConfigurationError(msg)
    return partial(judging.judged, judge)
