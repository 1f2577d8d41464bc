"""A call that is ended from outside leaves nothing behind: no task, thread, connection or run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer

from langchain_moa import MoAChatModel
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior
from tests.ingest import IngestServer
from tests.wire import (
    AGGREGATOR,
    ALPHA,
    BETA,
    GAMMA,
    LIMITS,
    Stage,
    asked_for,
    bodies,
    says,
    until,
)

HANGS: Final = ModelBehavior(hang=True)
ANSWER: Final = "It is Paris, as everybody has said."
MODELS: Final = {
    ALPHA: says("alpha says Paris."),
    BETA: says("beta says Paris."),
    GAMMA: says("gamma says Paris."),
    AGGREGATOR: says(ANSWER),
}
OPEN_FILES: Final = Path("/proc/self/fd")
RESIDENT: Final = Path("/proc/self/statm")
MOST_BYTES_PER_CALL: Final = 300_000
"""Of calls that are made at the same time; a third of it was measured."""
CALLS: Final = 20


def hangs_in_layer_2(body: Mapping[str, Any], _earlier: int) -> ModelBehavior:
    """A reference model that answers the question, and never to proposals."""
    return HANGS if "says Paris" in str(body["messages"]) else MODELS[ALPHA]


MOMENTS: Final[dict[str, tuple[dict[str, Any], Callable[[LoopbackServer], int]]]] = {
    "layer 1": ({ALPHA: HANGS}, lambda server: len(server.requests_for(ALPHA))),
    "layer 2": (
        {ALPHA: hangs_in_layer_2},
        lambda server: sum("says Paris" in str(body) for body in bodies(server, ALPHA)),
    ),
    "the aggregator": ({AGGREGATOR: HANGS}, lambda server: len(server.requests_for(AGGREGATOR))),
    "its stream": (
        {AGGREGATOR: says(ANSWER, token_delay=60)},
        lambda server: len(server.requests_for(AGGREGATOR)),
    ),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with IngestServer() as ingest:  # the tracer has threads of its own, which stay
        tracer = LangChainTracer(client=ingest.client())
        RunnableLambda(str).invoke("warm up", {"callbacks": [tracer]})
        tracer.wait_for_futures()
    with LoopbackServer({}) as server:
        yield Stage(server, MODELS)


def running() -> set[Any]:
    """Tasks of the loop, and threads that a call has started."""
    kept = ("asyncio_", "AnyIO", "Thread-")  # of the loop, the server, and the tracer
    threads = {t for t in threading.enumerate() if not t.name.startswith(kept)}
    return {*asyncio.all_tasks(), *threads}


@contextlib.asynccontextmanager
async def nothing_left(server: LoopbackServer, seconds: float = 60) -> AsyncIterator[None]:
    """Whatever runs at the end and did not before has to go by itself."""
    before = running()
    yield
    with contextlib.suppress(TimeoutError):
        await until(lambda: running() <= before and not server.open_requests, seconds)
    assert running() - before == set()
    assert not server.open_requests


async def drained(llm: MoAChatModel) -> None:
    async for _ in llm.astream("Go"):
        pass


CANCELLED: Final[dict[str, Callable[[MoAChatModel], Awaitable[Any]]]] = {
    "ainvoke": lambda llm: llm.ainvoke("Go"),
    "astream": drained,
    "abatch": lambda llm: llm.abatch(["Go"]),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", CANCELLED)
async def test_cancelled_tasks(stage: Stage, way: str, moment: str) -> None:
    behaviors, arrived = MOMENTS[moment]
    server = stage.plays({**MODELS, **behaviors})
    llm = stage.mixture(layers=3, streaming=moment == "its stream")
    async with nothing_left(server):
        calls = [asyncio.ensure_future(CANCELLED[way](llm)) for _ in range(CALLS)]
        await until(lambda: arrived(server) >= CALLS)
        for task in calls:
            task.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * CALLS
    assert not server.requests_for(AGGREGATOR) or moment in ("the aggregator", "its stream")


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_timeout_around_a_call(stage: Stage, moment: str) -> None:
    behaviors, arrived = MOMENTS[moment]
    server = stage.plays({**MODELS, **behaviors})
    llm = stage.mixture(layers=3, streaming=moment == "its stream")
    async with nothing_left(server):
        for seconds in LIMITS:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await llm.ainvoke("Go")
            if arrived(server):
                break
    assert arrived(server)


@pytest.mark.parametrize("tokens", [1, 3])
async def test_an_async_stream_closed_early(stage: Stage, tokens: int) -> None:
    held = says(ANSWER, once=lambda: False, once_after=tokens + 1)  # one is sent with the next
    server = stage.plays({**MODELS, AGGREGATOR: held})
    llm = stage.mixture()
    async with nothing_left(server):
        for _ in range(5):
            async with contextlib.aclosing(texts(llm)) as chunks:
                got = [await anext(chunks) for _ in range(tokens)]
            assert ANSWER.startswith("".join(got))
    assert {request.finished for request in server.requests_for(AGGREGATOR)} == {False}


async def texts(llm: MoAChatModel) -> AsyncGenerator[str, None]:
    stream = llm.astream("Go")
    try:
        async for chunk in stream:
            if chunk.text:
                yield chunk.text
    finally:
        await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("tokens", [1, 3])
async def test_a_sync_stream_closed_early(stage: Stage, tokens: int) -> None:
    held = says(ANSWER, once=lambda: False, once_after=tokens + 1)  # one is sent with the next
    server = stage.plays({**MODELS, AGGREGATOR: held})
    llm = stage.mixture()
    async with nothing_left(server):
        for _ in range(5):
            chunks: Any = llm.stream("Go")
            with contextlib.closing(chunks):
                got: list[str] = []
                while len(got) < tokens:
                    got += filter(None, [next(chunks).text])
            assert ANSWER.startswith("".join(got))
    assert {request.finished for request in server.requests_for(AGGREGATOR)} == {False}


# --- members that the mixture itself no longer waits for ---


async def call(llm: MoAChatModel, way: str, config: Any = None) -> Any:
    """The record of an answered call."""
    match way:
        case "invoke":
            answers = [llm.invoke("Go", config)]
        case "ainvoke":
            answers = [await llm.ainvoke("Go", config)]
        case "stream":
            answers = list(llm.stream("Go", config))
        case "astream":
            answers = [chunk async for chunk in llm.astream("Go", config)]
        case "batch":
            answers = llm.batch(["Go"], config)
        case _:
            answers = await llm.abatch(["Go"], config)
    assert "".join(answer.text for answer in answers) == ANSWER
    (record,) = [r for a in answers if (r := a.response_metadata.get("moa"))]
    return record


WAYS: Final = ("invoke", "ainvoke", "stream", "astream", "batch", "abatch")
IN_THREADS: Final = ("invoke", "stream", "batch")
"""Where nobody can end a request but its client, or here its server."""


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_cut_stragglers(stage: Stage, way: str, *, streams: bool) -> None:
    over = threading.Event()
    ends: dict[str, Any] = {"once_after": 1, "drop_after": 1} if streams else {"drop": True}
    held = says("never so far", once=over.is_set, **ends)
    server = stage.plays({**MODELS, BETA: held})
    server.models[ALPHA] = replace(MODELS[ALPHA], once=asked_for(server, BETA))
    with IngestServer() as ingest:
        # a connection that the server dropped before may be found out by a request only
        llm = stage.mixture(quorum=1, grace=0, stream_proposals=streams, max_retries=1)
        tracer = LangChainTracer(client=ingest.client())
        async with nothing_left(server):
            record = await call(llm, way, {"callbacks": [tracer]})
            if way in IN_THREADS:
                over.set()
        await asyncio.to_thread(tracer.wait_for_futures)
        await asyncio.to_thread(tracer.client.flush)
        assert [p["status"] for p in record["proposals"]] == ["ok", "cut"]
        assert "quorum of 1" in record["proposals"][1]["error"]
        assert record["degraded"]
        assert record["usage"]["unknown"] == [BETA]
        (trace,) = ingest.traces()
        assert [run.name for run in trace.walk() if not run.fields.get("end_time")] == []
        (cut,) = [r for r in trace.walk() if r.metadata.get("ls_model_name") == BETA]
        assert cut.error


def after(first: Iterator[ModelBehavior], then: ModelBehavior) -> BehaviorFunction:
    """A model that behaves like some others first."""
    return lambda _body, _earlier: next(first, then)


@pytest.mark.parametrize("hedged", [ALPHA, AGGREGATOR])
@pytest.mark.parametrize("way", WAYS)
async def test_losers_of_a_hedge(stage: Stage, way: str, hedged: str) -> None:
    for seconds in LIMITS:
        over = threading.Event()
        behaviors = iter([ModelBehavior(once=over.is_set)])
        server = stage.plays({**MODELS, hedged: after(behaviors, MODELS[hedged])})
        async with nothing_left(server):
            record = await call(stage.mixture(hedge_after=seconds), way)
            if way in IN_THREADS:
                over.set()
        if len(server.requests) == 4:  # else others were so slow that they were hedged, too
            break
    assert not record["degraded"]
    assert record["usage"]["unknown"] == [hedged]
    attempts = {m["model"]: m["attempts"] for m in record["proposals"]}
    attempts[AGGREGATOR] = record["aggregator"]["attempts"]
    assert attempts == {name: 1 + (name == hedged) for name in (ALPHA, BETA, AGGREGATOR)}
    assert len(server.requests_for(hedged)) == 2


# --- Ctrl-C ---

PROGRAM: Final = """
import sys
from langchain_moa import MoAChatModel
llm = MoAChatModel(reference_models=["acme/alpha", "acme/beta"], aggregator="acme/aggregator")
try:
    answer = llm.invoke("Go") if sys.argv[1] == "invoke" else list(llm.stream("Go"))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("hanging", [(ALPHA, BETA), (AGGREGATOR,)])
