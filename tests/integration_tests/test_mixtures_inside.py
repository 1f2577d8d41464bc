"""Mixtures as members over real HTTP: tools and schemas reach the models inside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, bodies, mixture, says

INNER = "acme/inner"
"""The aggregator of the mixture inside."""


@tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


def acts(body: Mapping[str, Any]) -> Reply:
    """Adds once, then answers."""
    if body["messages"][-1]["role"] == "tool":
        return Reply(text="It is 3.")
    return Reply(text=None, tool_calls=(ToolCall(name="add", arguments={"a": 1, "b": 2}),))


ACTING = ModelBehavior(reply=acts)
MODELS = {
    ALPHA: says("Add them."),
    BETA: says("Just add."),
    GAMMA: says("3, I think."),
    INNER: ACTING,
    AGGREGATOR: ACTING,
}


def inside(server: LoopbackServer, **fields: Any) -> MoAChatModel:
    return mixture(server, **{"reference_models": [GAMMA], "aggregator": INNER, **fields})


def tools_of(body: Mapping[str, Any]) -> list[str]:
    return [one["function"]["name"] for one in body.get("tools", [])]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("wrap", ["plain", "bind", "retry"])
def test_an_agent_on_a_mixture_as_aggregator(wrap: str, how: str) -> None:
    with LoopbackServer(MODELS) as server:
        model = inside(server)
        wrapped = {"plain": model, "bind": model.bind(temperature=0.5), "retry": model.with_retry()}
        agent: Any = create_agent(mixture(server, aggregator=wrapped[wrap]), [add])
        given = {"messages": [HumanMessage("1 + 2?")]}
        if how == "stream":
            *_, state = agent.stream(given, stream_mode="values")
        else:
            state = agent.invoke(given) if how == "invoke" else asyncio.run(agent.ainvoke(given))
        assert state["messages"][-1].text == "It is 3."
        assert [m.content for m in state["messages"] if m.type == "tool"] == ["3"]
        assert [tools_of(body) for body in bodies(server, INNER)] == [["add"], ["add"]]
        assert [body.get("temperature") for body in bodies(server, INNER)] == [
            0.5 if wrap == "bind" else None
        ] * 2
        # each mixture's own reference models advise once, in the user's turn
        for name in (ALPHA, BETA, GAMMA):
            (body,) = bodies(server, name)
            assert tools_of(body) == []
            assert "- add(a, b)" in json.dumps(body["messages"])


def test_fallbacks_inside_act_too() -> None:
    models = {**MODELS, INNER: ModelBehavior(status=400)}
    with LoopbackServer(models) as server:
        model = inside(server, aggregator=[INNER, AGGREGATOR])
        state: Any = create_agent(mixture(server, aggregator=model), [add]).invoke(
            {"messages": [HumanMessage("1 + 2?")]}
        )
        assert state["messages"][-1].text == "It is 3."
        assert [tools_of(body) for body in bodies(server, AGGREGATOR)] == [["add"], ["add"]]


def test_a_mixture_as_fallback_of_the_aggregator() -> None:
    models = {**MODELS, AGGREGATOR: ModelBehavior(status=400)}
    with LoopbackServer(models) as server:
        llm = mixture(server, aggregator=[AGGREGATOR, inside(server, tools_for="all")])
        answer = llm.bind_tools([add], tool_choice="auto").invoke("1 + 2?")
        assert [c["name"] for c in answer.tool_calls] == ["add"]
        assert tools_of(bodies(server, INNER)[0]) == ["add"]
        assert tools_of(bodies(server, GAMMA)[0]) == ["add"]  # as the mixture inside wants it


def test_a_mixture_of_mixtures_of_mixtures() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, aggregator=mixture(server, aggregator=inside(server)))
        answer = llm.bind_tools([add]).invoke("1 + 2?")
        assert [c["name"] for c in answer.tool_calls] == ["add"]


def test_a_mixture_as_proposer_gets_the_tools() -> None:
    with LoopbackServer(MODELS) as server:
        proposer = inside(server)
        llm = mixture(
            server,
            reference_models=[proposer],
            tools_for="all",
            include_proposals=True,
        )
        answer = llm.bind_tools([add]).invoke("1 + 2?")
        (proposal,) = answer.response_metadata["moa"]["proposals"]
        assert proposal["text"] == '[would call add with {"a": 1, "b": 2}]'
        assert tools_of(bodies(server, INNER)[0]) == ["add"]
        assert tools_of(bodies(server, GAMMA)[0]) == []
        assert "- add(a, b)" in json.dumps(bodies(server, GAMMA)[0])


class Verdict(BaseModel):
    """What a review says."""

    label: Literal["good", "bad"]


def verdict(label: str) -> ModelBehavior:
    def reply(body: Mapping[str, Any]) -> Reply:
        if not body.get("tools"):
            return Reply(text=json.dumps({"label": label}))
        return Reply(text=None, tool_calls=(ToolCall(name="Verdict", arguments={"label": label}),))

    return ModelBehavior(reply=reply)


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("vote", [False, True])
def test_structured_output(method: str, vote: bool) -> None:  # noqa: FBT001
    models = {**dict.fromkeys((ALPHA, BETA, GAMMA), verdict("bad")), INNER: verdict("good")}
    with LoopbackServer(models) as server:
        llm = mixture(server, aggregator=inside(server))
        asked = llm.with_structured_output(Verdict, method=method, vote=vote)
        label: Literal["good", "bad"] = "bad" if vote else "good"
        assert asked.invoke("Is 'Lovely!' good? Answer as JSON.") == Verdict(label=label)
        (final,) = bodies(server, INNER)
        assert "tools" in final or "response_format" in final
        (proposal,) = bodies(server, GAMMA)
        assert "tools" not in proposal
        assert "response_format" not in proposal


def test_a_mixture_votes() -> None:
    models = {ALPHA: verdict("bad"), GAMMA: says("Good."), INNER: verdict("good")}
    with LoopbackServer({**models, AGGREGATOR: verdict("bad")}) as server:
        llm = mixture(server, reference_models=[ALPHA, inside(server), inside(server)])
        asked = llm.with_structured_output(Verdict, method="function_calling", vote=True)
        assert asked.invoke("Is 'Lovely!' good?") == Verdict(label="good")
