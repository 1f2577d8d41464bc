"""Records that outlive any interruption: files of one JSON object a line, only ever appended to.

A record is written, whole, the moment it is there. A process that is killed in the middle of a line
leaves a torn last line, which the next one removes. Of several records of the same thing, the last
one counts. New files hold prompts and answers, so that only their owner may read them (mode 0600);
a file that is there keeps its mode.

Example:
    >>> import tempfile
    >>> path = tempfile.mkdtemp()
    >>> with RunFolder(path) as folder:
    ...     folder.answers().append(failed_answer("custom", "1", 1, "acme/a", "no key"))
    >>> [(answer["row"], answer["error"]) for answer in read_answers(path)]
    [('1', 'no key')]
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar, cast

from langchain_moa.config.text_files import write_file
from langchain_moa.errors import MissingExtraError, MoAConfigurationError, without_variables
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.types import AnyMapping

ANSWERS: Final = "answers.jsonl"
JUDGMENTS: Final = "judgments.jsonl"
_LOCK: Final = ".lock"
_HASH_LENGTH: Final = 16
_PRIVATE: Final = 0o600
_PIECE: Final = 1 << 16
"""Bytes that are looked at together."""

R = TypeVar("R", Answer, Judgment)


class RunFolder:
    """A run's folder, which one process at a time may write to; a context manager.

    Args:
        path: The folder; it is made if it is not there.

    Raises:
        MoAConfigurationError: Another run is writing there, or the folder can't be made.
        MissingExtraError: The extra `evals` is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open: list[RecordFile[Any]] = []

    def __enter__(self) -> Self:
        try:
            from filelock import FileLock, Timeout  # noqa: PLC0415 - an extra
        except ImportError as error:
            msg = "evaluation needs the extra evals: pip install 'langchain-moa[evals]'."
            raise MissingExtraError(msg) from error
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # the system gives the lock back when a process ends, however it ends
            self._lock = FileLock(self.path / _LOCK, blocking=False)
            self._lock.acquire()
        except Timeout:
            msg = (
                f"{self.path}: another run is writing there (it holds {self.path / _LOCK}); wait "
                "for its end, or give another folder."
            )
            raise MoAConfigurationError(msg) from None
        except OSError as error:
            raise DataFileError(self.path, f"cannot be written to: {_why(error)}.") from None
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open:
            file.close()
        self._lock.release()

    def answers(self) -> RecordFile[Answer]:
        """The folder's answers, to be read and added to."""
        return self._opened(RecordFile[Answer](self.path / ANSWERS, answer_key, answer_subject))

    def judgments(self) -> RecordFile[Judgment]:
        """The folder's judgments, to be read and added to."""
        return self._opened(
            RecordFile[Judgment](self.path / JUDGMENTS, judgment_key, judgment_subject)
        )

    def _opened(self, file: RecordFile[R]) -> RecordFile[R]:
        self._open.append(file)
        return file


