"""The mixture as a tool of an ordinary agent, over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, ToolMessage

from langchain_moa import MoAChatModel, MoAConfigurationError, moa_tool
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ScriptedChatModel
from langchain_moa.testing.replies import ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, counted, mixture, says, served, together

AGENT = "acme/agent"


def acts(body: Mapping[str, Any]) -> Reply:
    """Asks the panel once, then says what it heard."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return Reply(text=f"The panel says: {last['content']}")
    return Reply(
        text=None, tool_calls=(ToolCall(name="ask_panel", arguments={"question": "Which?"}),)
    )


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    models = {
        AGENT: ModelBehavior(reply=acts),
        ALPHA: says("The first."),
        BETA: says("The second."),
        AGGREGATOR: says("The first."),
    }
    with LoopbackServer(models) as server:
        yield server


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_agent_asks_the_panel_and_all_usage_is_heard(server: LoopbackServer, way: str) -> None:
    agent = create_agent(together(server, AGENT), tools=[moa_tool(mixture(server))])
    state: Any = {"messages": [("user", "Which of them?")]}
    with get_usage_metadata_callback() as used:
        state = agent.invoke(state) if way == "invoke" else asyncio.run(agent.ainvoke(state))
    *_, told, answer = state["messages"]
    assert answer.text == "The panel says: The first."
    assert isinstance(told, ToolMessage)
    assert told.artifact.response_metadata["moa"]["proposals"][1]["model"] == BETA
    heard = {name: counted(usage) for name, usage in used.usage_metadata.items()}
    assert heard == served(server)


def test_a_mixture_refuses_itself_as_a_tool() -> None:
    said = ScriptedChatModel.saying("4")
    llm = MoAChatModel(reference_models=[said], aggregator=said)
    with pytest.raises(MoAConfigurationError, match="'ask_panel' asks this mixture itself"):
        llm.bind_tools([moa_tool(llm)])
    other = MoAChatModel(reference_models=[said, said], aggregator=said)
    assert llm.bind_tools([moa_tool(other)]).invoke("2 + 2?").text == "4"


def test_a_member_cannot_ask_the_mixture_that_it_is_in() -> None:
    tools: list[Any] = []

    def asks(_: object) -> str:
        return str(tools[0].invoke({"question": "Again?"}))

    said = ScriptedChatModel.saying("4")
    llm = MoAChatModel(
        reference_models=[said, ScriptedChatModel(script=asks, model="asker")], aggregator=said
    )
    tools.append(moa_tool(llm))
    answer = llm.invoke("2 + 2?")
    assert isinstance(answer, AIMessage)
    _, asker = answer.response_metadata["moa"]["proposals"]
    assert asker["status"] == "failed"
    assert "calls the mixture itself" in asker["error"]


def test_what_is_no_mixture_and_what_says_nothing_is_refused() -> None:
    said: Any = ScriptedChatModel.saying("4")
    with pytest.raises(MoAConfigurationError, match=r"llm=.*no mixture"):
        moa_tool(said)
    llm = MoAChatModel(reference_models=[said], aggregator=said)
    with pytest.raises(MoAConfigurationError, match="description=' ' is empty"):
        moa_tool(llm, description=" ")
