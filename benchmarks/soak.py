"""A soak: thousands of calls among random faults. Is a call lost, does one hang, does any leak?"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableConfig

from benchmarks.faults import SOAK_AGGREGATORS, SOAK_PROPOSERS
from benchmarks.machine import resident_mib
from benchmarks.server import Address, serving
from benchmarks.table import table
from benchmarks.tails import percentile
from langchain_moa import MoAChatModel

CALLS: Final = 10_000
AT_ONCE: Final = 16
PROPOSER_TIMEOUT, AGGREGATOR_TIMEOUT = 1.0, 1.0
BOUND: Final = PROPOSER_TIMEOUT + len(SOAK_AGGREGATORS) * AGGREGATOR_TIMEOUT
"""Seconds in which a call ends: one layer, then each aggregator."""
MARGIN: Final = 2.0
"""Seconds more until a call counts as hung."""
GIVEN_UP: Final = 60.0
"""Seconds after which nobody waits for a call any more."""
BEAT: Final = 0.05
"""Seconds between two beats of the clock that it is measured by."""
WARM_UP: Final = 0.1
"""Share of the calls after which memory is first read."""
SETTLING: Final = 10.0
"""Seconds that what was cut at the end has to go away."""
WAYS: Final = {"ainvoke": 0.7, "astream": 0.2, "invoke": 0.05, "stream": 0.05}
"""How calls are made, by share; `invoke` and `stream` in threads."""


class _Answered(BaseCallbackHandler):
    """Knows whether some member of one call has given a usable text."""

    run_inline = True
    ignore_chain = True

    def __init__(self) -> None:
        self.seen = False

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Look at a member's answer."""
        del kwargs
        for generation in response.generations[0][:1]:
            # a stream that was cut off ends here, too, but without a reason
            reason = (generation.generation_info or {}).get("finish_reason")
            self.seen |= bool(generation.text.strip()) and reason == "stop"


@dataclass
class _OwnTime:
    """A clock of the event loop that stands still while the machine is busy with something else.

    By the wall's clock a call of a process that waits seconds for its turn looks as if it hung.

    Attributes:
        seconds: What it shows.
        held: The most CPU seconds for which something of this process kept the loop from a beat.
    """

    seconds: float = 0.0
    held: float = 0.0

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            before, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(BEAT)
            self.held = max(self.held, time.thread_time() - computed)
            # one that is late by another beat has waited for its turn, not for an answer
            self.seconds += min(time.perf_counter() - before, 2 * BEAT)


@dataclass
class Soaked:
    """What came of all calls.

    Attributes:
        calls: Calls that were made, and `ways` how.
        answered: Calls that gave an answer.
        degraded: Those of them that say that they lack a proposal or the aggregator's answer.
        nobody: Calls that raised because no member at all had answered.
        late: Calls that raised because those who answered did so when their time was over.
        lost: Calls that raised although one had answered in time, and `lost_errors` with what.
        broken: Streams that raised after their first token, which cannot be taken back.
        hung: Calls that took longer than `BOUND` and `MARGIN` of the time that this process had;
            `delayed` are those that did by the wall's clock alone, on a machine that was busy.
        held: The most CPU seconds for which the event loop was kept from everything else.
        wrong_accounts: Records whose totals are not the sum of what they consist of.
        known_tokens: Tokens in all records; `served_tokens` are those that the server counted.
        errors: What was raised, by class and cause.
        seconds: Wall seconds of each call.
        p50: Percentiles of these, in seconds.
        mib_warm: This process's memory in MiB after `WARM_UP`, and `mib_end` at the end.
        tasks: Tasks of the event loop left at the end, threads and connections as well.
    """

    calls: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    degraded: int = 0
    nobody: int = 0
    late: int = 0
    lost: int = 0
    lost_errors: list[str] = field(default_factory=list)
    broken: int = 0
    hung: int = 0
    delayed: int = 0
    held: float = 0.0
    wrong_accounts: int = 0
    known_tokens: int = 0
    served_tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    wall: float = 0.0
    mib_warm: float = 0.0
    mib_end: float = 0.0
    tasks: int = 0
    threads: int = 0
    connections: int = 0
    requests: int = 0

    def as_json(self) -> dict[str, Any]:
        """All but the single readings."""
        return {name: value for name, value in vars(self).items() if name != "seconds"}


