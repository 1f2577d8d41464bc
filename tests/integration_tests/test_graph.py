"""The mixture as a LangGraph graph: alone, as a subgraph, with a checkpointer."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_moa import MoAChatModel, create_moa_graph
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says, together

MODELS = {
    ALPHA: says("Paris."),
    BETA: says("It is Paris."),
    AGGREGATOR: says("The capital of France is Paris."),
}


def parent_of(node: Any, **compile_options: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("mixture", node)
    builder.add_edge(START, "mixture")
    builder.add_edge("mixture", END)
    return builder.compile(**compile_options)


def test_drawing_shows_layers_members_and_aggregator() -> None:
    with LoopbackServer(MODELS) as server:
        graph = mixture(server, layers=3).graph
        drawing = graph.get_graph().draw_mermaid()
        edges = ["__start__ --> layer_1", "layer_1 --> layer_2", "layer_2 --> aggregator"]
        for edge in [*edges, "aggregator --> __end__"]:
            assert edge in drawing
        inside = graph.get_graph(xray=1).draw_mermaid()
        for name in ("alpha", "beta", "aggregator", "subgraph layer_1", "subgraph layer_2"):
            assert name in inside


async def test_as_a_node_it_appends_exactly_one_message() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, layers=3)
        parent = parent_of(llm.graph)
        question = HumanMessage("Capital of France?", id="question")
        for state in (
            parent.invoke({"messages": [question]}),
            await parent.ainvoke({"messages": [question]}),
        ):
            assert state.keys() == {"messages"}
            asked, answer = state["messages"]
            assert asked == question
            assert isinstance(answer, AIMessage)
            assert answer.text == "The capital of France is Paris."
            assert len(answer.response_metadata["moa"]["proposals"]) == 4


def test_as_a_model_in_a_node() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        parent = parent_of(lambda state: {"messages": [llm.invoke(state["messages"])]})
        state = parent.invoke({"messages": [("user", "Capital of France?")]})
        assert [m.type for m in state["messages"]] == ["human", "ai"]


@pytest.mark.parametrize("as_subgraph", [True, False])
def test_turns_of_a_checkpointed_conversation(as_subgraph: bool) -> None:  # noqa: FBT001
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, layers=3)
        if as_subgraph:
            node: Any = llm.graph
        else:
            node = lambda state: {"messages": [llm.invoke(state["messages"])]}  # noqa: E731
        parent = parent_of(node, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        parent.invoke({"messages": [("user", "Capital of France?")]}, config)
        state = parent.invoke({"messages": [("user", "Sure?")]}, config)
        assert [m.type for m in state["messages"]] == ["human", "ai", "human", "ai"]
        second = server.requests_for(ALPHA)[2].body["messages"]
        assert [message["content"] for message in second] == [
            "Capital of France?",
            "The capital of France is Paris.",
            "Sure?",
        ]


def test_interrupt_before_the_aggregator_resumes_without_paying_again() -> None:
    with LoopbackServer(MODELS) as server:
        builder = mixture(server).graph.builder
        graph = builder.compile(checkpointer=InMemorySaver(), interrupt_before=["aggregator"])
        config: Any = {"configurable": {"thread_id": "1"}}
        graph.invoke({"messages": [("user", "Capital of France?")]}, config)
        assert not server.requests_for(AGGREGATOR)
        paid = len(server.requests)
        state = graph.invoke(None, config)
        assert state["messages"][-1].text == "The capital of France is Paris."
        assert len(server.requests) == paid + 1


class EverySecond:
    """A router that counts how often it was asked, and says yes the first time."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _: list[BaseMessage]) -> bool:
        self.asked += 1
        return self.asked % 2 == 1


