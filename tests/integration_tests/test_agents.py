"""Agents on a mixture over real HTTP: who is asked when, and what they are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    dynamic_prompt,
)
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from langchain_moa import MoAChatModel
from langchain_moa.middleware import MoAMiddleware
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall
from tests.wire import (
    AGGREGATOR,
    ALPHA,
    BETA,
    GAMMA,
    bodies,
    counted,
    mixture,
    says,
    served,
    together,
)

QUESTION = "How warm is it in Köln and in Bonn, together?"
ANSWER = "It is 41 degrees, together."


@tool
def temperature(city: str) -> int:
    """Degrees Celsius in a city, now."""
    return {"Köln": 20, "Bonn": 21}[city]


@tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


STEPS = (
    Reply(
        text=None,
        tool_calls=(call("temperature", city="Köln"), call("temperature", city="Bonn")),
    ),
    Reply(text=None, tool_calls=(call("add", a=20, b=20),)),
    Reply(text=None, tool_calls=(call("add", a=40, b=1),)),
    Reply(text=ANSWER),
)


def acting(steps: Sequence[Reply] = STEPS) -> Callable[[Mapping[str, Any]], Reply]:
    """An agent's model that takes these steps in each of the user's turns."""

    def reply(body: Mapping[str, Any]) -> Reply:
        roles = [message["role"] for message in body["messages"]]
        since = len(roles) - roles[::-1].index("user")
        return steps[roles[since:].count("assistant")]

    return reply


MODELS = {
    ALPHA: says("Ask for both and add."),
    BETA: says("Use temperature, then add."),
    AGGREGATOR: ModelBehavior(reply=acting()),
}


def agent_of(llm: Any, **options: Any) -> Any:
    return create_agent(llm, tools=[temperature, add], **options)


def user(text: str = QUESTION) -> Any:
    return {"messages": [HumanMessage(text)]}


def counts(server: LoopbackServer) -> dict[str, int]:
    """How many requests each model got."""
    return {name: len(server.requests_for(name)) for name in (ALPHA, BETA, AGGREGATOR)}


def records(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of an agent's model calls, in order."""
    answers: list[BaseMessage] = state["messages"]
    return [m.response_metadata["moa"] for m in answers if isinstance(m, AIMessage)]


def decided(state: Mapping[str, Any]) -> list[str]:
    return [record["fan_out"] for record in records(state)]


def fanned_out(llm: MoAChatModel, path: str) -> Any:
    agent = agent_of(llm)
    if path == "invoke":
        return agent.invoke(user())
    if path == "ainvoke":
        return asyncio.run(agent.ainvoke(user()))
    *_, last = agent.stream(user(), stream_mode="values")
    return last


DECISIONS: list[tuple[Any, list[str]]] = [
    ("user_turns", ["layers", "reused", "reused", "reused"]),
    ("always", ["layers"] * 4),
    ("never", ["alone"] * 4),
    ("every_2", ["layers", "reused", "layers", "reused"]),
    ("every_3", ["layers", "reused", "reused", "layers"]),
    (lambda messages: len(messages) > 1, ["alone", "layers", "layers", "layers"]),
]


@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize(("fan_out", "expected"), DECISIONS)
def test_who_is_asked_in_a_loop(fan_out: Any, expected: list[str], path: str) -> None:
    with LoopbackServer(MODELS) as server:
        state = fanned_out(mixture(server, fan_out=fan_out), path)
        assert state["messages"][-1].text == ANSWER
        assert decided(state) == expected
        asked = expected.count("layers")
        assert counts(server) == {ALPHA: asked, BETA: asked, AGGREGATOR: 4}
        results = [m.content for m in state["messages"] if m.type == "tool"]
        assert results == ["20", "21", "40", "41"]


def test_user_turns_is_the_default() -> None:
    with LoopbackServer(MODELS) as server:
        state = agent_of(mixture(server)).invoke(user())
        assert decided(state) == ["layers", "reused", "reused", "reused"]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}


def test_tools_that_the_aggregator_brings_along_count_as_bound() -> None:
    """A loop of one's own around a mixture whose aggregator was given with its tools."""
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server, aggregator=together(server, AGGREGATOR).bind_tools([temperature, add])
        )
        messages = user("Whose tools are these?")["messages"]
        answers = [llm.invoke(messages)]
        while calls := answers[-1].tool_calls:
            tools = {"temperature": temperature, "add": add}
            messages += [answers[-1], *(tools[each["name"]].invoke(each) for each in calls)]
            answers.append(llm.invoke(messages))
        assert decided({"messages": answers}) == ["layers", "reused", "reused", "reused"]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        (body,) = bodies(server, ALPHA)
        assert "- add(a, b): Add two whole numbers." in body["messages"][0]["content"]


