"""From files of judgments to scores: what `langchain-moa eval score` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

from langchain_moa.errors import MoAConfigurationError, without_variables
from langchain_moa.evals.data import cache_folder, data_folder
from langchain_moa.evals.length_files import load_length_control
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.recorded import (
    is_pairwise,
    read_annotations,
    read_pair_judgments,
    read_reviews,
    read_single_judgments,
    refuse_unknown,
)
from langchain_moa.evals.scores.alpaca_eval import AlpacaEvalScores, score_alpaca_eval
from langchain_moa.evals.scores.flask import FlaskScores, score_flask
from langchain_moa.evals.scores.length_control import LengthControl, NoLengthControlError
from langchain_moa.evals.scores.mt_bench import (
    MTBenchPairs,
    MTBenchScores,
    score_mt_bench,
    score_mt_bench_pairs,
)
from langchain_moa.evals.suites import Suite, get_suite, sample
from langchain_moa.evals.suites.mt_bench import CATEGORIES
from langchain_moa.evals.types import Row
from langchain_moa.evals.upstream_types import (
    PairJudgment,
    Review,
    SingleJudgment,
)

_T = TypeVar("_T")
_FIRST_QUESTION: Final = 81
_PER_CATEGORY: Final = 10

Result = AlpacaEvalScores | MTBenchScores | MTBenchPairs | FlaskScores


class Scores(TypedDict):
    """What files of judgments come to: one result for each model and judge in them."""

    suite: str
    results: list[Any]
    """`AlpacaEvalScores`, `MTBenchScores`, `MTBenchPairs` or `FlaskScores`."""


@without_variables
def score_files(
    suite: str,
    paths: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    lc_baselines: str | Path | None = None,
    lc_any_size: bool = False,
    limit: int | None = None,
) -> Scores:
    """Score files of judgments, as upstream's tools or `eval judge` write them.

    Nothing is fetched for a part of a suite, and nothing where `data` names a folder.

    Args:
        suite: `alpaca_eval`, `mt_bench`, `flask` or `flask_hard`.
        paths: The files; rows of one model by one judge are put together.
        data: A folder with the suite's files.
        lc_baselines: AlpacaEval: another file of gamed baselines than the official one.
        lc_any_size: AlpacaEval: control the length of a part of the suite, too.
        limit: Score those rows alone that a run with this limit asks for.

    Raises:
        DataFileError: A file is broken, of another suite, or has a row that the suite lacks.
        MoAConfigurationError: There is no such suite, or no file.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> names = {"generator_1": "baseline", "generator_2": "mine"}
        >>> texts = {"instruction": "2 + 2?", "output_1": "4", "output_2": "It is 4."}
        >>> preferred = {**names, **texts, "annotator": "judge", "preference": 2.0}
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "annotations.json")
        ...     _ = path.write_text(json.dumps([preferred]), "utf-8")
        ...     score_files("alpaca_eval", [path], data=folder)["results"][0]["win_rate"]
        100.0
    """
    kind = get_suite(suite)
    files = [Path(path).expanduser() for path in paths]
    if not files:
        msg = "files=[] is empty; name at least one file of judgments."
        raise MoAConfigurationError(msg)
    kept = None if limit is None else _sampled(kind, data, limit)
    results: Sequence[Result]
    if kind.name == "alpaca_eval":
        results = _alpaca_eval(kind, files, data, lc_baselines, any_size=lc_any_size, kept=kept)
    elif kind.name == "mt_bench":
        results = _mt_bench(kind, files, data, kept)
    elif kind.name in ("flask", "flask_hard"):
        results = _flask(kind, files, data, kept)
    else:
        msg = f"suite={suite!r} has no files of judgments; report its run: eval report RUN."
        raise MoAConfigurationError(msg)
    return {"suite": kind.name, "results": list(results)}


def _alpaca_eval(
    suite: Suite,
    files: Sequence[Path],
    data: str | Path | None,
    baselines: str | Path | None,
    *,
    any_size: bool,
    kept: set[str] | None,
) -> list[AlpacaEvalScores]:
    read = {path: read_annotations(path) for path in files}
    groups = _grouped(
        (row for rows in read.values() for row in rows if _counts(row["instruction"], kept)),
        lambda row: (row["generator_2"], row["annotator"]),
    )
    size = suite.size or 0
    whole = any(len({row["instruction"] for row in rows}) >= size for rows in groups)
    known = _known(suite, data, fetch=whole)
    if known is not None:
        instructions = {row["messages"][0]["content"] for row in known}
        for path, rows in read.items():
            refuse_unknown(path, "instruction", (row["instruction"] for row in rows), instructions)
    control, reason = None, ""
    if whole or any_size:
        control, reason = _length_control(data, baselines)
    found = [
        score_alpaca_eval(
            rows,
            length_control=control,
            no_length_control=reason,
            any_size=any_size,
            size=size,
        )
        for rows in groups
    ]
    for scores in found if kept is not None else ():
        scores["n_missing"] -= size - len(kept or ())
    return found


def _length_control(
    data: str | Path | None, baselines: str | Path | None
) -> tuple[LengthControl | None, str]:
    try:
        return load_length_control(data, baselines), ""
    except NoLengthControlError as error:
        return None, str(error)


def _mt_bench(
    suite: Suite, files: Sequence[Path], data: str | Path | None, kept: set[str] | None
) -> list[MTBenchScores | MTBenchPairs]:
    known = _known(suite, data, fetch=False)
    categories = (
        {int(row["id"]): row["category"] for row in known} if known else _usual_categories()
    )
    singles: list[SingleJudgment] = []
    pairs: list[PairJudgment] = []
    for path in files:
        rows: Sequence[SingleJudgment | PairJudgment]
        if is_pairwise(path):
            pairs += (rows := read_pair_judgments(path))
        else:
            singles += (rows := read_single_judgments(path))
        refuse_unknown(path, "question_id", (row["question_id"] for row in rows), categories)
    singles = [row for row in singles if _counts(str(row["question_id"]), kept)]
    pairs = [row for row in pairs if _counts(str(row["question_id"]), kept)]
    size = len(categories) if kept is None else len(kept)
    return [
        *(
            score_mt_bench(rows, categories, size=2 * size)
            for rows in _grouped(singles, lambda row: (row["model"], row["judge"][0]))
        ),
        *(
            result
            for rows in _grouped(pairs, lambda row: row["judge"][0])
            for result in score_mt_bench_pairs(rows)
        ),
    ]


def _usual_categories() -> dict[int, str]:
    """The questions' categories, where the file is not at hand: ten of each, from 81 on."""
    return {
        _FIRST_QUESTION + place * _PER_CATEGORY + offset: category
        for place, category in enumerate(CATEGORIES)
        for offset in range(_PER_CATEGORY)
    }