class RecordFile(Generic[R]):
    """Records in a file, found by their keys.

    Args:
        path: The file; it is made if it is not there. `None` keeps the records in memory alone.
        key: What a record is found by.
        subject: What a record is about: of records about the same, the last one counts.

    Raises:
        DataFileError: The file can't be opened, or a line before the last one is broken.
    """

    def __init__(
        self,
        path: Path | None,
        key: Callable[[R], Hashable],
        subject: Callable[[R], Hashable],
    ) -> None:
        self._path = path
        self._key: Callable[[R], Hashable] = key
        self._subject: Callable[[R], Hashable] = subject
        self._records: dict[Hashable, R] = {}
        self._last: dict[Hashable, R] = {}
        self._file: FileIO | None = None
        if path is not None:
            for record in read_whole_records(path) if path.is_file() else ():
                self._keep(cast("R", record))
            self._file = _repaired(path)

    def get(self, key: Hashable) -> R | None:
        """The last record with a key."""
        return self._records.get(key)

    def append(self, record: R) -> None:
        """Add a record; when this returns, it is in the file.

        Raises:
            DataFileError: It can't be written, as on a full disk. The file holds whole records
                still, all that it held before.
        """
        if self._path is not None and self._file is not None:
            _append(self._file, _line(record), self._path)
        self._keep(record)

    def use(self, record: R) -> None:
        """Make an earlier record the one that counts, where a later one has other settings.

        Raises:
            DataFileError: It can't be written.
        """
        if self._last.get(self._subject(record)) is not record:
            self.append(record)

    def _keep(self, record: R) -> None:
        self._records[self._key(record)] = record
        self._last[self._subject(record)] = record

    def close(self) -> None:
        """Close the file, with its records on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _repaired(path: Path) -> FileIO:
    """A file opened for appending, without a torn last line."""
    try:
        file = FileIO(path, "a+", opener=partial(os.open, mode=_PRIVATE))
        size = file.seek(0, os.SEEK_END)
        end = _end_of_last_line(file, size)
        if end < size:
            file.truncate(end)
    except OSError as error:
        raise DataFileError(path, f"cannot be written to: {_why(error)}.") from None
    return file


def _end_of_last_line(file: FileIO, size: int) -> int:
    """Where the last whole line ends."""
    place = size
    while place > 0:
        start = max(0, place - _PIECE)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        place = start
    return 0


def _append(file: FileIO, line: bytes, path: Path) -> None:
    """Write a line wholly, or not at all."""
    before = file.seek(0, os.SEEK_END)
    written = 0
    try:
        while written < len(line):  # a nearly full disk takes a part
            written += file.write(line[written:]) or 0
    except OSError as error:
        file.truncate(before)
        problem = (
            f"cannot be written: {_why(error)}. What it holds is whole; make room, and give the "
            "same command again: only what is missing is asked."
        )
        raise DataFileError(path, problem) from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _line(record: AnyMapping) -> bytes:
    """A record as a line: strict JSON, in UTF-8."""
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no word for minus infinity, a token's log-probability
        text = json.dumps(_finite(record), ensure_ascii=False)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as a cut answer may end on
        return f"{json.dumps(json.loads(text))}\n".encode()


def _finite(value: object) -> object:
    """A value with `None` for each number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str, *, private: bool = True) -> None:
    """Write a file whole or not at all, for readers that come in the middle.

    Args:
        path: The file; one that is there keeps its mode.
        text: Its text.
        private: Whether nobody else may read a new file, as it holds prompts or answers.

    Raises:
        DataFileError: It can't be written.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        private = private and not path.exists()
        write_file(path, lambda beside: beside.write_bytes(data), private=private)
    except OSError as error:
        raise DataFileError(path, f"cannot be written: {_why(error)}.") from error
    except MoAConfigurationError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise DataFileError(path, f"cannot be written: {why}") from error


def answer_key(answer: Answer) -> Hashable:
    """What an answer is found by: any of these changed is another answer."""
    return (answer["suite"], answer["row"], answer["turn"], answer["model"], answer["settings"])


def judgment_key(judgment: Judgment) -> Hashable:
    """What a judgment is found by: any of these changed is another judgment."""
    return (*judgment_subject(judgment), judgment["settings"])


def answer_subject(answer: Answer) -> Hashable:
    """What an answer is about: of several, the last one counts."""
    return (answer["suite"], answer["row"], answer["turn"], answer["model"])


def judgment_subject(judgment: Judgment) -> tuple[Hashable, ...]:
    """What a judgment is about: of several, the last one counts."""
    names = ("suite", "row", "turn", "model", "baseline", "swapped", "judge")
    return tuple(cast("Mapping[str, Hashable]", judgment)[name] for name in names)


@without_variables
def read_answers(
    folder: str | Path, counts: Callable[[Answer], bool] = lambda _: True
) -> list[Answer]:
    """The answers in a run's folder: the last of each model to each turn of each row.

    Args:
        folder: The folder.
        counts: Tells of an answer whether it counts; all do by default.

    Raises:
        DataFileError: There is no such file, or it is broken.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from langchain_moa.evals import answer, get_suite
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> rows = get_suite([{"id": "sum", "input": "2 + 2?"}]).rows()
        >>> with TemporaryDirectory() as folder:
        ...     _ = answer(rows, ScriptedChatModel.saying("4"), folder=folder)
        ...     [record["output"] for record in read_answers(folder)]
        ['4']
    """
    records = read_whole_records(Path(folder) / ANSWERS)
    return _last(filter(counts, records), answer_subject)


@without_variables
def read_judgments(
    folder: str | Path, counts: Callable[[Judgment], bool] = lambda _: True
) -> list[Judgment]:
    """The judgments in a run's folder: the last of each judge on each answer or pair.

    Args:
        folder: The folder.
        counts: Tells of a judgment whether it counts; all do by default.

    Raises:
        DataFileError: There is no such file, or it is broken.

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
        ...     [record["score"] for record in read_judgments(folder)]
        [1.0]
    """
    records = read_whole_records(Path(folder) / JUDGMENTS)
    return _last(filter(counts, records), judgment_subject)


def read_whole_records(path: Path) -> list[Any]:
    """The records of a file to which a run may be writing: a torn last line is left out.

    Raises:
        DataFileError: There is no such file, or it is broken.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataFileError(path, f"cannot be read: {_why(error)}.") from None
    lines = data[: data.rfind(b"\n") + 1].split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise DataFileError(path, f"line {number} is not valid JSON: {error}.") from None
    return records


def _last(records: Iterable[R], key: Callable[[R], Hashable]) -> list[R]:
    last: dict[Hashable, R] = {}
    for record in records:
        last[key(record)] = record
    return list(last.values())


def digest(*parts: object) -> str:
    """A short hash of JSON values.

    Example:
        >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def now() -> str:
    """The time, in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def failed_answer(suite: str, row: str, turn: int, model: str, error: str) -> Answer:
    """The record of an answer that did not come, with nothing known of its cost."""
    return {
        "suite": suite,
        "row": row,
        "turn": turn,
        "model": model,
        "settings": "",
        "output": None,
        "error": error,
        "usage": None,
        "usd": None,
        "seconds": 0.0,
        "moa": None,
        "at": now(),
    }
