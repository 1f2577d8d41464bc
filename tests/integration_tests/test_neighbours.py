"""What LangChain's own tools make of a mixture: they see one model, as any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.schemas import Run
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.testing import LoopbackServer
from tests.dialects import CLIENTS
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says, together


async def _all(chunks: Any) -> None:
    async for _ in chunks:
        pass


WAYS: dict[str, Callable[[Runnable[Any, Any], Any], object]] = {
    "invoke": lambda llm, given: llm.invoke(given),
    "stream": lambda llm, given: list(llm.stream(given)),
    "ainvoke": lambda llm, given: asyncio.run(llm.ainvoke(given)),
    "astream": lambda llm, given: asyncio.run(_all(llm.astream(given))),
}


def tree(run: Run) -> str:
    below = ", ".join(sorted(tree(child) for child in run.child_runs))  # they end in any order
    return f"{run.name}[{below}]" if below else run.name


@pytest.mark.parametrize("way", WAYS)
def test_collect_runs_sees_one_root(way: str) -> None:
    models = {name: says("Hi.") for name in (ALPHA, BETA, AGGREGATOR)}
    below = "aggregator, layer_1[alpha[ChatTogether], beta[ChatTogether]]"
    with LoopbackServer(models) as server:
        llm = mixture(server)
        chain = RunnableLambda(str) | llm
        with collect_runs() as collected:
            WAYS[way](llm, "Hi")
        assert [tree(run) for run in collected.traced_runs] == [f"MoAChatModel[{below}]"]
        with collect_runs() as collected:
            WAYS[way](chain, "Hi")
        (root,) = collected.traced_runs
        assert root.name == "RunnableSequence"
        assert tree(root.child_runs[-1]) == f"MoAChatModel[{below}]"


def graph_of(model: BaseChatModel) -> Runnable[Any, Any]:
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge("__start__", "model")
    return graph.compile()


REFUSES = "acme/refuses"
SHAPES: dict[str, Callable[[BaseChatModel, BaseChatModel], Any]] = {
    "a model": lambda model, _: model,
    "a binding": lambda model, _: model.bind(temperature=0.5),
    "a chain": lambda model, _: RunnableLambda(lambda given: given) | model,
    "a graph": lambda model, _: graph_of(model),
    "a fallback": lambda model, refuses: [refuses, model],
    "a model with fallbacks": lambda model, refuses: refuses.with_fallbacks([model]),
    "a mixture": lambda model, _: MoAChatModel(reference_models=[model], aggregator=model),
}
AGGREGATORS = [(client, "a model") for client in CLIENTS] + [
    (client, shape) for client in ("together", "mistral") for shape in SHAPES if shape != "a model"
]


def is_summarized(llm: BaseChatModel, way: str, of: BaseChatModel | None = None) -> bool:
    """Whether an agent's conversation with few words and many reported tokens is summarized."""
    middleware = SummarizationMiddleware(of or llm, trigger=("tokens", 1500), keep=("messages", 1))
    agent: Any = create_agent(llm, [], middleware=[middleware], checkpointer=InMemorySaver())
    # four bytes are a token to the server, and four characters to LangChain's estimate
    for asked in ("请告诉我更多关于罗马的事情。" * 150, "And?"):
        given, config = {"messages": [("user", asked)]}, {"configurable": {"thread_id": "1"}}
        if way == "invoke":
            agent.invoke(given, config)
        else:
            list(agent.stream(given, config, stream_mode="messages"))
    first: BaseMessage = agent.get_state(config).values["messages"][0]
    return first.text.startswith("Here is a summary")


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(("client", "shape"), AGGREGATORS)
def test_summarization_believes_the_reported_tokens(client: str, shape: str, way: str) -> None:
    models = {ALPHA: says("好的。"), AGGREGATOR: says("好的。"), REFUSES: says("", status=400)}
    with LoopbackServer(models) as server:
        other = CLIENTS["anthropic" if client != "anthropic" else "openai"](server, REFUSES)
        llm = MoAChatModel(
            reference_models=[together(server, ALPHA)],
            aggregator=SHAPES[shape](CLIENTS[client](server, AGGREGATOR), other),
            max_retries=0,
        )
        assert is_summarized(llm, way)


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_summarization_believes_the_tokens_of_a_selected_proposal(way: str) -> None:
    models = {ALPHA: says("好的。"), BETA: says("好的。"), AGGREGATOR: says("1")}
    with LoopbackServer(models) as server:
        assert is_summarized(mixture(server, strategy="select"), way)


def test_summarization_believes_no_other_providers_tokens() -> None:
    with LoopbackServer({name: says("好的。") for name in (ALPHA, AGGREGATOR)}) as server:
        proposers = [together(server, ALPHA)]
        clients = [CLIENTS[name](server, AGGREGATOR) for name in ("together", "mistral")]
        llm, other = (MoAChatModel(reference_models=proposers, aggregator=c) for c in clients)
        assert not is_summarized(llm, "invoke", of=other)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_to_answer_is_refused_before_a_request(way: str) -> None:
    with LoopbackServer({name: says("Hi.") for name in (ALPHA, BETA, AGGREGATOR)}) as server:
        with pytest.raises(MoAConfigurationError, match="messages=\\[\\] has nothing to answer"):
            WAYS[way](mixture(server), [])
        with pytest.raises(MoAConfigurationError, match=r"messages\[1\] is a RemoveMessage"):
            WAYS[way](mixture(server), [HumanMessage("Hi"), RemoveMessage(id="1")])
        with pytest.raises(MoAConfigurationError, match="has nothing to answer"):
            mixture(server).graph.invoke({"messages": []})
        assert server.requests == []


RESULTS: dict[str, Any] = {
    "a text without a type": [{"text": "sunny"}],
    "texts": ["sunny"],
    "json": [{"type": "json", "json": {"sky": "sunny"}}],
    "an object of the tool's own": [{"sky": "sunny"}],
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_proposers_read_a_tools_result_in_any_form(result: Any) -> None:
    call = {"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}
    history = [
        HumanMessage("Weather?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage(result, tool_call_id="1"),
    ]
    with LoopbackServer({name: says("Sunny.") for name in (ALPHA, BETA, AGGREGATOR)}) as server:
        told = ToolMessage("sunny", tool_call_id="1")
        llm = mixture(server, fan_out="always", aggregator=RunnableLambda(lambda _: "Sunny."))
        assert llm.invoke([*history[:-1], told]).text == "Sunny."
        record = llm.invoke(history).response_metadata["moa"]
        assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]
        assert "sunny" in str(bodies(server, ALPHA)[-1]["messages"])
