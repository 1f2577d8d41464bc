"""What LangChain's own tools make of a mixture: they see one model, as any other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers.context import collect_runs
from langchain_core.tracers.schemas import Run
from langgraph.checkpoint.memory import InMemorySaver

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.testing import LoopbackServer
from tests.dialects import CLIENTS
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says


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
    below = ", ".join(tree(child) for child in run.child_runs)
    return f"{run.name}[{below}]" if below else run.name


@pytest.mark.parametrize("way", WAYS)
def test_collect_runs_sees_one_root(way: str) -> None:
    models = {name: says("Hi.") for name in (ALPHA, BETA, AGGREGATOR)}
    below = "layer_1[alpha[ChatTogether], beta[ChatTogether]], aggregator"
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


def turns_until_summary(llm: BaseChatModel, most: int = 8) -> int:
    """How many turns an agent takes until its conversation is summarized."""
    middleware = SummarizationMiddleware(llm, trigger=("tokens", 900), keep=("messages", 2))
    agent: Any = create_agent(llm, [], middleware=[middleware], checkpointer=InMemorySaver())
    for turn in range(most):
        # four bytes are a token to the server, and four characters to LangChain's estimate
        asked = {"messages": [("user", f"{turn} " + "请告诉我更多关于罗马的事情。" * 25)]}
        out = agent.invoke(asked, {"configurable": {"thread_id": "1"}})
        if out["messages"][0].text.startswith("Here is a summary"):
            return turn
    return most


@pytest.mark.parametrize("client", CLIENTS)
def test_summarization_believes_reported_tokens_as_of_a_plain_model(client: str) -> None:
    with LoopbackServer({name: says("好的。") for name in (ALPHA, BETA, AGGREGATOR)}) as server:
        plain = CLIENTS[client](server, AGGREGATOR)
        members = [CLIENTS[client](server, name) for name in (ALPHA, BETA)]
        llm = MoAChatModel(reference_models=members, aggregator=plain)
        # a mixture's conversation has the proposals in it, and so is summarized earlier
        assert turns_until_summary(llm) <= turns_until_summary(plain)


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
