"""Scenario C: a 500-token answer streamed, bare and inside a parent graph."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from benchmarks.contestants import Answer, Members, in_graph, our_mixture
from benchmarks.roster import GIVEN, OUR, PLAIN, Job
from benchmarks.server import LATENCY, LONG, LONG_STREAM, SHORT, SHORT_STREAM, Address
from benchmarks.table import Row

Measure = Callable[[], Awaitable[float]]
Stream = Callable[[], AsyncIterator[Any]]

OURS: Final = (GIVEN, OUR)
_DIRECT: Final = "streaming the aggregator directly"
_DIRECT_IN_GRAPH: Final = f"{_DIRECT}, in a graph"
_NAIVE: Final = "every model streaming there"


async def run_streaming(address: Address, repetitions: int) -> list[Row]:
    """Time to first token, and CPU per token."""
    short = _Streams(address.job(aggregator=SHORT_STREAM))
    long = _Streams(address.job(aggregator=LONG_STREAM))
    times = await _interleaved(
        {PLAIN: partial(_late, long.members.plain_stream, 2)}
        | {name: partial(_late, long.bare(name), 2) for name in OURS},
        repetitions,
    )
    tokens = await _cpu_per_token(
        {
            _DIRECT: (short.direct, long.direct),
            _DIRECT_IN_GRAPH: (short.direct_in_graph(), long.direct_in_graph()),
            **{name: (short.bare(name), long.bare(name)) for name in OURS},
            **{f"{name} in graph": (short.in_graph(name), long.in_graph(name)) for name in OURS},
        },
        repetitions,
    )
    whole = await _interleaved(
        {_NAIVE: partial(_cpu, long.naive()), _DIRECT: partial(_cpu, long.direct_in_graph())}
        | {name: partial(_cpu, long.in_graph(name)) for name in OURS},
        repetitions,
    )
    return streaming_ratios(times, tokens, whole)


def streaming_ratios(
    times: Mapping[str, float], tokens: Mapping[str, float], whole: Mapping[str, float]
) -> list[Row]:
    """Ratios to plain LangChain, with their goals; those of the aggregator alone have none.

    Args:
        times: Seconds that the first token comes later than on the critical path.
        tokens: CPU seconds per token, in a graph and not.
        whole: CPU seconds of a whole call in a graph.
    """
    per_token = {who: value / tokens[_DIRECT] for who, value in tokens.items()}
    in_graph = "CPU per token in a graph with stream_mode='messages'"
    call = "CPU of a call in that graph"
    rows: list[Row] = []
    for name in OURS:
        first = times[name] / times[PLAIN]
        inside = per_token[f"{name} in graph"]
        share = whole[name] / whole[_NAIVE]
        rows += [
            ("C", f"first token, later than the critical path, {name} / {PLAIN}", first, "<= 1.2"),
            ("C", f"CPU per token, {name} / {_DIRECT}", per_token[name], "<= 1.2"),
            ("C", f"{in_graph}, {name} / {_DIRECT}", inside, "<= 1.4"),
            ("C", f"{call}, {name} / {_NAIVE}", share, "<= 0.25"),
        ]
    alone = whole[_DIRECT] / whole[_NAIVE]
    return [
        *rows,
        ("C", f"{in_graph}, {_DIRECT} itself there / {_DIRECT}", per_token[_DIRECT_IN_GRAPH], ""),
        ("C", f"{call}, {_DIRECT} itself there / {_NAIVE}", alone, ""),
    ]


class _Streams:
    """What is streamed of a job, by whom and where."""

    def __init__(self, job: Job) -> None:
        self.members = Members(job)
        self._mixtures = {GIVEN: self.members.mixture(), OUR: our_mixture(job)}

    def bare(self, name: str) -> Stream:
        """A mixture's answer."""
        return partial(self._mixtures[name].astream, self.members.messages)

    def direct(self) -> AsyncIterator[Any]:
        """The aggregator's answer to the question itself."""
        return self.members.aggregator.astream(self.members.messages)

    def in_graph(self, name: str) -> Stream:
        """A mixture's answer in a parent graph."""
        return self._inside(self._mixtures[name].ainvoke)

    def direct_in_graph(self) -> Stream:
        """The aggregator's answer to the question in a parent graph: what the graph takes."""
        return self._inside(self.members.aggregator.ainvoke)

    def naive(self) -> Stream:
        """Plain LangChain in a parent graph, which makes every model stream."""
        return self._inside(lambda _: self.members.plain_invoke())

    def _inside(self, answer: Answer) -> Stream:
        state = {"messages": self.members.messages}
        return partial(in_graph(answer).astream, state, stream_mode="messages")


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
