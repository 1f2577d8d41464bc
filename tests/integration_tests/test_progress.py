"""Events of a call in progress, on each of their channels, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.types import ProgressEvent
from tests.wire import AGGREGATOR, ALPHA, BETA, counted, mixture, says, served, until

MODELS = {ALPHA: says("a1 a2"), BETA: says("b1 b2"), AGGREGATOR: says("x1 x2 x3")}
QUESTION = {"messages": [("user", "Go.")]}


def names_of(events: Iterable[Any]) -> list[str]:
    """The events' names, those of members that run at once (in threads) in a fixed order."""
    names = [event["event"] for event in events]
    last = names.index("layer_finished")
    return [*names[:2], *sorted(names[2:last], reverse=True), *names[last:]]


def expected(*, first_token: bool) -> list[str]:
    layer = ["layer_started", "member_started", "member_started"]
    layer += ["member_finished", "member_finished", "layer_finished"]
    final = ["member_started", *(["first_token"] if first_token else []), "member_finished"]
    return ["call_started", *layer, *final, "call_finished"]


async def collect(llm: MoAChatModel, way: str) -> None:
    match way:
        case "invoke":
            llm.invoke("Go.")
        case "stream":
            list(llm.stream("Go."))
        case "ainvoke":
            await llm.ainvoke("Go.")
        case _:
            _ = [chunk async for chunk in llm.astream("Go.")]


def check_cost(events: list[ProgressEvent], server: LoopbackServer) -> None:
    """Events carry the same usage that the server counts, members' and the call's."""
    finished = [e for e in events if e["event"] == "member_finished"]
    by_model = {e["model"]: counted(e["usage"]) for e in finished if e["usage"]}
    assert by_model == served(server)
    (call,) = [e for e in events if e["event"] == "call_finished"]
    assert call["usage"] is not None
    assert counted(call["usage"])["total_tokens"] == sum(
        usage["total_tokens"] for usage in served(server).values()
    )


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_a_plain_callback(way: str) -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer(MODELS) as server:
        with_texts = way in ("invoke", "astream")
        llm = mixture(server, on_progress=events.append, include_proposals=with_texts)
        await collect(llm, way)
        assert names_of(events) == expected(first_token="stream" in way)
        assert {e["type"] for e in events} == {"moa"}
        members = [e for e in events if e["event"] == "member_finished"]
        assert {(e["role"], e["layer"], e["index"], e["model"]) for e in members} == {
            ("proposer", 1, 0, ALPHA),
            ("proposer", 1, 1, BETA),
            ("aggregator", 2, 0, AGGREGATOR),
        }
        texts = {ALPHA: "a1 a2", BETA: "b1 b2"} if with_texts else {}
        assert {e["model"]: e["text"] for e in events if e["text"]} == texts
        for event in events:
            started = event["event"].endswith("started")
            assert (event["seconds"] is None) is started
        check_cost(events, server)


def node_of(llm: MoAChatModel) -> Any:
    async def node(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_edge(START, "mixture")
    return builder.compile()


async def test_the_custom_stream_of_a_parent_graph() -> None:
    with LoopbackServer(MODELS) as server:
        graph = node_of(mixture(server))
        events: list[Any] = [e async for e in graph.astream(QUESTION, stream_mode="custom")]
        assert names_of(events) == expected(first_token=False)
        check_cost(events, server)
        both = [item async for item in graph.astream(QUESTION, stream_mode=["custom", "messages"])]
        modes = [mode for mode, _ in both]
        assert modes.index("messages") > modes.index("custom")


def test_the_custom_stream_of_a_sync_parent_graph() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        builder = StateGraph(MessagesState)
        builder.add_node("mixture", lambda s: {"messages": [llm.invoke(s["messages"])]})
        builder.add_edge(START, "mixture")
        graph: Any = builder.compile()
        events = list(graph.stream(QUESTION, stream_mode="custom"))
        assert names_of(events) == expected(first_token=False)


async def test_the_custom_stream_of_our_own_graph() -> None:
    """Its nodes tell of members; layers show in LangGraph's own stream modes."""
    with LoopbackServer(MODELS) as server:
        graph: Any = mixture(server).graph
        items = graph.astream(QUESTION, stream_mode="custom", subgraphs=True)
        events = [event async for _, event in items]
        assert [e["event"] for e in events] == [
            "member_started",
            "member_started",
            "member_finished",
            "member_finished",
            "member_started",
            "member_finished",
        ]


async def test_custom_events() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        seen = [event async for event in llm.astream_events("Go.", version="v2")]
        custom = [e for e in seen if e["event"] == "on_custom_event"]
        assert {e["name"] for e in custom} == {"moa"}
        assert names_of([dict(e["data"]) for e in custom]) == expected(first_token=True)
        (outer,) = {e["run_id"] for e in seen if e["name"] == "MoAChatModel"}
        assert {e["run_id"] for e in custom} == {outer}


async def test_no_listener_in_a_chain() -> None:
    """A chain outside of any graph has a config but no stream to write to."""
    with LoopbackServer(MODELS) as server:
        chain = RunnableLambda(lambda text: text) | mixture(server)
        assert (await chain.ainvoke("Go.")).text == "x1 x2 x3"


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_streamed_proposals_come_apart_from_the_answer(way: str) -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, on_progress=events.append, stream_proposals=True, layers=3)
        await collect(llm, way)
        for layer in (1, 2):
            for index, text in ((0, "a1 a2"), (1, "b1 b2")):
                own = [e for e in events if (e["layer"], e["index"]) == (layer, index)]
                names = [e["event"] for e in own]
                assert names == [
                    "member_started",
                    "first_token",
                    "token",
                    "token",
                    "member_finished",
                ]
                assert "".join(e["text"] or "" for e in own) == text
        check_cost_of_layers(events, server)


