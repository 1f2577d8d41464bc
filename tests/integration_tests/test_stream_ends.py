"""A stream that comes to its end mark is whole, with a finish reason or not; a cut one is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from langchain_moa import AggregationError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says


def streamed(llm: Any) -> Any:
    first, *others = llm.stream("Hi")
    return sum(others, first)


async def astreamed(llm: Any) -> Any:
    first, *others = [chunk async for chunk in llm.astream("Hi")]
    return sum(others, first)


WAYS: dict[str, Callable[[Any], Any]] = {
    "stream": streamed,
    "astream": lambda llm: asyncio.run(astreamed(llm)),
}


def models(**aggregator: Any) -> dict[str, ModelBehavior]:
    proposals = {name: says("A draft.", **aggregator) for name in (ALPHA, BETA)}
    return {**proposals, AGGREGATOR: says("All is done.", **aggregator)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("proposals", [False, True])
def test_an_end_mark_without_a_reason(way: str, *, proposals: bool) -> None:
    with LoopbackServer(models(no_finish_reason=True, usage=None)) as server:
        answer = WAYS[way](mixture(server, stream_proposals=proposals))
        assert answer.text == "All is done."
        assert answer.response_metadata["finish_reason"] == "unspecified"
        record = answer.response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_was_cut_is_none(way: str) -> None:
    cut = {**models(), AGGREGATOR: says("All is done.", truncate_after=2)}
    with LoopbackServer(cut) as server, pytest.raises(AggregationError, match="end mark"):
        WAYS[way](mixture(server))


@pytest.mark.parametrize("way", WAYS)
def test_a_reason_that_was_given_is_kept(way: str) -> None:
    with LoopbackServer(models()) as server:
        assert WAYS[way](mixture(server)).response_metadata["finish_reason"] == "stop"
