"""A graph that is resumed begins its layer anew, and reads what other versions wrote."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_moa import MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, Stage, says, until

MODELS: Final = {ALPHA: says("a"), BETA: says("b"), AGGREGATOR: says("It is 4.")}
CONFIG: Final[Any] = {"configurable": {"thread_id": "1"}}
LIMIT: Final = 2.0
"""Seconds of the layer that is broken off; they are over when it is resumed."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, MODELS)


def compiled(llm: MoAChatModel, saver: InMemorySaver, kind: str) -> Any:
    if kind == "alone":
        return llm.graph.builder.compile(checkpointer=saver)
    parent = StateGraph(MessagesState)
    parent.add_node("mixture", llm.graph)
    parent.add_edge(START, "mixture")
    parent.add_edge("mixture", END)
    return parent.compile(checkpointer=saver)


OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "clock": {"layer_timeout": LIMIT, "min_proposals": 2},
    "quorum": {"quorum": 1, "grace": LIMIT},
    "budget": {"max_calls": 3},
}


@pytest.mark.parametrize("where", ["same process", "another mixture"])
@pytest.mark.parametrize("kind", ["alone", "as a subgraph"])
@pytest.mark.parametrize("options", OPTIONS)
async def test_a_cancelled_layer_begins_anew(
    stage: Stage, options: str, kind: str, where: str
) -> None:
    server = stage.plays({**MODELS, ALPHA: ModelBehavior(hang=True)})
    llm, saver = stage.mixture(**OPTIONS[options]), InMemorySaver()
    graph = compiled(llm, saver, kind)
    running = asyncio.ensure_future(graph.ainvoke({"messages": ["2 + 2?"]}, CONFIG))
    await until(lambda: server.requests_for(ALPHA) and server.requests_for(BETA))
    begun = time.monotonic()
    await asyncio.sleep(0.2)  # in which beta's proposal is written
    running.cancel()
    await asyncio.wait([running])
    await until(lambda: time.monotonic() > begun + LIMIT)
    server.models = dict(MODELS)
    server.requests.clear()
    if where == "another mixture":
        graph = compiled(stage.mixture(**OPTIONS[options]), saver, kind)
    answer = (await graph.ainvoke(None, CONFIG))["messages"][-1]
    told = [(p["status"], p["error"]) for p in answer.response_metadata["moa"]["proposals"]]
    assert told == [("ok", None), ("ok", None)]
    asked = [request.model for request in server.requests]
    assert asked[-1] == AGGREGATOR
    assert ALPHA in asked


@pytest.mark.parametrize(
    ("slot", "status"),
    [
        ({"text": "4", "model": "old", "status": "ok", "of another version": {"a": 1}}, "ok"),
        ({"text": "4"}, "ok"),
        ({"model": "old"}, "empty"),
        ({}, "empty"),
        ({"text": "4", "status": "of another version"}, "of another version"),
        ({"text": 4, "status": "ok"}, "empty"),
        ({"text": "4", "layer": "1", "index": None, "seconds": "2", "error": 5}, "ok"),
        ({"text": "4", "requests": 5, "unknown": None, "left_out": [1], "usage_by_model": 5}, "ok"),
        ({"text": "4", "usage_by_model": {"a": 5, "b": {"input_tokens": "x"}}}, "ok"),
    ],
)
def test_what_another_version_wrote_is_read(
    stage: Stage, slot: dict[str, Any], status: str
) -> None:
    stage.plays(MODELS)
    builder = stage.mixture().graph.builder
    graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["aggregator"])
    graph.invoke({"messages": ["2 + 2?"]}, CONFIG)
    odd = {"1.0": slot, "not a slot": {}, "7.0": {"text": "of a larger mixture"}}
    graph.update_state(CONFIG, {"moa_proposals": odd}, as_node="layer_1")
    answer = graph.invoke(None, CONFIG)["messages"][-1]
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses == [status, "ok"]


FAILED: Final = ModelBehavior(status=400)


@pytest.mark.parametrize(
    ("where", "sequential"),
    [("same process", False), ("another mixture", False), ("same process", True)],
)
@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_run_whose_layer_failed_asks_again(
    stage: Stage, where: str, layers: int, *, sequential: bool, is_async: bool
) -> None:
    """In the run that failed nobody is asked twice; one after the other where that is wanted."""
    open_now, most = 0, [0]

    def counting(body: Any, _: int) -> ModelBehavior:
        nonlocal open_now
        open_now += 1
        most.append(open_now)

        def waited() -> bool:  # for a look or two, in which others would come
            nonlocal open_now
            looks.append(None)
            if len(looks) < 10:
                return False
            open_now -= 1
            return True

        looks: list[None] = []
        return replace(MODELS[body["model"]], once=waited)

    server = stage.plays({**MODELS, ALPHA: FAILED, BETA: FAILED})
    llm, saver = stage.mixture(layers=layers, sequential=sequential), InMemorySaver()
    graph = compiled(llm, saver, "alone")

    async def run(graph: Any, given: Any) -> Any:
        return await graph.ainvoke(given, CONFIG) if is_async else graph.invoke(given, CONFIG)

    def asked() -> list[int]:
        return [len(server.requests_for(name)) for name in (ALPHA, BETA)]

    with pytest.raises(NotEnoughProposalsError):
        await run(graph, {"messages": ["2 + 2?"]})
    assert asked() == [1, 1]
    if where == "another mixture":
        graph = compiled(stage.mixture(layers=layers), saver, "alone")
    with pytest.raises(NotEnoughProposalsError):
        await run(graph, None)
    assert asked() == [2, 2]
    server.models = {**MODELS, ALPHA: counting, BETA: counting}
    answer = (await run(graph, None))["messages"][-1]
    assert max(most) == (1 if sequential else 2)
    proposals = answer.response_metadata["moa"]["proposals"]
    assert [p["status"] for p in proposals] == ["ok"] * 2 * (layers - 1)
    assert asked() == [1 + layers, 1 + layers]
    state = graph.get_state(CONFIG).values["moa_proposals"]
    assert {slot["status"] for slot in state.values()} == {"ok"}
