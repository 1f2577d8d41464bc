"""A whole run: answers, judgments, and what the folder tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.answering import (
    CONCURRENCY,
    Answering,
    OnAnswer,
    SettingsOf,
    asked_of,
    suite_settings,
)
from langchain_moa.evals.contestants import Contestant
from langchain_moa.evals.estimates import Estimate, estimate, stand_ins
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge, judges_itself
from langchain_moa.evals.judging import JudgingRun, OnJudgment
from langchain_moa.evals.manifest import MANIFEST, read_manifest, versions, write_manifest
from langchain_moa.evals.ray_engine import RayEngine
from langchain_moa.evals.reading import DataFileError
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
from langchain_moa.evals.suites import Suite
from langchain_moa.evals.types import (
    JSON,
    Answer,
    GenerationSettings,
    Judgment,
    Row,
    Run,
    RunJudge,
    RunModel,
)
from langchain_moa.evals.upstream import prompts_of, write_answers, write_judgments
from langchain_moa.evals.work import Stop
from langchain_moa.types import AnyDict, AnyMapping


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does.

    Attributes:
        suite: The suite.
        rows: Those of its rows that are answered.
        folder: Where the run is recorded.
        contestants: Who answers; the first one is what the run is about. Empty where the answers
            are given.
        given: Answers that are there already, from a file.
        judging: How answers are judged; `None` leaves them unjudged.
        judge: Who judges; `None` for a metric.
        settings: Gives a row's temperature and limit of tokens.
        limit: How many of the suite's rows were wanted; `None` for all.
        concurrency: How many rows at a time.
        retry_failed: Whether what failed before is asked again.
        engine: Who asks: `local`, this process, or `ray`, the workers of a Ray cluster.
    """

    suite: Suite
    rows: Sequence[Row]
    folder: Path
    contestants: Sequence[Contestant] = ()
    given: Sequence[Answer] = ()
    judging: Judging | None = None
    judge: Judge | None = None
    settings: SettingsOf = suite_settings
    limit: int | None = None
    concurrency: int = CONCURRENCY
    retry_failed: bool = False
    engine: str = "local"

    @property
    def models(self) -> list[str]:
        """Who answers, by name."""
        named = [who.name for who in self.contestants]
        return named or list(dict.fromkeys(answer["model"] for answer in self.given))

    @property
    def judged_by_themselves(self) -> list[str]:
        """The models that are the judge's own, members of a mixture included."""
        if self.judge is None:
            return []
        names = [*self.models]
        for who in self.contestants:
            names += [str(name) for name in who.member_names]
        return list(dict.fromkeys(judges_itself(self.judge, names)))


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        answers: The answers, those that failed with their `error`.
        judgments: The judgments; those that could not be had or read have no `read`.
        files: Upstream's files that were written.
    """

    answers: list[Answer] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Answers that failed."""
        return sum(answer["output"] is None for answer in self.answers)

    @property
    def unscored(self) -> int:
        """Judgments that could not be had or read."""
        return sum(judgment["read"] is None for judgment in self.judgments)


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
    return estimate(
        asked,
        run.missing() if plan.judge else (),
        judge=plan.judge.name if plan.judge else None,
        judge_prices=plan.judge.asked.prices if plan.judge else None,
        judge_tokens=plan.judging.output_tokens,
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
        manifest = _begun(plan)
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
        prompts = prompts_of(run.questions)
        found.files += write_judgments(
            plan.folder, plan.rows, found.answers, found.judgments, prompts
        )


def _together(manifest: Run, run: JudgingRun) -> list[str]:
    """The settings of a judge's judgments that count: those of earlier runs, and this one's."""
    before = manifest.get("judged", {}).get(run.judge_name, [])
    return list(dict.fromkeys([*before, *run.settings]))


def _begun(plan: Plan) -> Run:
    """The manifest of a run that begins, or goes on."""
    started = now()
    try:
        earlier = read_manifest(plan.folder)
    except DataFileError:
        earlier = None
    if earlier is not None:
        if (earlier["suite"], earlier["source"]) != (plan.suite.name, plan.suite.source):
            msg = (
                f"{plan.folder / MANIFEST}: the folder holds a run of {earlier['source']!r}, not "
                f"of {plan.suite.source!r}; give another folder."
            )
            raise MoAConfigurationError(msg)
        started = earlier["started"]
    asked = _asked(plan)
    kept = earlier if earlier is not None and _alike(asked, earlier.get("asked", {})) else None
    models: list[RunModel] = [who.described() for who in plan.contestants]
    models = models or [{"name": name, "role": "model", "settings": {}} for name in plan.models]
    if kept is not None:  # its other models stay beside these
        others = [model for model in kept["models"] if model["name"] not in asked]
        rows = {row["id"] for row in plan.rows}
        models += others
        asked |= {model["name"]: _of_rows(kept, model["name"], rows) for model in others}
    judge = _judge(plan)
    judges, judged = _judges(judge, kept)
    return {
        "suite": plan.suite.name,
        "source": plan.suite.source,
        "rows": len(plan.rows),
        "limit": plan.limit,
        "models": models,
        "judge": judge if plan.judge else None,
        "metric": plan.judging.name or None if plan.judging else None,
        "versions": versions(),
        "started": started,
        "finished": None,
        "asked": asked,
        "judged": judged,
        "judges": judges,
    }


def _asked(plan: Plan) -> dict[str, dict[str, str]]:
    """By model and row, the settings of the first answer; those of later turns hang on it."""
    asked: dict[str, dict[str, str]] = {name: {} for name in plan.models}
    for answer in plan.given:
        asked[answer["model"]].setdefault(answer["row"], answer["settings"])
    for who in plan.contestants:
        for row in plan.rows:
            first = asked_of(row, who, [], plan.settings(row))
            asked[who.name][row["id"]] = first.settings
    return asked


def _of_rows(run: Run, model: str, rows: set[str]) -> dict[str, str]:
    """What a model was asked in an earlier run, of the rows of this one."""
    found = run.get("asked", {}).get(model, {})
    return {row: settings for row, settings in found.items() if row in rows}


def _alike(
    asked: Mapping[str, Mapping[str, str]], earlier: Mapping[str, Mapping[str, str]]
) -> bool:
    """Whether two runs have something in common, and asked all of that with the same settings."""
    both = [
        settings == earlier[model][row]
        for model, rows in asked.items()
        for row, settings in rows.items()
        if row in earlier.get(model, {})
    ]
    return bool(both) and all(both)


def _judge(plan: Plan) -> RunJudge | None:
    """Who judges, or the metric, as the manifest tells of it."""
    if plan.judging is None:
        return None
    if plan.judge is None:
        return {"name": plan.judging.name, "prompt": "", "settings": {}}
    return {
        "name": plan.judge.name,
        "prompt": plan.judging.prompt,
        "settings": _judge_settings(plan, plan.judge, plan.judging),
    }


def _judges(
    judge: RunJudge | None, earlier: Run | None
) -> tuple[list[RunJudge], dict[str, list[str]]]:
    """All judges of a folder, and the settings of their judgments that still count."""
    if earlier is None:
        return [judge] if judge else [], {}
    judges, judged = earlier.get("judges", []), earlier.get("judged", {})
    if judge is None:
        return judges, judged
    others = [each for each in judges if each["name"] != judge["name"]]
    if not any(_same_judge(each, judge) for each in judges):
        judged = {name: found for name, found in judged.items() if name != judge["name"]}
    return [*others, judge], judged


def _same_judge(one: RunJudge, other: RunJudge) -> bool:
    def described(judge: RunJudge) -> AnyDict:
        # which models are the judge's own is no setting of it
        settings = {k: v for k, v in judge["settings"].items() if k != "judges_itself"}
        return {**judge, "settings": settings}

    return described(one) == described(other)


def _judge_settings(plan: Plan, judge: Judge, judging: Judging) -> dict[str, JSON]:
    settings: dict[str, JSON] = {**judge.described(), **_plain(judging.arguments)}
    own = plan.judged_by_themselves
    return settings | ({"judges_itself": [*own]} if own else {})


def _plain(values: AnyMapping) -> dict[str, JSON]:
    return dict(values)
