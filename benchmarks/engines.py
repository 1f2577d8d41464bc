"""Scenario I: the rows of an evaluation answered by Ray's workers, and by one process.

In the middle one of Ray's workers is killed. Both engines must leave the same records, and a run on
the other engine must find nothing that is missing.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.server import ECHO, Address, serving
from benchmarks.table import Row, table
from langchain_moa import MoAChatModel
from langchain_moa.evals.contestants import Contestant, alone
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.ray_engine import WORKERS
from langchain_moa.evals.running import Listeners, run
from langchain_moa.evals.suites import Custom
from langchain_moa.evals.types import Answer
from langchain_moa.evals.types import Row as Task

ROWS: Final = 2000
QUICK_ROWS: Final = 40
AT_A_TIME: Final = 16
RAY, HERE = "Ray, a worker killed", "one process"
NO_RAY: Final = "I needs the extra ray: pip install 'langchain-moa[evals,ray]'."
_KEY: Final = "TOGETHER_API_KEY"
_TIMES: Final = frozenset({"seconds", "at", "moa"})
"""Fields of a record that differ from run to run."""


@dataclass(frozen=True)
class Engine:
    """The reading of one engine.

    Attributes:
        engine: Which it is.
        rows: Rows that were answered.
        start: Seconds until the first answer was there.
        seconds: Seconds from then to the end.
        requests: Requests that the server got.
        killed: Workers that were killed meanwhile.
    """

    engine: str
    rows: int
    start: float
    seconds: float
    requests: int
    killed: int

    @property
    def again(self) -> int:
        """Rows that were asked a second time."""
        return self.requests - self.rows


async def run_engines(*, quick: bool) -> list[Engine]:
    """Answer the same rows on both engines.

    Raises:
        RuntimeError: Their records differ, or one does not go on with what the other recorded.
    """
    tasks = [_task(number) for number in range(QUICK_ROWS if quick else ROWS)]
    with serving("echo") as address, _key(address), tempfile.TemporaryDirectory() as folder:
        llm = MoAChatModel(
            reference_models=[ECHO],
            aggregator=ECHO,
            base_url=address.base_url,
            api_key=address.api_key,
        )
        who = alone(ECHO, like=llm)
        on_ray, theirs = await _answered(tasks, who, address, Path(folder, "ray"), "ray")
        here, ours = await _answered(tasks, who, address, Path(folder, "local"), "local")
        again, same = await _answered(tasks, who, address, Path(folder, "ray"), "local")
    if not theirs == ours == same or len(ours) != len(tasks):
        msg = "the engines' records differ"
        raise RuntimeError(msg)
    if on_ray.killed != 1:
        msg = "no worker of Ray was found to be killed"
        raise RuntimeError(msg)
    if again.requests:
        msg = f"{again.requests} recorded rows were asked a second time"
        raise RuntimeError(msg)
    return [on_ray, here]


async def _answered(
    tasks: list[Task], who: Contestant, address: Address, folder: Path, engine: str
) -> tuple[Engine, dict[str, Mapping[str, Any]]]:
    """Have rows answered, and give what was measured and recorded."""
    address.counts(forget=True)
    started, first, answered, killed = time.perf_counter(), 0.0, 0, 0

    def on_answer(_: Answer, __: bool) -> None:  # noqa: FBT001 - a callback
        nonlocal first, answered, killed
        first = first or time.perf_counter()
        answered += 1
        if engine == "ray" and answered == len(tasks) * 2 // 5:
            killed += _kill_a_worker()

    plan = Plan(
        suite=Custom(source="rows.jsonl"),
        rows=tasks,
        folder=folder,
        contestants=[who],
        concurrency=AT_A_TIME,
        engine=engine,
    )
    outcome = await run(plan, Listeners(on_answer=on_answer))
    ended = time.perf_counter()
    found = Engine(
        engine=RAY if engine == "ray" else HERE,
        rows=len(tasks),
        start=first - started,
        seconds=ended - first,
        requests=int(address.counts()["requests"]),
        killed=killed,
    )
    return found, {
        answer["row"]: {k: v for k, v in answer.items() if k not in _TIMES}
        for answer in outcome.answers
    }


def _task(number: int) -> Task:
    return {
        "suite": "custom",
        "id": f"q{number}",
        "messages": [{"role": "user", "content": f"Question {number}?"}],
        "follow_ups": [],
        "category": "",
        "references": [],
    }


@contextmanager
def _key(address: Address) -> Iterator[None]:
    """The server's key where Ray's workers look for it."""
    before = os.environ.get(_KEY)
    os.environ[_KEY] = address.api_key
    try:
        yield
    finally:
        del os.environ[_KEY]
        if before is not None:
            os.environ[_KEY] = before


def _kill_a_worker() -> int:
    """Kill one of Ray's workers that this process has started; gives how many were killed."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if title.startswith(b"ray::") and b"Worker" in title and _is_ours(int(folder.name)):
            os.kill(int(folder.name), signal.SIGKILL)
            return 1
    return 0


def _is_ours(pid: int) -> bool:
    """Whether a process descends from this one."""
    while pid > 1:
        if pid == os.getpid():
            return True
        try:
            # the name, in brackets, may hold spaces; the state and the parent follow it
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            return False
        pid = int(fields[1])
    return False


def is_possible() -> bool:
    """Whether Ray is installed, and its workers can be found."""
    return find_spec("ray") is not None and sys.platform.startswith("linux")


def engines_json(found: list[Engine]) -> list[dict[str, Any]]:
    """What is kept."""
    return [{**asdict(it), "again": it.again, "workers": WORKERS} for it in found]


def engines_ratios(found: list[Engine]) -> list[Row]:
    """Of a killed worker no more rows are asked again than were under way."""
    on_ray, here = found
    under_way = str(AT_A_TIME // WORKERS)
    return [
        (
            "I",
            f"rows asked twice when one of {WORKERS} workers is killed",
            float(on_ray.again),
            f"<= {under_way}",
        ),
        (
            "I",
            f"time of all rows, {WORKERS} workers of Ray / one process",
            on_ray.seconds / here.seconds,
            "",
        ),
    ]


def engines_table(found: list[Engine]) -> str:
    """Both, by time and requests."""
    rows = [
        (
            it.engine,
            str(it.rows),
            f"{it.start:.1f}",
            f"{it.seconds:.1f}",
            f"{it.rows / it.seconds:.0f}",
            str(it.requests),
        )
        for it in found
    ]
    return table("engine|rows|first answer, s|the rest, s|rows/s|requests", rows)
