"""What a run comes to: scores, the ceiling, comparisons, costs, and one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from langchain_moa.errors import without_variables
from langchain_moa.evals.comparison import (
    Ceiling,
    Comparison,
    Estimate,
    bootstrap,
    ceiling,
    compare,
    sentence,
)
from langchain_moa.evals.manifest import judge_of, read_manifest
from langchain_moa.evals.records import ANSWERS, JUDGMENTS, read_answers, read_judgments
from langchain_moa.evals.report.measures import (
    Measure,
    Scores,
    is_metric,
    is_pairwise,
    measure_of,
    others_scores,
    pair_scores,
    row_scores,
    suite_of,
)
from langchain_moa.evals.report.tallies import (
    Tally,
    judge_cost,
    length_differences,
    lengths_of,
    tally,
)
from langchain_moa.evals.suites import sample
from langchain_moa.evals.types import Answer, Judgment, Run, RunModel

_FEWEST_MEMBERS: Final = 2
"""Members that something can be selected among."""
_EVEN: Final = 50.0
"""A model's win rate against itself."""


@dataclass(frozen=True)
class ModelSummary:
    """One model of a run.

    Attributes:
        name: Its name.
        role: `mixture`, `member`, `self-moa`, or `model`.
        score: Mean over the rows that are scored, with its interval; for pairs, its win rate
            against the run's first model. `None` where nothing is scored.
        unscored: Rows that it answered and that have no score.
        tally: What its answers took.
    """

    name: str
    role: str
    score: Estimate | None
    unscored: int
    tally: Tally


@dataclass(frozen=True)
class Against:
    """The run's first model against another one.

    Attributes:
        other: The other's name.
        role: The other's role.
        best_member: Whether it is the member with the best mean.
        result: The comparison.
        sentence: It in words.
    """

    other: str
    role: str
    best_member: bool
    result: Comparison
    sentence: str


@dataclass(frozen=True)
class Summary:
    """What one judge's (or metric's) judgments of one run come to.

    Attributes:
        folder: The run's folder.
        run: What the folder tells of itself.
        judge: Who judged, or the metric's name; `None` where nobody did.
        metric: The metric's name; `None` where a model judged.
        prompt: Hash of the judge's prompt.
        measure: What is measured.
        pairwise: Whether models are compared in pairs.
        headline: One plain sentence.
        models: The run's models, the first one first.
        ceiling: What no selection among the members can pass; `None` below two members.
        comparisons: The first model against the others; the headline tells of the first one.
        judged: When the first and the last judgment were there.
        judge_usd: What judging cost; `None` where a judgment's price is not known.
        judge_usd_known: What those judgments cost whose price is known.
        judge_tokens: Tokens of the judge.
        failed_judgments: Judgments that failed or could not be read.
        how_read: How many judgments were read in which way.
        judges_itself: Models that are also the judge's.
    """

    folder: str
    run: Run
    judge: str | None
    metric: str | None
    prompt: str
    measure: Measure
    pairwise: bool
    headline: str
    models: list[ModelSummary]
    ceiling: Ceiling | None
    comparisons: list[Against]
    judged: tuple[str, str] | None
    judge_usd: float | None
    judge_usd_known: float | None
    judge_tokens: int
    failed_judgments: int
    how_read: dict[str, int]
    judges_itself: list[str]

    @property
    def title(self) -> str:
        """Which run it is, and who judged."""
        by = self.metric or (f"judged by {self.judge}" if self.judge else "not judged")
        return f"{Path(self.run['source']).name}, {by}"

    @property
    def first(self) -> ModelSummary:
        """What the run is about."""
        return self.models[0]


@dataclass(frozen=True)
class Records:
    """A run's folder, read."""

    folder: Path
    run: Run
    answers: list[Answer]
    judgments: list[Judgment]


