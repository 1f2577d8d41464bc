"""`python -m benchmarks`: run the scenarios and print a table of ratios.

A: overhead of a call, wall time less the critical path, against plain LangChain.
C: streaming, time to first token and CPU per token, bare and inside a parent graph.
D: heavy tails, hanging and failing proposers: wall seconds and lost calls.
soak: thousands of calls among random faults; only where it is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contestants import (
    QUESTION,
    Members,
    in_graph,
    mixture,
    plain_invoke,
    plain_stream,
)
from benchmarks.machine import described
from benchmarks.server import (
    AGGREGATOR,
    LATENCY,
    LONG,
    LONG_STREAM,
    SHORT,
    SHORT_STREAM,
    Address,
    serving,
)
from benchmarks.soak import CALLS, run_soak, soak_table
from benchmarks.tails import ratios, run_tails, tails_table

Measure = Callable[[], Awaitable[float]]
Stream = Callable[[], AsyncIterator[Any]]
Row = tuple[str, str, float, str]
"""Scenario, what is measured, the ratio, the goal."""

TAIL_CALLS = 200
QUICK_SOAK = 40


async def interleaved(contestants: Mapping[str, Measure], repetitions: int) -> dict[str, float]:
    """The median reading of each contestant, measured in turn; the first round warms up."""
    readings: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(repetitions + 1):
        for name, measure in contestants.items():
            reading = await measure()
            if repetition:
                readings[name].append(reading)
    return {name: statistics.median(values) for name, values in readings.items()}


async def overhead(call: Callable[[], Awaitable[Any]], layers: int) -> float:
    """Seconds that a call takes longer than its critical path."""
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started - layers * LATENCY


async def first_token(stream: Stream, layers: int) -> float:
    """Seconds that the first token comes later than on the critical path."""
    started = time.perf_counter()
    first = None
    async for chunk in stream():
        if first is None and chunk.text:
            first = time.perf_counter()
    assert first is not None  # noqa: S101 - a stream without a token is a broken benchmark
    return first - started - layers * LATENCY


async def cpu(stream: Stream) -> float:
    """Seconds of this process's CPU that a whole stream takes."""
    started = time.process_time()
    async for _ in stream():
        pass
    return time.process_time() - started


async def cpu_per_token(
    streams: dict[str, tuple[Stream, Stream]], repetitions: int
) -> dict[str, float]:
    """CPU of a long stream less that of a short one, per token, for each contestant."""
    parts: dict[str, Measure] = {}
    for name, (short, long) in streams.items():
        parts[f"{name}, short"] = partial(cpu, short)
        parts[f"{name}, long"] = partial(cpu, long)
    medians = await interleaved(parts, repetitions)
    return {n: (medians[f"{n}, long"] - medians[f"{n}, short"]) / (LONG - SHORT) for n in streams}


async def scenario_a(address: Address, repetitions: int) -> list[Row]:
    """Overhead, 4 proposers and an aggregator of 200 ms each, 2 and 4 layers."""
    members, rows = Members(address, AGGREGATOR), []
    for layers in (2, 4):
        llm = mixture(members, layers)
        medians = await interleaved(
            {
                "ours": partial(overhead, partial(llm.ainvoke, QUESTION), layers),
                "plain": partial(overhead, partial(plain_invoke, members, layers), layers),
            },
            repetitions,
        )
        name = f"overhead of a call, {layers} layers, given members / plain LangChain"
        rows.append(("A", name, medians["ours"] / medians["plain"], "<= 1.2"))
    return rows


