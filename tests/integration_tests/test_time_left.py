"""The aggregator has time left whatever hangs before it, for any `timeout` and any way to call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa import MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, LIMITS, Stage, says

HANGS: Final = ModelBehavior(hang=True)
MODELS: Final = {ALPHA: says("a"), BETA: says("b"), GAMMA: says("g"), AGGREGATOR: says("It is 4.")}
TIMEOUT: Final = 6.0
"""Seconds of a call, of which honest members need none."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, MODELS)


async def in_all_ways(llm: MoAChatModel | Callable[[], MoAChatModel]) -> Sequence[AIMessage]:
    """The answers of all four ways to call, asked at the same time.

    Args:
        llm: The mixture, or what makes one for each way, where they must not share its places.
    """

    def own() -> MoAChatModel:
        return llm if isinstance(llm, MoAChatModel) else llm()

    async def astreamed() -> AIMessage:
        return [chunk async for chunk in own().astream("2 + 2?")][-1]

    return await asyncio.gather(
        own().ainvoke("2 + 2?"),
        astreamed(),
        asyncio.to_thread(own().invoke, "2 + 2?"),
        asyncio.to_thread(lambda: list(own().stream("2 + 2?"))[-1]),
    )


@pytest.mark.parametrize("options", [{}, {"layer_timeout": 60.0}], ids=str)
@pytest.mark.parametrize("layers", [2, 3])
async def test_a_hung_reference_model(stage: Stage, layers: int, options: dict[str, Any]) -> None:
    stage.plays({**MODELS, BETA: HANGS})
    llm = stage.mixture(layers=layers, timeout=TIMEOUT, **options)
    for answer in await in_all_ways(llm):
        record = answer.response_metadata["moa"]
        told = [(p["status"], p["error"]) for p in record["proposals"]]
        kept = f"timeout={TIMEOUT:g} s: what is left is kept for the layers to come"
        assert told == [("ok", None), ("cut", kept)] * (layers - 1)
        assert record["aggregator"]["status"] == "ok"


async def test_a_layer_timeout_that_is_shorter_than_the_share(stage: Stage) -> None:
    stage.plays({**MODELS, BETA: HANGS})
    for seconds in LIMITS:
        llm = stage.mixture(layers=3, timeout=600.0, layer_timeout=seconds)
        with suppress(NotEnoughProposalsError):  # the machine was too slow
            answers = await in_all_ways(llm)
            break
    for answer in answers:
        told = [p["error"] for p in answer.response_metadata["moa"]["proposals"]]
        assert told == [None, f"no answer in time (layer_timeout={seconds:g} s)"] * 2


async def test_who_is_slower_than_the_share_is_waited_for_where_there_is_nobody_else(
    stage: Stage,
) -> None:
    stage.plays({**MODELS, ALPHA: says("a", latency=TIMEOUT / 2 + 0.5), BETA: HANGS})
    llm = stage.mixture(timeout=TIMEOUT)
    for answer in await in_all_ways(llm):
        told = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
        assert told == ["ok", "cut"]


async def test_where_all_hang_the_call_ends_in_time_or_the_aggregator_answers(stage: Stage) -> None:
    stage.plays({**MODELS, ALPHA: HANGS, BETA: HANGS})
    llm = stage.mixture(timeout=1.0)
    with pytest.raises(NotEnoughProposalsError, match="timeout=1 s"):
        await llm.ainvoke("2 + 2?")
    alone = stage.mixture(timeout=TIMEOUT, on_no_proposals="aggregate_alone")
    for answer in await in_all_ways(alone):
        record = answer.response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["cut", "cut"]
        assert record["aggregator"]["status"] == "ok"


async def test_a_hung_aggregator_is_followed_by_the_next(stage: Stage) -> None:
    stage.plays({**MODELS, GAMMA: HANGS})
    llm = stage.mixture((ALPHA, BETA), GAMMA, AGGREGATOR, timeout=TIMEOUT)
    for answer in await in_all_ways(llm):
        aggregator = answer.response_metadata["moa"]["aggregator"]
        assert (aggregator["model"], aggregator["attempts"]) == (AGGREGATOR, 2)
        assert f"(timeout={TIMEOUT:g} s, shared with its fallbacks)" in aggregator["error"]


async def test_a_hung_filter(stage: Stage) -> None:
    stage.plays(MODELS)
    free = threading.Event()

    def keep(texts: Sequence[str]) -> Sequence[int]:
        free.wait(60)
        return range(len(texts))

    llm = stage.mixture(timeout=TIMEOUT, proposal_filter=keep)
    try:
        for answer in await in_all_ways(llm):
            record = answer.response_metadata["moa"]
            assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]
    finally:
        free.set()


@pytest.mark.parametrize(
    "limits",
    [
        {"sequential": True},
        {"max_concurrency": 2},
        {"member_concurrency": 1, "max_concurrency": 1, "layers": 3},
    ],
    ids=str,
)
async def test_who_hangs_leaves_time_to_those_that_wait(
    stage: Stage, limits: dict[str, Any]
) -> None:
    stage.plays({**MODELS, ALPHA: HANGS})
    names = (ALPHA, BETA, GAMMA, BETA)
    for answer in await in_all_ways(lambda: stage.mixture(names, timeout=TIMEOUT, **limits)):
        record = answer.response_metadata["moa"]
        told = [(p["layer"], p["model"]) for p in record["proposals"] if p["status"] == "ok"]
        layers = range(1, limits.get("layers", 2))
        assert told == [(layer, name) for layer in layers for name in names[1:]]
        assert record["aggregator"]["status"] == "ok"


@pytest.mark.parametrize("config", [{}, {"max_concurrency": 1}], ids=str)
async def test_who_hangs_in_a_graph_leaves_time_to_those_that_wait(
    stage: Stage, config: RunnableConfig
) -> None:
    stage.plays({**MODELS, ALPHA: HANGS})
    given: Any = {"messages": [("user", "2 + 2?")]}
    graphs = [
        stage.mixture((ALPHA, BETA, GAMMA), sequential=not config, layer_timeout=TIMEOUT / 2).graph
        for _ in range(2)  # which would wait for each other's places
    ]
    ends = await asyncio.gather(
        graphs[0].ainvoke(given, config), asyncio.to_thread(graphs[1].invoke, given, config)
    )
    for end in ends:
        proposals = end["messages"][-1].response_metadata["moa"]["proposals"]
        assert [p["status"] for p in proposals] == ["timed_out", "ok", "ok"]
