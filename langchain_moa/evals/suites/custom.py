"""A user's own prompts: `input` and, if wanted, `id`, `category`, `reference`; mostly in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Final

from langchain_moa.evals.data import SourceFile
from langchain_moa.evals.reading import DataFileError, Record, read_records
from langchain_moa.evals.suites.base import Suite, Tell, row_id
from langchain_moa.evals.types import JSON, ChatMessage, GenerationSettings, Row

_FIELDS: Final = frozenset({"input", "id", "category", "reference"})
NO_FILE: Final = "custom"
"""The source of rows that were given without a file, from Python."""
_ROLES: Final = ("system", "user", "assistant")


@dataclass(frozen=True)
class Custom(Suite):
    """The rows of a file of one's own, which `source` names, or of `records` in its place."""

    name: str = "custom"
    title: str = "Custom prompts"
    source: str = ""
    size: int | None = None
    turns: int = 1
    licence: str = ""
    files: dict[str, SourceFile] = attribute(default_factory=dict)
    records: Sequence[Record] = ()

    def rows(self, data: str | Path | None = None, *, tell: Tell | None = None) -> list[Row]:
        """The rows of the file, or of the records."""
        del data, tell
        path = Path(self.source).expanduser()
        rows: dict[str, Row] = {}
        for number, record in enumerate(self.records or read_records(path), 1):
            row = _row(record, path, number)
            if row["id"] in rows:
                problem = f"row {number} repeats an earlier row; give each an 'id' of its own."
                raise DataFileError(path, problem)
            rows[row["id"]] = row
        return list(rows.values())

    def settings(self, row: Row) -> GenerationSettings | None:
        """The models' own."""
        del row
        return None


def custom_id(given: JSON) -> str:
    """The id of a row that names none: a hash of its `input`."""
    return row_id(json.dumps(given, ensure_ascii=False, sort_keys=True))


def _row(record: Record, path: Path, number: int) -> Row:
    unknown = sorted(record.keys() - _FIELDS)
    if unknown:
        problem = f"row {number}: unknown field {unknown[0]!r}; known are {sorted(_FIELDS)}."
        raise DataFileError(path, problem)
    if "input" not in record:
        raise DataFileError(path, f"row {number} has no field 'input'.")
    messages = _messages(record["input"], path, number)
    key = record.get("id")
    if key is None:
        key = custom_id(record["input"])
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise DataFileError(path, f"row {number}: field 'id' must be text or a whole number.")
    reference = _text(record, "reference", path, number)
    return Row(
        suite="custom",
        id=str(key),
        messages=messages,
        follow_ups=[],
        category=_text(record, "category", path, number) or "",
        references=[] if reference is None else [reference],
    )


def _text(record: Record, name: str, path: Path, number: int) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise DataFileError(path, f"row {number}: field {name!r} must be text.")
    return value


def _messages(given: object, path: Path, number: int) -> list[ChatMessage]:
    if isinstance(given, str) and given.strip():
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        problem = f"row {number}: field 'input' must be text or a list of messages."
        raise DataFileError(path, problem)
    for place, message in enumerate(given):
        fits = (
            isinstance(message, dict)
            and message.get("role") in _ROLES
            and isinstance(message.get("content"), str)
        )
        if not fits:
            problem = (
                f"row {number}: field 'input[{place}]' must be "
                '{"role": "system" | "user" | "assistant", "content": text}.'
            )
            raise DataFileError(path, problem)
    if given[-1]["role"] != "user":
        raise DataFileError(path, f"row {number}: the last message of 'input' must be the user's.")
    return [{"role": message["role"], "content": message["content"]} for message in given]