async def scenario_c(address: Address, repetitions: int) -> list[Row]:
    """A 500-token answer, streamed."""
    short, long = Members(address, SHORT_STREAM), Members(address, LONG_STREAM)
    times = await interleaved(
        {
            "ours": partial(first_token, partial(mixture(long, 2).astream, QUESTION), 2),
            "plain": partial(first_token, partial(plain_stream, long, 2), 2),
        },
        repetitions,
    )
    tokens = await cpu_per_token(
        {
            "ours": _both(short, long, lambda m: partial(mixture(m, 2).astream, QUESTION)),
            "direct": _both(short, long, lambda m: partial(m.aggregator.astream, QUESTION)),
            "graph": _both(short, long, lambda m: _messages(in_graph(m, naive=False))),
        },
        repetitions,
    )
    whole = await interleaved(
        {
            name: partial(cpu, _messages(in_graph(long, naive=naive)))
            for name, naive in (("graph", False), ("naive graph", True))
        },
        repetitions,
    )
    ratios = (
        ("first token, later than the critical path / plain LangChain", times, "plain"),
        ("CPU per token / streaming the aggregator directly", tokens, "direct"),
    )
    in_parent = tokens["graph"] / tokens["direct"]
    naive = whole["graph"] / whole["naive graph"]
    return [
        *(("C", what, found["ours"] / found[base], "<= 1.2") for what, found, base in ratios),
        ("C", "the same inside a graph with stream_mode='messages'", in_parent, "<= 1.4"),
        ("C", "CPU of a call inside that graph / every model streaming there", naive, "<= 0.25"),
    ]


def _both(
    short: Members, long: Members, make: Callable[[Members], Stream]
) -> tuple[Stream, Stream]:
    return make(short), make(long)


def _messages(graph: Any) -> Stream:
    return partial(graph.astream, {"messages": QUESTION}, stream_mode="messages")


Scenario = Callable[[Address, int], Awaitable[list[Row]]]
RATIOS: dict[str, Scenario] = {"A": scenario_a, "C": scenario_c}
SCENARIOS = (*RATIOS, "D", "soak")
BY_DEFAULT = ("A", "C", "D")


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| scenario | ratio of medians | measured | goal |", "|---|---|---:|---|"]
    lines += [f"| {name} | {what} | {ratio:.2f} | {goal} |" for name, what, ratio, goal in rows]
    return "\n".join(lines)


async def run(names: Sequence[str], repetitions: int) -> list[Row]:
    """Run scenarios against one server."""
    rows: list[Row] = []
    with serving() as address:
        for name in names:
            rows += await RATIOS[name](address, repetitions)
    return rows


def report(names: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the scenarios, print their tables, and give what is kept as JSON."""
    kept: dict[str, Any] = {"machine": described(), "ratios": []}
    print(", ".join(kept["machine"].values()))
    steady = [name for name in names if name in RATIOS]
    if steady:
        kept["ratios"] += asyncio.run(run(steady, 1 if arguments.quick else arguments.repetitions))
    if "D" in names:
        tails = asyncio.run(run_tails(arguments.calls or TAIL_CALLS, quick=arguments.quick))
        kept["ratios"] += ratios(tails)
        kept["tails"] = [asdict(tail) for tail in tails]
        print(f"\n{tails_table(tails)}")
    if kept["ratios"]:
        print(f"\n{table(kept['ratios'])}")
    if "soak" in names:
        soaked = asyncio.run(
            run_soak(arguments.calls or (QUICK_SOAK if arguments.quick else CALLS))
        )
        kept["soak"] = soaked.as_json()
        print(f"\n{soak_table(soaked)}")
    return kept


def main() -> int:
    """Parse the arguments, run, print the tables and write JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--scenario", choices=SCENARIOS, action="append", help="default: all but soak"
    )
    parser.add_argument("--repetitions", type=int, default=15, help="of A and C")
    parser.add_argument(
        "--calls", type=int, help=f"of D (default {TAIL_CALLS}) and soak (default {CALLS})"
    )
    parser.add_argument("--quick", action="store_true", help="a few calls: does it work?")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    arguments = parser.parse_args()
    logging.getLogger("langchain_moa").setLevel(logging.ERROR)  # the failures are on purpose
    kept = report(arguments.scenario or BY_DEFAULT, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
