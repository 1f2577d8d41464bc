"""A whole run: answers, judgments, and what the folder tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from langchain_moa.evals.answering import Answering, OnAnswer, SettingsOf
from langchain_moa.evals.continuing import begun
from langchain_moa.evals.estimates import Estimate, estimate, stand_ins
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judging import JudgingRun, OnJudgment
from langchain_moa.evals.manifest import write_manifest
from langchain_moa.evals.plans import Outcome, Plan
from langchain_moa.evals.ray_engine import RayEngine
from langchain_moa.evals.records import (
    ANSWERS,
    JUDGMENTS,
    RecordFile,
    RunFolder,
    answer_key,
    answer_subject,
    judgment_key,
    judgment_subject,
    now,
    read_whole_records,
)
from langchain_moa.evals.types import Answer, GenerationSettings, Judgment, Row, Run
from langchain_moa.evals.upstream import JudgeFiles, prompts_of, write_answers, write_judgments
from langchain_moa.evals.work import Stop


def overriding(
    settings: SettingsOf, temperature: float | None, max_tokens: int | None
) -> SettingsOf:
    """A suite's settings, but for those that a user gives.

    Example:
        >>> changed = overriding(lambda row: {"temperature": 0.7, "max_tokens": 1024}, None, 64)
        >>> changed({})
        {'temperature': 0.7, 'max_tokens': 64}
    """

    def settings_of(row: Row) -> GenerationSettings | None:
        own = settings(row)
        if own is None:
            return None  # the models have the user's already
        return {
            "temperature": own["temperature"] if temperature is None else temperature,
            "max_tokens": own["max_tokens"] if max_tokens is None else max_tokens,
        }

    return settings_of


def estimated(plan: Plan) -> Estimate:
    """What a run would take now, what is recorded left out. Nothing is written.

    Raises:
        DataFileError: The folder's records are broken.
    """
    answers = RecordFile[Answer](None, answer_key, answer_subject)
    judgments = RecordFile[Judgment](None, judgment_key, judgment_subject)
    for answer in _recorded(plan.folder / ANSWERS):
        answers.append(answer)
    for judgment in _recorded(plan.folder / JUDGMENTS):
        judgments.append(judgment)
    answering = _answering(plan, answers)
    asked = list(answering.missing())
    if plan.judging is None:
        return estimate(asked)
    known = [*plan.given, *answering.known(), *stand_ins(asked)]
    run = _judging(plan, plan.judging, known, judgments)
    run.learn()
    return estimate(
        asked,
        run.missing() if plan.judge else (),
        judge=plan.judge.name if plan.judge else None,
        judge_prices=plan.judge.asked.known_prices if plan.judge else None,
        effort=plan.judging.effort,
        judgments=len(run.questions),
    )


def _recorded(path: Path) -> list[Any]:
    return read_whole_records(path) if path.is_file() else []


def _answering(
    plan: Plan, records: RecordFile[Answer], on_answer: OnAnswer | None = None
) -> Answering:
    return Answering(
        plan.rows,
        plan.contestants,
        records,
        plan.settings,
        retry_failed=plan.retry_failed,
        on_answer=on_answer,
    )


def _judging(
    plan: Plan,
    judging: Judging,
    answers: Sequence[Answer],
    records: RecordFile[Judgment],
    on_judgment: OnJudgment | None = None,
) -> JudgingRun:
    return JudgingRun(
        judging,
        plan.judge,
        plan.rows,
        answers,
        records,
        retry_failed=plan.retry_failed,
        on_judgment=on_judgment,
    )


class Listeners(NamedTuple):
    """Who is told of a run in progress, and who may end it early.

    Attributes:
        on_answer: Is told of each answer, and whether it was recorded before.
        on_judgment: Likewise, of each judgment.
        stop: Ends the run early.
    """

    on_answer: OnAnswer | None = None
    on_judgment: OnJudgment | None = None
    stop: Stop | None = None


async def run(plan: Plan, listeners: Listeners | None = None) -> Outcome:
    """Carry out a plan; what the folder holds already is not asked for again.

    Args:
        plan: The plan.
        listeners: Who is told of it.

    Raises:
        MoAConfigurationError: The set-up is wrong: a key, a model's name, the folder, or another
            run is writing there.
        DataFileError: A record can't be written.
        KeyboardInterrupt: Ctrl-C was pressed; what was under way has been recorded.
    """
    with RunFolder(plan.folder) as folder:
        manifest = begun(plan)
        write_manifest(plan.folder, manifest)
        found = Outcome()
        told = listeners or Listeners()
        with _engine(plan) as engine:
            await _answered(plan, folder, found, told, engine=engine)
            await _judged(plan, folder, found, told, manifest, engine=engine)
        write_manifest(plan.folder, {**manifest, "finished": now()})
        return found


@contextmanager
def _engine(plan: Plan) -> Iterator[RayEngine | None]:
    """Who asks in the place of this process."""
    if plan.engine == "local":
        yield None
        return
    engine = RayEngine(plan.contestants, plan.judging, plan.judge, concurrency=plan.concurrency)
    with closing(engine):
        yield engine


async def _answered(
    plan: Plan, folder: RunFolder, found: Outcome, told: Listeners, *, engine: RayEngine | None
) -> None:
    records = folder.answers()
    for given in plan.given:
        records.use(records.get(answer_key(given)) or given)
    answering = _answering(plan, records, told.on_answer)
    try:
        await answering.run(concurrency=plan.concurrency, stop=told.stop, engine=engine)
    finally:
        found.answers = [*plan.given, *answering.answers]
        if plan.contestants:
            found.files += write_answers(plan.folder, plan.rows, found.answers)


async def _judged(
    plan: Plan,
    folder: RunFolder,
    found: Outcome,
    told: Listeners,
    manifest: Run,
    *,
    engine: RayEngine | None,
) -> None:
    if plan.judging is None:
        return
    elsewhere = engine if plan.judge is not None else None  # a metric asks nobody
    run = _judging(plan, plan.judging, found.answers, folder.judgments(), told.on_judgment)
    manifest["judged"] = {**manifest.get("judged", {}), run.judge_name: _together(manifest, run)}
    write_manifest(plan.folder, manifest)
    try:
        await run.run(concurrency=plan.concurrency, stop=told.stop, engine=elsewhere)
    finally:
        found.judgments = run.judgments
        judges = [judge["name"] for judge in manifest.get("judges", ())]
        found.judged = write_judgments(
            JudgeFiles(plan.folder, judges),
            plan.rows,
            found.answers,
            found.judgments,
            prompts_of(run.questions),
        )
        found.files += found.judged


def _together(manifest: Run, run: JudgingRun) -> list[str]:
    """The settings of a judge's judgments that count: those of earlier runs, and this one's."""
    before = manifest.get("judged", {}).get(run.judge_name, [])
    return list(dict.fromkeys([*before, *run.settings]))
