"""Parents and our own graph with checkpointers: what is written, interrupted, resumed, cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import CachePolicy, Command, interrupt

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, mixture, says

MODELS = {ALPHA: says("Paris."), BETA: says("It is Paris."), AGGREGATOR: says("Paris it is.")}
QUESTION = {"messages": [("user", "Capital of France?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}

Saver = Callable[[Path], Any]


@contextmanager
def memory(_: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    yield InMemorySaver()


@contextmanager
def sqlite(folder: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    with SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        yield saver


@pytest.fixture(params=[memory, sqlite], ids=["memory", "sqlite"])
def saver(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BaseCheckpointSaver[Any]]:
    monkeypatch.setenv("LANGGRAPH_STRICT_MSGPACK", "true")  # state must be plain JSON
    with request.param(tmp_path) as made:
        yield made


def graph_of(node: Any, **options: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_edge(START, "mixture")
    return builder.compile(**options)


def calling(llm: Any, times: int = 1) -> Any:
    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"]) for _ in range(times)]}

    return node


@pytest.mark.parametrize("times", [1, 2])
def test_a_model_in_a_node_writes_nothing_into_the_parents_checkpoints(
    saver: BaseCheckpointSaver[Any], times: int
) -> None:
    with LoopbackServer(MODELS) as server:
        other: Any = {"configurable": {"thread_id": "2"}}
        plain = graph_of(calling(ScriptedChatModel.saying("x"), times), checkpointer=saver)
        plain.invoke(QUESTION, other)
        graph_of(calling(mixture(server, layers=3), times), checkpointer=saver).invoke(
            QUESTION, THREAD
        )
        written = list(saver.list(THREAD))
        assert len(written) == len(list(saver.list(other))) == 3
        assert {item.config["configurable"]["checkpoint_ns"] for item in written} == {""}


def test_a_subgraph_after_the_model_resumes_where_it_was(saver: BaseCheckpointSaver[Any]) -> None:
    """The model must not take a number in the caller's subgraph namespaces."""
    steps: list[str] = []

    def first(_: MessagesState) -> Any:
        steps.append("first")

    def ask(_: MessagesState) -> Any:
        steps.append("ask")
        return {"messages": [("user", interrupt("go on?"))]}

    inner: Any = StateGraph(MessagesState)
    inner.add_node("first", first)
    inner.add_node("ask", ask)
    inner.add_edge(START, "first")
    inner.add_edge("first", "ask")
    subgraph: Any = inner.compile()
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        asked: list[Any] = []

        def node(state: MessagesState) -> Any:
            # as with any cached model, the answer comes without a call when the node runs again
            if not asked:
                asked.append(llm.invoke(state["messages"]))
            return subgraph.invoke(state)

        graph = graph_of(node, checkpointer=saver)
        graph.invoke(QUESTION, THREAD)
        state = graph.invoke(Command(resume="yes"), THREAD)
        assert state["messages"][-1].content == "yes"
        assert steps == ["first", "ask", "ask"]


@pytest.mark.parametrize("inside_a_parent", [False, True])
def test_a_crash_before_the_aggregator_resumes_without_paying_again(
    saver: BaseCheckpointSaver[Any],
    inside_a_parent: bool,  # noqa: FBT001
) -> None:
    failing = ModelBehavior(reply="Paris it is.", status=500, fail_first=1)
    with LoopbackServer({**MODELS, AGGREGATOR: failing}) as server:
        llm = mixture(server, layers=3)
        if inside_a_parent:
            graph = graph_of(llm.graph, checkpointer=saver)
        else:
            graph = llm.graph.builder.compile(checkpointer=saver)
        with pytest.raises(AggregationError):
            graph.invoke(QUESTION, THREAD)
        assert len(server.requests_for(ALPHA)) == 2
        state = graph.invoke(None, THREAD)
        assert state["messages"][-1].text == "Paris it is."
        assert len(server.requests_for(ALPHA)) == len(server.requests_for(BETA)) == 2
        record = state["messages"][-1].response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["ok"] * 4
        assert record["usage"]["by_model"].keys() == {ALPHA, BETA, AGGREGATOR}


def test_a_person_edits_a_proposal_before_the_aggregator_reads_it(
    saver: BaseCheckpointSaver[Any],
) -> None:
    with LoopbackServer(MODELS) as server:
        builder = mixture(server).graph.builder
        graph = builder.compile(checkpointer=saver, interrupt_before=["aggregator"])
        graph.invoke(QUESTION, THREAD)
        proposals = graph.get_state(THREAD).values["moa_proposals"]
        edited = {**proposals["1.0"], "text": "Lyon, says the editor."}
        graph.update_state(THREAD, {"moa_proposals": {"1.0": edited}})
        graph.invoke(None, THREAD)
        (final,) = server.requests_for(AGGREGATOR)
        assert "Lyon, says the editor." in final.body["messages"][-1]["content"]
        assert len(server.requests) == 3