def test_each_layer_is_asked_once_per_users_turn() -> None:
    with LoopbackServer(MODELS) as server:
        state = agent_of(mixture(server, layers=3)).invoke(user())
        assert counts(server) == {ALPHA: 2, BETA: 2, AGGREGATOR: 4}
        reused = records(state)[1]["proposals"]
        assert [(p["layer"], p["index"], p["status"]) for p in reused] == [
            (layer, index, "reused") for layer in (1, 2) for index in (0, 1)
        ]


def test_reused_proposals_cost_nothing_and_stand_where_they_stood() -> None:
    prices = dict.fromkeys((ALPHA, BETA, AGGREGATOR), (1.0, 2.0))
    with LoopbackServer(MODELS) as server:
        state = agent_of(mixture(server, prices=prices, include_proposals=True)).invoke(user())
        first, *later = records(state)
        texts = [p["text"] for p in first["proposals"]]
        assert texts == ["Ask for both and add.", "Use temperature, then add."]
        for record in later:
            assert [p["text"] for p in record["proposals"]] == texts
            assert [p["status"] for p in record["proposals"]] == ["reused"] * 2
            assert [p["attempts"] for p in record["proposals"]] == [0, 0]
            assert [p["usage"] for p in record["proposals"]] == [None, None]
            assert [p["cost"] for p in record["proposals"]] == [None, None]
            assert [p["seconds"] for p in record["proposals"]] == [0, 0]
            assert record["degraded"] is False
            assert list(record["usage"]["by_model"]) == [AGGREGATOR]
            assert record["usage"]["unknown"] == []
            assert record["cost"]["usd"] == pytest.approx(record["aggregator"]["cost"])
            assert record["cost"]["unknown"] == []
        total: dict[str, int] = {}
        for record in records(state):
            for name, usage in record["usage"]["by_model"].items():
                total[name] = total.get(name, 0) + counted(usage)["total_tokens"]
        assert total == {name: part["total_tokens"] for name, part in served(server).items()}
        opening, *others = [_first_user(body) for body in bodies(server, AGGREGATOR)]
        assert all(text in opening for text in texts)
        assert others == [opening] * 3


def test_the_requests_of_a_loop_share_their_beginning() -> None:
    """What a provider's prompt cache needs: each request begins with the whole one before."""
    with LoopbackServer(MODELS) as server:
        agent_of(mixture(server), system_prompt="Be exact.").invoke(user())
        sent = [body["messages"] for body in bodies(server, AGGREGATOR)]
        for earlier, later in pairwise(sent):
            assert later[: len(earlier)] == earlier


def _first_user(body: Mapping[str, Any]) -> Any:
    return next(m["content"] for m in body["messages"] if m["role"] == "user")


def test_reuse_switched_off() -> None:
    with LoopbackServer(MODELS) as server:
        state = agent_of(mixture(server, reuse_proposals=False)).invoke(user())
        assert decided(state) == ["layers", "alone", "alone", "alone"]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        assert [record["proposals"] for record in records(state)[1:]] == [[], [], []]
        assert [_first_user(body) for body in bodies(server, AGGREGATOR)[1:]] == [QUESTION] * 3


def test_a_failed_proposal_is_not_reused() -> None:
    models = {**MODELS, BETA: ModelBehavior(status=400)}
    with LoopbackServer(models) as server:
        state = agent_of(mixture(server)).invoke(user())
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        for record in records(state)[1:]:
            assert [p["status"] for p in record["proposals"]] == ["reused", "failed"]
            assert record["degraded"] is True


def test_with_nothing_usable_to_reuse_the_aggregator_is_alone() -> None:
    models = {**MODELS, **dict.fromkeys((ALPHA, BETA), ModelBehavior(status=400))}
    with LoopbackServer(models) as server:
        llm = mixture(server, on_no_proposals="aggregate_alone")
        state = agent_of(llm).invoke(user())
        assert decided(state) == ["layers", "alone", "alone", "alone"]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}


IN_THREADS: list[Any] = [
    {"configurable": {"thread_id": "7"}},
    {"configurable": {"thread_id": 7}},
    {"metadata": {"thread_id": "7"}},
]


