"""The mixture for some turns of an agent, a plain model for the others."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.middleware import MoAMiddleware
from langchain_moa.testing import ScriptedChatModel


def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


def acting(name: str) -> ScriptedChatModel:
    """Calls the tool until there are two results, then says who it is."""

    def script(messages: list[BaseMessage]) -> str | AIMessage:
        since = [m.type for m in messages][::-1].index("human")
        if since >= 4:
            return name
        call: Any = {"name": "add", "args": {"a": 1, "b": 2}, "id": f"{since}"}
        return AIMessage("", tool_calls=[call])

    return ScriptedChatModel(script=script, model=name)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    ("fan_out", "mixed"),
    [
        ("user_turns", 1),
        ("always", 3),
        ("never", 0),
        ("every_2", 2),
        (lambda messages: len(messages) == 3, 1),
    ],
)
async def test_which_turns_it_gets(fan_out: Any, mixed: int, how: str) -> None:
    proposer, aggregator, plain = ScriptedChatModel.saying("?"), acting("moa"), acting("plain")
    mixture = MoAChatModel(reference_models=[proposer], aggregator=aggregator, fan_out="always")
    routing = MoAMiddleware(mixture, fan_out=fan_out)
    agent = create_agent(plain, tools=[add], middleware=[routing])
    given: Any = {"messages": [HumanMessage("1 + 2?")]}
    state = agent.invoke(given) if how == "invoke" else await agent.ainvoke(given)
    assert len(proposer.calls) == len(aggregator.calls) == mixed
    assert len(plain.calls) == 3 - mixed
    assert state["messages"][-1].text == ("moa" if fan_out in ("always", "every_2") else "plain")
    for _, arguments in [*aggregator.calls, *plain.calls]:
        assert [t["function"]["name"] for t in arguments["tools"]] == ["add"]


@pytest.mark.parametrize("own", ["user_turns", "never", "every_3", lambda _: False])
@pytest.mark.parametrize(("fan_out", "mixed"), [("user_turns", 1), ("always", 3), ("every_2", 2)])
def test_its_decision_wins_over_the_mixtures_own(own: Any, fan_out: str, mixed: int) -> None:
    proposer, aggregator, plain = ScriptedChatModel.saying("?"), acting("moa"), acting("plain")
    mixture = MoAChatModel(reference_models=[proposer], aggregator=aggregator, fan_out=own)
    agent = create_agent(plain, tools=[add], middleware=[MoAMiddleware(mixture, fan_out=fan_out)])
    state = agent.invoke({"messages": [HumanMessage("1 + 2?")]})
    assert len(proposer.calls) == len(aggregator.calls) == mixed
    records = [m.response_metadata.get("moa") for m in state["messages"] if m.type == "ai"]
    assert [record["fan_out"] for record in records if record] == ["layers"] * mixed
    assert mixture.fan_out == own


def test_its_proposals_are_reused_by_the_mixture_itself() -> None:
    proposer, aggregator = ScriptedChatModel.saying("?"), acting("moa")
    mixture = MoAChatModel(reference_models=[proposer], aggregator=aggregator)
    agent = create_agent(mixture, tools=[add], middleware=[MoAMiddleware(mixture)])
    state = agent.invoke({"messages": [HumanMessage("1 + 2?")]})
    records = [m.response_metadata["moa"] for m in state["messages"] if m.type == "ai"]
    assert [record["fan_out"] for record in records] == ["layers", "reused", "reused"]
    assert len(proposer.calls) == 1


def test_a_plain_model_in_the_place_of_a_mixture() -> None:
    one, other = acting("one"), acting("other")
    agent = create_agent(one, tools=[add], middleware=[MoAMiddleware(other, fan_out="always")])
    assert agent.invoke({"messages": [HumanMessage("1 + 2?")]})["messages"][-1].text == "other"


def test_by_default_the_users_turns() -> None:
    model = acting("a")
    mixture = MoAChatModel(reference_models=[model], aggregator=model)
    assert MoAMiddleware(mixture).fan_out == "user_turns"


def test_summaries_by_a_share_of_what_a_mixture_reads() -> None:
    model = acting("a")
    mixture = MoAChatModel(reference_models=[model], aggregator=model, max_input_tokens=8_000)
    middleware = SummarizationMiddleware(mixture, trigger=("fraction", 0.8))
    assert middleware.trigger == ("fraction", 0.8)


@pytest.mark.parametrize("given", ["sometimes", "every_0", 3])
def test_wrong_settings(given: Any) -> None:
    with pytest.raises(MoAConfigurationError, match="fan_out="):
        MoAMiddleware(acting("a"), fan_out=given)


@pytest.mark.parametrize("given", ["owner/model", ScriptedChatModel.saying("x").with_retry()])
def test_what_is_no_chat_model_is_refused_at_once(given: Any) -> None:
    with pytest.raises(MoAConfigurationError, match="is no chat model"):
        MoAMiddleware(given)