async def run_soak(calls: int = CALLS) -> Soaked:
    """Make so many calls, `AT_ONCE` at a time, and count."""
    soaked, started = Soaked(), time.perf_counter()
    with serving("soak") as address, ThreadPoolExecutor(AT_ONCE) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        threads = threading.active_count()
        numbers = iter(range(calls))
        llm = _mixture(address)
        for way in WAYS:  # the first call of a kind imports and compiles: none of what is measured
            await _one_call(llm, way, -1, Soaked(), _OwnTime())
        clock = _OwnTime()
        beating = asyncio.create_task(clock.run())
        work = (_work(llm, numbers, soaked, calls, clock) for _ in range(AT_ONCE))
        await asyncio.gather(*work)
        beating.cancel()
        soaked.wall, soaked.held = time.perf_counter() - started, clock.held
        await _settled(address)
        _measure_the_end(soaked, address, threads)
    return soaked


def _mixture(address: Address) -> MoAChatModel:
    options: dict[str, Any] = {
        "reference_models": list(SOAK_PROPOSERS),
        "aggregator": list(SOAK_AGGREGATORS),
        "base_url": address.base_url,
        "api_key": address.api_key,
        "quorum": 3,
        "grace": 0.05,
        "proposer_timeout": PROPOSER_TIMEOUT,
        "aggregator_timeout": AGGREGATOR_TIMEOUT,
        "on_no_proposals": "aggregate_alone",
        "on_aggregator_failure": "best_proposal",
    }
    return MoAChatModel(**options)


async def _work(
    llm: MoAChatModel, numbers: Iterator[int], soaked: Soaked, calls: int, clock: _OwnTime
) -> None:
    for number in numbers:
        (way,) = Random(number).choices(list(WAYS), list(WAYS.values()))  # noqa: S311 - repeatable
        await _one_call(llm, way, number, soaked, clock)
        if soaked.calls == max(1, int(calls * WARM_UP)):
            soaked.mib_warm = resident_mib()


async def _one_call(
    llm: MoAChatModel, way: str, number: int, soaked: Soaked, clock: _OwnTime
) -> None:
    seen, chunks = _Answered(), list[Any]()
    started, began = time.perf_counter(), clock.seconds
    try:
        async with asyncio.timeout(GIVEN_UP):
            await _called(llm, way, f"Call {number}: capital of France?", seen, chunks)
        _count_answer(chunks, soaked)
    except Exception as error:  # noqa: BLE001 - that is what is counted
        _count_error(error, seen, chunks, soaked)
    seconds = time.perf_counter() - started
    soaked.calls += 1
    soaked.ways[way] += 1
    soaked.seconds.append(seconds)
    hung = clock.seconds - began > BOUND + MARGIN
    soaked.hung += hung
    soaked.delayed += seconds > BOUND + MARGIN and not hung


async def _called(
    llm: MoAChatModel, way: str, question: str, seen: _Answered, chunks: list[Any]
) -> None:
    """Make one call; what comes of it goes into `chunks`, be it one answer."""
    config: RunnableConfig = {"callbacks": [seen]}
    if way == "ainvoke":
        chunks.append(await llm.ainvoke(question, config))
    elif way == "astream":
        async for chunk in llm.astream(question, config):
            chunks.append(chunk)  # noqa: PERF401 - those before an error count, too
    elif way == "invoke":
        chunks.append(await asyncio.to_thread(llm.invoke, question, config))
    else:
        await asyncio.to_thread(lambda: chunks.extend(llm.stream(question, config)))


def _count_answer(chunks: list[Any], soaked: Soaked) -> None:
    record = next(found for c in chunks if (found := c.response_metadata.get("moa")))
    soaked.answered += 1
    soaked.degraded += record["degraded"]
    soaked.known_tokens += record["usage"]["total_tokens"]
    soaked.wrong_accounts += not _sums_up(record)


