"""The conversation as the aggregator's provider takes it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether

from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_aggregator import history_for_aggregator
from langchain_moa.testing import ScriptedChatModel

KEY: Any = "key"
CLAUDE = ChatAnthropic(model_name="demo", api_key=KEY, timeout=None, stop=None)
THINKER = ChatAnthropic(
    model_name="demo",
    api_key=KEY,
    timeout=None,
    stop=None,
    max_tokens_to_sample=2048,
    thinking={"type": "enabled", "budget_tokens": 1024},
)
GEMINI = ChatGoogleGenerativeAI(model="demo", api_key=KEY)
MISTRAL = ChatMistralAI(model_name="demo", api_key=KEY)
OPENAI = ChatOpenAI(model="demo", api_key=KEY)
TOGETHER = ChatTogether(model="demo", api_key=KEY)
MAKERS = ["anthropic", "google_genai", "mistralai", "openai", "openai"]
KNOWN = [CLAUDE, GEMINI, MISTRAL, OPENAI, TOGETHER]

ASKS = HumanMessage("Two and two?")
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
FOUR = {"type": "text", "text": "Four."}
PICTURE = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
ADD = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
OTHER = {**ADD, "name": "other"}
CALLED = AIMessage("", tool_calls=[tool_call(name="add", args={"a": 2}, id="call_1")])
RESULT = ToolMessage("4", tool_call_id="call_1", name="add")
ROUND = [ASKS, CALLED, RESULT]
TOLD = [("ai", '[called add with {"a": 2}]'), ("human", "[add returned]\n4")]


def said(content: Any, maker: str | None = None, **fields: Any) -> AIMessage:
    metadata = {} if maker is None else {"model_provider": maker}
    return AIMessage(content, response_metadata=metadata, **fields)


def read_by(messages: list[BaseMessage], runnable: Runnable[Any, Any]) -> list[BaseMessage]:
    return history_for_aggregator(messages, *model_and_arguments(runnable))


def told(messages: list[BaseMessage]) -> list[tuple[str, str]]:
    return [(message.type, message.text) for message in messages]


def is_same(given: list[BaseMessage], runnable: Runnable[Any, Any]) -> bool:
    read = read_by(given, runnable)
    return len(read) == len(given) and all(a is b for a, b in zip(given, read, strict=True))


@pytest.mark.parametrize(
    ("reader", "answer"),
    [
        (CLAUDE, said([THOUGHT, FOUR], "anthropic")),
        (CLAUDE, said([THOUGHT, FOUR])),
        (CLAUDE, said([{"type": "redacted_thinking", "data": "AA=="}, FOUR])),
        (GEMINI, said([{"type": "thinking", "thinking": "Hm."}, FOUR])),
        (
            GEMINI,
            said([{"type": "text", "text": "", "extras": {"signature": "s"}}], "google_genai"),
        ),
        (MISTRAL, said([{"type": "thinking", "thinking": [FOUR]}, FOUR])),
        (OPENAI, said([{"type": "reasoning", "id": "rs_1", "summary": []}, FOUR], "openai")),
        # ChatTogether leaves the name of the client that it builds on
        (TOGETHER, said("Four.", "openai", additional_kwargs={"reasoning_content": "Hm."})),
        (CLAUDE, said("Four.", "openai")),
        (CLAUDE, said([FOUR], "somebody")),
    ],
)
def test_its_own_words_are_the_same_messages(reader: Any, answer: AIMessage) -> None:
    assert is_same([ASKS, answer, ASKS], reader)


@pytest.mark.parametrize(("reader", "own"), list(zip(KNOWN, MAKERS, strict=True)))
@pytest.mark.parametrize("maker", sorted(set(MAKERS)))
def test_anothers_words_are_text_and_calls(reader: Any, own: str, maker: str) -> None:
    blocks = [{"type": "reasoning", "reasoning": "Hm."}, FOUR, {"type": "tool_use", "id": "call_1"}]
    call = CALLED.tool_calls
    theirs = said(blocks, maker, tool_calls=call, additional_kwargs={"refusal": None})
    _, read, _ = read_by([ASKS, theirs, RESULT], reader.bind_tools([ADD]))
    assert isinstance(read, AIMessage)
    assert read.tool_calls == call
    assert (read is theirs) == (maker == own)
    if maker != own:
        assert (read.content, read.additional_kwargs) == ("Four.", {})
        assert theirs.content == blocks


def test_reasoning_without_a_name_is_known_by_its_form() -> None:
    for reader in (GEMINI, MISTRAL, OPENAI, TOGETHER):
        (_, read) = read_by([ASKS, said([THOUGHT, FOUR])], reader)
        assert read.content == "Four."
    lists = said([{"type": "thinking", "thinking": [FOUR]}, FOUR])
    bedrock = said([{"type": "reasoning_content", "reasoning_content": {"text": "Hm."}}, FOUR])
    for theirs in (lists, bedrock):
        assert read_by([ASKS, theirs], CLAUDE)[1].content == "Four."


@pytest.mark.parametrize("reader", KNOWN)
def test_reasoning_alone_is_no_message(reader: Any) -> None:
    assert read_by([ASKS, said([THOUGHT]), ASKS], reader) == [ASKS, ASKS]


# --- tools ---


@pytest.mark.parametrize("reader", KNOWN)
def test_tool_turns_with_the_tool_bound_are_the_same(reader: Any) -> None:
    bound = reader.bind_tools([ADD])
    assert is_same(ROUND, bound)
    assert is_same(ROUND, ChatPromptTemplate([("placeholder", "{m}")]) | bound)
    assert is_same(ROUND, bound.with_retry())


@pytest.mark.parametrize(
    ("reader", "tools", "is_told"),
    [
        (CLAUDE, [], True),
        (CLAUDE, [OTHER], False),
        (GEMINI, [], True),
        (GEMINI, [OTHER], True),
        (GEMINI, [OTHER, ADD], False),
        (MISTRAL, [], False),
        (OPENAI, [], False),
        (TOGETHER, [], False),
    ],
)
def test_tool_turns_without_the_tool(reader: Any, tools: list[Any], *, is_told: bool) -> None:
    runnable = reader.bind_tools(tools) if tools else reader
    expected = [("human", ASKS.text), *TOLD] if is_told else told(ROUND)
    assert told(read_by(ROUND, runnable)) == expected


@pytest.mark.parametrize("reader", KNOWN)
def test_broken_tool_turns_are_told(reader: Any) -> None:
    bound = reader.bind_tools([ADD])
    assert told(read_by([ASKS, CALLED, ASKS], bound))[1] == TOLD[0]
    assert told(read_by([ASKS, RESULT], bound))[1] == TOLD[1]
    call = invalid_tool_call(name="add", args="{", id="call_1", error="no JSON")
    failed = AIMessage("", invalid_tool_calls=[call])
    read = read_by([ASKS, failed, ASKS], bound)
    assert told(read)[1] == ("ai", "[called add with {]")
    assert not read[1].invalid_tool_calls  # type: ignore[attr-defined]


def test_told_results_are_named_by_their_calls() -> None:
    """A person refused the second call, and LangChain puts that before the first one's result."""
    calls = [tool_call(name="pay", args={"to": who}, id=who) for who in ("Ann", "Bob")]
    refused = ToolMessage("Refused.", tool_call_id="Bob", status="error")
    paid = ToolMessage("Paid.", tool_call_id="Ann")
    read = read_by([ASKS, AIMessage("", tool_calls=calls), refused, paid], CLAUDE)
    assert told(read)[2:] == [
        ("human", '[pay with {"to": "Bob"} failed]\nRefused.'),
        ("human", '[pay with {"to": "Ann"} returned]\nPaid.'),
    ]


