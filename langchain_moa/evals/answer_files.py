"""Models' answers from files: upstream's own formats, and answers to a user's own prompts.

Rows are found by id or by instruction, never by position. Rows that a file lacks are just not
among the answers; an output that is `null` is a failed answer; a row that the suite does not have
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from langchain_moa.errors import without_variables
from langchain_moa.evals.reading import DataFileError, Record, field, read_records
from langchain_moa.evals.recorded import looks_like
from langchain_moa.evals.suites.base import Suite, file_hash, row_id
from langchain_moa.evals.suites.custom import custom_id
from langchain_moa.evals.suites.mt_bench import answer_turns
from langchain_moa.evals.types import Answer, Row

_Found = tuple[str, str | None, list[str | None]]
"""A row's id, the model's name, and the outputs of its turns."""


@without_variables
def read_answer_file(
    suite: Suite, path: Path, rows: Sequence[Row], *, model: str | None = None
) -> list[Answer]:
    """The answers of a file, as records.

    Args:
        suite: Which suite they are answers to.
        path: AlpacaEval: `model_outputs.json`. MT-Bench: FastChat's answers. FLASK: its model
            outputs. Custom: JSONL with `id` or `input`, `output`, and, if wanted, `model`.
        rows: The suite's rows.
        model: The name that reports show; by default the file's own, else its stem.

    Raises:
        DataFileError: It is no such file, or has a row that the suite does not have.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import get_suite
        >>> with TemporaryDirectory() as folder:
        ...     prompts, mine = Path(folder, "prompts.jsonl"), Path(folder, "mine.jsonl")
        ...     _ = prompts.write_text('{"id": "sum", "input": "2 + 2?"}', "utf-8")
        ...     _ = mine.write_text('{"id": "sum", "output": "4"}', "utf-8")
        ...     suite = get_suite(prompts)
        ...     [record] = read_answer_file(suite, mine, suite.rows())
        >>> record["model"], record["output"]
        ('mine', '4')
    """
    records = read_records(path)
    reader = _READERS["flask" if suite.name == "flask_hard" else suite.name]
    known = {row["id"]: row for row in rows}
    stem, settings = path.stem, file_hash(path)[:16]
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    answers: dict[tuple[str, int, str], Answer] = {}
    for number, (key, named, outputs) in enumerate(_each(records, path, reader), 1):
        if key not in known:
            kind = looks_like(records[number - 1])
            looks = f" (the file looks like {kind})" if kind else ""
            raise DataFileError(path, f"row {number}: {key!r} is no row of {suite.name}{looks}.")
        for turn, output in enumerate(outputs, 1):
            name = model or named or stem
            place = (key, turn, name)
            if place in answers and answers[place]["output"] != output:
                raise DataFileError(path, f"row {number} answers {key!r} a second time, otherwise.")
            found = Answer(
                suite=suite.name,
                row=key,
                turn=turn,
                model=name,
                settings=settings,
                output=output,
                error=None if output is not None else "the file has no output for this row",
                usage=None,
                usd=None,
                seconds=0.0,
                moa=None,
                at=at,
            )
            answers[place] = found if turn == 1 else {**found, "first": settings}
    return list(answers.values())


def _each(
    records: Sequence[Record], path: Path, reader: Callable[[Record, Path, int], _Found]
) -> Iterator[_Found]:
    for number, record in enumerate(records, 1):
        yield reader(record, path, number)


def _output(record: Record, name: str, path: Path, number: int) -> str | None:
    """An output, which may be `null` but must be there."""
    if name in record and record[name] is None:
        return None
    return field(record, name, str, path, number)


def _alpaca_eval(record: Record, path: Path, number: int) -> _Found:
    instruction = field(record, "instruction", str, path, number)
    generator = record.get("generator")
    return (
        row_id(instruction),
        generator if isinstance(generator, str) else None,
        [_output(record, "output", path, number)],
    )


def _mt_bench(record: Record, path: Path, number: int) -> _Found:
    key = str(field(record, "question_id", int, path, number))
    named = record.get("model_id")
    turns: list[str | None] = [*answer_turns(record, path, number)]
    return key, named if isinstance(named, str) else None, turns


def _flask(record: Record, path: Path, number: int) -> _Found:
    name = "idx" if "idx" in record else "question_id"
    text = next((n for n in ("text", "output", "target_txt") if n in record), "text")
    key = str(field(record, name, int, path, number))
    named = record.get("model")
    return key, named if isinstance(named, str) else None, [_output(record, text, path, number)]


def _custom(record: Record, path: Path, number: int) -> _Found:
    named = record.get("model")
    key = record.get("id")
    if key is None:
        key = custom_id(record.get("input"))
    if record.get("id") is None and "input" not in record:
        raise DataFileError(path, f"row {number} has neither field 'id' nor 'input'.")
    output = _output(record, "output", path, number)
    return str(key), named if isinstance(named, str) else None, [output]


_READERS: Final[Mapping[str, Callable[[Record, Path, int], _Found]]] = {
    "alpaca_eval": _alpaca_eval,
    "mt_bench": _mt_bench,
    "flask": _flask,
    "custom": _custom,
}
