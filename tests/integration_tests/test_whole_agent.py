"""One agent with all that agents have at once, over real HTTP: every call is accounted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, bodies, mixture, says, together

ADVICE = {ALPHA: "Ask for both and add.", BETA: "Use temperature, then add."}
SUMMARY = "They asked for temperatures."
THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
ORDER = (ALPHA, BETA, AGGREGATOR, GAMMA)


@tool
def temperature(city: str) -> int:
    """Degrees Celsius in a city, now."""
    return {"Köln": 20, "Bonn": 21}[city]


@tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


class Report(BaseModel):
    """The temperatures' sum."""

    total: int


def calls(*made: tuple[str, dict[str, Any]]) -> Reply:
    wanted = tuple(ToolCall(name=name, arguments=arguments) for name, arguments in made)
    return Reply(text=None, tool_calls=wanted)


STEPS = (
    calls(("temperature", {"city": "Köln"}), ("temperature", {"city": "Bonn"})),
    calls(("add", {"a": 20, "b": 20})),
    calls(("add", {"a": 40, "b": 1})),
    calls(("Report", {"total": 41})),
)


def next_step(body: Mapping[str, Any]) -> Reply:
    roles = [message["role"] for message in body["messages"]]
    return STEPS[roles[len(roles) - roles[::-1].index("user") :].count("assistant")]


def served(failing: int) -> LoopbackServer:
    """The members, of whom the aggregator fails in one request."""

    def acting(_: Mapping[str, Any], before: int) -> ModelBehavior:
        return ModelBehavior(reply=next_step, status=503 if before == failing else None)

    models = {name: says(text) for name, text in ADVICE.items()}
    return LoopbackServer({**models, GAMMA: says(SUMMARY), AGGREGATOR: acting})


def agent_on(server: LoopbackServer) -> Any:
    return create_agent(
        mixture(server),
        tools=[temperature, add],
        system_prompt="Be exact.",
        response_format=ToolStrategy(Report),
        checkpointer=InMemorySaver(),
        middleware=[
            SummarizationMiddleware(
                together(server, GAMMA), trigger=("messages", 11), keep=("messages", 1)
            ),
            ModelRetryMiddleware(max_retries=1, initial_delay=0.0, jitter=False),
            HumanInTheLoopMiddleware(interrupt_on={"add": True}),
        ],
    )


class Turn:
    """One of the user's turns, streamed, with each call of `add` approved by a person."""

    def __init__(self) -> None:
        self.chunks: list[AIMessageChunk] = []
        self.approved: list[Any] = []
        self._asked: list[Any] = []

    def take(self, mode: str, piece: Any) -> None:
        if mode == "messages" and isinstance(piece[0], AIMessageChunk):
            self.chunks.append(piece[0])
        if mode == "updates":
            self._asked += piece.get("__interrupt__", ())

    def resumption(self) -> Command[Any] | None:
        """What to go on with; `None` at the end."""
        if not self._asked:
            return None
        (interrupt,), self._asked = self._asked, []
        requests = interrupt.value["action_requests"]
        self.approved += [request["args"] for request in requests]
        return Command(resume={"decisions": [{"type": "approve"}] * len(requests)})


async def streamed(agent: Any, question: str, how: str) -> Turn:
    turn = Turn()
    given: Any = {"messages": [HumanMessage(question)]}
    modes = ["updates", "messages"]
    while given is not None:
        if how == "async":
            async for mode, piece in agent.astream(given, THREAD, stream_mode=modes):
                turn.take(mode, piece)
        else:
            for mode, piece in agent.stream(given, THREAD, stream_mode=modes):
                turn.take(mode, piece)
        given = turn.resumption()
    return turn


def asked(server: LoopbackServer) -> list[int]:
    return [len(server.requests_for(name)) for name in ORDER]


def check(agent: Any, turn: Turn, question: str) -> None:
    """What is the same in each turn."""
    assert turn.approved == [{"a": 20, "b": 20}, {"a": 40, "b": 1}]
    values = agent.get_state(THREAD).values
    assert values["structured_response"] == Report(total=41)
    (place,) = [n for n, m in enumerate(values["messages"]) if m.text == question]
    since = values["messages"][place + 1 :]
    results = [m.content for m in since if m.type == "tool"]
    assert results[:-1] == ["20", "21", "40", "41"]
    records = [m.response_metadata["moa"] for m in since if isinstance(m, AIMessage)]
    assert [r["fan_out"] for r in records] == ["layers", "reused", "reused", "reused"]
    assert {r["degraded"] for r in records} == {False}
    whole: dict[str | None, AIMessageChunk] = {}
    for chunk in turn.chunks:
        whole[chunk.id] = whole[chunk.id] + chunk if chunk.id in whole else chunk
    called = [[c["args"] for c in one.tool_calls] for one in whole.values() if one.tool_calls]
    assert called == [[c.arguments for c in step.tool_calls] for step in STEPS]
    assert not any(text in chunk.text for chunk in turn.chunks for text in ADVICE.values())


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize(
    ("failing", "first", "both"),
    [
        (1, [1, 1, 5, 0], [2, 2, 9, 1]),  # n + s, and the aggregator's failure
        (0, [2, 2, 5, 0], [3, 3, 9, 1]),  # a retry of the step that asks them asks them again
    ],
)
async def test_everything_at_once(
    how: str, failing: int, first: list[int], both: list[int]
) -> None:
    with served(failing) as server:
        agent = agent_on(server)
        question = "How warm is it in Köln and in Bonn, together?"
        check(agent, await streamed(agent, question, how), question)
        assert asked(server) == first
        again = "And once more?"
        check(agent, await streamed(agent, again, how), again)
        assert asked(server) == both
        assert SUMMARY in agent.get_state(THREAD).values["messages"][0].text
        for body in bodies(server, AGGREGATOR):
            assert {t["function"]["name"] for t in body["tools"]} == {
                "temperature",
                "add",
                "Report",
            }
            assert all(text in json.dumps(body) for text in ADVICE.values())
        for body in [*bodies(server, ALPHA), *bodies(server, BETA)]:
            assert "tools" not in body
            assert body["messages"][0]["content"].startswith("Be exact.")