def test_mistral_has_no_place_for_the_user_after_a_result() -> None:
    bound = MISTRAL.bind_tools([ADD])
    assert is_same([*ROUND, said("Four."), ASKS], bound)
    read = read_by([*ROUND, ASKS, *ROUND], bound)
    assert told(read)[1:3] == TOLD
    assert read[-2:] == [CALLED, RESULT]


def test_mistral_gets_a_results_picture_in_its_own_form() -> None:
    result = ToolMessage([FOUR, PICTURE], tool_call_id="call_1", name="add")
    bound = MISTRAL.bind_tools([ADD])
    read = read_by([ASKS, CALLED, result], bound)[-1]
    url = {"url": "data:image/png;base64,AA=="}
    assert read.content == [FOUR, {"type": "image_url", "image_url": url}]
    assert result.content == [FOUR, PICTURE]
    assert is_same([ASKS, CALLED, result], CLAUDE.bind_tools([ADD]))


def test_calls_without_thinking_for_a_model_that_thinks() -> None:
    thinker = THINKER.bind_tools([ADD])
    assert told(read_by(ROUND, thinker))[1:] == TOLD
    assert told(read_by([*ROUND, ASKS], thinker))[1:3] == TOLD
    assert is_same([*ROUND, said("Four."), ASKS], thinker)
    own = said([THOUGHT, FOUR], "anthropic", tool_calls=CALLED.tool_calls)
    assert is_same([ASKS, own, RESULT], thinker)
    assert is_same(ROUND, CLAUDE.bind_tools([ADD]))


# --- what is blank, and where systems stand ---


@pytest.mark.parametrize("reader", [CLAUDE, GEMINI, MISTRAL])
def test_blank_texts(reader: Any) -> None:
    blank: list[BaseMessage] = [
        SystemMessage(""),
        HumanMessage(" \n"),
        AIMessage(""),
        HumanMessage([{"type": "text", "text": ""}, FOUR]),
        HumanMessage([{"type": "text", "text": " "}, PICTURE]),
    ]
    read = read_by(blank, reader)
    assert [m.content for m in read] == ["[empty message]", [FOUR], [PICTURE]]
    assert is_same(blank, OPENAI)


@pytest.mark.parametrize("reader", [CLAUDE, MISTRAL])
def test_late_system_messages(reader: Any) -> None:
    late = [SystemMessage("a"), ASKS, said("Four."), SystemMessage("b"), ASKS]
    read = read_by(late, reader)
    assert told(read) == [("system", "a\n\nb"), *told([ASKS, said("Four."), ASKS])]
    assert is_same([SystemMessage("a"), SystemMessage("b"), ASKS], reader)
    assert is_same(late, OPENAI)


# --- who is not known ---


@pytest.mark.parametrize(
    "reader",
    [
        ScriptedChatModel.saying("x"),
        RunnableLambda(lambda _: "x"),
        CLAUDE.with_fallbacks([OPENAI]),
        RunnableLambda(lambda _: "x") | RunnableLambda(lambda _: "y"),
    ],
)
def test_nothing_is_changed_for_whom_nobody_knows(reader: Any) -> None:
    given = [HumanMessage(""), said([THOUGHT, FOUR], "anthropic"), RESULT, CALLED]
    assert is_same(given, reader)
