"""Mixtures of one member of each provider, with each provider as the aggregator."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call
from langchain_core.runnables import Runnable

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import LoopbackServer
from tests.dialects import CLIENTS, PICTURE, PNG, SPEAKERS, THOUGHT, clock, one_of_each, weather
from tests.wire import counted, says, served


def calling(*names: str, text: str = "", turn: int = 1) -> AIMessage:
    """The assistant calls tools, with ids as OpenAI writes them."""
    calls = [
        tool_call(name=name, args={"city": "Köln"}, id=f"call_{turn}_{place}")
        for place, name in enumerate(names)
    ]
    return AIMessage(text, tool_calls=calls)


def result(name: str, place: int = 0, turn: int = 1, **fields: Any) -> ToolMessage:
    given: dict[str, Any] = {"content": f"{name}: fine", **fields}
    return ToolMessage(tool_call_id=f"call_{turn}_{place}", name=name, **given)


ASKS = HumanMessage("How is Köln?")
BOTH = [calling("weather", "clock"), result("weather"), result("clock", 1)]
SAID = {"type": "text", "text": "Four."}

CONVERSATIONS: dict[str, list[BaseMessage]] = {
    "question": [ASKS],
    "system": [SystemMessage("Be brief."), ASKS],
    "turns": [SystemMessage("Be brief."), ASKS, AIMessage("Well."), HumanMessage("And now?")],
    "ends on the assistant": [ASKS, AIMessage("Well.")],
    "two users in a row": [ASKS, HumanMessage("Today?")],
    "picture": [
        HumanMessage(
            [
                {"type": "text", "text": "What is this?"},
                PICTURE,
            ]
        )
    ],
    "picture as OpenAI writes it": [
        HumanMessage(
            [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ]
        )
    ],
    "Anthropic's thinking": [ASKS, AIMessage([THOUGHT, SAID]), HumanMessage("Sure?")],
    "standard reasoning": [
        ASKS,
        AIMessage(
            [
                {"type": "reasoning", "reasoning": "Two.", "extras": {"signature": "c2ln"}},
                SAID,
            ],
            response_metadata={"output_version": "v1"},
        ),
        HumanMessage("Sure?"),
    ],
    "reasoning beside the content": [
        ASKS,
        AIMessage("Four.", additional_kwargs={"reasoning_content": "Two and two."}),
        HumanMessage("Sure?"),
    ],
}
TOOL_CONVERSATIONS: dict[str, list[BaseMessage]] = {
    "finished tool turns": [
        SystemMessage("Be brief."),
        ASKS,
        *BOTH,
        AIMessage("Sunny, and noon."),
        HumanMessage("And tomorrow?"),
    ],
    "ends on results": [SystemMessage("Be brief."), ASKS, *BOTH],
    "ends on the second round": [
        ASKS,
        *BOTH,
        calling("weather", text="Once more.", turn=2),
        result("weather", turn=2, status="error"),
    ],
    "results in lists": [ASKS, calling("weather"), result("weather", content=[SAID])],
    "picture in a result": [
        ASKS,
        calling("weather"),
        result("weather", content=[SAID, PICTURE]),
    ],
    "empty result": [ASKS, calling("weather"), result("weather", content="")],
    "calls with thinking": [
        ASKS,
        AIMessage([THOUGHT, SAID], tool_calls=calling("weather").tool_calls),
        result("weather"),
    ],
    "calls as Anthropic writes them": [
        ASKS,
        AIMessage(
            [
                THOUGHT,
                SAID,
                {
                    "type": "tool_use",
                    "id": "call_1_0",
                    "name": "weather",
                    "input": {"city": "Bonn"},
                },
            ],
            tool_calls=calling("weather").tool_calls,
        ),
        result("weather"),
    ],
}

# what OpenAI takes of an aggregator, and some others of no one
LENIENT_CONVERSATIONS: dict[str, list[BaseMessage]] = {
    "user after results": [ASKS, *BOTH, HumanMessage("Never mind. And Bonn?")],
    "calls with text": [ASKS, calling("weather", text="Let me see."), result("weather")],
    "invalid calls": [
        ASKS,
        AIMessage(
            "",
            invalid_tool_calls=[
                {
                    "type": "invalid_tool_call",
                    "id": "call_1_0",
                    "name": "weather",
                    "args": '{"city": ',
                    "error": "no JSON",
                }
            ],
        ),
        result("weather", status="error"),
    ],
    "empty answer": [ASKS, AIMessage(""), HumanMessage("Hello?")],
    "blank answer": [ASKS, AIMessage(" \n"), HumanMessage("Hello?")],
    "empty text beside": [
        HumanMessage([{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]),
    ],
    "assistant first": [AIMessage("Welcome!"), ASKS],
    "system later": [ASKS, AIMessage("Well."), SystemMessage("Be brief."), HumanMessage("So?")],
    "two systems": [SystemMessage("Be brief."), SystemMessage("Be kind."), ASKS],
    "system only": [SystemMessage("Greet the user.")],
    "names": [HumanMessage("Hi", name="Ann"), AIMessage("Hi, Ann.", name="Bob"), ASKS],
    "two answers in a row": [ASKS, AIMessage("Well."), AIMessage("Fine."), HumanMessage("So?")],
    "empty system": [SystemMessage(""), ASKS],
}


def mixed(server: LoopbackServer, aggregator: str, **fields: Any) -> MoAChatModel:
    """A proposer of each provider in two layers, and one provider's aggregator."""
    given: dict[str, Any] = {
        "reference_models": one_of_each(server),
        "aggregator": CLIENTS[aggregator](server, "judge"),
        "layers": 3,
        "max_retries": 0,
        "fan_out": "always",
    }
    return MoAChatModel(**{**given, **fields})