@without_variables
def read_run(
    folder: str | Path, *, limit: int | None = None, data: str | Path | None = None
) -> Records:
    """Read a run's folder: the records that fit its last run, where some were asked otherwise.

    Args:
        folder: The folder.
        limit: Read those alone that a run with this limit asks for.
        data: A folder with the suite's files, which a limit needs.

    Raises:
        DataFileError: It is none, or a file of it is broken.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import answer, get_suite
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> rows = get_suite([{"id": "sum", "input": "2 + 2?"}]).rows()
        >>> with TemporaryDirectory() as folder:
        ...     _ = answer(rows, ScriptedChatModel.saying("4"), folder=folder)
        ...     len(read_run(folder).answers)
        1
    """
    path = Path(folder).expanduser()
    run = read_manifest(path)
    # hashes by the thousand, of no use to who reads a report
    asked, judged = run.pop("asked", None), run.pop("judged", {})
    rows = {row for of_model in (asked or {}).values() for row in of_model}
    kept = None if limit is None else _kept(run, limit, data)
    settings = {judge: set(found) for judge, found in judged.items()}

    def answer_counts(answer: Answer) -> bool:
        if asked is None:
            return True
        wanted = asked.get(answer["model"], {}).get(answer["row"])
        first = answer["settings"] if answer["turn"] == 1 else answer.get("first", wanted)
        return wanted is not None and first == wanted

    def judgment_counts(judgment: Judgment) -> bool:
        known = settings.get(judgment["judge"], set())
        return asked is None or (judgment["row"] in rows and judgment["settings"] in known)

    answers = read_answers(path, answer_counts) if (path / ANSWERS).is_file() else []
    judgments = read_judgments(path, judgment_counts) if (path / JUDGMENTS).is_file() else []
    if kept is not None:
        answers = [answer for answer in answers if answer["row"] in kept]
        judgments = [judgment for judgment in judgments if judgment["row"] in kept]
        run |= {"rows": min(run["rows"], len(kept)), "limit": limit}
    return Records(path, run, answers, judgments)


def _kept(run: Run, limit: int, data: str | Path | None) -> set[str]:
    """The rows that a limit leaves of a run's suite."""
    return {row["id"] for row in sample(suite_of(run).rows(data), limit)}


def summaries(records: Records) -> list[Summary]:
    """What each judge's judgments of a run come to; one without scores where nobody judged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import answer, get_suite, judge, judging_of
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> with TemporaryDirectory() as folder:
        ...     answers = answer(rows, ScriptedChatModel.saying("4"), folder=folder)
        ...     _ = judge(rows, answers, judging, folder=folder)
        ...     [summary.judge for summary in summaries(read_run(folder))]
        ['metric:contains']
    """
    judges = list(dict.fromkeys(judgment["judge"] for judgment in records.judgments))
    if not judges:
        return [_summary(records, None, [])]
    return [
        _summary(records, judge, [j for j in records.judgments if j["judge"] == judge])
        for judge in judges
    ]


def _summary(records: Records, judge: str | None, judgments: Sequence[Judgment]) -> Summary:
    run, answers = records.run, records.answers
    measure = measure_of(run, judgments)
    pairwise = is_pairwise(judgments)
    shares = pair_scores(judgments) if pairwise else {}
    scores = others_scores(shares) if pairwise else row_scores(run, judgments)
    models = [
        _model(model, scores.get(model["name"], {}), answers, judgments)
        for model in _named(records)
    ]
    first = models[0].name
    members = [model.name for model in models if model.role == "member" and scores.get(model.name)]
    best = max(members, key=lambda name: _mean(scores[name]), default=None)
    comparisons = _comparisons(models, scores, shares, answers=answers, measure=measure, best=best)
    usd, tokens = judge_cost(judgments)
    told = judge_of(run, judge)
    itself = told["settings"].get("judges_itself") if told else None
    times = sorted(judgment["at"] for judgment in judgments)
    return Summary(
        folder=str(records.folder),
        run=run,
        judge=judge,
        metric=judge if is_metric(judgments) else None,
        prompt=judgments[0]["prompt"] if judgments else "",
        measure=measure,
        pairwise=pairwise,
        headline=_headline(first, models[0], comparisons, measure),
        models=models,
        ceiling=_ceiling([scores[name] for name in members], measure),
        comparisons=comparisons,
        judged=(times[0], times[-1]) if times else None,
        judge_usd=usd.whole,
        judge_usd_known=usd.known,
        judge_tokens=tokens,
        failed_judgments=sum(judgment["read"] is None for judgment in judgments),
        how_read=_counts(judgments),
        judges_itself=[str(name) for name in itself] if isinstance(itself, list) else [],
    )