@pytest.mark.parametrize("config", IN_THREADS)
@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream"])
def test_a_system_prompt_that_changes_in_each_step(path: str, config: Any) -> None:
    times = itertools.count(1)

    @dynamic_prompt
    def clock(_: Any) -> str:
        return f"It is {next(times)} o'clock."

    with LoopbackServer(MODELS) as server:
        agent = agent_of(mixture(server), middleware=[clock])
        match path:
            case "invoke":
                state = agent.invoke(user(), config)
            case "ainvoke":
                state = asyncio.run(agent.ainvoke(user(), config))
            case _:
                *_, state = agent.stream(user(), config, stream_mode="values")
        assert decided(state) == ["layers", "reused", "reused", "reused"]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        said = [body["messages"][0]["content"] for body in bodies(server, AGGREGATOR)]
        assert said == [f"It is {hour} o'clock." for hour in range(1, 5)]


def drafting(_: Mapping[str, Any], before: int) -> ModelBehavior:
    return says(f"draft {before}")


def takes(steps: Sequence[Reply]) -> BehaviorFunction:
    return lambda *_: ModelBehavior(reply=acting(steps))


@pytest.mark.parametrize("nested", ["agent", "subgraph"])
def test_threads_that_begin_alike_keep_their_own_proposals(nested: str) -> None:
    steps = (Reply(text=None, tool_calls=(call("temperature", city="Köln"),)), Reply(text=ANSWER))
    models = {ALPHA: drafting, AGGREGATOR: takes(steps)}
    threads: list[RunnableConfig] = [{"configurable": {"thread_id": f"{n}"}} for n in range(2)]
    with LoopbackServer(models) as server:
        middleware = [HumanInTheLoopMiddleware(interrupt_on={"temperature": True})]
        saver = InMemorySaver()
        agent = agent_of(
            mixture(server, reference_models=[ALPHA]),
            middleware=middleware,
            checkpointer=saver if nested == "agent" else None,
        )
        if nested == "subgraph":
            builder = StateGraph(MessagesState)
            builder.add_node("agent", agent)
            builder.add_edge(START, "agent")
            agent = builder.compile(checkpointer=saver)
        for thread in threads:
            agent.invoke(user(), thread)
        approved: Any = Command(resume={"decisions": [{"type": "approve"}]})
        for thread in threads:
            assert decided(agent.invoke(approved, thread)) == ["layers", "reused"]
        sent = [json.dumps(body) for body in bodies(server, AGGREGATOR)]
        assert len(sent) == 4
        assert ["draft 0" in body for body in sent] == [True, False, True, False]
        assert ["draft 1" in body for body in sent] == [False, True, False, True]


def test_agents_of_one_thread_keep_their_own_proposals() -> None:
    """Two agents on the same mixture, in the same thread, with the same question."""
    both_have_drafts = threading.Barrier(2)

    @tool
    def wait() -> str:
        """Wait for the other one."""
        both_have_drafts.wait(timeout=60)
        return "done"

    steps = (Reply(text=None, tool_calls=(call("wait"),)), Reply(text=ANSWER))
    with LoopbackServer({ALPHA: drafting, AGGREGATOR: takes(steps)}) as server:
        agent = create_agent(mixture(server, reference_models=[ALPHA]), [wait])
        builder = StateGraph(MessagesState)
        for name in ("ann", "bob"):
            # each gives its answer only, so that neither is in the other's turn
            builder.add_node(name, lambda _: {"messages": agent.invoke(user())["messages"][-1:]})
            builder.add_edge(START, name)
        config: RunnableConfig = {"configurable": {"thread_id": "1"}}
        builder.compile(checkpointer=InMemorySaver()).invoke(user(), config)
        read = ["draft 0" in json.dumps(body) for body in bodies(server, AGGREGATOR)]
        assert sorted(read[:2]) == sorted(read[2:]) == [False, True]


