"""Answers that are too large, over real HTTP: read no further than `max_answer_bytes` says."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any, Final

import pytest

from langchain_moa import AggregationError, AnswerTooLargeError, MoAConfigurationError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says

WORD: Final = "word "
TIMES: Final = 6_000_000
"""So many words are 30 MB, and some 30 kB where they are compressed."""
HUGE: Final = {
    "bomb": says(WORD, repeat=TIMES, gzip=True),
    "endless": says(WORD, repeat=TIMES),
    "bomb for an error": ModelBehavior(status=500, error=WORD * 10_000, gzip=True),
}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer({}) as running:
        yield running


async def called(llm: Any, way: str) -> Any:
    if way == "invoke":
        return await asyncio.to_thread(llm.invoke, "q")
    if way == "ainvoke":
        return await llm.ainvoke("q")
    if way == "stream":
        pieces = await asyncio.to_thread(lambda: list(llm.stream("q")))
    else:
        pieces = [piece async for piece in llm.astream("q")]
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return whole


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["bomb", "endless"])
async def test_a_proposer(server: LoopbackServer, kind: str, way: str) -> None:
    server.models = {ALPHA: HUGE[kind], BETA: says("Paris."), AGGREGATOR: says("It is Paris.")}
    llm = mixture(server, max_answer_bytes=200_000, max_retries=1)
    server.requests.clear()
    answer = await called(llm, way)
    first, second = answer.response_metadata["moa"]["proposals"]
    assert answer.text == "It is Paris."
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert "max_answer_bytes=200000" in first["error"]
    assert len(server.requests_for(ALPHA)) == 1, "it would be as long again"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["bomb", "endless"])
async def test_an_aggregator(server: LoopbackServer, kind: str, way: str) -> None:
    server.models = {ALPHA: says("1"), BETA: says("2"), AGGREGATOR: HUGE[kind]}
    with pytest.raises(AggregationError, match="max_answer_bytes=50000") as raised:
        await called(mixture(server, max_answer_bytes=50_000), way)
    assert isinstance(raised.value.causes["aggregator"], AnswerTooLargeError)
    assert not raised.value.is_retryable
    assert [proposal.text for proposal in raised.value.proposals] == ["1", "2"]


async def test_long_proposals_are_compared_off_the_loop(server: LoopbackServer) -> None:
    """Something else goes on meanwhile."""
    server.models = {
        ALPHA: says("alpha beta ", repeat=100_000),
        BETA: says("gamma ", repeat=200_000),
        AGGREGATOR: ModelBehavior(status=400),
    }
    events: list[str] = []
    llm = mixture(server, on_aggregator_failure="best_proposal", stream_proposals=False)
    done = asyncio.ensure_future(llm.ainvoke("q"))
    while not done.done():
        if server.requests_for(AGGREGATOR):
            events.append("turn of the loop")
        await asyncio.sleep(0.001)
    answer = await done
    assert answer.response_metadata["moa"]["best_proposal"] in ("1.0", "1.1")
    assert len(events) > 3


def test_an_error_that_is_too_long(server: LoopbackServer) -> None:
    server.models = {ALPHA: HUGE["bomb for an error"], BETA: says("1"), AGGREGATOR: says("2")}
    answer = mixture(server, max_answer_bytes=10_000).invoke("q")
    assert "max_answer_bytes=10000" in answer.response_metadata["moa"]["proposals"][0]["error"]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "much"])
def test_no_limit(server: LoopbackServer, wrong: object) -> None:
    with pytest.raises(MoAConfigurationError, match="max_answer_bytes"):
        mixture(server, max_answer_bytes=wrong)


def test_none_is_no_limit_and_the_error_is_data(server: LoopbackServer) -> None:
    server.models = {name: says(WORD, repeat=4_000_000) for name in (ALPHA, BETA)}
    server.models[AGGREGATOR] = says("2")
    llm = mixture(server, max_answer_bytes=None, max_input_tokens=1000)
    assert not llm.invoke("q").response_metadata["moa"]["degraded"]
    error = pickle.loads(pickle.dumps(AnswerTooLargeError(7)))  # noqa: S301 - our own
    assert str(error) == str(AnswerTooLargeError(7))
