"""The process of llama.cpp's server, seen from the one that starts it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, MoAError
from langchain_moa.types import AnyMapping

OnWait = Callable[[float], object]
"""Called again and again while a model loads, with the seconds since its start."""

_LOOK_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 10.0
_KILLED: Final = -9
"""What a process gives that the system ended for want of memory."""
_NO_MEMORY: Final = ("insufficient memory", "failed to allocate", "unable to allocate")
_NO_PORT: Final = ("couldn't bind", "could not bind")
_CANNOT_RUN: Final = ("ImportError", "GLIBC", "Illegal instruction")
_LONGEST_LOG: Final = 1 << 20


class ServerProcess:
    """A process that runs `serving.py`, which ends when this one does.

    Args:
        settings: What it reads, see `serving.py`.
    """

    def __init__(self, settings: AnyMapping) -> None:
        self._settings = settings
        self._owner = os.getpid()
        self._log: IO[bytes] = tempfile.TemporaryFile()
        words = [sys.executable, "-P", str(Path(__file__).with_name("serving.py"))]
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Ctrl-C in the terminal is for this process alone, which ends that one
            start_new_session=True,
            creationflags=getattr(
                subprocess, "CREATE_NEW_PROCESS_GROUP", 0
            ),  # Windows' word for it
        )
        self._pipes = (self._process.stdin, self._process.stdout)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def wait_until_it_serves(self, on_wait: OnWait | None) -> str:
        """Give it its settings and wait for its address.

        Args:
            on_wait: Called again and again meanwhile.

        Raises:
            MoAConfigurationError: It cannot serve what the settings say.
            MissingExtraError: The server cannot run here.
        """
        started = time.monotonic()
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._talk, args=(lines,), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=_LOOK_SECONDS)
                break
            except queue.Empty:
                if on_wait is not None:
                    on_wait(time.monotonic() - started)
        if not line:
            raise self._failure(self._process.wait(_STOP_SECONDS))
        url: str = json.loads(line)["url"]
        return url

    def stop(self) -> None:
        """End it at once, unless this process is a copy of the one that started it."""
        if os.getpid() != self._owner:
            return
        self._process.kill()
        self._process.wait(_STOP_SECONDS)
        for pipe in self._pipes:
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._log.close()

    def _talk(self, lines: queue.SimpleQueue[bytes]) -> None:
        """Send the settings and wait for a line; an empty one says that the process has ended."""
        to, back = self._pipes
        line = b""
        with contextlib.suppress(OSError, ValueError):  # stopped meanwhile
            if to is not None and back is not None:
                to.write(f"{json.dumps(self._settings)}\n".encode())
                to.flush()
                line = back.readline()
        lines.put(line)

    def _failure(self, code: int) -> MoAError:
        """Why the process ended before it served."""
        self._log.seek(0)
        log = self._log.read(_LONGEST_LOG).decode(errors="replace")
        path, slots, context = (self._settings[name] for name in ("path", "slots", "context"))
        if code == _KILLED or any(words in log for words in _NO_MEMORY):
            return MoAConfigurationError(
                f"{path}: there is not enough memory for the model with {slots} slots of {context} "
                "tokens; give a smaller file, context or number of slots."
            )
        if any(words in log for words in _NO_PORT):
            msg = f"port={self._settings['port']} on 127.0.0.1 is taken; give another one, or 0."
            return MoAConfigurationError(msg)
        if any(words in log for words in _CANNOT_RUN):
            return MissingExtraError(f"llama.cpp's server cannot run here: {_last_line(log)}")
        reason = _first_error(log) or _last_line(log) or f"exit code {code}"
        return MoAConfigurationError(f"{path}: llama.cpp cannot load it: {reason}.")


def _first_error(log: str) -> str:
    """The first error in llama.cpp's log, without its time and place."""
    errors = [line.partition(" E ")[2] for line in log.splitlines() if " E " in line]
    return " ".join(errors[0].rpartition(": ")[2].split()) if errors else ""


def _last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