def test_proposers_are_told_the_tools_and_have_none() -> None:
    with LoopbackServer(MODELS) as server:
        agent_of(mixture(server, fan_out="always"), system_prompt="Be exact.").invoke(user())
        for body in [*bodies(server, ALPHA), *bodies(server, BETA)]:
            assert body.keys().isdisjoint({"tools", "tool_choice"})
            system = body["messages"][0]
            assert system["role"] == "system"
            assert system["content"].startswith("Be exact.\n\n")
            assert "- temperature(city): Degrees Celsius in a city, now." in system["content"]
            assert "- add(a, b): Add two whole numbers." in system["content"]
            assert {m["role"] for m in body["messages"]} <= {"system", "user", "assistant"}
            assert not any(m.get("tool_calls") for m in body["messages"])
            assert body["messages"][-1]["role"] == "user"
        for body in bodies(server, AGGREGATOR):
            assert [t["function"]["name"] for t in body["tools"]] == ["temperature", "add"]
            assert body["messages"][0]["content"] == "Be exact."
        last = bodies(server, ALPHA)[-1]["messages"]
        told = "\n".join(m["content"] for m in last)
        assert '[called temperature with {"city": "Köln"}]' in told
        assert "[add returned]\n41" in told


def test_tools_are_told_without_a_system_prompt_or_not_at_all() -> None:
    with LoopbackServer(MODELS) as server:
        agent_of(mixture(server)).invoke(user())
        (told,) = bodies(server, ALPHA)
        assert [m["role"] for m in told["messages"]] == ["system", "user"]
        server.requests.clear()
        agent_of(mixture(server, describe_tools=False)).invoke(user())
        (silent,) = bodies(server, ALPHA)
        assert silent["messages"] == [{"role": "user", "content": QUESTION}]
        assert "tools" not in silent


def test_tools_for_all_shows_calls_as_text_and_executes_none() -> None:
    executed: list[str] = []

    @tool
    def launch(target: str) -> str:
        """Launch a rocket at a target."""
        executed.append(target)
        return f"launched at {target}"

    would = Reply(text="I would.", tool_calls=(call("launch", target="Mönch"),))
    models = {
        ALPHA: ModelBehavior(reply=would),
        BETA: ModelBehavior(reply=Reply(text=None, tool_calls=(call("launch", target="Eiger"),))),
        AGGREGATOR: says("Nothing is launched."),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, tools_for="all", include_proposals=True)
        state = create_agent(llm, tools=[launch]).invoke(user())
        assert state["messages"][-1].text == "Nothing is launched."
        assert executed == []
        assert [p["text"] for p in records(state)[0]["proposals"]] == [
            'I would.\n[would call launch with {"target": "Mönch"}]',
            '[would call launch with {"target": "Eiger"}]',
        ]
        for name in (ALPHA, BETA, AGGREGATOR):
            (body,) = bodies(server, name)
            assert [t["function"]["name"] for t in body["tools"]] == ["launch"]


def test_models_with_tools_are_not_told_that_they_cannot_call_them() -> None:
    with LoopbackServer(MODELS) as server:
        agent_of(mixture(server, tools_for="all")).invoke(user())
        (body,) = bodies(server, ALPHA)
        assert [t["function"]["name"] for t in body["tools"]] == ["temperature", "add"]
        assert "You cannot" not in json.dumps(body["messages"])


def test_a_forced_tool_is_forced_on_the_aggregator_alone() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, tools_for="all").bind_tools([temperature, add], tool_choice="any")
        llm.invoke(QUESTION)
        (aggregator,) = bodies(server, AGGREGATOR)
        assert aggregator["tool_choice"] == "required"
        (proposer,) = bodies(server, ALPHA)
        assert "tool_choice" not in proposer


def test_a_fallback_of_a_proposer_advises() -> None:
    models = {**MODELS, ALPHA: ModelBehavior(status=400), GAMMA: says("Add them.")}
    with LoopbackServer(models) as server:
        llm = mixture(server, fallbacks={ALPHA: GAMMA}, tools_for="all")
        state = agent_of(llm).invoke(user())
        assert records(state)[0]["proposals"][0]["model"] == GAMMA
        assert decided(state) == ["layers", "reused", "reused", "reused"]
        (body,) = bodies(server, GAMMA)
        assert [t["function"]["name"] for t in body["tools"]] == ["temperature", "add"]


def test_tools_for_all_are_told_to_those_that_cannot_have_them() -> None:
    with LoopbackServer({**MODELS, GAMMA: says("Add them.")}) as server:
        chain: Any = RunnableLambda(list) | together(server, GAMMA)
        texts = FakeListChatModel(responses=["Ask for both."])
        llm = mixture(server, reference_models=[ALPHA, chain, texts], tools_for="all")
        state = agent_of(llm).invoke(user())
        assert [p["status"] for p in records(state)[0]["proposals"]] == ["ok"] * 3
        (bound,), (told,) = bodies(server, ALPHA), bodies(server, GAMMA)
        assert [t["function"]["name"] for t in bound["tools"]] == ["temperature", "add"]
        assert "temperature(city)" not in json.dumps(bound["messages"])
        assert "tools" not in told
        assert "- temperature(city): Degrees Celsius" in json.dumps(told["messages"])


