"""Mixtures as the models of a supervisor's and a swarm's agents, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm
from pydantic import BaseModel

from langchain_moa.middleware import MoAMiddleware
from langchain_moa.testing import LoopbackServer
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, mixture, says, together

pytestmark = [
    # both packages still use LangGraph's older create_react_agent and its state
    pytest.mark.filterwarnings("ignore::langgraph.warnings.LangGraphDeprecatedSinceV10"),
]


@tool
def temperature(city: str) -> int:
    """Degrees Celsius in a city, now."""
    return {"Köln": 20}[city]


def names(body: Mapping[str, Any]) -> set[str]:
    """The tools of a request."""
    return {one["function"]["name"] for one in body.get("tools", [])}


def used(body: Mapping[str, Any], name: str) -> bool:
    """Whether a tool was called since the user's last message."""
    roles = [message["role"] for message in body["messages"]]
    since = body["messages"][len(roles) - roles[::-1].index("user") :]
    calls = [c["function"]["name"] for m in since for c in m.get("tool_calls") or []]
    return name in calls


def acting(*steps: tuple[str, dict[str, Any]]) -> Callable[[Mapping[str, Any]], Reply]:
    """Calls each tool that it has once, in this order, then answers."""

    def reply(body: Mapping[str, Any]) -> Reply:
        for name, arguments in steps:
            if name in names(body) and not used(body, name):
                return Reply(text=None, tool_calls=(ToolCall(name=name, arguments=arguments),))
        return Reply(text="20 degrees.")

    return reply


MODELS = {
    ALPHA: says("Ask the weather expert."),
    BETA: says("Look it up."),
    GAMMA: says("Ask for Köln."),
}


def asked(server: LoopbackServer, *models: str) -> list[int]:
    """How many requests each model got."""
    return [len(server.requests_for(model)) for model in models]


def decided(messages: list[Any], agent: str | None) -> list[str]:
    """What the fan-out gate decided in each step of an agent."""
    records = [m.response_metadata.get("moa") for m in messages if m.name == agent]
    return [record["fan_out"] for record in records if record]


def test_a_supervisor_and_its_agent() -> None:
    script = acting(("transfer_to_weather", {}), ("temperature", {"city": "Köln"}))
    with LoopbackServer({**MODELS, "boss": says(""), "worker": says("")}) as server:
        server.models["boss"] = server.models["worker"] = says(script)  # type: ignore[arg-type]
        expert = mixture(server, reference_models=[GAMMA], aggregator="worker")
        worker = create_agent(expert, [temperature], name="weather")
        boss = mixture(server, aggregator="boss")
        graph = create_supervisor(
            [worker], model=boss, prompt="You lead.", output_mode="full_history"
        )
        app = graph.compile()
        messages = app.invoke({"messages": [("user", "How warm is it in Köln?")]})["messages"]
        assert messages[-1].text == "20 degrees."
        results = server.requests_for("worker")[-1].body["messages"]
        assert [m["content"] for m in results if m["role"] == "tool"][-1] == "20"
        assert names(server.requests_for("worker")[0].body) == {"temperature"}
        assert ["tools" in r.body for r in server.requests_for(ALPHA)] == [False]
        # n + s each: two steps of the one and two of the other
        assert asked(server, ALPHA, BETA, "boss", GAMMA, "worker") == [1, 1, 2, 1, 2]
        assert (
            decided(messages, "supervisor")
            == decided(messages, "weather")
            == [
                "layers",
                "reused",
            ]
        )
        for request in server.requests_for("worker"):
            assert "Ask for Köln." in json.dumps(request.body, ensure_ascii=False)


async def test_a_swarm_of_two() -> None:
    script = acting(("transfer_to_bob", {}), ("temperature", {"city": "Köln"}))
    with LoopbackServer({**MODELS, "ann": says(""), "bob": says("")}) as server:
        server.models["ann"] = server.models["bob"] = says(script)  # type: ignore[arg-type]
        to_bob = create_handoff_tool(agent_name="bob", description="Ask Bob about the weather.")
        ann = create_agent(mixture(server, aggregator="ann"), [to_bob], name="ann")
        expert = mixture(server, reference_models=[GAMMA], aggregator="bob")
        bob = create_agent(expert, [temperature], name="bob")
        swarm = create_swarm([ann, bob], default_active_agent="ann")
        app = swarm.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        first = await app.ainvoke({"messages": [("user", "How warm is it in Köln?")]}, config)
        assert first["messages"][-1].text == "20 degrees."
        assert first["active_agent"] == "bob"
        assert asked(server, ALPHA, BETA, "ann", GAMMA, "bob") == [1, 1, 1, 1, 2]
        assert decided(first["messages"], "ann") == ["layers"]
        assert decided(first["messages"], "bob") == ["layers", "reused"]
        before = len(server.requests_for("ann"))
        again = await app.ainvoke({"messages": [("user", "And now?")]}, config)
        assert again["messages"][-1].text == "20 degrees."
        assert len(server.requests_for("ann")) == before
        assert asked(server, ALPHA, BETA, GAMMA, "bob") == [1, 1, 2, 4]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_after_a_handoff_the_mixture_of_a_middleware_is_asked(how: str) -> None:
    script = acting(("transfer_to_weather", {}), ("temperature", {"city": "Köln"}))
    with LoopbackServer({**MODELS, "boss": says(""), "worker": says("")}) as server:
        server.models["boss"] = server.models["worker"] = says(script)  # type: ignore[arg-type]
        routed = MoAMiddleware(mixture(server, reference_models=[GAMMA], aggregator="worker"))
        worker = create_agent(
            together(server, "worker"), [temperature], name="weather", middleware=[routed]
        )
        boss = mixture(server, aggregator="boss")
        app = create_supervisor([worker], model=boss, prompt="You lead.").compile()
        given: Any = {"messages": [("user", "How warm is it in Köln?")]}
        state = app.invoke(given) if how == "invoke" else await app.ainvoke(given)
        assert state["messages"][-1].text == "20 degrees."
        assert asked(server, ALPHA, "boss", GAMMA, "worker") == [1, 2, 1, 2]


class Verdict(BaseModel):
    """Whether it is warm."""

    warm: bool


LOOPED = [
    HumanMessage("Is it warm in Köln?"),
    AIMessage("", tool_calls=[{"name": "temperature", "args": {"city": "Köln"}, "id": "1"}]),
    ToolMessage("20", tool_call_id="1", name="temperature"),
]


def test_without_tools_the_end_of_a_loop_is_no_loop() -> None:
    """A mixture as a last node reads an agent's history."""
    with LoopbackServer({**MODELS, AGGREGATOR: says("Yes.")}) as server:
        llm = mixture(server)
        for answer in (llm.invoke(LOOPED), llm.graph.invoke({"messages": LOOPED})["messages"][-1]):
            assert answer.response_metadata["moa"]["fan_out"] == "layers"
            assert len(answer.response_metadata["moa"]["proposals"]) == 2
        bound = llm.bind_tools([temperature])
        assert bound.invoke(LOOPED).response_metadata["moa"]["fan_out"] == "alone"


def test_votes_on_what_a_loop_found() -> None:
    models = dict.fromkeys((ALPHA, BETA, AGGREGATOR), says('{"warm": true}'))
    with LoopbackServer(models) as server:
        voting = mixture(server).with_structured_output(
            Verdict, method="json_mode", include_raw=True, vote=True
        )
        result: Any = voting.invoke(LOOPED)
        assert result["parsed"] == Verdict(warm=True)
        assert result["raw"].response_metadata["moa"]["vote"]["ballots"] == 2
