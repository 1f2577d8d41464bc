"""A scripted chat model answers, streams and records like a provider's."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
)
from langchain_core.tools import tool

from langchain_moa import testing
from langchain_moa.testing import ScriptedChatModel, server

CALL = ToolCall(name="add", args={"a": 1}, id="1", type="tool_call")
BLOCKS: list[str | dict[Any, Any]] = [{"type": "text", "text": "one two"}]

ANSWERS: list[str | AIMessage] = [
    "",
    "one",
    "one two  three\n",
    AIMessage("one two", id="7"),
    AIMessage("", tool_calls=[CALL]),
    AIMessage("one two", tool_calls=[CALL]),
    AIMessage(BLOCKS),
    AIMessage("one", response_metadata={"finish_reason": "length"}),
    AIMessage("one", additional_kwargs={"refusal": "no"}),
    AIMessage(
        "one", usage_metadata={"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    ),
]


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


def parts(message: AIMessage) -> dict[str, Any]:
    """What a user reads off a message."""
    return {
        "text": message.text,
        "tool_calls": message.tool_calls,
        "usage": message.usage_metadata,
        "metadata": {k: v for k, v in message.response_metadata.items() if k != "model_provider"},
        "kwargs": message.additional_kwargs,
    }


@pytest.mark.parametrize("answer", ANSWERS)
async def test_every_way_to_call_gives_the_same(answer: str | AIMessage) -> None:
    model = ScriptedChatModel(script=lambda _: answer, model="acme/a")
    expected = parts(model.invoke("hi"))
    given = AIMessage(answer) if isinstance(answer, str) else answer
    assert expected["text"] == given.text
    assert expected["tool_calls"] == given.tool_calls
    assert expected["metadata"] == {"model_name": "acme/a", **given.response_metadata}
    assert expected["kwargs"] == given.additional_kwargs
    assert parts(await model.ainvoke("hi")) == expected
    assert parts(joined(list(model.stream("hi")))) == expected
    assert parts(joined([chunk async for chunk in model.astream("hi")])) == expected


def test_a_text_is_streamed_word_by_word() -> None:
    pieces = [chunk.text for chunk in ScriptedChatModel.saying("one two three").stream("hi")]
    assert [piece for piece in pieces if piece] == ["one", " two", " three"]


def test_the_script_reads_the_conversation() -> None:
    model = ScriptedChatModel(script=lambda messages: f"{len(messages)}: {messages[-1].text}")
    assert model.invoke([SystemMessage("s"), HumanMessage("hi")]).text == "2: hi"


def test_usage_counts_what_was_read_and_written() -> None:
    model = ScriptedChatModel.saying("one two three")
    short, long = (model.invoke(text).usage_metadata for text in ("hi", "hi " * 100))
    assert short is not None
    assert long is not None
    assert short["output_tokens"] == 3
    assert short["input_tokens"] < long["input_tokens"]
    assert long["total_tokens"] == long["input_tokens"] + 3


def test_an_answers_own_model_name_and_usage_are_kept() -> None:
    usage = {"input_tokens": 100, "output_tokens": 50, "total_tokens": 150}
    answer = AIMessage("a", response_metadata={"model_name": "dated"}, usage_metadata=usage)
    got = ScriptedChatModel(script=lambda _: answer, model="acme/a").invoke("hi")
    assert got.response_metadata["model_name"] == "dated"
    assert got.usage_metadata == usage


async def test_errors_of_the_script_are_raised() -> None:
    def fail(messages: list[BaseMessage]) -> str:
        raise LookupError(messages[-1].text)

    model = ScriptedChatModel(script=fail)
    with pytest.raises(LookupError, match="hi"):
        model.invoke("hi")
    with pytest.raises(LookupError, match="hi"):
        await model.ainvoke("hi")
    with pytest.raises(LookupError, match="hi"):
        list(model.stream("hi"))


async def test_calls_are_recorded() -> None:
    model = ScriptedChatModel.saying("a")
    model.invoke("one", temperature=0)
    await model.ainvoke("two", stop=["x"])
    list(model.stream("three", stop=["y"], seed=1))
    assert [(messages[0].text, given) for messages, given in model.calls] == [
        ("one", {"temperature": 0}),
        ("two", {"stop": ["x"]}),
        ("three", {"stop": ["y"], "seed": 1}),
    ]


def test_copies_share_the_record_and_other_models_do_not() -> None:
    model, other = ScriptedChatModel.saying("a"), ScriptedChatModel.saying("a")
    model.model_copy(update={"model": "copy"}).invoke("hi")
    assert (len(model.calls), len(other.calls)) == (1, 0)


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_bound_tools_are_among_the_arguments() -> None:
    model = ScriptedChatModel.saying("a")
    model.bind_tools([add], parallel_tool_calls=False).invoke("hi")
    ((_, given),) = model.calls
    assert given["tools"][0]["function"]["name"] == "add"
    assert given["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("seconds", "token_seconds", "at_least"), [(0.05, 0.0, 0.05), (0.0, 0.02, 0.06)]
)
async def test_it_takes_its_time(seconds: float, token_seconds: float, at_least: float) -> None:
    model = ScriptedChatModel.saying("one two", seconds=seconds, token_seconds=token_seconds)
    start = perf_counter()
    list(model.stream("hi"))
    middle = perf_counter()
    assert len([chunk async for chunk in model.astream("hi")]) == 3
    assert min(middle - start, perf_counter() - middle) >= at_least * 0.9


async def test_thinking_takes_time_without_a_stream_too() -> None:
    model = ScriptedChatModel.saying("one", seconds=0.05)
    start = perf_counter()
    model.invoke("hi")
    middle = perf_counter()
    await model.ainvoke("hi")
    assert min(middle - start, perf_counter() - middle) >= 0.045


def test_kind_of_model() -> None:
    assert ScriptedChatModel.saying("a")._llm_type == "scripted"


def test_the_package_knows_the_server_and_nothing_else() -> None:
    assert testing.LoopbackServer is server.LoopbackServer
    with pytest.raises(AttributeError, match="no attribute 'Oracle'"):
        _ = testing.Oracle
