"""Runs the scenarios that were asked for, one after the other, and tells what came of them."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.crew import Crew
from benchmarks.engines import (
    NO_RAY,
    engines_json,
    engines_ratios,
    engines_table,
    is_possible,
    run_engines,
)
from benchmarks.growth import growth_ratios, growth_table, run_growth
from benchmarks.imports import imports_ratios, run_imports
from benchmarks.judging import judging_ratios, judging_table, run_judging
from benchmarks.load import load_ratios, load_table, run_load
from benchmarks.machine import described
from benchmarks.memory import memory_ratios, memory_table, run_memory
from benchmarks.overhead import (
    heard_ratios,
    overhead_ratios,
    overhead_table,
    run_heard,
    run_overhead,
    run_strategies,
    strategy_ratios,
)
from benchmarks.report import Report
from benchmarks.server import Address, serving
from benchmarks.soak import CALLS, run_soak, soak_table
from benchmarks.streaming import run_streaming
from benchmarks.table import Row, ratios_table
from benchmarks.tails import ratios as tails_ratios
from benchmarks.tails import run_tails, tails_table

TAIL_CALLS: Final = 200
QUICK_SOAK: Final = 40
QUICK_NOTE: Final = "A quick run: it shows that the harness works. Its figures mean nothing."
HEAVY_SHARE: Final = 5
"""How many times fewer repetitions the scenarios have that make thousands of calls in each."""

Found = tuple[dict[str, Any], list[Row], str]
"""What is kept as JSON, the ratios, and a table of details."""


class Run:
    """One run: its arguments, its server and its contestants."""

    def __init__(self, arguments: Namespace, address: Address, crew: Crew) -> None:
        self.quick: bool = arguments.quick
        self.repetitions: int = 1 if arguments.quick else arguments.repetitions
        self.few = max(1, self.repetitions // HEAVY_SHARE)
        self.calls: int | None = arguments.calls
        self.address = address
        self.crew = crew

    async def overhead(self) -> Found:
        """Scenario A."""
        found = run_overhead(self.crew, self.address, self.repetitions)
        heard = run_heard(self.crew, self.address, self.repetitions)
        strategies = run_strategies(self.crew, self.address, self.repetitions)
        kept = {
            "overhead": [it.as_json() for it in found],
            "heard": [it.as_json() for it in heard],
            "strategies": [it.as_json() for it in strategies],
        }
        ratios = [*overhead_ratios(found), *heard_ratios(heard), *strategy_ratios(strategies)]
        return kept, ratios, overhead_table(found)

    async def load(self) -> Found:
        """Scenario B."""
        found = run_load(self.crew, self.address, self.few, quick=self.quick)
        return {"load": [it.as_json() for it in found]}, load_ratios(found), load_table(found)

    async def streaming(self) -> Found:
        """Scenario C."""
        return {}, await run_streaming(self.address, self.repetitions), ""

    async def tails(self) -> Found:
        """Scenario D."""
        found = await run_tails(self.calls or TAIL_CALLS, quick=self.quick)
        return {"tails": [asdict(it) for it in found]}, tails_ratios(found), tails_table(found)

    async def memory(self) -> Found:
        """Scenario E."""
        found = run_memory(self.crew, self.address, self.few, quick=self.quick)
        return {"memory": found}, memory_ratios(found), memory_table(found)

    async def growth(self) -> Found:
        """Scenario F."""
        found = run_growth(self.crew, self.address, self.few, quick=self.quick)
        return {"growth": [it.as_json() for it in found]}, growth_ratios(found), growth_table(found)

    async def imports(self) -> Found:
        """Scenario G."""
        found = run_imports(self.repetitions)
        return {"imports": found}, imports_ratios(found), ""

    async def judging(self) -> Found:
        """Scenario H."""
        found = await run_judging(self.few, quick=self.quick)
        kept = {"judging": [it.as_json() for it in found]}
        return kept, judging_ratios(found), judging_table(found)

    async def engines(self) -> Found:
        """Scenario I."""
        if not is_possible():
            return {}, [], NO_RAY
        found = await run_engines(quick=self.quick)
        return {"engines": engines_json(found)}, engines_ratios(found), engines_table(found)

    async def soak(self) -> Found:
        """The soak."""
        calls = self.calls or (QUICK_SOAK if self.quick else CALLS)
        found = await run_soak(calls)
        return {"soak": found.as_json()}, [], soak_table(found)


_SCENARIOS: Final[dict[str, Callable[[Run], Awaitable[Found]]]] = {
    "A": Run.overhead,
    "B": Run.load,
    "C": Run.streaming,
    "D": Run.tails,
    "E": Run.memory,
    "F": Run.growth,
    "G": Run.imports,
    "H": Run.judging,
    "I": Run.engines,
    "soak": Run.soak,
}
SCENARIOS: Final = tuple(_SCENARIOS)
BY_DEFAULT: Final = SCENARIOS[:-1]


async def run(arguments: Namespace, report: Report) -> None:
    """Run the scenarios, and tell and keep what came of them.

    All of them share the event loop, for clients outlive the scenario that has opened them.
    """
    kept = report.kept
    kept["machine"] = described()
    kept["run"] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "arguments": sys.argv[1:]}
    report.show(", ".join(kept["machine"].values()))
    report.show(" ".join([kept["run"]["at"], *kept["run"]["arguments"]]))
    if arguments.quick:
        report.show(QUICK_NOTE)
    with ExitStack() as stack:
        crew = stack.enter_context(Crew(arguments.alone))
        server = "quick" if arguments.quick else "steady"
        this = Run(arguments, stack.enter_context(serving(server)), crew)
        for name in arguments.scenario or BY_DEFAULT:
            started = time.perf_counter()
            found, ratios, details = await _SCENARIOS[name](this)
            kept |= found
            kept["seconds"][name] = round(time.perf_counter() - started, 1)
            kept["ratios"] += ratios
            if details:
                report.show(f"{name}\n\n{details}")
            report.save()
    kept["absent"] = crew.absent
    if crew.absent:
        report.show("\n".join(crew.absent.values()))
    if kept["ratios"]:
        report.show(ratios_table(kept["ratios"]))
        if arguments.quick:
            report.show(QUICK_NOTE)
    report.draw()
    report.save()