@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_an_interrupt_ends_the_program(
    stage: Stage, way: str, hanging: tuple[str, ...]
) -> None:
    server = stage.plays({**MODELS, **dict.fromkeys(hanging, HANGS)})
    keys = {"TOGETHER_API_KEY": server.api_key, "TOGETHER_API_BASE": server.base_url}
    program = subprocess.Popen(  # noqa: ASYNC220, S603 - it is waited for in a thread; ours
        [sys.executable, "-c", PROGRAM, way],
        env={**os.environ, **keys},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        await until(lambda: all(map(server.requests_for, hanging)), 200)
        program.send_signal(signal.SIGINT)
        # members would have had two minutes and more
        output, _ = await asyncio.to_thread(program.communicate, timeout=100)
    finally:
        program.kill()
    assert (output, program.returncode) == ("interrupted\n", 0)
    await until(lambda: not server.open_requests)


# --- many calls ---


@pytest.mark.soak
async def test_a_thousand_cancelled_calls(stage: Stage) -> None:
    server = stage.plays({**MODELS, BETA: HANGS, AGGREGATOR: HANGS})
    proposing, aggregating = stage.mixture(), stage.mixture([ALPHA])
    await cancel_many(server, proposing, BETA, 50)
    await cancel_many(server, aggregating, AGGREGATOR, 50)
    await until(lambda: not server.open_requests)
    connections, files = server.open_connections, open_files()
    async with nothing_left(server):
        for _ in range(10):
            await cancel_many(server, proposing, BETA, 50)
            await cancel_many(server, aggregating, AGGREGATOR, 50)
    # what is left are connections that wait for the next call, as after the first ones
    await until(lambda: server.open_connections <= connections + 5)
    if files is None:
        pytest.skip("this system has no /proc to count open files in; all else was checked")
    await until(lambda: (open_files() or 0) <= files + 10)


async def cancel_many(server: LoopbackServer, llm: MoAChatModel, hanging: str, calls: int) -> None:
    """Make calls, and cancel each while one of its members hangs."""
    arrived = len(server.requests_for(hanging)) + calls
    tasks = [asyncio.ensure_future(llm.ainvoke("Go")) for _ in range(calls)]
    await until(lambda: len(server.requests_for(hanging)) == arrived, 60)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} == {asyncio.CancelledError}


