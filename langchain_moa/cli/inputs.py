"""What a user gives: questions on stdin or as arguments, and leave to write over a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from langchain_moa.cli.terminal import on_one_line, somebody_answers
from langchain_moa.config.text_files import checked_text, decoded
from langchain_moa.errors import MoAConfigurationError

QUESTION: Final = "the question"
"""What is named where a question is no text."""


def all_of_stdin() -> str:
    """All that stands on stdin.

    Raises:
        MoAConfigurationError: It is no text.
    """
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:
        return checked_text(sys.stdin.read().removeprefix("\ufeff"), QUESTION)
    return _text(stream.read())


def lines_of_stdin() -> Iterator[str | MoAConfigurationError]:
    """What stands on stdin, line by line; in place of one that is no text, why it is none."""
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    for line in stream:
        try:
            yield _text(line) if isinstance(line, bytes) else checked_text(line, QUESTION)
        except MoAConfigurationError as error:
            yield error


def _text(data: bytes) -> str:
    """Bytes as text: UTF-8, or what the user's system writes in its place."""
    try:
        return decoded(data, QUESTION)
    except MoAConfigurationError:
        try:
            return checked_text(data.decode(sys.stdin.encoding), QUESTION)
        except (UnicodeError, LookupError, MoAConfigurationError):
            pass
        raise


def may_be_written(path: Path, *, force: bool, mend: str) -> None:
    """Ask whether a file that is there may be replaced; without anybody to ask it may not.

    Args:
        path: The file that is to be written.
        force: Whether it may be, without a question.
        mend: How to say so, for the error.

    Raises:
        MoAConfigurationError: It may not.
    """
    try:
        free = force or not path.exists() or path.is_char_device() or path.is_fifo()
    except (OSError, ValueError):  # writing will tell
        return
    if free:
        return
    shown = on_one_line(str(path))
    if not somebody_answers():
        msg = f"{shown} exists; {mend} to write over it."
        raise MoAConfigurationError(msg)
    if not click.confirm(f"{shown} exists. Overwrite it?", default=False):
        msg = f"{shown} is as it was."
        raise MoAConfigurationError(msg)