def _named(records: Records) -> list[RunModel]:
    """The run's models; of a folder without a list, those that answered."""
    found = list(dict.fromkeys(answer["model"] for answer in records.answers))
    known = {model["name"] for model in records.run["models"]}
    others: list[RunModel] = [
        {"name": name, "role": "model", "settings": {}} for name in found if name not in known
    ]
    return [*records.run["models"], *others]


def _model(
    model: RunModel,
    scores: Mapping[str, float] | None,
    answers: Sequence[Answer],
    judgments: Sequence[Judgment],
) -> ModelSummary:
    name = model["name"]
    own = [answer for answer in answers if answer["model"] == name]
    # a pair's row is its other model's
    asked = {j["row"] for j in judgments if name == _whose(j)}
    return ModelSummary(
        name=name,
        role=model["role"],
        # in one order, whatever that of the records: resamples depend on it
        score=bootstrap([scores[row] for row in sorted(scores)]) if scores else None,
        unscored=len(asked - (scores or {}).keys()),
        tally=tally(own),
    )


def _whose(judgment: Judgment) -> str:
    """Whose score a judgment makes: a pair's is the other model's, AlpacaEval's the model's own."""
    if judgment["suite"] == "alpaca_eval":
        return judgment["model"]
    return judgment["baseline"] or judgment["model"]


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def _comparisons(
    models: Sequence[ModelSummary],
    scores: Scores,
    shares: Mapping[str, Mapping[str, float]],
    *,
    answers: Sequence[Answer],
    measure: Measure,
    best: str | None,
) -> list[Against]:
    """The first model against the best member, Self-MoA, and the others, in this order."""
    first, *others = models
    lengths = lengths_of(answers)
    order = sorted(others, key=lambda m: (m.name != best, m.role != "self-moa"))
    found = []
    for other in order:
        if shares:
            ours: Mapping[str, float] = shares.get(other.name, {})
            theirs: Mapping[str, float] = dict.fromkeys(ours, _EVEN)
        else:
            ours, theirs = scores.get(first.name, {}), scores.get(other.name, {})
        if not ours.keys() & theirs.keys():
            continue
        result = compare(
            ours,
            theirs,
            lengths=length_differences(lengths.get(first.name, {}), lengths.get(other.name, {})),
            tie_within=measure.tie_within,
        )
        text = sentence(first.name, other.name, result, unit=measure.unit, digits=measure.digits)
        found.append(Against(other.name, other.role, other.name == best, result, text))
    return found


def _ceiling(members: Sequence[Mapping[str, float]], measure: Measure) -> Ceiling | None:
    if len(members) < _FEWEST_MEMBERS or not set.intersection(*map(set, members)):
        return None
    return ceiling(members, measure.good)


def _headline(
    first: str,
    model: ModelSummary,
    comparisons: Sequence[Against],
    measure: Measure,
) -> str:
    """The comparison that matters most, in one sentence."""
    if comparisons:
        against = comparisons[0]
        other = f'"{against.other}"'
        named = f"its best member {other}" if against.best_member else other
        return against.sentence.replace(other, named)
    if model.score is None:
        return f'"{first}" has no scored row yet.'
    mean = f"{model.score.mean:.{measure.digits}f}"
    return f'"{first}" has {mean} on {model.score.n} rows; nothing is there to compare it with.'


def _counts(judgments: Sequence[Judgment]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for judgment in judgments:
        how = judgment["read"]
        if how is not None:
            counts[how] = counts.get(how, 0) + 1
    return counts
