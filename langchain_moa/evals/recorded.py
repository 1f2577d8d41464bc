"""Files of upstream's tools: annotations, judgments, reviews, and models' answers.

Rows are found by id or by instruction, never by position. A field that is missing or of another
kind, and a row that the suite does not have, are refused with the file named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, TypeVar, cast

from langchain_moa.evals.parsing import skill_scores
from langchain_moa.evals.reading import DataFileError, Record, field, read_records
from langchain_moa.evals.scores.mt_bench import FAILED
from langchain_moa.evals.upstream_types import (
    Annotation,
    PairJudgment,
    Review,
    SingleJudgment,
)

_BASELINE, _MODEL = 1, 2
"""Preferences for one of both."""
_T = TypeVar("_T")

_SHAPES: Final = (
    ("AlpacaEval annotations", {"instruction", "output_1", "output_2"}),
    ("AlpacaEval model outputs", {"instruction", "output", "generator"}),
    ("MT-Bench single judgments", {"question_id", "judge", "score"}),
    ("MT-Bench pair judgments", {"question_id", "model_1", "model_2"}),
    ("MT-Bench answers", {"question_id", "choices"}),
    ("MT-Bench questions", {"question_id", "turns"}),
    ("FLASK reviews", {"idx", "review"}),
    ("FLASK rows", {"idx", "skill", "instruction"}),
    ("FLASK answers", {"question_id", "text"}),
    ("prompts of one's own", {"input"}),
)
"""What kinds of rows look like, so that a file of another kind is told by name."""


def read_annotations(path: Path) -> list[Annotation]:
    """AlpacaEval's annotations.

    Args:
        path: `annotations.json`.

    Raises:
        DataFileError: It is no such file, or a field is missing or of another kind.
    """

    def checked(record: Record, number: int) -> Annotation:
        for name in ("instruction", "output_1", "generator_1", "generator_2"):
            field(record, name, str, path, number)
        if record.get("output_2") is not None or "output_2" not in record:
            field(record, "output_2", str, path, number)
        if record.get("preference") is not None or "preference" not in record:
            preference = field(record, "preference", float, path, number)
            if not (preference == 0 or _BASELINE <= preference <= _MODEL or math.isnan(preference)):
                problem = f"row {number}: field 'preference' is {preference}, not 1 to 2, or null."
                raise DataFileError(path, problem)
        record["annotator"] = str(record.get("annotator") or "unnamed")
        return cast("Annotation", record)

    return _read(path, checked, "AlpacaEval annotations")


def read_single_judgments(path: Path) -> list[SingleJudgment]:
    """MT-Bench's ratings (`gpt-4_single.jsonl`); a score that is `null` is a failed one.

    Args:
        path: The file.

    Raises:
        DataFileError: It is no such file, or a field is missing or of another kind.
    """

    def checked(record: Record, number: int) -> SingleJudgment:
        field(record, "question_id", int, path, number)
        field(record, "model", str, path, number)
        _judge(record, path, number)
        score = record.get("score", FAILED)
        if score is None or (isinstance(score, float) and math.isnan(score)):
            record["score"] = FAILED
        field(record, "score", float, path, number)
        if field(record, "turn", int, path, number) not in (1, 2):
            raise DataFileError(path, f"row {number}: field 'turn' must be 1 or 2.")
        return cast("SingleJudgment", record)

    return _read(path, checked, "MT-Bench single judgments")


def read_pair_judgments(path: Path) -> list[PairJudgment]:
    """MT-Bench's comparisons (`gpt-4_pair.jsonl`).

    Args:
        path: The file.

    Raises:
        DataFileError: It is no such file, or a field is missing or of another kind.
    """

    def checked(record: Record, number: int) -> PairJudgment:
        field(record, "question_id", int, path, number)
        for name in ("model_1", "model_2", "g1_winner", "g2_winner"):
            field(record, name, str, path, number)
        for name in ("g1_winner", "g2_winner"):
            if record[name] not in ("model_1", "model_2", "tie", "error"):
                problem = f"row {number}: field {name!r} is {record[name]!r}, no known winner."
                raise DataFileError(path, problem)
        _judge(record, path, number)
        return cast("PairJudgment", record)

    return _read(path, checked, "MT-Bench pair judgments")


def is_pairwise(path: Path) -> bool:
    """Whether a file of MT-Bench's judgments holds comparisons.

    Raises:
        DataFileError: It is no file of rows.
    """
    return "model_1" in read_records(path)[0]


def read_reviews(path: Path) -> list[Review]:
    """FLASK's reviews; a row without `score` has it read from its `review`.

    Args:
        path: The file.

    Raises:
        DataFileError: It is no such file, or a field is missing or of another kind.
    """

    def checked(record: Record, number: int) -> Review:
        field(record, "idx", int, path, number)
        field(record, "domain", list, path, number)
        if "score" not in record:
            record["score"] = skill_scores(field(record, "review", str, path, number))
        field(record, "score", dict, path, number)
        if "difficulty" not in record:
            field(record, "difficulty", str, path, number)
        return cast("Review", record)

    return _read(path, checked, "FLASK reviews")


def _read(path: Path, checked: Callable[[Record, int], _T], kind: str) -> list[_T]:
    records = read_records(path)
    looks = looks_like(records[0])
    if looks and looks != kind:
        there = ", ".join(sorted(records[0]))
        problem = f"holds {looks}, not {kind} (the fields of row 1 are: {there})."
        raise DataFileError(path, problem)
    return [checked(record, number) for number, record in enumerate(records, 1)]


def looks_like(record: Record) -> str | None:
    """What kind of rows a row is one of, by its fields."""
    return next((kind for kind, names in _SHAPES if names <= record.keys()), None)


def _judge(record: Record, path: Path, number: int) -> None:
    judge = field(record, "judge", list, path, number)
    if not judge or not isinstance(judge[0], str):
        problem = f"row {number}: field 'judge' must be a list of its name and its prompt's."
        raise DataFileError(path, problem)


def refuse_unknown(path: Path, name: str, values: Iterable[_T], known: Collection[_T]) -> None:
    """Refuse a file that has a row which the suite does not have.

    Args:
        path: The file.
        name: The field that names a row.
        values: What it holds, row by row.
        known: What the suite has.

    Raises:
        DataFileError: There is such a row.
    """
    for number, value in enumerate(values, 1):
        if value not in known:
            shown = repr(value if not isinstance(value, str) else value[:60])
            raise DataFileError(path, f"row {number}: {name} {shown} is no row of the suite.")
