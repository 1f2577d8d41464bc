"""A real terminal: a program on a pty, and the screen that it draws."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pyte
from pyte.screens import Char

_COLOURS = re.compile(rb"\x1b\[[\d;]*m")
_WITHOUT_COLOUR = re.compile(rb"\x1b\[(?:[012345789]|2[2-9])?(?:;(?:[0-9]|2[2-9]))*m")
_MARKED = re.compile("([^\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*)([\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*)")
_PATIENCE = 60.0


class _Screen(pyte.HistoryScreen):
    """A screen that answers what a program asks of the terminal."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], object]) -> None:
        super().__init__(columns, rows, history=5000)
        self._answer = answer

    def draw(self, data: str) -> None:
        """Draw text; marks that pyte does not know as such, as Thai's, stand above their letter."""
        for letters, marks in _MARKED.findall(data):
            super().draw(letters)
            cells, place = self.buffer[self.cursor.y], self.cursor.x - 1
            if marks and place >= 0:
                cells[place] = cells[place]._replace(data=cells[place].data + marks)

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """A program of Python on a terminal, with the screen as a user sees it.

    The screen's own buffer is wider, so that a line that is too long shows. Commands of the package
    begin in a copy of a process that has imported it, which saves each a second of work.

    Args:
        words: Python's arguments.
        environment: What to set in the environment.
        rows: Height of the terminal.
    """

    columns = 80
    """Width of all terminals."""

    def __init__(self, *words: str, rows: int = 24, **environment: str) -> None:
        env = {**os.environ, "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **environment}
        env.pop("COLUMNS", None)
        size = (rows, self.columns)
        self._process: Any
        if words[:2] == ("-m", "langchain_moa"):
            from tests.forked import Forked  # noqa: PLC0415 - neither is on Windows

            self._process = Forked(words[2:], env, size)
        else:
            spawn = pexpect.spawn
            self._process = spawn(sys.executable, [*words], dimensions=size, env=env, timeout=None)
        self._process.delaybeforesend = None
        self._screen = _Screen(2 * self.columns, rows, self._process.send)
        self._stream = pyte.ByteStream(self._screen)
        self.received = b""

    @property
    def pid(self) -> int:
        """Number of the program's process."""
        number: int = self._process.pid
        return number

    @property
    def screen(self) -> str:
        """What can be seen now."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def cells(self) -> list[list[Char]]:
        """The same with colours, line by line."""
        places = range(self.columns)
        return [[self._screen.buffer[y][x] for x in places] for y in range(self._screen.lines)]

    @property
    def text(self) -> str:
        """All that was shown and stayed, with what can be seen now."""
        above = [
            "".join(line[x].data for x in range(2 * self.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return "\n".join([*above, self.screen])

    @property
    def codes(self) -> list[bytes]:
        """The codes for colours that were sent; not those for bold, dim, italic and underline."""
        found = _COLOURS.findall(self.received)
        return [code for code in found if not _WITHOUT_COLOUR.fullmatch(code)]

    def types(self, text: str) -> None:
        """Type a line."""
        self._process.send(text + "\r")

    def sends(self, keys: str) -> None:
        """Press keys, such as `\\x03` for Ctrl-C."""
        self._process.send(keys)

    def until(self, condition: str | Callable[[], bool], *, count: int = 1) -> None:
        """Read until a text has been shown so often, or something else is true."""
        end = time.monotonic() + _PATIENCE
        while not self._is(condition, count):
            if time.monotonic() > end or not self._read():
                assert self._is(condition, count), f"not shown: {condition!r}\n{self.text}"
                return

    def ends(self) -> int:
        """Read to the end of the program; gives its exit code."""
        end = time.monotonic() + _PATIENCE
        while self._read():
            assert time.monotonic() < end, f"does not end:\n{self.text}"
        self._process.close()
        assert isinstance(self._process.exitstatus, int)
        return self._process.exitstatus

    def close(self) -> None:
        """End the program if it still runs."""
        self._process.close(force=True)

    def _is(self, condition: str | Callable[[], bool], count: int) -> bool:
        if callable(condition):
            return condition()
        return self.text.count(condition) >= count

    def _read(self) -> bool:
        """Take what the program has sent; whether it still runs."""
        try:
            data = self._process.read_nonblocking(1 << 16, 0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.received += data
        self._stream.feed(data)
        return True
