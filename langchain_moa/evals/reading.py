r"""Files of records: JSON lists and JSONL, read strictly, with errors that name the file.

Example:
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.jsonl"
    >>> _ = path.write_text('{"id": 1}\n{"id": 2}\n')
    >>> read_records(path)
    [{'id': 1}, {'id': 2}]
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from langchain_moa.errors import MoAConfigurationError, without_variables
from langchain_moa.types import AnyDict, AnyMapping

Record: TypeAlias = AnyDict
"""One object of a file, before its fields are looked at."""

_T = TypeVar("_T")


class DataFileError(MoAConfigurationError):
    """A file of an evaluation is missing, broken, or another than it should be.

    The message begins with the file, and names the row and the field where there is one.

    Attributes:
        path: The file.

    Example:
        >>> str(DataFileError("runs/mine/answers.jsonl", "there is no such file"))
        'runs/mine/answers.jsonl: there is no such file'
    """

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)

    def __reduce__(self) -> tuple[object, ...]:
        problem = str(self).removeprefix(f"{self.path}: ")
        return (type(self), (self.path, problem))


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        DataFileError: It is not there, cannot be read, is not UTF-8, or is empty.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataFileError(path, "there is no such file.") from None
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text (byte {error.start} cannot be decoded)."
        raise DataFileError(path, problem) from None
    if not text.strip():
        raise DataFileError(path, "is empty.")
    return text


@without_variables
def read_records(path: Path) -> list[Record]:
    """The objects of a file: one JSON list of them, or one object a line (JSONL).

    Raises:
        DataFileError: It is no such file, holds no rows, or a row is no object.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text('{"id": 1}', "utf-8")
        ...     read_records(path)
        [{'id': 1}]
    """
    text = read_text(path)
    rows = _listed(path, text) if text.lstrip().startswith("[") else _lines(path, text)
    if not rows:
        raise DataFileError(path, "holds no rows.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            kind = "null" if row is None else type(row).__name__
            raise DataFileError(path, f"row {number} is {kind}, not an object with fields.")
    return rows


def _listed(path: Path, text: str) -> list[Any]:
    try:
        rows: list[object] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataFileError(path, f"is not valid JSON: {error}.") from None
    return rows


def _lines(path: Path, text: str) -> list[Any]:
    rows = []
    # splitlines() would also split at characters that JSON allows inside a string
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataFileError(path, f"line {number} is not valid JSON: {error}.") from None
    return rows


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of its first line.

    Raises:
        DataFileError: It is no such file, or holds no rows.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise DataFileError(path, f"is not valid CSV: {error}.") from None
    if not rows:
        raise DataFileError(path, "holds no rows.")
    return rows


def field(record: AnyMapping, name: str, kind: type[_T], path: Path, number: int) -> _T:
    """A row's field, which must be there and of one kind.

    Args:
        record: The row.
        name: The field.
        kind: Its type; `float` takes whole numbers, too, and no kind takes `True` for a number.
        path: The row's file, for the error.
        number: The row's number in it, from 1.

    Raises:
        DataFileError: It is missing, or of another kind.
    """
    if name not in record:
        there = ", ".join(sorted(record)) or "nothing"
        raise DataFileError(path, f"row {number} has no field {name!r}; it has: {there}.")
    value: object = record[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = {"str": "text", "float": "a number", "int": "a whole number", "list": "a list"}
        given = type(value).__name__ if value is not None else "null"
        need = wanted.get(kind.__name__, kind.__name__)
        raise DataFileError(path, f"row {number}: field {name!r} must be {need}, not {given}.")
    return value
