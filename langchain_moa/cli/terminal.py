"""The terminal itself: what is typed while an answer is on its way must not break into it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_POSIX: Final = sys.platform != "win32"
if _POSIX:
    import termios

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text without control characters, by which a model could command the terminal."""
    return _CONTROL.sub("", text)


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
