"""`stream_requests` streams proposals, so that those which are given up stop; it shows none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import pytest

from langchain_moa.testing import LoopbackServer
from langchain_moa.types import ProgressEvent
from tests.wire import AGGREGATOR, ALPHA, BETA, Stage, says, until

MODELS: Final = {ALPHA: says("a b"), BETA: says("word " * 2000, token_delay=0.05)}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")


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
