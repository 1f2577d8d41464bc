"""What a run's folder tells of itself: `run.json`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, cast

from langchain_moa.evals.reading import DataFileError, read_text
from langchain_moa.evals.records import write_text
from langchain_moa.evals.types import Run, RunJudge

MANIFEST: Final = "run.json"
_PACKAGES: Final = (
    "langchain-moa",
    "langchain-core",
    "langchain-together",
    "scikit-learn",
    "numpy",
    "scipy",
    "matplotlib",
)


def versions() -> dict[str, str]:
    """Of Python, and of the packages that shape answers, scores and pictures."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_manifest(folder: Path, run: Run) -> None:
    """Write `run.json`.

    Raises:
        DataFileError: It can't be written.
    """
    text = json.dumps(run, ensure_ascii=False, indent=2, default=str)
    write_text(folder / MANIFEST, f"{text}\n")


def read_manifest(folder: str | Path) -> Run:
    """Read `run.json`.

    Raises:
        DataFileError: There is none, or it is broken.
    """
    path = Path(folder) / MANIFEST
    text = read_text(path)
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise DataFileError(path, f"is not valid JSON: {error}.") from None
    fields = found if isinstance(found, dict) else {}
    for name in sorted(Run.__required_keys__):
        if name not in fields:
            raise DataFileError(path, f"has no field {name!r}; it is no run's.")
    return cast("Run", found)


def judge_of(run: Run, name: str | None) -> RunJudge | None:
    """A judge of a run, by its name; `None` where the run tells nothing of it."""
    last = [run["judge"]] if run["judge"] else []
    found = (judge for judge in (*run.get("judges", ()), *last) if judge["name"] == name)
    return next(found, None)
