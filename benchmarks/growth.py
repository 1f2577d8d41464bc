"""Scenario F: how a call's CPU grows with what it is made of, and with the bytes it moves."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from typing import Any, Final

from benchmarks.crew import Contestant, Crew
from benchmarks.roster import GIVEN, HTTPX2, OUR, PLAIN, QUESTION, Job
from benchmarks.server import LONG, Address, at_once
from benchmarks.table import Row, table

CONTESTANTS: Final = (GIVEN, OUR, PLAIN, HTTPX2)
PROPOSERS: Final = 4
CALLS, QUICK_CALLS = 3, 1
ANSWER: Final = "There is a lot to see, and it depends on what one likes. " * 4

Sizes = tuple[int, ...]


def _job(
    address: Address,
    proposers: int = PROPOSERS,
    layers: int = 2,
    tokens: int = LONG,
    history: int = 1,
) -> Job:
    turns = (("user", QUESTION), ("assistant", ANSWER))
    before = tuple(turns[place % 2] for place in range(history - 1 - (history - 1) % 2))
    return address.job(
        [at_once(tokens, place) for place in range(proposers)],
        at_once(LONG),
        layers=layers,
        messages=(*before, turns[0]),
    )


GROWING: Final[dict[str, tuple[Sizes, Sizes, Callable[[Address, int], Job]]]] = {
    "proposers": ((1, 4, 16, 64), (1, 8), lambda where, n: _job(where, proposers=n)),
    "layers": ((2, 4, 6, 8), (2, 4), lambda where, n: _job(where, layers=n)),
    "tokens of a proposal": (
        (100, 1_000, 5_000, 20_000),
        (100, 5_000),
        lambda where, n: _job(where, tokens=n),
    ),
    "messages of history": (
        (1, 21, 101, 401),
        (1, 41),
        lambda where, n: _job(where, tokens=100, history=n),
    ),
}
"""What grows: its sizes, those of a quick run, and the mixture of such a size."""


@dataclass
class Growth:
    """One contestant's readings while one thing grows.

    Attributes:
        what: What grows.
        contestant: Who it is.
        sizes: How large it is, at each point.
        bytes: Bytes that a call moves there: requests' bodies, answers' texts.
        cpus: CPU seconds of a call there, the median.
        readings: CPU seconds of the calls at the next point so far, and `moved` its bytes.
    """

    what: str
    contestant: str
    sizes: list[int]
    bytes: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    readings: list[float] = field(default_factory=list)
    moved: float = 0.0

    def close_point(self) -> None:
        """Make a point of the readings so far."""
        self.cpus.append(statistics.median(self.readings))
        self.bytes.append(self.moved)
        self.readings.clear()

    @property
    def by_size(self) -> float:
        """The exponent of CPU against the size."""
        return exponent(self.sizes, self.cpus)

    @property
    def by_bytes(self) -> float:
        """The exponent of CPU against the bytes moved."""
        return exponent(self.bytes, self.cpus)

    @property
    def at_the_end(self) -> float:
        """The same between the last two points, where the fixed costs weigh least."""
        return exponent(self.bytes[-2:], self.cpus[-2:])

    def as_json(self) -> dict[str, Any]:
        """The readings and what follows from them."""
        fits = {"by_size": self.by_size, "by_bytes": self.by_bytes, "at_the_end": self.at_the_end}
        points = {name: getattr(self, name) for name in ("what", "contestant", "sizes", "bytes")}
        return {**points, "cpus": self.cpus, **fits}


def exponent(sizes: list[Any], seconds: list[float]) -> float:
    """The slope of a straight line through the logarithms."""
    xs, ys = ([log(value) for value in values] for values in (sizes, seconds))
    return statistics.linear_regression(xs, ys).slope


def run_growth(crew: Crew, address: Address, repetitions: int, *, quick: bool) -> list[Growth]:
    """Let one thing grow after the other."""
    contestants = crew.start(CONTESTANTS)
    found, calls = list[Growth](), QUICK_CALLS if quick else CALLS
    for what, (sizes, few, job) in GROWING.items():
        points = few if quick else sizes
        rows = {name: Growth(what, name, list(points)) for name in contestants}
        for size in points:
            mixture = job(address, size)
            for _ in range(repetitions):
                for name, row in rows.items():
                    _read(contestants[name], address, mixture, row, calls)
            for row in rows.values():
                row.close_point()
        found += rows.values()
    return found


def _read(contestant: Contestant, address: Address, job: Job, row: Growth, calls: int) -> None:
    address.counts(forget=True)  # those were another's
    row.readings += contestant.ask("in_turn", job, calls)["cpus"]
    row.moved = address.counts(forget=True)["bytes"] / (calls + 1)


def growth_ratios(found: list[Growth]) -> list[Row]:
    """The exponents of ours against the bytes moved."""
    return [
        ("F", f"exponent of CPU by bytes, more {it.what}, {it.contestant}", it.by_bytes, "<= 1")
        for it in found
        if it.contestant in (GIVEN, OUR)
    ]


def growth_table(found: list[Growth]) -> str:
    """All exponents."""
    rows = [
        (
            f"{it.what}, {it.sizes[0]:,} to {it.sizes[-1]:,}",
            it.contestant,
            f"{it.by_size:.2f}",
            f"{it.by_bytes:.2f}",
            f"{it.at_the_end:.2f}",
        )
        for it in found
    ]
    return table("what grows|contestant|CPU by size|CPU by bytes|between the last two points", rows)