def open_files() -> int | None:
    return len(list(OPEN_FILES.iterdir())) if OPEN_FILES.exists() else None


@pytest.mark.soak
async def test_a_thousand_calls_at_once(stage: Stage) -> None:
    server = stage.plays(MODELS)
    # the server closes idle connections while a busy loop takes one up again
    llm = stage.mixture(max_concurrency=100, max_retries=3)
    async with nothing_left(server):
        await answer_many(server, llm, 200)
        objects, resident = kept(), resident_bytes()
        await answer_many(server, llm, 1000)
        assert resident_bytes() - resident < MOST_BYTES_PER_CALL * 1000
        await answer_many(server, llm, 200)
        # of the last ones, timers and connections keep a little for a while
        await until(lambda: kept() - objects < 1000, 60)


async def answer_many(server: LoopbackServer, llm: MoAChatModel, calls: int) -> None:
    answers = await asyncio.gather(*(llm.ainvoke(f"Question {i}") for i in range(calls)))
    assert [answer.text for answer in answers] == [ANSWER] * calls
    assert not any(answer.response_metadata["moa"]["degraded"] for answer in answers)
    asked = {str(request.body["messages"][0]) for request in server.requests_for(AGGREGATOR)}
    assert len(asked) == calls
    server.requests.clear()


def kept() -> int:
    """How many objects there are that may hold others."""
    gc.collect()
    return len(gc.get_objects())


def resident_bytes() -> int:
    """Bytes of memory that this process has, 0 where the system does not tell."""
    if not RESIDENT.exists():
        return 0
    return int(RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
