"""A report's files: `report.md`, `report.json`, `models.csv`, `comparisons.csv`, and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from langchain_moa.errors import without_variables
from langchain_moa.evals.manifest import versions
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.records import write_text
from langchain_moa.evals.report.markdown import report
from langchain_moa.evals.report.official import official_scores
from langchain_moa.evals.report.published import published_for
from langchain_moa.evals.report.summary import Summary, read_run, summaries
from langchain_moa.evals.suites.flask import SKILLS
from langchain_moa.evals.suites.mt_bench import CATEGORIES
from langchain_moa.evals.upstream import file_stems
from langchain_moa.types import AnyDict, AnyMapping


@without_variables
def write_report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    data: str | Path | None = None,
    lc_baselines: str | Path | None = None,
    limit: int | None = None,
    pictures: bool = True,
) -> AnyDict:
    """Write a report of runs' folders.

    Args:
        runs: The folders, or one.
        out: Where to write it; the folder is made if it is not there.
        data: A folder with the suites' files.
        lc_baselines: AlpacaEval: another file of gamed baselines than the official one.
        limit: Report those rows alone that a run with this limit asks for.
        pictures: Whether to draw pictures.

    Returns:
        What `report.json` holds.

    Raises:
        DataFileError: A run's folder is none or broken, a suite's file is not to be had, or the
            report cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import answer, get_suite, judge, judging_of
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> with TemporaryDirectory() as folder:
        ...     answers = answer(rows, ScriptedChatModel.saying("4"), folder=folder)
        ...     _ = judge(rows, answers, judging, folder=folder)
        ...     report = write_report(folder, f"{folder}/report", pictures=False)
        ...     sorted(path.name for path in Path(folder, "report").iterdir())
        ['comparisons.csv', 'models.csv', 'report.json', 'report.md']
    """
    given = [runs] if isinstance(runs, str | Path) else runs
    read = [read_run(run, limit=limit, data=data) for run in given]
    found = [(records, summary) for records in read for summary in summaries(records)]
    official = [
        _in_order(
            summary,
            official_scores(records, summary.judge, data=data, lc_baselines=lc_baselines),
        )
        for records, summary in found
    ]
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made: {error.strerror or error}."
        raise DataFileError(folder, problem) from None
    sums = [summary for _, summary in found]
    names = [
        _pictures(summary, scores, folder, stem) if pictures else []
        for summary, scores, stem in zip(sums, official, _stems(sums), strict=True)
    ]
    parts = zip(sums, official, names, strict=True)
    whole = {"runs": [_plain(*each) for each in parts], "versions": versions()}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    write_text(folder / "report.json", f"{text}\n", private=False)
    write_text(folder / "report.md", report(sums, official, names), private=False)
    write_text(
        folder / "models.csv", _csv([row for s in sums for row in _model_rows(s)]), private=False
    )
    rows = [row for summary in sums for row in _comparison_rows(summary)]
    write_text(folder / "comparisons.csv", _csv(rows), private=False)
    return whole


def _in_order(summary: Summary, scores: Sequence[AnyDict]) -> list[AnyDict]:
    """The suite's own numbers, model by model as the run names them."""
    places = {model.name: place for place, model in enumerate(summary.models)}
    return sorted(scores, key=lambda score: places.get(score["model"], len(places)))


def _stems(sums: Sequence[Summary]) -> list[str]:
    """What pictures' names begin with: the runs' folders', and the judges' where there are some."""
    several = len({summary.folder for summary in sums}) < len(sums)
    return file_stems(
        [f"{Path(s.folder).name} {s.judge}" if several else Path(s.folder).name for s in sums]
    )


def _pictures(summary: Summary, scores: Sequence[AnyMapping], folder: Path, stem: str) -> list[str]:
    from langchain_moa.evals.report import plots  # noqa: PLC0415 - needs matplotlib

    shown = _most_telling(summary, scores)
    drawn = {
        "scores": plots.bars(summary),
        "cost": plots.cost(summary),
        "skills": plots.radar(
            f"{summary.run['source']}: skills  ·  judge: {summary.judge}",
            SKILLS,
            {
                score["model"]: {name: mean["mean"] for name, mean in score["skills"].items()}
                for score in shown
                if "skills" in score
            },
            (3, 5),
        ),
        "categories": plots.radar(
            f"{summary.run['source']}: categories  ·  judge: {summary.judge}",
            CATEGORIES,
            {
                score["model"]: {k: v for k, v in score["categories"].items() if v is not None}
                for score in shown
                if "categories" in score
            },
            (5, 10),
        ),
    }
    try:
        return [
            name
            for kind, figure in drawn.items()
            if figure is not None
            for name in plots.saved(figure, folder, f"{stem}_{kind}")
        ]
    except OSError as error:
        problem = f"a picture cannot be written: {error.strerror or error}."
        raise DataFileError(folder, problem) from error


def _most_telling(summary: Summary, scores: Sequence[AnyMapping]) -> list[AnyMapping]:
    """Models as a picture has room for them: the first, best member, Self-MoA, then the better."""
    best = {against.other for against in summary.comparisons if against.best_member}
    means = {model.name: model.score.mean for model in summary.models if model.score}
    roles = {model.name: model.role for model in summary.models}

    def rank(score: AnyMapping) -> tuple[bool, bool, bool, float]:
        name = score["model"]
        first, own = name == summary.first.name, roles.get(name) == "self-moa"
        return (not first, name not in best, not own, -means.get(name, 0.0))

    return sorted(scores, key=rank)


def _plain(summary: Summary, scores: Sequence[AnyMapping], pictures: Sequence[str]) -> AnyDict:
    """A run's part of `report.json`."""
    return {
        **asdict(summary),
        "title": summary.title,
        "scores": list(scores),
        "pictures": list(pictures),
        "published": published_for(summary.run["suite"]),
    }


def _model_rows(summary: Summary) -> list[AnyDict]:
    return [
        {
            "run": summary.folder,
            "suite": summary.run["source"],
            "judge": summary.judge,
            "prompt": summary.prompt,
            "model": model.name,
            "role": model.role,
            "measure": summary.measure.title,
            "mean": model.score.mean if model.score else None,
            "low": model.score.low if model.score else None,
            "high": model.score.high if model.score else None,
            "rows": model.score.n if model.score else 0,
            "unscored": model.unscored,
            "answers": model.tally.answers,
            "failed": model.tally.failed,
            "usd_per_answer": model.tally.usd,
            "usd_total": model.tally.usd_total,
            "usd_known": model.tally.usd_known,
            "seconds_per_answer": model.tally.seconds,
            "tokens_per_answer": model.tally.tokens,
            "characters": model.tally.length,
        }
        for model in summary.models
    ]


def _comparison_rows(summary: Summary) -> list[AnyDict]:
    rows = []
    for against in summary.comparisons:
        result, equal = against.result, against.result.at_equal_length
        rows.append(
            {
                "run": summary.folder,
                "suite": summary.run["source"],
                "judge": summary.judge,
                "model": summary.first.name,
                "against": against.other,
                "role": against.role,
                "best_member": against.best_member,
                "rows": result.n,
                "win": result.win,
                "tie": result.tie,
                "loss": result.loss,
                "difference": result.difference.mean,
                "low": result.difference.low,
                "high": result.difference.high,
                "win_rate_at_equal_length": equal.mean if equal else None,
                "equal_length_low": equal.low if equal else None,
                "equal_length_high": equal.high if equal else None,
                "verdict": result.verdict,
                "rows_needed": result.rows_needed,
            }
        )
    return rows


def _csv(rows: Sequence[AnyMapping]) -> str:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
