"""`python -m benchmarks.worker NAME`: one contestant in a process of its own.

Each line of standard input is a command as JSON, each line of standard output its answer.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from benchmarks.machine import peak_mib, raise_file_limit, resident_mib
from benchmarks.roster import EVERYBODY, Builder, Call, Job

WARM_UP: Final = 64
"""Calls at once before memory is read for the first time."""


class Worker:
    """Carries out commands for one contestant; it builds each job's mixture once."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._built: dict[Job, Call] = {}

    async def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        """The answer to a command.

        Args:
            command: `do` is the method's name, `job` the mixture, `calls` how many of it.
        """
        method = {"in_turn": self.in_turn, "at_once": self.at_once, "memory": self.memory}
        return await method[command["do"]](Job.read(command["job"]), command["calls"])

    async def in_turn(self, job: Job, calls: int) -> dict[str, Any]:
        """Wall and CPU seconds of each of some calls, made one after the other.

        One more call goes before them: it opens connections and makes what is made lazily.
        """
        call = self._call(job)
        await call()
        gc.collect()
        walls, cpus = [], []
        for _ in range(calls):
            wall, cpu = time.perf_counter(), time.process_time()
            await call()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        return {"walls": walls, "cpus": cpus}

    async def at_once(self, job: Job, calls: int) -> dict[str, Any]:
        """Wall and CPU seconds of many calls at the same time, and how many of them failed."""
        call = self._call(job)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        done = await asyncio.gather(*(call() for _ in range(calls)), return_exceptions=True)
        failures = [f"{type(it).__name__}: {it}" for it in done if isinstance(it, BaseException)]
        return {
            "wall": time.perf_counter() - wall,
            "cpu": time.process_time() - cpu,
            "failed": len(failures),
            "failure": failures[0][:300] if failures else "",
        }

    async def memory(self, job: Job, calls: int) -> dict[str, Any]:
        """KiB per call while many are under way; true in a fresh process only."""
        await self.at_once(job, min(WARM_UP, calls))
        gc.collect()
        before = resident_mib()
        done = await self.at_once(job, calls)
        return {**done, "kib": (peak_mib() - before) * 1024 / calls}

    def _call(self, job: Job) -> Call:
        if job not in self._built:
            self._built[job] = self._builder(job)
        return self._built[job]


async def _serve(name: str, answers: Any) -> None:
    worker = Worker(EVERYBODY[name].load())
    print(json.dumps({}), file=answers)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:  # the loop must go on, to see connections close
        while line := await loop.run_in_executor(pool, sys.stdin.readline):
            try:
                found = await worker.carry_out(json.loads(line))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                found = {"error": _told(error)}
            print(json.dumps(found), file=answers)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def main() -> None:
    """Answer commands until there are no more."""
    raise_file_limit()
    logging.disable()  # some peers log to the terminal, and that costs
    # peers may print; the answers keep the standard output for themselves
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        asyncio.run(_serve(sys.argv[1], answers))
    except Exception as error:  # noqa: BLE001 - an import may fail in any way
        print(json.dumps({"error": _told(error)}), file=answers)


if __name__ == "__main__":
    main()