def _flask(
    suite: Suite, files: Sequence[Path], data: str | Path | None, kept: set[str] | None
) -> list[FlaskScores]:
    rows = _known(suite, data, fetch=False)
    known = {int(row["id"]) for row in rows} if rows else set(range(1, (suite.size or 0) + 1))
    stems = Counter(path.stem for path in files)
    named: list[tuple[str, str | None, Review]] = []
    for path in files:
        reviews = read_reviews(path)
        refuse_unknown(path, "idx", (review["idx"] for review in reviews), known)
        name = path.stem if stems[path.stem] == 1 else str(path)
        named += [
            (review.get("model", name), review.get("judge"), review)
            for review in reviews
            if _counts(str(review["idx"]), kept)
        ]
    return [
        score_flask(
            [review for _, _, review in group],
            model=group[0][0],
            judge=group[0][1],
            size=len(known if kept is None else kept),
        )
        for group in _grouped(named, lambda item: item[:2])
    ]


def _sampled(suite: Suite, data: str | Path | None, limit: int) -> set[str]:
    """What tells the rows that a limit leaves: their ids; AlpacaEval's instructions.

    Raises:
        MoAConfigurationError: The suite's rows are not at hand.
    """
    rows = _known(suite, data, fetch=False)
    if rows is None:
        msg = (
            f"limit={limit} needs the rows of {suite.name}, which are not at hand; fetch them with "
            f"`langchain-moa eval data {suite.name}`, or name their folder with --data."
        )
        raise MoAConfigurationError(msg)
    by_text = suite.name == "alpaca_eval"
    kept = sample(rows, limit)
    return {row["messages"][0]["content"] if by_text else row["id"] for row in kept}


def _counts(key: str, kept: set[str] | None) -> bool:
    return kept is None or key in kept


def _known(suite: Suite, data: str | Path | None, *, fetch: bool) -> list[Row] | None:
    """The suite's rows, to check files against; `None` where they are not at hand.

    Raises:
        DataFileError: The data folder is none, or its file is broken.
    """
    needed = [suite.files[name] for name in ("rows", "references") if name in suite.files]
    root = data_folder(data) or cache_folder()
    if all((root / file.name).is_file() for file in needed):
        return suite.rows(data)
    if not fetch or data_folder(data):
        return None
    try:
        return suite.rows()
    except DataFileError:
        return None


def _grouped(rows: Iterable[_T], key: Callable[[_T], Hashable]) -> list[list[_T]]:
    """Rows by a key, in the order of the keys' first rows."""
    groups: dict[Hashable, list[_T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def unscored(scores: Scores) -> int:
    """How many rows of the files were judged and have no score."""
    counts = ("n_unscored", "n_unparsed", "n_failed")
    return sum(
        next((result[name] for name in counts if name in result), 0) for result in scores["results"]
    )
