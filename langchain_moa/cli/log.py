"""The log of all calls of the command line, in SQLite, in the user's state folder.

Rows are added and never written again, so that a conversation costs what is said in it. Nothing
here imports LangChain, so that `logs` answers at once.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import click

from langchain_moa.cli.state import is_on, log_file, private_file
from langchain_moa.cli.terminal import on_one_line, printable
from langchain_moa.messages.characters import whole_characters

_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    command TEXT NOT NULL,
    conversation TEXT NOT NULL,
    model TEXT,
    system TEXT,
    question TEXT NOT NULL,
    answer TEXT,
    error TEXT,
    seconds REAL,
    record TEXT,
    message TEXT,
    files TEXT,
    retracted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS conversations ON calls (conversation, id);
"""
_PATIENCE: Final = 5.0
"""Seconds that another program may hold the file."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call, to be logged.

    Attributes:
        command: `ask` or `chat`; `load` for a turn of a conversation that came from a file.
        conversation: What tells it from other conversations.
        question: What was asked.
        model: The aggregator.
        system: The system message, if there is one.
        answer: What was answered; `None` where nothing was.
        error: Why nothing was.
        seconds: How long it took.
        record: The record of the call, or of a failed one what was paid for.
        message: The answer as LangChain writes messages to JSON, without the record.
        files: The pictures and PDFs beside the question, as blocks of its message.
    """

    command: str
    conversation: str
    question: str
    model: str | None = None
    system: str | None = None
    answer: str | None = None
    error: str | None = None
    seconds: float | None = None
    record: object = None
    message: object = None
    files: object = None


class Log:
    """The log; without one (`path=None`) nothing is kept.

    What goes wrong with it is told once and ends nothing: the answer has been paid for.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._told = False

    @classmethod
    def of_user(cls, *, wanted: bool) -> Log:
        """The user's own log, unless the environment or the caller wants none."""
        return cls(log_file() if wanted and is_on() else None)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._path is not None

    def add(self, entry: Entry) -> int | None:
        """Keep a call; gives its number."""
        if self._path is None:
            return None
        values = {
            **vars(entry),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "record": _json(entry.record),
            "message": _json(entry.message),
            "files": _json(entry.files or None),
        }
        texts = {name: _whole(value) for name, value in values.items()}
        names = ", ".join(texts)
        marks = ", ".join(f":{name}" for name in texts)
        try:
            with _opened(private_file(self._path)) as file:
                done = file.execute(f"INSERT INTO calls ({names}) VALUES ({marks})", texts)  # noqa: S608 - names of our own
                return done.lastrowid
        except (sqlite3.Error, OSError) as error:
            self._tell(error)
            return None

    def retract(self, number: int | None) -> None:
        """Say that a call is no part of its conversation any more."""
        if self._path is None or number is None:
            return
        try:
            with _opened(self._path) as file:
                file.execute("UPDATE calls SET retracted = 1 WHERE id = ?", (number,))
        except (sqlite3.Error, OSError) as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            why = on_one_line(str(error))
            click.echo(f"the log {self._path} cannot be written: {why}", err=True)


def new_conversation() -> str:
    """What tells a conversation from others."""
    return uuid4().hex


def last_conversation(path: Path) -> list[dict[str, object]]:
    """The turns of the conversation that was last held in a chat, in order; empty if none was."""
    if not path.exists():
        return []
    with _opened(path) as file:
        wanted = (
            "SELECT * FROM calls WHERE conversation = (SELECT conversation FROM calls "
            "WHERE command IN ('chat', 'load') AND message IS NOT NULL AND NOT retracted "
            "ORDER BY id DESC LIMIT 1) AND message IS NOT NULL AND NOT retracted ORDER BY id"
        )
        return [_parsed(row) for row in file.execute(wanted)]


def show(path: Path, *, number: int, as_json: bool) -> None:
    """Print the latest calls, the newest first.

    Args:
        path: The log's file.
        number: How many at most.
        as_json: Whether to print one JSON array.

    Raises:
        click.ClickException: The file can't be read.
    """
    try:
        rows = list(_latest(path, number)) if path.exists() else []
    except (sqlite3.Error, OSError) as error:
        msg = f"{path}: {on_one_line(str(error))}"
        raise click.ClickException(msg) from None
    if as_json:
        told = json.dumps(rows, indent=2)  # in ASCII: it commands no terminal
        click.echo(told)
    elif not rows:
        click.echo(f"Nothing is logged in {path}.", err=True)
    else:
        click.echo("\n".join(map(_as_text, rows)), nl=False)


def _latest(path: Path, number: int) -> Iterator[dict[str, object]]:
    names = "id, at, command, conversation, model, system, question, answer, error, seconds, record"
    names += ", coalesce(json_array_length(files), 0) AS files"
    query = f"SELECT {names} FROM calls WHERE command != 'load' ORDER BY id DESC LIMIT ?"  # noqa: S608 - names of our own
    with _opened(path) as file:
        for row in file.execute(query, (number,)):
            yield _parsed(row)


def _as_text(row: dict[str, Any]) -> str:
    record = row["record"] or {}
    usage, cost = record.get("usage") or {}, record.get("cost") or {}
    parts = [f"#{row['id']}", row["at"][:19].replace("T", " "), row["command"], row["model"] or ""]
    if row["seconds"] is not None:
        parts.append(f"{row['seconds']:.1f} s")
    if row["files"]:
        parts.append("1 file" if row["files"] == 1 else f"{row['files']} files")
    if usage:
        parts.append(f"{usage['total_tokens']:,} tokens")
    if cost:
        parts.append(f"{cost['usd']:.4f} USD")
    said = row["answer"] if row["answer"] is not None else f"error: {row['error']}"
    asked = "\n".join(f"> {line}" for line in printable(row["question"]).splitlines())
    return f"{' · '.join(on_one_line(p) for p in parts if p)}\n{asked}\n\n{printable(said)}\n\n"


def _parsed(row: sqlite3.Row) -> dict[str, object]:
    found = dict(row)
    for name in ("record", "message", "files"):
        if isinstance(found.get(name), str):
            found[name] = json.loads(found[name])
    return found


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, with its tables; what was done is kept unless something is raised."""
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as file:
        file.row_factory = sqlite3.Row
        if _version(file) < _VERSION:
            _renew(file)
        with file:
            yield file


def _version(file: sqlite3.Connection) -> int:
    found: int = file.execute("PRAGMA user_version").fetchone()[0]
    return found


def _renew(file: sqlite3.Connection) -> None:
    """Make the tables, or give those of an older version what they lack."""
    file.execute("BEGIN IMMEDIATE")  # another program may do the same just now
    with file:
        if _version(file) == 1:
            file.execute("ALTER TABLE calls ADD COLUMN files TEXT")
        for statement in _SCHEMA.split(";"):
            file.execute(statement)
        file.execute(f"PRAGMA user_version = {_VERSION}")


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, default=str)


def _whole(value: object) -> object:
    """Halves of surrogate pairs are no text for SQLite."""
    return whole_characters(value) if isinstance(value, str) else value
