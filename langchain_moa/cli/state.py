"""The user's state folder: the log of calls and the lines that were typed. Nobody else may read it.

Nothing here imports LangChain, so that `logs` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from platformdirs import user_state_path

LOG_VARIABLE: Final = "LANGCHAIN_MOA_LOG"
"""`0` logs nothing; a path is the log's file."""
_OFF: Final = ("0", "off", "no", "false")
_ON: Final = ("", "1", "on", "yes", "true")


def is_on() -> bool:
    """Whether calls are logged, as far as the environment says."""
    return os.environ.get(LOG_VARIABLE, "").strip().lower() not in _OFF


def log_file() -> Path:
    """The file of the log, which may not be there yet."""
    named = os.environ.get(LOG_VARIABLE, "").strip()
    if named.lower() in (*_OFF, *_ON):
        return user_state_path("langchain-moa", appauthor=False) / "log.db"
    return Path(named).expanduser()


def private_file(path: Path) -> Path:
    """A file that is there, and that nobody else may read.

    Raises:
        OSError: It cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if os.name == "posix":
        path.chmod(0o600)
    return path
