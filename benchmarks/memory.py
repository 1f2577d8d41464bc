"""Scenario E: memory per call under way, each reading taken in a fresh process."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Final

from benchmarks.crew import Contestant, Crew
from benchmarks.roster import GIVEN, OUR, PLAIN
from benchmarks.server import Address
from benchmarks.table import Row, table

CONTESTANTS: Final = (GIVEN, OUR, PLAIN)
AT_ONCE: Final = 1_000
QUICK: Final = 16

Memory = dict[str, list[float]]
"""KiB per call of each contestant, in each repetition."""


def run_memory(crew: Crew, address: Address, repetitions: int, *, quick: bool) -> Memory:
    """Fill a fresh process of each contestant with calls, in turn.

    Args:
        crew: Its processes are filled in a quick run; that they are not fresh spoils the figures.
        address: Where the models are.
        repetitions: How often.
        quick: A few calls: does it work?
    """
    found: Memory = {name: [] for name in CONTESTANTS}
    for _ in range(repetitions):
        with ExitStack() as stack:
            contestants = crew.start(CONTESTANTS) if quick else _fresh(stack)
            for name, contestant in contestants.items():
                answer = contestant.ask("memory", address.job(), QUICK if quick else AT_ONCE)
                found[name].append(answer["kib"])
                address.counts(forget=True)
    return found


def _fresh(stack: ExitStack) -> dict[str, Contestant]:
    contestants = {name: stack.enter_context(Contestant(name)) for name in CONTESTANTS}
    for contestant in contestants.values():
        contestant.wait()
    return contestants


def memory_ratios(found: Memory) -> list[Row]:
    """Ratios to plain LangChain; none where the system does not tell of memory."""
    medians = {name: statistics.median(kib) for name, kib in found.items()}
    if not medians[PLAIN]:
        return []
    return [
        ("E", f"memory of a call under way, {name} / {PLAIN}", medians[name] / medians[PLAIN], goal)
        for name, goal in ((GIVEN, "<= 1.3"), (OUR, "<= 1.3"))
    ]


def memory_table(found: Memory) -> str:
    """KiB per call, for what they are worth."""
    rows = ((name, f"{statistics.median(kib):.0f}") for name, kib in found.items())
    return table("contestant|KiB of a call under way", rows)
