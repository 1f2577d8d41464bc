"""Scenario B: CPU per call and throughput with many calls at the same time."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.crew import Contestant, Crew
from benchmarks.roster import AIOHTTP, GIVEN, HTTPX2, OUR, PLAIN
from benchmarks.server import Address
from benchmarks.table import Row, table

CONTESTANTS: Final = (GIVEN, OUR, PLAIN, HTTPX2, AIOHTTP)
AT_ONCE: Final = (1, 64, 256, 1_000)
QUICK: Final = (1, 8)
IN_TURN, QUICK_IN_TURN = 8, 2
"""Calls one after the other, where there is one at a time."""
BUSY: Final = 0.9
"""Share of a core from which on the server, too, holds the throughput down."""


@dataclass
class Load:
    """The readings of one contestant with so many calls at the same time.

    Attributes:
        contestant: Who it is.
        at_once: Calls at the same time.
        cpus: CPU seconds per call, `throughputs` calls per second, of each repetition.
        server: The share of a core that the server's process took.
        failed: Calls that raised, and `failure` what the first of them did.
    """

    contestant: str
    at_once: int
    cpus: list[float] = field(default_factory=list)
    throughputs: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    failed: int = 0
    failure: str = ""

    @property
    def cpu(self) -> float:
        """Median of the CPU seconds per call."""
        return statistics.median(self.cpus)

    @property
    def throughput(self) -> float:
        """Median of the calls per second."""
        return statistics.median(self.throughputs)

    def as_json(self) -> dict[str, Any]:
        """The readings and what follows from them."""
        return {**asdict(self), "cpu": self.cpu, "throughput": self.throughput}


def run_load(crew: Crew, address: Address, repetitions: int, *, quick: bool) -> list[Load]:
    """Make calls, in turn, ever more of them at the same time."""
    contestants = crew.start(CONTESTANTS)
    in_turn = QUICK_IN_TURN if quick else IN_TURN
    found: list[Load] = []
    for at_once in QUICK if quick else AT_ONCE:
        rows = {name: Load(name, at_once) for name in contestants}
        for _ in range(repetitions):
            for name, row in rows.items():
                _read(contestants[name], address, row, in_turn)
        found += rows.values()
    return found


def _read(contestant: Contestant, address: Address, row: Load, in_turn: int) -> None:
    served = address.counts(forget=True)["cpu"]
    if row.at_once == 1:
        answer = contestant.ask("in_turn", address.job(), in_turn)
        row.cpus.append(statistics.median(answer["cpus"]))
        row.throughputs.append(1 / statistics.median(answer["walls"]))
        wall = sum(answer["walls"]) * (1 + 1 / in_turn)
    else:
        answer = contestant.ask("at_once", address.job(), row.at_once)
        wall = answer["wall"]
        row.cpus.append(answer["cpu"] / row.at_once)
        row.throughputs.append(row.at_once / wall)
        row.failed += answer["failed"]
        row.failure = row.failure or answer["failure"]
    row.server.append((address.counts(forget=True)["cpu"] - served) / wall)


def load_ratios(found: list[Load]) -> list[Row]:
    """Ratios to plain LangChain, with their goals."""
    by_name = {(it.contestant, it.at_once): it for it in found}
    return [
        (
            "B",
            f"CPU of a call, {it.at_once:,} at the same time, {it.contestant} / {PLAIN}",
            it.cpu / by_name[PLAIN, it.at_once].cpu,
            goal,
        )
        for name, goal in ((GIVEN, "<= 1.2"), (OUR, "<= 0.9"))
        for it in found
        if it.contestant == name
    ]


def load_table(found: list[Load]) -> str:
    """All contestants; a server that was busy itself, and failures, are told."""
    plain = {it.at_once: it for it in found if it.contestant == PLAIN}
    rows = [
        (
            f"{it.at_once:,}",
            it.contestant,
            f"{it.cpu / plain[it.at_once].cpu:.2f}",
            f"{it.throughput / plain[it.at_once].throughput:.2f}",
            f"{_server(it):.0%}{' (busy)' if _server(it) > BUSY else ''}",
            f"{it.failed}" + (f" ({it.failure[:60]})" if it.failed else ""),
        )
        for it in found
    ]
    header = (
        f"at the same time|contestant|CPU / {PLAIN}|throughput / {PLAIN}"
        "|a core's share of the server|failed calls"
    )
    return table(header, rows)


def _server(it: Load) -> float:
    return statistics.median(it.server)
