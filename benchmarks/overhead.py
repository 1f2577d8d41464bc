"""Scenario A: what a call takes beyond its critical path, one call at a time."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.crew import Contestant, ContestantError, Crew
from benchmarks.roster import (
    COMPARE,
    GIVEN,
    LLAMA_INDEX,
    OUR,
    PLAIN,
    PLAIN_COMPARE,
    PLAIN_SELECT,
    ROSTER,
    SDK,
    SELECT,
    STRATEGISTS,
    SWARMS,
    Job,
)
from benchmarks.server import Address
from benchmarks.table import Row, table

LAYERS: Final = (2, 4)
CALLS: Final = 3
"""Calls of a contestant before it is the next one's turn."""
HEARD: Final = (GIVEN, OUR, PLAIN)
STACKS: Final = (PLAIN, SDK, LLAMA_INDEX, SWARMS)
"""Whom our members are to be ahead of: whoever calls models through a library."""


@dataclass
class Overhead:
    """The readings of one contestant with so many layers, and their medians.

    Attributes:
        contestant: Who it is.
        layers: Layers of the mixture, the aggregator's included.
        path: Seconds of the critical path.
        requests: Requests that one call makes.
        walls: Wall seconds of each call, and `cpus` its CPU seconds.
    """

    contestant: str
    layers: int
    path: float
    requests: float = 0.0
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)

    @property
    def overhead(self) -> float:
        """Median of the seconds beyond the critical path."""
        return statistics.median(self.walls) - self.path

    @property
    def cpu(self) -> float:
        """Median of the CPU seconds."""
        return statistics.median(self.cpus)

    def as_json(self) -> dict[str, Any]:
        """The readings and what follows from them."""
        return {**vars(self), "overhead": self.overhead, "cpu": self.cpu}


def run_overhead(crew: Crew, address: Address, repetitions: int) -> list[Overhead]:
    """Make calls in turn, with everybody who is there."""
    contestants = crew.start(ROSTER)
    found: list[Overhead] = []
    for layers in LAYERS:
        rows = [
            Overhead(name, layers, (ROSTER[name].path or layers) * address.latency)
            for name in contestants
            if layers == LAYERS[0] or not ROSTER[name].path
        ]
        found += _in_turn(crew, address, rows, address.job(layers=layers), repetitions)
    return found


def run_heard(crew: Crew, address: Address, repetitions: int) -> list[Overhead]:
    """The same for mixtures and plain LangChain, where a callback handler listens."""
    layers = LAYERS[0]
    rows = [Overhead(name, layers, layers * address.latency) for name in HEARD]
    return _in_turn(
        crew, address, rows, replace(address.job(layers=layers), heard=True), repetitions
    )


def run_strategies(crew: Crew, address: Address, repetitions: int) -> list[Overhead]:
    """The same for the strategies and plain LangChain that makes the same calls."""
    rows = [
        Overhead(name, LAYERS[0], (entry.path or 0) * address.latency)
        for name, entry in STRATEGISTS.items()
    ]
    return _in_turn(crew, address, rows, address.job(layers=LAYERS[0]), repetitions)


def strategy_ratios(found: list[Overhead]) -> list[Row]:
    """Ratios to plain LangChain that makes the same calls."""
    by_name = {it.contestant: it for it in found}
    rows: list[Row] = []
    for ours, theirs in ((COMPARE, PLAIN_COMPARE), (SELECT, PLAIN_SELECT)):
        it, plain = by_name[ours], by_name[theirs]
        rows.append(
            ("A", f"overhead of a call, {ours} / {theirs}", it.overhead / plain.overhead, "")
        )
        rows.append(("A", f"CPU of a call, {ours} / {theirs}", it.cpu / plain.cpu, ""))
    return rows


def _in_turn(
    crew: Crew, address: Address, rows: list[Overhead], job: Job, repetitions: int
) -> list[Overhead]:
    """The readings of those who have not failed."""
    contestants = crew.start([row.contestant for row in rows])
    calls = min(CALLS, repetitions)
    for _ in range(-(-repetitions // calls)):
        for row in [row for row in rows if row.contestant not in crew.absent]:
            try:
                _read(contestants[row.contestant], address, row, job, calls)
            except ContestantError as error:
                crew.absent[row.contestant] = str(error)
    return [row for row in rows if row.contestant not in crew.absent]


def _read(contestant: Contestant, address: Address, row: Overhead, job: Job, calls: int) -> None:
    address.counts(forget=True)  # those were another's
    answer = contestant.ask("in_turn", job, calls)
    row.walls += answer["walls"]
    row.cpus += answer["cpus"]
    row.requests = address.counts(forget=True)["requests"] / (calls + 1)


def heard_ratios(found: list[Overhead]) -> list[Row]:
    """Ratios to plain LangChain, to which the handler listens, too; there are no goals."""
    by_name = {it.contestant: it for it in found}
    plain = by_name[PLAIN]
    rows: list[Row] = []
    for name in (GIVEN, OUR):
        it, who = by_name[name], f"a usage handler listening, {LAYERS[0]} layers, {name} / {PLAIN}"
        rows.append(("A", f"overhead of a call, {who}", it.overhead / plain.overhead, ""))
        rows.append(("A", f"CPU of a call, {who}", it.cpu / plain.cpu, ""))
    return rows


def overhead_ratios(found: list[Overhead]) -> list[Row]:
    """Ratios to plain LangChain, with their goals."""
    rows: list[Row] = []
    for layers in LAYERS:
        by_name = {it.contestant: it for it in found if it.layers == layers}
        for name, goal in ((GIVEN, "<= 1.2"), (OUR, "<= 0.8")):
            what = f"overhead of a call, {layers} layers, {name} / {PLAIN}"
            rows.append(("A", what, by_name[name].overhead / by_name[PLAIN].overhead, goal))
        best = min(by_name[name].overhead for name in STACKS if name in by_name)
        what = f"overhead of a call, {layers} layers, {OUR} / the best peer on a library"
        rows.append(("A", what, by_name[OUR].overhead / best, "< 1"))
    return rows


def overhead_table(found: list[Overhead]) -> str:
    """All contestants, the fastest first."""
    plain = {it.layers: it for it in found if it.contestant == PLAIN}
    rows = [
        (
            it.contestant,
            str(it.layers),
            f"{it.overhead / plain[it.layers].overhead:.2f}",
            f"{statistics.median(it.walls) / it.path:.3f}",
            f"{it.cpu / plain[it.layers].cpu:.2f}",
            f"{it.requests:g}",
        )
        for it in sorted(found, key=lambda it: (it.layers, it.overhead))
    ]
    header = (
        f"contestant|layers|overhead / {PLAIN}|wall / critical path|CPU / {PLAIN}|requests a call"
    )
    return table(header, rows)
