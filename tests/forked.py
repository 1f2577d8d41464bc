"""Commands of the package on a terminal, in copies of a process that has imported what they need.

Starting Python and importing LangChain would be the most of their work; `test_cli.py` has commands
that begin with nothing.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import termios
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from pexpect.fdpexpect import fdspawn  # type: ignore[import-untyped]

_PATIENCE: Final = 60.0
_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "langchain_moa.chat_models",
        "langchain_moa.cli.ask",
        "langchain_moa.cli.chat",
        "langchain_openai",
        "langchain_together",
        "tests.forked",
    ]
)


class Forked(fdspawn):  # type: ignore[misc]
    """A command of the package on a terminal of its own, as `pexpect.spawn` shows a program.

    Args:
        words: The command and its arguments.
        environment: All of its environment.
        size: Rows and columns of the terminal.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], size: tuple[int, int]
    ) -> None:
        terminal, its_end = os.openpty()
        termios.tcsetwinsize(terminal, size)
        heard, says = _FORKS.Pipe(duplex=False)
        place = (os.ttyname(its_end), str(Path.cwd()))
        self.process = _FORKS.Process(
            target=_begin, args=([*words], dict(environment), place, says)
        )
        self.process.start()
        says.close()
        heard.recv()
        os.close(its_end)
        super().__init__(terminal, timeout=None)

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self.process.pid

    @pid.setter
    def pid(self, value: object) -> None:
        """The base class would say that it knows none."""

    @property
    def exitstatus(self) -> int | None:
        """What the command ended with; `None` where a signal ended it."""
        code = self.process.exitcode
        return None if code is None or code < 0 else code

    @exitstatus.setter
    def exitstatus(self, value: object) -> None:
        """The same."""

    def close(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - as pexpect has it
        """Wait until the command has ended, or end it."""
        if force:
            self.process.kill()
        self.process.join(_PATIENCE)
        super().close()


def _begin(
    words: list[str], environment: dict[str, str], place: tuple[str, str], says: Connection
) -> None:
    terminal, folder = place
    os.setsid()
    end = os.open(terminal, os.O_RDWR)  # the first that a session opens is its terminal
    for number in range(3):
        os.dup2(end, number)
    os.close(end)
    says.send("ready")
    says.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    streams = {
        "stdin": open(0, closefd=False),  # noqa: SIM115
        "stdout": open(1, "w", 1, closefd=False),  # noqa: SIM115
        "stderr": open(2, "w", 1, errors="backslashreplace", closefd=False),  # noqa: SIM115
    }
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["langchain-moa", *words]
    try:
        runpy.run_module("langchain_moa", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends without them
