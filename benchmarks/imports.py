"""Scenario G: what it takes to import and to install the package."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.table import Row

STACK: Final = ("langchain-core", "langgraph", "langchain-together")
PACKAGE: Final = "langchain-moa"
_STACK: Final = (
    "from langchain_core.messages import HumanMessage\n"
    "from langgraph.graph import StateGraph\n"
    "from langchain_together import ChatTogether\n"
)
PROGRAMS: Final = {
    "the stack": _STACK,
    "import langchain_moa": "import langchain_moa\n",
    "from langchain_moa import MoAChatModel": "from langchain_moa import MoAChatModel\n",
    "the stack and MoAChatModel": f"{_STACK}from langchain_moa import MoAChatModel\n",
}
"""What is imported; the stack is LangChain's core, LangGraph and ChatTogether."""


def run_imports(repetitions: int) -> dict[str, list[float]]:
    """Seconds of each import in fresh processes, in turn."""
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(repetitions):
        for name, program in PROGRAMS.items():
            found[name].append(_seconds(program))
    return found


def _seconds(program: str) -> float:
    timed = (
        f"import time\nstarted = time.perf_counter()\n{program}print(time.perf_counter() - started)"
    )
    done = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", timed], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def installed_bytes(names: Iterable[str]) -> int:
    """Bytes of the files of packages and of all that they need, without compiled ones."""
    needed: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += _required(name)
    return sum(map(_own_bytes, needed))


def _required(name: str) -> list[Any]:
    requirements = map(Requirement, distribution(name).requires or ())
    return [
        canonicalize_name(it.name)
        for it in requirements
        if it.marker is None or it.marker.evaluate({"extra": ""})
    ]


def _own_bytes(name: str) -> int:
    if name == PACKAGE:  # it may be installed in place, and then its list of files says nothing
        spec: Any = find_spec("langchain_moa")
        files: Iterable[Path] = Path(spec.origin).parent.rglob("*")
    else:
        files = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(it.stat().st_size for it in files if it.is_file() and it.suffix != ".pyc")


def imports_ratios(found: dict[str, list[float]]) -> list[Row]:
    """Ratios to the stack."""
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    stack = medians.pop("the stack")
    size = installed_bytes((*STACK, PACKAGE)) / installed_bytes(STACK)
    times: list[Row] = [
        ("G", f"time of importing: {name} / the stack", seconds / stack, "<= 1.02")
        for name, seconds in medians.items()
    ]
    what = "size installed: the package and all that it needs / langchain-core, langgraph, "
    return [*times, ("G", f"{what}langchain-together", size, "<= 1.02")]