@pytest.mark.parametrize("how", ["sync", "async"])
def test_streaming(how: str) -> None:
    async def astream(agent: Any) -> list[Any]:
        modes = ["updates", "messages"]
        return [piece async for piece in agent.astream(user(), stream_mode=modes)]

    with LoopbackServer(MODELS) as server:
        agent = agent_of(mixture(server))
        if how == "async":
            pieces = asyncio.run(astream(agent))
        else:
            pieces = list(agent.stream(user(), stream_mode=["updates", "messages"]))
        nodes = [name for mode, piece in pieces if mode == "updates" for name in piece]
        # a parallel call is a task of the tools' node each
        assert nodes == ["model", "tools", "tools", "model", "tools", "model", "tools", "model"]
        chunks = [piece[0] for mode, piece in pieces if mode == "messages"]
        answers = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
        assert "".join(chunk.text for chunk in answers) == ANSWER
        assert len([chunk for chunk in answers if chunk.text]) > 1
        assert any(chunk.tool_call_chunks for chunk in answers)
        calls: dict[str | None, AIMessageChunk] = {}
        for chunk in answers:
            calls[chunk.id] = calls[chunk.id] + chunk if chunk.id in calls else chunk
        assert [[c["args"] for c in whole.tool_calls] for whole in calls.values()] == [
            [{"city": "Köln"}, {"city": "Bonn"}],
            [{"a": 20, "b": 20}],
            [{"a": 40, "b": 1}],
            [],
        ]
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}


def test_checkpointed_conversation_of_two_turns() -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    with LoopbackServer(MODELS) as server:
        agent = agent_of(mixture(server), checkpointer=InMemorySaver())
        agent.invoke(user(), config)
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        state = agent.invoke(user("And once more?"), config)
        assert counts(server) == {ALPHA: 2, BETA: 2, AGGREGATOR: 8}
        assert decided(state) == ["layers", "reused", "reused", "reused"] * 2
        second = bodies(server, ALPHA)[1]["messages"]
        assert [m["role"] for m in second][-2:] == ["assistant", "user"]
        assert second[-1]["content"] == "And once more?"
        # the first turn's drafts belong to that turn, and are no part of the conversation
        (begins,) = {json.dumps(b["messages"][0]) for b in bodies(server, AGGREGATOR)[4:]}
        assert json.loads(begins)["content"] == QUESTION


def test_summarization() -> None:
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    models = {**MODELS, GAMMA: says("They asked for temperatures.")}
    with LoopbackServer(models) as server:
        llm = mixture(server)
        summarizer = mixture(server, reference_models=[GAMMA], aggregator=GAMMA)
        middleware = SummarizationMiddleware(
            summarizer, trigger=("messages", 10), keep=("messages", 1)
        )
        agent = agent_of(llm, checkpointer=InMemorySaver(), middleware=[middleware])
        agent.invoke(user(), config)
        server.requests.clear()
        state = agent.invoke(user("And once more?"), config)
        assert state["messages"][-1].text == ANSWER
        assert len(bodies(server, GAMMA)) == 2  # the summary's drafting and aggregating
        assert "They asked for temperatures." in state["messages"][0].text
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        assert decided(state) == ["layers", "reused", "reused", "reused"]


def test_model_retry() -> None:
    models = {
        **MODELS,
        AGGREGATOR: ModelBehavior(reply=acting(), status=503, fail_first=1),
    }
    with LoopbackServer(models) as server:
        retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False)
        state = agent_of(mixture(server), middleware=[retry]).invoke(user())
        assert state["messages"][-1].text == ANSWER
        assert len(server.requests_for(AGGREGATOR)) == 5
        assert decided(state) == ["layers", "reused", "reused", "reused"]