@pytest.fixture(scope="module")
def server() -> Any:
    with LoopbackServer({**SPEAKERS, "judge": says("All is well.")}) as running:
        yield running


def refusals(answer: BaseMessage) -> list[str]:
    """What went wrong with any proposer."""
    layers = answer.response_metadata["moa"]["proposals"]
    return [
        f"{proposal['model']} in layer {proposal['layer']}: {proposal['error']}"
        for proposal in layers
        if proposal["status"] != "ok"
    ]


def check(
    llm: Runnable[Any, AIMessage], plain: Runnable[Any, AIMessage], conversation: list[BaseMessage]
) -> None:
    """All proposers answer; the aggregator does where its client alone would."""
    failure: AggregationError | None = None
    try:
        answer = llm.invoke(conversation)
    except AggregationError as error:
        failure = error
    if failure is not None:
        assert [p.reason for p in failure.proposals if not p.usable] == []
        # the aggregator gets the conversation as it is: its provider refuses that of anybody
        with pytest.raises(Exception, match=r"400|[Ii]nvalid"):
            plain.invoke(conversation)
        return
    assert refusals(answer) == []
    assert answer.text == "All is well."


@pytest.mark.parametrize("placement", ["user", "system"])
@pytest.mark.parametrize("aggregator", CLIENTS)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_conversations(
    server: LoopbackServer, conversation: str, aggregator: str, placement: str
) -> None:
    llm = mixed(server, aggregator, placement=placement)
    check(llm, CLIENTS[aggregator](server, "judge"), CONVERSATIONS[conversation])


@pytest.mark.parametrize("placement", ["user", "system"])
@pytest.mark.parametrize("aggregator", CLIENTS)
@pytest.mark.parametrize("conversation", TOOL_CONVERSATIONS)
def test_conversations_with_tools(
    server: LoopbackServer, conversation: str, aggregator: str, placement: str
) -> None:
    llm = mixed(server, aggregator, placement=placement).bind_tools([weather, clock])
    plain = CLIENTS[aggregator](server, "judge").bind_tools([weather, clock])
    check(llm, plain, TOOL_CONVERSATIONS[conversation])


@pytest.mark.parametrize("conversation", LENIENT_CONVERSATIONS)
def test_proposers_take_whatever_the_aggregator_takes(
    server: LoopbackServer, conversation: str
) -> None:
    llm = mixed(server, "openai").bind_tools([weather, clock])
    answer = llm.invoke(LENIENT_CONVERSATIONS[conversation])
    assert refusals(answer) == []
    assert answer.text == "All is well."


@pytest.mark.parametrize("aggregator", CLIENTS)
def test_tokens_are_what_the_server_counted(aggregator: str) -> None:
    with LoopbackServer({**SPEAKERS, "judge": says("All is well.")}) as server:
        answer = mixed(server, aggregator).invoke("How is Köln?")
        assert len(server.requests) == 2 * len(CLIENTS) + 1
        usage = answer.response_metadata["moa"]["usage"]
        assert {name: counted(part) for name, part in usage["by_model"].items()} == served(server)


@pytest.mark.parametrize("aggregator", CLIENTS)
def test_finished_tool_turns_where_no_tools_are_bound(
    server: LoopbackServer, aggregator: str
) -> None:
    plain = CLIENTS[aggregator](server, "judge")
    check(mixed(server, aggregator), plain, TOOL_CONVERSATIONS["finished tool turns"])


@pytest.mark.parametrize("aggregator", CLIENTS)
async def test_streams_and_event_loops(server: LoopbackServer, aggregator: str) -> None:
    llm = mixed(server, aggregator).bind_tools([weather, clock])
    conversation = TOOL_CONVERSATIONS["ends on results"]
    chunks = [chunk.text async for chunk in llm.astream(conversation)]
    assert "".join(chunks) == "All is well."
    assert len([chunk for chunk in chunks if chunk]) == 3
    assert refusals(await llm.ainvoke(conversation)) == []
