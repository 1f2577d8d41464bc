"""The terminal itself: what may be written to it, and the state in which it is left."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

import click

_POSIX: Final = sys.platform != "win32"
if _POSIX:
    import termios

# C0 but for tabs and line ends, DEL and C1, which terminals obey as they obey escape sequences,
# and the controls that show text in another order than it has (https://trojansource.codes)
_COMMANDS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ORDER_MARKS: Final = re.compile("[\u061c\u200e\u200f]")
_LONGEST_LINE: Final = 1000


def printable(text: str) -> str:
    """Text by which nobody can command the terminal, nor show words in another order.

    Tabs and line ends stay, and so do the marks that texts of several directions need.
    """
    return _COMMANDS.sub("", text)


def on_one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """A name, or a reason, as one printable line.

    Args:
        text: The text; it may be of any length.
        longest: The most characters that are shown.
    """
    begin = text[: 4 * longest]  # more than that is not looked at
    line = _ORDER_MARKS.sub("", printable(" ".join(begin.split())))
    shortened = len(line) > longest or len(text) > len(begin)
    return f"{line[: longest - 1]}…" if shortened else line


def folded(label: str, text: str, below: str | None = None) -> str:
    """A name or a sentence behind its label, on as many lines as it needs on the terminal.

    Lines end at blanks, and behind the `/` and the `-` of names. In a pipe it is one line.

    Args:
        label: What stands before it.
        text: The text.
        below: What stands before its other lines; by default blanks as wide as the label.
    """
    if not sys.stdout.isatty():
        return label + text
    from shutil import get_terminal_size  # noqa: PLC0415 - `--help` needs none of it

    below = " " * len(label) if below is None else below
    columns = get_terminal_size().columns
    room = max(8, columns - len(below))
    lines, line = [], label
    for piece in re.findall(rf"(?:[^\s/-]{{1,{room - 1}}}[/-]?|[/-])\s*", text):
        if len(line) + len(piece.rstrip()) > columns and line not in (label, below):
            lines.append(line.rstrip())
            line = below
        line += piece
    return "\n".join([*lines, line.rstrip()])


def write_data(text: str) -> None:
    """Write what programs read: in UTF-8, whatever the terminal's encoding is."""
    click.echo(text.encode(errors="replace"), nl=False)


def stdin_is_terminal() -> bool:
    """Whether somebody may type."""
    return sys.stdin.isatty()


def somebody_answers() -> bool:
    """Whether somebody sees a question, and may answer it."""
    return stdin_is_terminal() and sys.stdout.isatty()


def open_what_is_closed() -> None:
    """Give the program its three streams, should whoever started it have closed some.

    Else the next connection would get the number of a closed one, and what is written to that
    would go to a model.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            descriptor = os.open(os.devnull, os.O_RDWR)  # gets the number of the closed one
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


@contextmanager
def terminated_in_order() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does: with the terminal as it was before."""
    if not _POSIX or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise SystemExit(128 + number)


@contextmanager
def without_echo() -> Iterator[None]:
    """Don't show what is typed, nor `^C`, as long as the context lasts. Ctrl-C works as ever."""
    if not _POSIX or not sys.stdin.isatty():  # Windows' console echoes nothing meanwhile
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
