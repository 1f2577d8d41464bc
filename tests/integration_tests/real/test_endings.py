"""What is given up, the server stops writing: streams, proposals, calls. What is waited for."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import MoAChatModel
from langchain_moa.local import LocalServer
from langchain_moa.testing import ScriptedChatModel
from tests.integration_tests.real.asking import QUESTION, TOKENS, Real, runs, until
from tests.wire import until as soon

pytestmark = pytest.mark.real

LONG = 650
"""Tokens of an answer that nobody waits for, which its slot has room for."""


def idle(smol: Real) -> bool:
    return smol.busy() == 0


def assert_stopped(smol: Real, before: int, most: int = LONG) -> None:
    """The server has stopped of itself, long before the answers were complete."""
    until(lambda: idle(smol), "the server stops writing")
    assert smol.written() - before < most


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_that_is_closed_stops_the_server(smol: Real, way: str) -> None:
    quick = ScriptedChatModel.saying("Red.")
    llm = smol.mixture(reference_models=[quick], aggregator=smol.member(LONG))
    before = smol.written()

    async def begun() -> None:
        chunks: Any = llm.astream(QUESTION)
        assert await anext(chunks)
        assert smol.busy() == 1
        await chunks.aclose()

    if way == "astream":
        asyncio.run(begun())
    else:
        chunks: Any = llm.stream(QUESTION)
        assert next(chunks)
        assert smol.busy() == 1
        chunks.close()
    assert_stopped(smol, before)


def test_a_call_that_is_cancelled_stops_its_proposals(smol: Real) -> None:
    llm = smol.mixture(reference_models=[smol.member(LONG), smol.member(LONG)])
    before = smol.written()

    async def cancelled() -> None:
        call = asyncio.create_task(llm.ainvoke(QUESTION))
        await soon(lambda: smol.busy() == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(cancelled())
    assert_stopped(smol, before, 2 * LONG)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_proposal_that_a_quorum_leaves_behind_is_stopped(smol: Real, way: str) -> None:
    quick = ScriptedChatModel.saying("Red.")
    slow = smol.member(LONG)
    llm = smol.mixture(reference_models=[quick, slow], quorum=1, grace=0.0, aggregator=quick)
    before = smol.written()
    answer = llm.invoke(QUESTION) if way == "invoke" else asyncio.run(llm.ainvoke(QUESTION))
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses[0] == "ok"
    assert statuses[1] != "ok"
    assert_stopped(smol, before)


def test_a_quorum_does_not_wait_for_a_busy_slot(smol: Real) -> None:
    """With one slot left, one proposal waits in the server's queue; the answer needs the other."""
    with ExitStack() as others:
        for _ in range(smol.server.slots - 1):
            stream: Any = smol.member(LONG).stream(QUESTION)
            others.callback(stream.close)
            next(stream)
        llm = smol.mixture(
            reference_models=[smol.member(4), smol.member(4 * TOKENS)], quorum=1, grace=0.0
        )
        answer = llm.invoke(QUESTION)
        assert smol.busy() >= smol.server.slots - 1  # the others' answers go on
    statuses = sorted(p["status"] for p in answer.response_metadata["moa"]["proposals"])
    assert statuses.count("ok") == 1
    assert answer.text.strip()
    until(lambda: idle(smol), "the server stops writing")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_a_server_that_still_loads_its_model_is_waited_for(real_models: None) -> None:
    """It says 503; as loading takes but a second, the call may come too late to be told."""
    del real_models
    for _ in range(5):
        server = LocalServer(slots=1, context=512, port=free_port(), api_key="a-key")
        starting = threading.Thread(target=server.start)
        starting.start()
        try:
            attempts = _attempts_while_loading(f"http://127.0.0.1:{server.port}/v1")
        finally:
            starting.join()
            pid = server.pid
            server.stop()
        assert pid is not None
        assert not runs(pid)
        if attempts > 1:
            return
    pytest.fail("the call was never there before the model was")


def _attempts_while_loading(base_url: str) -> int:
    member = ChatTogether(
        model="any", api_key=SecretStr("a-key"), base_url=base_url, max_retries=0, max_tokens=4
    )
    llm = MoAChatModel(
        reference_models=[member],
        aggregator=ScriptedChatModel.saying("Yes."),
        max_retries=40,
        proposer_timeout=100,
    )
    (proposal,) = llm.invoke(QUESTION).response_metadata["moa"]["proposals"]
    assert proposal["status"] == "ok"
    attempts: int = proposal["attempts"]
    return attempts