@pytest.mark.parametrize(
    ("decision", "result"),
    [
        ({"type": "approve"}, "20"),
        ({"type": "reject", "message": "Not that one."}, "Not that one."),
        (
            {
                "type": "edit",
                "edited_action": {"name": "temperature", "args": {"city": "Bonn"}},
            },
            "21",
        ),
    ],
)
def test_human_in_the_loop(decision: dict[str, Any], result: str) -> None:
    steps = (Reply(text=None, tool_calls=(call("temperature", city="Köln"),)), Reply(text=ANSWER))
    models = {**MODELS, AGGREGATOR: ModelBehavior(reply=acting(steps))}
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    with LoopbackServer(models) as server:
        agent = agent_of(
            mixture(server),
            checkpointer=InMemorySaver(),
            middleware=[HumanInTheLoopMiddleware(interrupt_on={"temperature": True})],
        )
        paused = agent.invoke(user(), config)
        (interrupt,) = paused["__interrupt__"]
        assert interrupt.value["action_requests"][0]["args"] == {"city": "Köln"}
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 1}
        state = agent.invoke(Command(resume={"decisions": [decision]}), config)
        assert state["messages"][-1].text == ANSWER
        (answered,) = [m for m in state["messages"] if m.type == "tool"]
        assert result in answered.text
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 2}
        assert decided(state) == ["layers", "reused"]


class Report(BaseModel):
    """The temperatures' sum."""

    total: int


def test_response_format_by_a_tool() -> None:
    last = Reply(text=None, tool_calls=(call("Report", total=41),))
    models = {**MODELS, AGGREGATOR: ModelBehavior(reply=acting((*STEPS[:3], last)))}
    with LoopbackServer(models) as server:
        state = agent_of(mixture(server), response_format=ToolStrategy(Report)).invoke(user())
        assert state["structured_response"] == Report(total=41)
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        assert decided(state) == ["layers", "reused", "reused", "reused"]
        for body in bodies(server, AGGREGATOR):
            assert body["tool_choice"] == "required"
        assert "tools" not in bodies(server, ALPHA)[0]


def test_response_format_by_the_provider() -> None:
    last = Reply(text='{"total": 41}')
    models = {**MODELS, AGGREGATOR: ModelBehavior(reply=acting((*STEPS[:3], last)))}
    with LoopbackServer(models) as server:
        state = agent_of(mixture(server), response_format=ProviderStrategy(Report)).invoke(user())
        assert state["structured_response"] == Report(total=41)
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        assert decided(state) == ["layers", "reused", "reused", "reused"]
        for body in bodies(server, AGGREGATOR):
            assert body["response_format"]["json_schema"]["name"] == "Report"
        assert "response_format" not in bodies(server, ALPHA)[0]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_middleware_routes_turns(how: str) -> None:
    plain = ModelBehavior(reply=acting())
    with LoopbackServer({**MODELS, GAMMA: plain}) as server:
        agent = agent_of(
            together(server, GAMMA),
            middleware=[MoAMiddleware(mixture(server))],
        )
        state = agent.invoke(user()) if how == "invoke" else asyncio.run(agent.ainvoke(user()))
        assert state["messages"][-1].text == ANSWER
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 1}
        assert len(server.requests_for(GAMMA)) == 3
        for body in [*bodies(server, AGGREGATOR), *bodies(server, GAMMA)]:
            assert [t["function"]["name"] for t in body["tools"]] == ["temperature", "add"]


def test_a_fallback_of_the_aggregator_acts() -> None:
    models = {**MODELS, AGGREGATOR: ModelBehavior(status=400), GAMMA: MODELS[AGGREGATOR]}
    with LoopbackServer(models) as server:
        llm = mixture(server, aggregator=[AGGREGATOR, GAMMA])
        state = agent_of(llm).invoke(user())
        assert state["messages"][-1].text == ANSWER
        assert len(server.requests_for(GAMMA)) == 4
        assert counts(server) == {ALPHA: 1, BETA: 1, AGGREGATOR: 4}
        assert {record["aggregator"]["model"] for record in records(state)} == {GAMMA}
        for body in bodies(server, GAMMA):
            assert [t["function"]["name"] for t in body["tools"]] == ["temperature", "add"]


def test_conversations_without_a_user_share_no_proposals() -> None:
    """An agent that is started by a system message alone is not another one's."""
    called = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "1"}])
    with LoopbackServer({**MODELS, AGGREGATOR: says("ok")}) as server:
        llm = mixture(server).bind_tools([add])
        llm.invoke([("system", "You serve Alice.")])
        answer = llm.invoke(
            [
                ("system", "You serve Bob."),
                called,
                {"role": "tool", "content": "3", "tool_call_id": "1"},
            ]
        )
        assert answer.response_metadata["moa"]["fan_out"] == "alone"
