"""What somebody else's graph shows of a mixture inside it: the exact sequence of stream items."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says, together

MODELS = {ALPHA: says("a1 a2 a3"), BETA: says("b1 b2 b3"), AGGREGATOR: says("x1 x2 x3 x4")}
PIECES = ["x1", " x2", " x3", " x4"]
QUESTION = {"messages": [("user", "Go.")]}


def model_node(llm: MoAChatModel) -> Any:
    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    return parent(node)


def async_model_node(llm: MoAChatModel) -> Any:
    async def node(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    return parent(node)


def subgraph_node(llm: MoAChatModel) -> Any:
    return parent(llm.graph)


def parent(node: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_edge(START, "mixture")
    return builder.compile()


def streamed(graph: Any, mode: str, *, subgraphs: bool) -> list[Any]:
    return list(graph.stream(QUESTION, stream_mode=mode, subgraphs=subgraphs))


async def astreamed(graph: Any, mode: str, *, subgraphs: bool) -> list[Any]:
    items = graph.astream(QUESTION, stream_mode=mode, subgraphs=subgraphs)
    return [item async for item in items]


def messages_of(items: Iterable[Any], *, subgraphs: bool) -> list[Any]:
    return [(item[1] if subgraphs else item)[0] for item in items]


def streaming_models(server: LoopbackServer) -> set[str]:
    return {request.model for request in server.requests if request.body.get("stream")}


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("make", [model_node, async_model_node])
async def test_messages_stream_of_a_model_in_a_node(
    make: Callable[[MoAChatModel], Any],
    *,
    subgraphs: bool,
) -> None:
    with LoopbackServer(MODELS) as server:
        graph = make(mixture(server, layers=3))
        if make is model_node:
            items = streamed(graph, "messages", subgraphs=subgraphs)
        else:
            items = await astreamed(graph, "messages", subgraphs=subgraphs)
        messages = messages_of(items, subgraphs=subgraphs)
        assert [message.content for message in messages if message.content] == PIECES
        whole = sum(messages[1:], messages[0])
        assert whole.response_metadata["moa"]["degraded"] is False
        assert streaming_models(server) == {AGGREGATOR}
        assert whole.text == "".join(PIECES)


@pytest.mark.parametrize("subgraphs", [False, True])
async def test_messages_stream_of_the_graph_as_a_node(*, subgraphs: bool) -> None:
    """LangGraph shows tokens of a subgraph with `subgraphs=True` only; else the message, once."""
    with LoopbackServer(MODELS) as server:
        graph = subgraph_node(mixture(server, layers=3))
        items = await astreamed(graph, "messages", subgraphs=subgraphs)
        messages = messages_of(items, subgraphs=subgraphs)
        texts = [message.content for message in messages if message.content]
        assert texts == (PIECES if subgraphs else ["x1 x2 x3 x4"])
        if subgraphs:
            nodes = {metadata["langgraph_node"] for _, (_, metadata) in items}
            assert nodes == {"aggregator"}
        assert streaming_models(server) == {AGGREGATOR}


@pytest.mark.parametrize("make", [model_node, subgraph_node])
def test_the_id_in_the_stream_is_the_id_in_state(make: Callable[[MoAChatModel], Any]) -> None:
    with LoopbackServer(MODELS) as server:
        graph = make(mixture(server))
        items = list(graph.stream(QUESTION, stream_mode=["messages", "values"], subgraphs=True))
        ids = {item[2][0].id for item in items if item[1] == "messages"}
        final = [item[2] for item in items if item[1] == "values" and item[0] == ()][-1]
        assert ids == {final["messages"][-1].id}


@pytest.mark.parametrize("subgraphs", [False, True])
def test_updates_stream(*, subgraphs: bool) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, layers=3)
        seen = streamed(model_node(llm), "updates", subgraphs=subgraphs)
        assert [(item[1] if subgraphs else item).keys() for item in seen] == [{"mixture"}]
        inside = streamed(subgraph_node(llm), "updates", subgraphs=subgraphs)
        names = [name for item in inside for name in (item[1] if subgraphs else item)]
        if not subgraphs:
            assert names == ["mixture"]
        else:
            layer = Counter({"alpha": 1, "beta": 1})
            assert Counter(names[:2]) == Counter(names[3:5]) == layer
            assert names[2] == "layer_1"
            assert names[5:] == ["layer_2", "aggregator", "mixture"]


async def test_events_of_a_parent() -> None:
    with LoopbackServer(MODELS) as server:
        graph = async_model_node(mixture(server, layers=3))
        events = [event async for event in graph.astream_events(QUESTION, version="v2")]
        pieces = [
            (event["name"], event["data"]["chunk"].content)
            for event in events
            if event["event"] == "on_chat_model_stream" and event["data"]["chunk"].content
        ]
        assert pieces == [("MoAChatModel", piece) for piece in PIECES]
        ended = Counter(e["name"] for e in events if e["event"] == "on_chat_model_end")
        assert ended == {"MoAChatModel": 1, "ChatTogether": 4, "aggregator": 1}
        assert streaming_models(server) == {AGGREGATOR}


async def test_v3_events_of_a_parent() -> None:
    with LoopbackServer(MODELS) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 is in beta
        graph = async_model_node(mixture(server, layers=3))
        stream = await graph.astream_events(QUESTION, version="v3")
        messages = [[piece async for piece in message.text] async for message in stream.messages]
        assert messages == [PIECES]


@pytest.mark.parametrize("kind", ["agent", "lambda", "graph"])
@pytest.mark.parametrize("make", [async_model_node, subgraph_node])
async def test_proposals_of_any_member_stay_out_of_the_stream(
    make: Callable[[MoAChatModel], Any], kind: str
) -> None:
    with LoopbackServer(MODELS) as server:
        inside = together(server, ALPHA)
        members: dict[str, Any] = {
            "agent": create_agent(inside, tools=[]),
            "lambda": RunnableLambda(inside.invoke),
            "graph": parent(lambda state: {"messages": [inside.invoke(state["messages"])]}),
        }
        llm = mixture(server, reference_models=[members[kind], BETA], layers=3)
        items = await astreamed(make(llm), "messages", subgraphs=True)
        messages = messages_of(items, subgraphs=True)
        assert [message.content for message in messages if message.content] == PIECES


def test_members_of_our_graph_run_at_once_on_few_cores() -> None:
    """Sync nodes run in threads, of which LangGraph starts no more than cores and four."""
    count = 16
    barrier = threading.Barrier(count, timeout=20)

    def once_all_have_come(_: Any) -> str:
        barrier.wait()
        return "met"

    models = {f"acme/{n}": ModelBehavior(reply=once_all_have_come) for n in range(count)}
    with LoopbackServer({**models, AGGREGATOR: says("ok")}) as server:
        llm = mixture(server, reference_models=list(models))
        state = llm.graph.invoke({"messages": ["Go."]})
        assert state["messages"][-1].response_metadata["moa"]["degraded"] is False


# --- the model wherever code of a graph may call it ---


def twice(llm: MoAChatModel) -> Any:
    def node(state: MessagesState) -> Any:
        first = llm.invoke(state["messages"])
        return {"messages": [first, llm.invoke([*state["messages"], first, ("user", "Again.")])]}

    return parent(node)


def in_a_loop(llm: MoAChatModel) -> Any:
    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke([("user", f"Turn {len(state['messages'])}")])]}

    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_edge(START, "mixture")
    builder.add_conditional_edges(
        "mixture", lambda state: "mixture" if len(state["messages"]) < 3 else "__end__"
    )
    return builder.compile()


def under_send(llm: MoAChatModel) -> Any:
    def node(state: Any) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_conditional_edges(START, lambda state: [Send("mixture", state)] * 2)
    return builder.compile()


def in_tasks(llm: MoAChatModel) -> Any:
    @task
    def ask(value: Any) -> Any:
        return llm.invoke(value["messages"])

    @entrypoint()
    def workflow(value: Any) -> Any:
        calls = [ask(value), ask(value)]
        return {"messages": [("user", "Go."), *(call.result() for call in calls)]}

    return workflow


@pytest.mark.parametrize("make", [twice, in_a_loop, under_send, in_tasks])
def test_two_calls_in_one_graph(make: Callable[[MoAChatModel], Any]) -> None:
    with LoopbackServer(MODELS) as server:
        graph = make(mixture(server, layers=3))
        state = graph.invoke(QUESTION)
        answers = [m for m in state["messages"] if isinstance(m, AIMessage)]
        assert [answer.text for answer in answers] == ["x1 x2 x3 x4"] * 2
        assert len({answer.id for answer in answers}) == 2
        items = list(graph.stream(QUESTION, stream_mode="messages"))
        by_id: dict[str, str] = {}
        for message, _ in items:
            by_id[message.id] = by_id.get(message.id, "") + message.text
        assert list(by_id.values()) == ["x1 x2 x3 x4"] * 2
        assert streaming_models(server) == {AGGREGATOR}
