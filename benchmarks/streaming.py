"""Scenario C: a 500-token answer streamed, bare and inside a parent graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.contestants import Members
from benchmarks.server import LATENCY, LONG, LONG_STREAM, SHORT, SHORT_STREAM, Address
from benchmarks.table import Row

Measure = Callable[[], Awaitable[float]]
Stream = Callable[[], AsyncIterator[Any]]


async def run_streaming(address: Address, repetitions: int) -> list[Row]:
    """Time to first token, and CPU per token."""
    short = Members(address.job(aggregator=SHORT_STREAM))
    long = Members(address.job(aggregator=LONG_STREAM))
    times = await _interleaved(
        {"ours": partial(_late, _mixed(long), 2), "plain": partial(_late, long.plain_stream, 2)},
        repetitions,
    )
    tokens = await _cpu_per_token(
        {
            "ours": (_mixed(short), _mixed(long)),
            "direct": (_direct(short), _direct(long)),
            "graph": (_in_graph(short), _in_graph(long)),
        },
        repetitions,
    )
    whole = await _interleaved(
        {
            "graph": partial(_cpu, _in_graph(long)),
            "naive graph": partial(_cpu, _in_graph(long, naive=True)),
        },
        repetitions,
    )
    first = times["ours"] / times["plain"]
    per_token, in_parent = (tokens[who] / tokens["direct"] for who in ("ours", "graph"))
    naive = whole["graph"] / whole["naive graph"]
    return [
        ("C", "first token, later than the critical path / plain LangChain", first, "<= 1.2"),
        ("C", "CPU per token / streaming the aggregator directly", per_token, "<= 1.2"),
        ("C", "the same inside a graph with stream_mode='messages'", in_parent, "<= 1.4"),
        ("C", "CPU of a call inside that graph / every model streaming there", naive, "<= 0.25"),
    ]


def _mixed(members: Members) -> Stream:
    return partial(members.mixture().astream, members.messages)


def _direct(members: Members) -> Stream:
    return partial(members.aggregator.astream, members.messages)


def _in_graph(members: Members, *, naive: bool = False) -> Stream:
    graph = members.in_graph(naive=naive)
    return partial(graph.astream, {"messages": members.messages}, stream_mode="messages")


async def _interleaved(contestants: Mapping[str, Measure], repetitions: int) -> dict[str, float]:
    """The median reading of each contestant, measured in turn; the first round warms up."""
    readings: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(repetitions + 1):
        for name, measure in contestants.items():
            reading = await measure()
            if repetition:
                readings[name].append(reading)
    return {name: statistics.median(values) for name, values in readings.items()}


async def _late(stream: Stream, layers: int) -> float:
    """Seconds that the first token comes later than on the critical path."""
    started = time.perf_counter()
    first = None
    async for chunk in stream():
        if first is None and chunk.text:
            first = time.perf_counter()
    assert first is not None  # noqa: S101 - a stream without a token is a broken benchmark
    return first - started - layers * LATENCY


async def _cpu(stream: Stream) -> float:
    """Seconds of this process's CPU that a whole stream takes."""
    started = time.process_time()
    async for _ in stream():
        pass
    return time.process_time() - started


async def _cpu_per_token(
    streams: Mapping[str, tuple[Stream, Stream]], repetitions: int
) -> dict[str, float]:
    """CPU of a long stream less that of a short one, per token, for each contestant."""
    parts: dict[str, Measure] = {}
    for name, (short, long) in streams.items():
        parts[f"{name}, short"] = partial(_cpu, short)
        parts[f"{name}, long"] = partial(_cpu, long)
    medians = await _interleaved(parts, repetitions)
    return {n: (medians[f"{n}, long"] - medians[f"{n}, short"]) / (LONG - SHORT) for n in streams}
