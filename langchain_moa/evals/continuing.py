"""What `run.json` tells of a run that begins, or goes on with what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.answering import asked_of
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.manifest import MANIFEST, read_manifest, versions
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.records import now
from langchain_moa.evals.suites.custom import NO_FILE
from langchain_moa.evals.types import JSON, Run, RunJudge, RunModel
from langchain_moa.types import AnyDict, AnyMapping


def begun(plan: Plan) -> Run:
    """The manifest of a run that begins, or goes on.

    Raises:
        MoAConfigurationError: The folder holds a run of another suite.
    """
    started = now()
    try:
        earlier = read_manifest(plan.folder)
    except DataFileError:
        earlier = None
    if earlier is not None:
        if not _of_the_same(earlier, plan):
            msg = (
                f"{plan.folder / MANIFEST}: the folder holds a run of {earlier['source']!r}, not "
                f"of {plan.suite.source!r}; give another folder."
            )
            raise MoAConfigurationError(msg)
        started = earlier["started"]
    asked = _asked(plan)
    kept = earlier if earlier is not None and _alike(asked, earlier.get("asked", {})) else None
    models: list[RunModel] = [who.described() for who in plan.contestants]
    models = models or _given_models(plan, kept)
    if kept is not None:  # its other models stay beside these
        others = [model for model in kept["models"] if model["name"] not in asked]
        rows = {row["id"] for row in plan.rows}
        models += others
        asked |= {model["name"]: _of_rows(kept, model["name"], rows) for model in others}
    judge = _judge(plan)
    judges, judged = _judges(judge, kept)
    return {
        "suite": plan.suite.name,
        "source": _source(plan, earlier),
        "rows": len(plan.rows),
        "limit": plan.limit,
        "models": models,
        "judge": judge if plan.judge else None,
        "metric": plan.judging.name or None if plan.judging else None,
        "versions": {**versions(), **plan.suite.pins},
        "started": started,
        "finished": None,
        "asked": asked,
        "judged": judged,
        "judges": judges,
    }


def _of_the_same(earlier: Run, plan: Plan) -> bool:
    """Whether a folder's run is of the same rows; records from Python may name no file."""
    sources = (earlier["source"], plan.suite.source)
    return earlier["suite"] == plan.suite.name and (len({*sources}) == 1 or NO_FILE in sources)


def _source(plan: Plan, earlier: Run | None) -> str:
    known = earlier["source"] if earlier is not None else NO_FILE
    return known if plan.suite.source == NO_FILE else plan.suite.source


def _given_models(plan: Plan, kept: Run | None) -> list[RunModel]:
    """Whose answers are given; of those that a run in this folder asked, its description."""
    known = {model["name"]: model for model in kept["models"]} if kept is not None else {}
    return [
        known.get(name, {"name": name, "role": "model", "settings": {}}) for name in plan.models
    ]


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
    if not any(_same_judge(each, judge) for each in judges):
        judged = {name: found for name, found in judged.items() if name != judge["name"]}
    # each keeps its place: the first one's files have the plain names
    by_name = {each["name"]: each for each in judges} | {judge["name"]: judge}
    return list(by_name.values()), judged


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
