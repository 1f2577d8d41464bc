"""Mixtures as the models of a supervisor's and a swarm's agents, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

from langchain_moa.testing import LoopbackServer
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import ALPHA, BETA, mixture, says

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


MODELS = {ALPHA: says("Ask the weather expert."), BETA: says("Look it up.")}


def test_a_supervisor_and_its_agent() -> None:
    script = acting(("transfer_to_weather", {}), ("temperature", {"city": "Köln"}))
    with LoopbackServer({**MODELS, "boss": says(""), "worker": says("")}) as server:
        server.models["boss"] = server.models["worker"] = says(script)  # type: ignore[arg-type]
        worker = create_agent(mixture(server, aggregator="worker"), [temperature], name="weather")
        boss = mixture(server, aggregator="boss")
        app = create_supervisor([worker], model=boss, prompt="You lead.").compile()
        messages = app.invoke({"messages": [("user", "How warm is it in Köln?")]})["messages"]
        assert messages[-1].text == "20 degrees."
        results = server.requests_for("worker")[-1].body["messages"]
        assert [m["content"] for m in results if m["role"] == "tool"][-1] == "20"
        assert names(server.requests_for("worker")[0].body) == {"temperature"}
        assert all("tools" not in r.body for r in server.requests_for(ALPHA))


async def test_a_swarm_of_two() -> None:
    script = acting(("transfer_to_bob", {}), ("temperature", {"city": "Köln"}))
    with LoopbackServer({**MODELS, "ann": says(""), "bob": says("")}) as server:
        server.models["ann"] = server.models["bob"] = says(script)  # type: ignore[arg-type]
        to_bob = create_handoff_tool(agent_name="bob", description="Ask Bob about the weather.")
        ann = create_agent(mixture(server, aggregator="ann"), [to_bob], name="ann")
        bob = create_agent(mixture(server, aggregator="bob"), [temperature], name="bob")
        swarm = create_swarm([ann, bob], default_active_agent="ann")
        app = swarm.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        first = await app.ainvoke({"messages": [("user", "How warm is it in Köln?")]}, config)
        assert first["messages"][-1].text == "20 degrees."
        assert first["active_agent"] == "bob"
        before = len(server.requests_for("ann"))
        again = await app.ainvoke({"messages": [("user", "And now?")]}, config)
        assert again["messages"][-1].text == "20 degrees."
        assert len(server.requests_for("ann")) == before
