"""Scenario C: a 500-token answer streamed, bare and inside a parent graph."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from benchmarks.contestants import Answer, Members, in_graph, our_mixture
from benchmarks.roster import GIVEN, OUR, PLAIN, Job
from benchmarks.server import LONG_STREAM, SHORT_STREAM, Address
from benchmarks.table import Row

Measure = Callable[[], Awaitable[float]]
Stream = Callable[[], AsyncIterator[Any]]

OURS: Final = (GIVEN, OUR)
DIRECT: Final = "the aggregator alone"
_INSIDE: Final = " in a graph with stream_mode='messages'"
_NAIVE: Final = "every model streaming there"


async def run_streaming(address: Address, repetitions: int) -> list[Row]:
    """Time to first token, and CPU per token and of whole calls."""
    short = _Streams(address.job(aggregator=SHORT_STREAM))
    long = _Streams(address.job(aggregator=LONG_STREAM))
    path = 2 * address.latency
    late = await _interleaved(
        {PLAIN: partial(_late, long.members.plain_stream, path)}
        | {name: partial(_late, long.bare(name), path) for name in OURS},
        repetitions,
    )
    cpus = await _interleaved(
        {f"short, {who}": partial(_cpu, stream) for who, stream in short.all().items()}
        | {who: partial(_cpu, stream) for who, stream in long.all().items()}
        | {_NAIVE: partial(_cpu, long.naive())},
        repetitions,
    )
    return streaming_ratios(late, cpus)


def streaming_ratios(late: Mapping[str, float], cpus: Mapping[str, float]) -> list[Row]:
    """Ratios to plain LangChain, with their goals; those of the aggregator alone have none.

    Args:
        late: Seconds that the first token comes later than on the critical path.
        cpus: CPU seconds of whole long calls, and of short ones.
    """
    rows: list[Row] = []
    for name in OURS:
        first, bare = late[name] / late[PLAIN], _per_token(cpus, name)
        inside, share = _per_token(cpus, name + _INSIDE), cpus[name + _INSIDE] / cpus[_NAIVE]
        rows += [
            ("C", f"first token, later than the critical path, {name} / {PLAIN}", first, "<= 1.2"),
            ("C", f"CPU per token, {name} / {DIRECT}", bare, "<= 1.2"),
            ("C", f"CPU per token, {name}{_INSIDE} / {DIRECT}", inside, "<= 1.4"),
            ("C", f"CPU of a call, {name}{_INSIDE} / {_NAIVE}", share, "<= 0.25"),
        ]
    inside, share = _per_token(cpus, DIRECT + _INSIDE), cpus[DIRECT + _INSIDE] / cpus[_NAIVE]
    return [
        *rows,
        ("C", f"CPU per token, {DIRECT}{_INSIDE} / {DIRECT}", inside, ""),
        ("C", f"CPU of a call, {DIRECT}{_INSIDE} / {_NAIVE}", share, ""),
    ]


def _per_token(cpus: Mapping[str, float], who: str) -> float:
    """CPU of a long stream less that of a short one, divided by that of the aggregator alone."""
    alone = cpus[DIRECT] - cpus[f"short, {DIRECT}"]
    return (cpus[who] - cpus[f"short, {who}"]) / alone


class _Streams:
    """What is streamed of a job, by whom and where."""

    def __init__(self, job: Job) -> None:
        self.members = Members(job)
        self._mixtures = {GIVEN: self.members.mixture(), OUR: our_mixture(job)}

    def all(self) -> dict[str, Stream]:
        """Both mixtures and the aggregator alone, by themselves and in a parent graph."""
        return {
            DIRECT: partial(self.members.aggregator.astream, self.members.messages),
            DIRECT + _INSIDE: self._inside(self.members.aggregator.ainvoke),
            **{name: self.bare(name) for name in OURS},
            **{name + _INSIDE: self._inside(llm.ainvoke) for name, llm in self._mixtures.items()},
        }

    def bare(self, name: str) -> Stream:
        """A mixture's answer."""
        return partial(self._mixtures[name].astream, self.members.messages)

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


async def _late(stream: Stream, path: float) -> float:
    """Seconds that the first token comes later than on a critical path of so many seconds."""
    started = time.perf_counter()
    first = None
    async for chunk in stream():
        if first is None and chunk.text:
            first = time.perf_counter()
    assert first is not None  # noqa: S101 - a stream without a token is a broken benchmark
    return first - started - path


async def _cpu(stream: Stream) -> float:
    """Seconds of this process's CPU that a whole stream takes, but not the rubbish of others."""
    gc.collect()
    started = time.process_time()
    async for _ in stream():
        pass
    return time.process_time() - started
