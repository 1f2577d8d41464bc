"""The two steps that ask somebody, as functions: rows to answers, and answers to judgments.

Example:
    >>> from langchain_moa.evals.contestants import alone
    >>> from langchain_moa.testing import ScriptedChatModel
    >>> row = {
    ...     "suite": "custom", "id": "1", "category": "", "follow_ups": [], "references": [],
    ...     "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    ... }
    >>> answers = answer([row], [alone(ScriptedChatModel.saying("4"), "four")])
    >>> [(a["model"], a["output"]) for a in answers]
    [('four', '4')]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_moa.errors import MoAConfigurationError, TellsOneLine, without_variables
from langchain_moa.evals.answering import (
    CONCURRENCY,
    Answering,
    OnAnswer,
    SettingsOf,
    suite_settings,
)
from langchain_moa.evals.contestants import contestant, with_different_names
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import JudgingRun, OnJudgment
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.records import (
    RecordFile,
    answer_key,
    answer_subject,
    judgment_key,
    judgment_subject,
)
from langchain_moa.evals.running import Listeners, run
from langchain_moa.evals.suites import Custom, Suite, get_suite
from langchain_moa.evals.suites.custom import NO_FILE
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.evals.work import run_blocking


@without_variables
def answer(
    rows: Sequence[Row],
    who: object,
    *,
    settings: SettingsOf | None = None,
    folder: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    retry_failed: bool = False,
    on_answer: OnAnswer | None = None,
) -> list[Answer]:
    """Have rows answered.

    Args:
        rows: The rows, as a suite gives them.
        who: A mixture, a chat model, a runnable that takes messages, or a list of such, or of what
            `contestants` gives. The second one of a name gets a number; `contestant(model, "name")`
            gives it another name.
        settings: Gives a row's temperature and limit of tokens; by default the suite's own.
        folder: A folder to record the run in, as `eval run` does: what it holds is not asked for
            again, and `write_report` reports it.
        concurrency: How many rows are answered at the same time.
        retry_failed: Whether what failed before is asked again.
        on_answer: Is told of each answer, and whether it was recorded before.

    Returns:
        The answers, those that failed with their `error`; row by row.

    Raises:
        MoAConfigurationError: The set-up is wrong: a key, a model's name, the folder.

    Example:
        >>> from langchain_moa.evals import get_suite
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> rows = get_suite([{"id": "sum", "input": "2 + 2?"}]).rows()
        >>> [record] = answer(rows, ScriptedChatModel.saying("4"))
        >>> record["row"], record["turn"], record["output"]
        ('sum', 1, '4')
    """
    return run_blocking(
        aanswer(
            rows,
            who,
            settings=settings,
            folder=folder,
            concurrency=concurrency,
            retry_failed=retry_failed,
            on_answer=on_answer,
        )
    )


async def aanswer(
    rows: Sequence[Row],
    who: object,
    *,
    settings: SettingsOf | None = None,
    folder: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    retry_failed: bool = False,
    on_answer: OnAnswer | None = None,
) -> list[Answer]:
    """The async twin of `answer`.

    Example:
        >>> import asyncio
        >>> from langchain_moa.evals import get_suite
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> rows = get_suite([{"id": "sum", "input": "2 + 2?"}]).rows()
        >>> [record] = asyncio.run(aanswer(rows, ScriptedChatModel.saying("4")))
        >>> record["output"]
        '4'
    """
    with TellsOneLine():
        given = who if isinstance(who, list | tuple) else [who]
        named = with_different_names([contestant(each) for each in given])
        if folder is not None and rows:
            plan = Plan(
                suite=_suite_of(rows),
                rows=rows,
                folder=_folder(folder),
                contestants=named,
                settings=settings or suite_settings,
                concurrency=concurrency,
                retry_failed=retry_failed,
            )
            return (await run(plan, Listeners(on_answer=on_answer))).answers
        records = RecordFile[Answer](None, answer_key, answer_subject)
        answering = Answering(
            rows,
            named,
            records,
            settings or suite_settings,
            retry_failed=retry_failed,
            on_answer=on_answer,
        )
        await answering.run(concurrency=concurrency)
        return answering.answers


@without_variables
def judge(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    judging: Judging,
    model: object = None,
    *,
    folder: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    retry_failed: bool = False,
    on_judgment: OnJudgment | None = None,
) -> list[Judgment]:
    """Have answers judged.

    Args:
        rows: The rows, as a suite gives them.
        answers: The answers, as `answer` gives them.
        judging: The way of judging, as `judging_of` gives it.
        model: Who judges: a `Judge`, a chat model, a runnable, or a member string; none for a
            metric.
        folder: A folder to record the run in, as `eval judge` does: what it holds is not asked for
            again, and `write_report` reports it. It may be the one of `answer`.
        concurrency: How many are asked for at the same time.
        retry_failed: Whether what failed or could not be read before is asked again.
        on_judgment: Is told of each judgment, and whether it was recorded before.

    Returns:
        The judgments; those that could not be had or read have no `read`.

    Raises:
        MoAConfigurationError: The set-up is wrong: a key, a model's name, the folder.

    Example:
        >>> from langchain_moa.evals import get_suite, judging_of
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> answers = answer(rows, ScriptedChatModel.saying("It is 4."))
        >>> [judgment] = judge(rows, answers, judging)
        >>> judgment["score"]
        1.0
    """
    return run_blocking(
        ajudge(
            rows,
            answers,
            judging,
            model,
            folder=folder,
            concurrency=concurrency,
            retry_failed=retry_failed,
            on_judgment=on_judgment,
        )
    )


async def ajudge(
    rows: Sequence[Row],
    answers: Sequence[Answer],
    judging: Judging,
    model: object = None,
    *,
    folder: str | Path | None = None,
    concurrency: int = CONCURRENCY,
    retry_failed: bool = False,
    on_judgment: OnJudgment | None = None,
) -> list[Judgment]:
    """The async twin of `judge`.

    Example:
        >>> import asyncio
        >>> from langchain_moa.evals import get_suite, judging_of
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> answers = answer(rows, ScriptedChatModel.saying("It is 5."))
        >>> [judgment] = asyncio.run(ajudge(rows, answers, judging))
        >>> judgment["score"]
        0.0
    """
    with TellsOneLine():
        who = model if model is None or isinstance(model, Judge) else Judge(model)
        if folder is not None and rows:
            plan = Plan(
                suite=_suite_of(rows, judging),
                rows=rows,
                folder=_folder(folder),
                given=answers,
                judging=judging,
                judge=who,
                concurrency=concurrency,
                retry_failed=retry_failed,
            )
            return (await run(plan, Listeners(on_judgment=on_judgment))).judgments
        records = RecordFile[Judgment](None, judgment_key, judgment_subject)
        judging_run = JudgingRun(
            judging,
            who,
            rows,
            answers,
            records,
            retry_failed=retry_failed,
            on_judgment=on_judgment,
        )
        await judging_run.run(concurrency=concurrency)
        return judging_run.judgments


def _folder(given: str | Path) -> Path:
    return Path(given).expanduser()


def _suite_of(rows: Sequence[Row], judging: Judging | None = None) -> Suite:
    """The suite that rows are of; a user's own prompts have the file that judging was made with.

    Raises:
        MoAConfigurationError: The rows are of several suites.
    """
    names = list(dict.fromkeys(row["suite"] for row in rows))
    if len(names) > 1:
        several = " and ".join(names)
        msg = f"rows are of {several}; give those of one suite, or leave out the folder."
        raise MoAConfigurationError(msg)
    if names[0] != "custom":
        return get_suite(names[0])
    source = judging.made_with.get("suite") if judging is not None else None
    return Custom(source=source if isinstance(source, str) else NO_FILE)