@pytest.mark.parametrize("how", ["graph", "agraph", "model", "stream"])
async def test_a_router_decides_once_for_the_whole_call(how: str) -> None:
    async def answer(llm: MoAChatModel) -> AIMessage:
        match how:
            case "graph":
                messages = llm.graph.invoke({"messages": ["Capital?"]})["messages"]
            case "agraph":
                messages = (await llm.graph.ainvoke({"messages": ["Capital?"]}))["messages"]
            case "model":
                messages = [llm.invoke("Capital?")]
            case _:
                messages = list(llm.stream("Capital?"))
        result: AIMessage = messages[-1]
        return result

    router = EverySecond()
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, layers=3, fan_out=router)
        records = [(await answer(llm)).response_metadata["moa"] for _ in range(4)]
        assert router.asked == 4
        assert [record["fan_out"] for record in records] == ["layers", "alone"] * 2
        assert [len(record["proposals"]) for record in records] == [4, 0, 4, 0]
        asked = [len(server.requests_for(name)) for name in (ALPHA, BETA, AGGREGATOR)]
        assert asked == [4, 4, 4]


def test_the_routers_decision_outlives_an_interrupt() -> None:
    router = EverySecond()
    with LoopbackServer(MODELS) as server:
        config: Any = {"configurable": {"thread_id": "1"}}
        saver = InMemorySaver()

        def graph() -> Any:  # made anew, as after a restart
            builder = mixture(server, fan_out=router).graph.builder
            return builder.compile(checkpointer=saver, interrupt_before=["aggregator"])

        for expected in ("layers", "alone"):
            graph().invoke({"messages": [("user", "Capital of France?")]}, config)
            answer = graph().invoke(None, config)["messages"][-1]
            assert answer.response_metadata["moa"]["fan_out"] == expected
        assert router.asked == 2
        assert [len(server.requests_for(name)) for name in (ALPHA, AGGREGATOR)] == [1, 2]


def test_an_old_decision_of_a_thread_is_no_decision() -> None:
    with LoopbackServer(MODELS) as server:
        config: Any = {"configurable": {"thread_id": "1"}}
        saver = InMemorySaver()
        for fan_out, expected in (("never", "alone"), ("always", "layers")):
            builder = mixture(server, fan_out=fan_out).graph.builder
            graph: Any = builder.compile(checkpointer=saver)
            state = graph.invoke({"messages": [("user", "Capital of France?")]}, config)
            record = state["messages"][-1].response_metadata["moa"]
            assert record["fan_out"] == expected


def test_a_gate_is_drawn_where_there_is_one() -> None:
    with LoopbackServer(MODELS) as server:
        drawing = mixture(server, fan_out="every_2").graph.get_graph().draw_mermaid()
        for edge in ("__start__ --> fan_out", "fan_out -.-> layer_1", "fan_out -.-> aggregator"):
            assert edge in drawing
        assert "fan_out" not in mixture(server).graph.get_graph().draw_mermaid()


def test_create_moa_graph_takes_the_models_options() -> None:
    with LoopbackServer(MODELS) as server:
        graph = create_moa_graph(
            [together(server, ALPHA), together(server, BETA)],
            together(server, AGGREGATOR),
            layers=3,
            temperature=0.2,
            proposal_temperature=0.8,
            name="council",
        )
        assert graph.name == "council"
        graph.invoke({"messages": ["Capital of France?"]})
        assert [r.body["temperature"] for r in server.requests_for(ALPHA)] == [0.8, 0.8]
        assert server.requests_for(AGGREGATOR)[0].body["temperature"] == 0.2


def test_an_agent_as_reference_model() -> None:
    """A graph over messages is asked with its own kind of state, and its answer is read."""
    with LoopbackServer(MODELS) as server:
        agent = parent_of(
            lambda state: {"messages": [together(server, BETA).invoke(state["messages"])]}
        )
        llm = mixture(server, reference_models=[ALPHA, agent], include_proposals=True)
        record = llm.invoke("Capital of France?").response_metadata["moa"]
        assert [p["text"] for p in record["proposals"]] == ["Paris.", "It is Paris."]
        assert BETA in record["usage"]["by_model"]