def check_cost_of_layers(events: list[ProgressEvent], server: LoopbackServer) -> None:
    (call,) = [e for e in events if e["event"] == "call_finished"]
    assert call["usage"] is not None
    assert call["usage"]["total_tokens"] == sum(u["total_tokens"] for u in served(server).values())


async def test_streamed_proposals_stay_out_of_the_messages_stream() -> None:
    with LoopbackServer(MODELS) as server:
        graph = node_of(mixture(server, stream_proposals=True))
        items = graph.astream(QUESTION, stream_mode=["messages", "custom"], subgraphs=True)
        pieces, tokens = [], []
        async for _, mode, item in items:
            if mode == "messages":
                pieces.append(item[0].content)
            elif item["event"] == "token":
                tokens.append(item["text"])
        assert [piece for piece in pieces if piece] == ["x1", " x2", " x3"]
        assert sorted(tokens) == [" a2", " b2", "a1", "b1"]


def test_streamed_proposals_of_a_graph_and_of_silence() -> None:
    """A graph as member has no tokens to show; a silent one is still recorded as empty."""
    events: list[ProgressEvent] = []
    with LoopbackServer({**MODELS, BETA: says("")}) as server:
        inner = mixture(server, reference_models=[ALPHA]).graph
        llm = mixture(
            server, reference_models=[inner, BETA], on_progress=events.append, stream_proposals=True
        )
        record = llm.invoke("Go.").response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["ok", "empty"]
        assert "token" not in [e["event"] for e in events]


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_failures_are_told(way: str) -> None:
    broken = ModelBehavior(status=500, error="out of order")
    events: list[ProgressEvent] = []
    with LoopbackServer({**MODELS, BETA: broken, AGGREGATOR: broken}) as server:
        with pytest.raises(AggregationError):
            await collect(mixture(server, on_progress=events.append), way)
        failed = [e for e in events if e["event"] == "member_failed"]
        assert [(e["role"], e["model"]) for e in failed] == [
            ("proposer", BETA),
            ("aggregator", AGGREGATOR),
        ]
        assert {"out of order" in str(e["error"]) for e in failed} == {True}
        assert events[-1]["event"] == "call_failed"
        assert "AggregationError" in str(events[-1]["error"])


def test_too_few_proposals_are_told() -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer({name: ModelBehavior(status=500) for name in MODELS}) as server:
        with pytest.raises(NotEnoughProposalsError):
            mixture(server, on_progress=events.append).invoke("Go.")
        assert [e["event"] for e in events][-2:] == ["member_failed", "call_failed"]


@pytest.mark.parametrize("hanging", [BETA, AGGREGATOR])
async def test_a_cancelled_call_tells_who_was_cut(hanging: str) -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer({**MODELS, hanging: ModelBehavior(hang=True)}) as server:
        llm = mixture(server, on_progress=events.append)
        call = asyncio.ensure_future(llm.ainvoke("Go."))
        others = 2 if hanging == AGGREGATOR else 1

        def only_one_hangs() -> bool:
            finished = [event["event"] for event in events].count("member_finished")
            return bool(server.requests_for(hanging)) and finished == others

        await until(only_one_hangs)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        cut = [e["model"] for e in events if e["event"] == "member_cut"]
        assert cut == [hanging]
        assert events[-1]["event"] == "call_cut"


def test_a_listener_that_fails_does_not_fail_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def listener(event: ProgressEvent) -> None:
        raise ValueError(event["event"])

    with LoopbackServer(MODELS) as server, caplog.at_level(logging.ERROR):
        llm = mixture(server, on_progress=listener)
        assert llm.invoke("Go.").text == "x1 x2 x3"
        assert "a listener to the progress of a mixture failed" in caplog.text


class Raising(BaseCallbackHandler):
    """Insists on its errors, when told of progress."""

    raise_error = True

    def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        raise ValueError(name, data)


async def test_a_handler_that_fails_on_progress_loses_no_answer() -> None:
    with LoopbackServer(MODELS) as server:
        config = RunnableConfig(callbacks=[Raising()])
        assert mixture(server).invoke("Go.", config).text == "x1 x2 x3"
        assert (await mixture(server).ainvoke("Go.", config)).text == "x1 x2 x3"


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
async def test_streamed_proposals_reach_no_handler_of_tokens(way: str) -> None:
    class Hearing(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            self.heard.append(token)

    hearing = Hearing()
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, stream_proposals=True, callbacks=[hearing])
        await collect(llm, way)
        assert [token for token in hearing.heard if token] == (
            ["x1", " x2", " x3"] if "stream" in way else []
        )


def test_a_stream_left_after_its_last_chunk_has_finished() -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer(MODELS) as server:
        for chunk in mixture(server, on_progress=events.append).stream("Go."):
            if chunk.chunk_position == "last":
                break
        assert events[-1]["event"] == "call_finished"


def test_a_stream_left_early_is_told_as_cut() -> None:
    events: list[ProgressEvent] = []
    with LoopbackServer(MODELS) as server:
        stream = mixture(server, on_progress=events.append).stream("Go.")
        whole = AIMessageChunk(content="")
        while not whole.text:
            whole += next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert [event["event"] for event in events][-2:] == ["member_cut", "call_cut"]
