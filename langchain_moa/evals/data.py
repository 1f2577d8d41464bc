"""Where the files of the suites are: a folder of the user's, or a cache filled by download.

Nothing of a suite is part of this package. Each file is pinned to a commit of its repository and
checked by its SHA-256.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from langchain_moa.evals.extra import extra
from langchain_moa.evals.reading import DataFileError

DATA_VARIABLE: Final = "LANGCHAIN_MOA_DATA"
"""Names a folder with files that are there already, laid out as `docs/evaluation.md` says."""
CACHE_VARIABLE: Final = "LANGCHAIN_MOA_CACHE"
"""Names another folder for downloads than the user's cache."""
_TIMEOUT: Final = 30.0
"""Seconds that a server has to send something."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a suite.

    Attributes:
        name: Its place below the data folder.
        url: Where it can be fetched.
        sha256: The hash of its bytes.
        only_for: What alone cannot be had without it; empty where nothing can.
    """

    name: str
    url: str
    sha256: str
    only_for: str = ""


def data_folder(given: str | Path | None = None) -> Path | None:
    """The folder of files that are there already, or `None` where the cache is used.

    Args:
        given: The folder that a command or call names; else the environment variable
            `LANGCHAIN_MOA_DATA` does.

    Raises:
        DataFileError: It is no folder.
    """
    named = given or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataFileError(folder, "is no folder (--data or LANGCHAIN_MOA_DATA names it).")
    return folder


def cache_folder() -> Path:
    """Where downloads are kept: the user's cache, or what `LANGCHAIN_MOA_CACHE` names."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(_pooch().os_cache("langchain-moa"))


def located(
    file: SourceFile,
    data: str | Path | None = None,
    *,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Where a suite's file is; it is downloaded first if need be.

    Args:
        file: The file.
        data: The folder with files that are there already; by default what the environment
            variable `LANGCHAIN_MOA_DATA` names. A file that it lacks is not looked for elsewhere.
        tell: Is given a line before the file is downloaded.

    Raises:
        DataFileError: It is not there and cannot be had; the message says what to do offline.
    """
    folder = data_folder(data)
    path = (folder or cache_folder()) / file.name
    if path.is_file():
        return path
    if folder:
        raise DataFileError(path, f"is missing. {_by_hand(file)}")
    if tell:
        tell(f"Fetching {file.name} …")
    return fetched(file, path)


def verify(file: SourceFile, path: Path) -> Path:
    """Make sure that a file is the pinned one.

    Raises:
        DataFileError: It is another.
    """
    found = sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        problem = f"is another file than the pinned one (SHA-256 {found}, not {file.sha256})."
        raise DataFileError(path, f"{problem} {_by_hand(file)}")
    return path


def fetched(file: SourceFile, path: Path) -> Path:
    """Download a file to `path`, whole and with the right hash, or not at all.

    Raises:
        DataFileError: It cannot be had, or is another file than the pinned one.
    """
    pooch = _pooch()
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # `tell` says what is fetched
    try:
        pooch.retrieve(
            url=file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT),
        )
    except OSError as error:  # requests' errors are such, too
        problem = f"cannot be fetched ({type(error).__name__} at {file.url})."
        raise DataFileError(path, f"{problem} {_by_hand(file)}") from error
    except ValueError as error:  # what pooch raises for another hash
        problem = f"{file.url} gave another file than the pinned one (SHA-256 {file.sha256})."
        raise DataFileError(path, f"{problem} {_by_hand(file)}") from error
    finally:
        logger.setLevel(level)
    return path


def _by_hand(file: SourceFile) -> str:
    return (
        f"Without a network: fetch {file.url} elsewhere and put it there, or name a folder "
        f"that has {file.name} with --data or {DATA_VARIABLE}."
    )


def _pooch() -> ModuleType:
    with extra():
        import pooch  # noqa: PLC0415 - an extra
    return cast("ModuleType", pooch)