def _sums_up(record: Mapping[str, Any]) -> bool:
    """Whether a record's totals are what its members and its models add up to."""
    total: int = record["usage"]["total_tokens"]
    members = _total([*(p["usage"] for p in record["proposals"]), record["aggregator"]["usage"]])
    # an aggregator that failed may have used tokens, which its successor's record leaves out
    alone = record["aggregator"].get("attempts", 1) <= 1
    if members != total and (alone or members > total):
        return False
    return _total(record["usage"]["by_model"].values()) == total


def _total(usages: Iterable[Mapping[str, int] | None]) -> int:
    return sum(usage["total_tokens"] for usage in usages if usage)


def _count_error(error: Exception, seen: _Answered, chunks: list[Any], soaked: Soaked) -> None:
    soaked.errors[f"{type(error).__name__} from {type(error.__cause__).__name__}"] += 1
    if any(chunk.text for chunk in chunks):
        soaked.broken += 1
    elif any(p.usable for p in getattr(error, "proposals", ())):
        soaked.lost += 1
        soaked.lost_errors.append(f"{error}")
    elif seen.seen:
        soaked.late += 1
    else:
        soaked.nobody += 1


async def _settled(address: Address) -> None:
    """Wait until nothing is under way, or for as long as it may take."""
    until = time.monotonic() + SETTLING
    while time.monotonic() < until:
        if len(asyncio.all_tasks()) == 1 and not address.counts()["open_requests"]:
            return
        await asyncio.sleep(0.2)


def _measure_the_end(soaked: Soaked, address: Address, threads: int) -> None:
    counts = address.counts()
    soaked.requests = int(counts["requests"])
    soaked.served_tokens = int(counts["input_tokens"] + counts["output_tokens"])
    soaked.connections = int(counts["open_connections"])
    soaked.tasks = len(asyncio.all_tasks()) - 1
    pooled = sum(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())
    soaked.threads = threading.active_count() - threads - pooled
    soaked.mib_end = resident_mib()
    shares = (percentile(soaked.seconds, share) for share in (0.5, 0.95, 0.99, 1))
    soaked.p50, soaked.p95, soaked.p99, soaked.longest = shares


def soak_table(soaked: Soaked) -> str:
    """The counts as a Markdown table."""
    s = soaked
    rows = [
        ("calls", f"{s.calls} ({', '.join(f'{n} {way}' for way, n in sorted(s.ways.items()))})"),
        ("requests at the server", f"{s.requests}"),
        ("answered; of these degraded", f"{s.answered}; {s.degraded}"),
        ("raised: nobody had answered", f"{s.nobody}"),
        ("raised: answered only when the time was over", f"{s.late}"),
        ("lost: raised although somebody had answered in time", f"{s.lost}"),
        ("streams that broke after their first token", f"{s.broken}"),
        (f"hung: longer than {BOUND:g} s (and {MARGIN:g} s) of this process's time", f"{s.hung}"),
        ("delayed: as long by the wall's clock, on a busy machine", f"{s.delayed}"),
        ("CPU seconds for which the event loop was held, longest", f"{s.held:.2f}"),
        ("wrong accounts", f"{s.wrong_accounts}"),
        ("tokens in the records; at the server", f"{s.known_tokens}; {s.served_tokens}"),
        (
            "seconds of a call, p50, p95, p99, longest",
            f"{s.p50:.2f}, {s.p95:.2f}, {s.p99:.2f}, {s.longest:.2f}",
        ),
        ("seconds altogether", f"{s.wall:.0f}"),
        ("MiB of memory, warm and at the end", f"{s.mib_warm:.0f}, {s.mib_end:.0f}"),
        ("left: tasks, threads, connections", f"{s.tasks}, {s.threads}, {s.connections}"),
        ("errors", ", ".join(f"{n} {name}" for name, n in s.errors.items()) or "none"),
    ]
    return table("soak|", rows)