def test_time_travel_to_before_the_aggregator(saver: BaseCheckpointSaver[Any]) -> None:
    with LoopbackServer(MODELS) as server:
        graph = mixture(server, layers=3).graph.builder.compile(checkpointer=saver)
        graph.invoke(QUESTION, THREAD)
        (before,) = [s for s in graph.get_state_history(THREAD) if s.next == ("aggregator",)]
        again = graph.invoke(None, before.config)
        assert again["messages"][-1].text == "Paris it is."
        assert len(server.requests_for(AGGREGATOR)) == 2
        assert len(server.requests_for(ALPHA)) == 2


def test_the_next_turn_asks_everybody_again(saver: BaseCheckpointSaver[Any]) -> None:
    with LoopbackServer(MODELS) as server:
        graph = mixture(server, layers=3).graph.builder.compile(checkpointer=saver)
        graph.invoke(QUESTION, THREAD)
        state = graph.invoke({"messages": [("user", "Sure?")]}, THREAD)
        assert [m.type for m in state["messages"]] == ["human", "ai", "human", "ai"]
        assert len(state["messages"][-1].response_metadata["moa"]["proposals"]) == 4
        assert len(server.requests_for(ALPHA)) == 4


def as_model(llm: MoAChatModel) -> Any:
    return calling(llm)


def as_graph(llm: MoAChatModel) -> Any:
    return llm.graph


@pytest.mark.parametrize("make", [as_model, as_graph])
def test_a_parents_node_cache_is_honoured(make: Callable[[MoAChatModel], Any]) -> None:
    with LoopbackServer(MODELS) as server:
        builder = StateGraph(MessagesState)
        builder.add_node("mixture", make(mixture(server)), cache_policy=CachePolicy())
        builder.add_edge(START, "mixture")
        graph: Any = builder.compile(cache=InMemoryCache())
        question = {"messages": [{"role": "user", "content": "Capital?", "id": "1"}]}
        first = graph.invoke(question)
        paid = len(server.requests)
        assert graph.invoke(question)["messages"][-1].text == first["messages"][-1].text
        assert len(server.requests) == paid == 3


async def test_an_async_graph_resumes_from_an_async_checkpointer(tmp_path: Path) -> None:
    failing = ModelBehavior(reply="Paris it is.", status=500, fail_first=1)
    place = str(tmp_path / "checkpoints.sqlite")
    with LoopbackServer({**MODELS, AGGREGATOR: failing}) as server:
        llm = mixture(server, layers=3)
        async with AsyncSqliteSaver.from_conn_string(place) as made:
            graph: Any = graph_of(llm.graph, checkpointer=made)
            with pytest.raises(AggregationError):
                await graph.ainvoke(QUESTION, THREAD)
        async with AsyncSqliteSaver.from_conn_string(place) as made:  # as after a restart
            graph = graph_of(mixture(server, layers=3).graph, checkpointer=made)
            state = await graph.ainvoke(None, THREAD)
        assert state["messages"][-1].text == "Paris it is."
        assert len(server.requests_for(ALPHA)) == len(server.requests_for(BETA)) == 2


@pytest.mark.parametrize("layers", [2, 3])
def test_a_smaller_mixture_on_an_old_thread(saver: BaseCheckpointSaver[Any], layers: int) -> None:
    """A thread may hold proposals of a mixture that had more members, or more layers."""
    with LoopbackServer({**MODELS, GAMMA: says("Old news.")}) as server:
        large = mixture(server, reference_models=[ALPHA, BETA, GAMMA], layers=4).graph.builder
        large.compile(checkpointer=saver).invoke(QUESTION, THREAD)
        server.requests.clear()
        small = mixture(server, layers=layers).graph.builder.compile(checkpointer=saver)
        state = small.invoke({"messages": [("user", "Sure?")]}, THREAD)
        assert len(server.requests) == 2 * (layers - 1) + 1
        sent = [request.body["messages"][-1]["content"] for request in server.requests]
        assert not [text for text in sent if "Old news." in text]
        record = state["messages"][-1].response_metadata["moa"]
        places = [(p["layer"], p["index"]) for p in record["proposals"]]
        assert places == [(layer, index) for layer in range(1, layers) for index in (0, 1)]
        assert record["usage"]["by_model"].keys() == {ALPHA, BETA, AGGREGATOR}


@pytest.mark.parametrize("make", [as_model, as_graph])
def test_members_that_have_no_answer(make: Callable[[MoAChatModel], Any]) -> None:
    """The question itself is no proposal."""

    def ask(_: MessagesState) -> Any:
        return {"messages": [interrupt("what now?")]}

    asking: Any = graph_of(ask)
    silent: Any = graph_of(lambda _: {"messages": []})
    calling_interrupt: Any = RunnableLambda(lambda _: interrupt("what now?"))
    with LoopbackServer(MODELS) as server:
        members = [asking, silent, calling_interrupt, ALPHA]
        llm = mixture(server, reference_models=members)
        graph = graph_of(make(llm), checkpointer=InMemorySaver())
        state = graph.invoke(QUESTION, THREAD)
        record = state["messages"][-1].response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["failed", "failed", "failed", "ok"]
        assert "asked for a person's input" in record["proposals"][0]["error"]
        assert "called interrupt()" in record["proposals"][2]["error"]
