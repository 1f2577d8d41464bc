"""`stream_requests` streams proposals, so that those which are given up stop; it shows none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.types import ProgressEvent
from tests.wire import AGGREGATOR, ALPHA, BETA, Stage, says, until

MODELS: Final = {ALPHA: says("a b"), BETA: says("word " * 2000, token_delay=0.05)}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")
LONG: Final = 20.0
"""Seconds that nothing here takes unless it is broken."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, (*MODELS, AGGREGATOR))


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_given_up_stops_and_nothing_is_shown(stage: Stage, way: str) -> None:
    server, events = stage.plays({**MODELS, AGGREGATOR: says("It is 4.")}), list[ProgressEvent]()
    llm = stage.mixture(stream_requests=True, quorum=1, grace=0.1, on_progress=events.append)
    answers: list[Any]
    match way:
        case "invoke":
            answers = [await asyncio.to_thread(llm.invoke, "2 + 2?")]
        case "ainvoke":
            answers = [await llm.ainvoke("2 + 2?")]
        case "stream":
            answers = await asyncio.to_thread(lambda: list(llm.stream("2 + 2?")))
        case _:
            answers = [chunk async for chunk in llm.astream("2 + 2?")]
    record = answers[-1].response_metadata["moa"]
    assert [p["status"] for p in record["proposals"]] == ["ok", "cut"]
    await until(lambda: not server.open_requests)
    assert [r.body.get("stream") for r in server.requests if r.model in MODELS] == [True, True]
    assert not [e for e in events if e["role"] == "proposer" and e["event"] == "token"]
    assert "".join(answer.text for answer in answers) == "It is 4."


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_what_a_mixture_inside_asked_for_stops_with_it(stage: Stage, way: str) -> None:
    server = stage.plays({**MODELS, AGGREGATOR: says("It is 4.")})
    inside = stage.mixture((BETA, BETA), stream_requests=True)
    given: Any = {"reference_models": [stage.members[ALPHA], inside]}
    llm = stage.mixture(stream_requests=True, quorum=1, grace=0.1, **given)
    answer = await (llm.ainvoke("Go") if way == "ainvoke" else asyncio.to_thread(llm.invoke, "Go"))
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses == ["ok", "cut"]
    await until(lambda: not server.open_requests)
    assert {r.model for r in server.requests if r.usage is None} <= {BETA}


async def test_reasoning_in_another_loop_stops_with_whom_it_is_for(stage: Stage) -> None:
    thinks = ModelBehavior(reply=f"<think>{'word ' * 2000}</think>4", token_delay=0.05)
    server = stage.plays({ALPHA: says("a"), BETA: thinks, AGGREGATOR: says("It is 4.")})
    known: Any = {"reference_models": [RunnableLambda(lambda _: "a")]}
    inside = stage.mixture((), BETA, **known)

    async def read() -> str:
        return "".join([chunk.text async for chunk in inside.astream("2 + 2?")])

    def member(_: object) -> str:
        return asyncio.run(read())

    given: Any = {"reference_models": [stage.members[ALPHA], RunnableLambda(member)]}
    llm = stage.mixture(quorum=1, grace=0.5, **given)
    answer = await asyncio.to_thread(llm.invoke, "Go")
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses == ["ok", "cut"]
    assert BETA in {request.model for request in server.requests}
    await until(lambda: not server.open_requests, LONG)


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_reasoning_of_an_aggregator_that_is_given_up_stops(stage: Stage, way: str) -> None:
    thinks = ModelBehavior(reply=f"<think>{'word ' * 2000}</think>4", token_delay=0.05)
    server = stage.plays({ALPHA: says("a"), BETA: thinks, AGGREGATOR: says("It is 4.")})
    llm = stage.mixture((ALPHA, ALPHA), BETA, AGGREGATOR, aggregator_timeout=1.0)
    if way == "stream":
        last = await asyncio.to_thread(lambda: list(llm.stream("2 + 2?"))[-1])
    else:
        last = [chunk async for chunk in llm.astream("2 + 2?")][-1]
    assert last.response_metadata["moa"]["aggregator"]["model"] == AGGREGATOR
    await until(lambda: not server.open_requests, 20)


class Swallowing:
    """A stream whose client takes a cancellation for its own matter, and goes on, or ends."""

    def __init__(self, *, goes_on: bool) -> None:
        self.goes_on = goes_on
        self.waits = False
        self.swallowed = 0
        self.closed = False

    async def pieces(self, _: Any) -> AsyncIterator[str]:
        yield "a"
        self.waits = True
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            self.swallowed += 1
        try:
            if self.goes_on:
                yield "b"
                await asyncio.sleep(LONG)
        finally:
            self.closed = True


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("place", ["proposer", "aggregator"])
async def test_a_cancellation_that_a_client_swallows_counts(
    stage: Stage, place: str, *, goes_on: bool
) -> None:
    stage.plays({**MODELS, BETA: says("b"), AGGREGATOR: says("It is 4.")})
    client, given = Swallowing(goes_on=goes_on), dict[str, Any]()
    member = RunnableLambda(client.pieces)
    if place == "proposer":
        given = {"reference_models": [stage.members[ALPHA], member]}
    else:
        given = {"aggregator": member}
    llm = stage.mixture(stream_requests=True, **given)

    async def read() -> None:
        async for _ in llm.astream("2 + 2?"):
            pass

    reading = asyncio.ensure_future(read())
    await until(lambda: client.waits)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await until(lambda: client.closed, LONG / 2)
    assert client.swallowed == 1
