"""The contestants at work, each in a process of its own: no one's imports burden another."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.roster import EVERYBODY, HEAVY, Job

ROOT: Final = Path(__file__).parents[1]


class ContestantError(RuntimeError):
    """A contestant cannot be started, or has failed at its job."""


class Contestant:
    """One contestant's process.

    Args:
        name: Its name in the roster.
        alone: Whether it gets an environment of its own, which `uv` makes.
    """

    def __init__(self, name: str, *, alone: bool = False) -> None:
        self.name = name
        python = _environment(EVERYBODY[name].requirements) if alone else [sys.executable]
        self._process = subprocess.Popen(  # noqa: S603 - ours
            [*python, "-m", "benchmarks.worker", name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            ContestantError: It does not start.
        """
        self._answer()

    def ask(self, do: str, job: Job, calls: int) -> dict[str, Any]:
        """Have it do something, and wait for its answer.

        Raises:
            ContestantError: It has failed.
        """
        stdin: Any = self._process.stdin
        stdin.write(json.dumps({"do": do, "job": asdict(job), "calls": calls}) + "\n")
        stdin.flush()
        return self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        stdin: Any = self._process.stdin
        stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # threads of its own keep it
            self._process.kill()
        self._process.__exit__(None, None, None)

    def _answer(self) -> dict[str, Any]:
        stdout: Any = self._process.stdout
        line = stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            msg = f"{self.name}: {answer['error']}"
            raise ContestantError(msg)
        return answer


def _environment(requirements: Iterable[str]) -> list[str]:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    wanted = [word for requirement in requirements for word in ("--with", requirement)]
    python = ("--python", f"{sys.version_info.major}.{sys.version_info.minor}")
    return [uv, "run", "--quiet", "--isolated", "--no-project", *python, *wanted, "python"]


class Crew:
    """Contestants that stay for several scenarios, to be used as a context manager.

    Args:
        alone: Those that get an environment of their own.
    """

    def __init__(self, alone: Collection[str] = ()) -> None:
        self._alone = alone
        self._stack = ExitStack()
        self._ready: dict[str, Contestant] = {}
        self.absent: dict[str, str] = {}
        """Why those who do not take part do not."""

    def start(self, names: Iterable[str]) -> dict[str, Contestant]:
        """Those of these contestants that work; the others are noted in `absent`."""
        names = [name for name in names if name not in self.absent]
        started = {}
        for name in names:
            if name not in self._ready:
                missing = EVERYBODY[name].missing
                if missing and name not in self._alone:
                    self.absent[name] = _not_installed(name, missing)
                    continue
                contestant = Contestant(name, alone=name in self._alone)
                started[name] = self._stack.enter_context(contestant)
        for name, contestant in started.items():
            try:
                contestant.wait()
            except ContestantError as error:
                self.absent[name] = str(error)
            else:
                self._ready[name] = contestant
        return {name: self._ready[name] for name in names if name in self._ready}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _not_installed(name: str, missing: list[str]) -> str:
    mend = f"make bench B=\"--with '{name}'\"" if name in HEAVY else f"pip install {missing[0]}"
    return f"{name}: not installed ({mend})"
