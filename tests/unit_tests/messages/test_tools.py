"""Tools as reference models are told of them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from langchain_moa.messages.tools import (
    arguments_text,
    calls_as_text,
    tool_names,
    tools_note,
    with_tools_note,
)


@tool
def weather(city: str, days: int = 1) -> str:
    """Tell the weather.

    Over several lines.
    """
    return f"{city}{days}"


class Search(BaseModel):
    """Search the web."""

    query: str


ANTHROPIC = {
    "name": "weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
GEMINI = {
    "function_declarations": [
        {
            "name": "weather",
            "description": "Tell the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {"name": "now", "description": "Tell the time."},
    ]
}


def lines(tools: Any) -> list[str]:
    told = tools_note(tools)
    return told.splitlines()[1:] if told else []


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        (
            [convert_to_openai_tool(weather)],
            ["- weather(city, days): Tell the weather. Over several lines."],
        ),
        ([weather], ["- weather(city, days): Tell the weather. Over several lines."]),
        ((Search,), ["- Search(query): Search the web."]),
        ([ANTHROPIC], ["- weather(city): Tell the weather."]),
        ([GEMINI], ["- weather(city): Tell the weather.", "- now(): Tell the time."]),
        ([{"type": "function", "function": {"name": "ping"}}], ["- ping()"]),
    ],
)
def test_every_providers_form(tools: Any, expected: list[str]) -> None:
    assert lines(tools) == expected


@pytest.mark.parametrize(
    "tools", [None, [], "tools", [{"type": "web_search_preview"}], [{}], [7], [None]]
)
def test_what_cannot_be_read_is_not_told(tools: Any) -> None:
    assert tools_note(tools) is None


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([convert_to_openai_tool(weather), Search], {"weather", "Search"}),
        ([ANTHROPIC], {"weather"}),
        ([GEMINI], {"weather", "now"}),
        ([{"type": "custom", "name": "run", "format": {"type": "text"}}], {"run"}),
        ([{"type": "web_search_preview"}, Search], {"Search"}),
        ([{"type": "web_search_preview"}], None),
        ([7], None),
        ([], None),
    ],
)
def test_names(tools: Any, expected: set[str] | None) -> None:
    assert tool_names(tools) == expected


def test_one_that_can_be_read_among_others() -> None:
    assert lines([{"type": "web_search_preview"}, Search]) == ["- Search(query): Search the web."]


def test_descriptions_are_short() -> None:
    told = {"type": "function", "function": {"name": "f", "description": "word " * 1000}}
    (line,) = lines([told])
    assert 150 < len(line) <= 220


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}])
def test_tools_without_parameters(parameters: Any) -> None:
    function = {"name": "now", "description": "Tell the time.", "parameters": parameters}
    assert lines([{"type": "function", "function": function}]) == ["- now(): Tell the time."]


def test_it_is_said_who_may_call() -> None:
    assert "You cannot" in str(tools_note([Search])).splitlines()[0]


def test_where_it_stands() -> None:
    user = HumanMessage("Hi")
    assert with_tools_note([user], "T") == [SystemMessage("T"), user]
    assert with_tools_note([], "T") == [SystemMessage("T")]
    assert with_tools_note([SystemMessage("S"), user], "T") == [SystemMessage("S\n\nT"), user]
    developer = ChatMessage(content="S", role="developer")
    assert with_tools_note([developer, user], "T")[0].content == "S\n\nT"
    assert with_tools_note([user], None) == [user]


def test_nothing_is_changed() -> None:
    given = [SystemMessage([{"type": "text", "text": "S"}]), HumanMessage("Hi")]
    before = [message.model_dump_json() for message in given]
    assert with_tools_note(given, "T")[0].content[-1] == {"type": "text", "text": "T"}
    assert [message.model_dump_json() for message in given] == before


def test_calls_in_words() -> None:
    calls: Any = [
        {"name": "weather", "args": {"city": "Köln"}, "id": "1"},
        {"name": "now", "args": {}, "id": "2"},
    ]
    assert calls_as_text(AIMessage("", tool_calls=calls)) == (
        '[would call weather with {"city": "Köln"}]\n[would call now with {}]'
    )
    assert calls_as_text(AIMessage("no")) == ""
    assert arguments_text({"at": object}) == '{"at": "<class \'object\'>"}'


def test_many_tools_are_told_by_name_only() -> None:
    tools = [
        {"name": f"tool_{n}", "description": "words " * 40, "parameters": {"properties": {"x": {}}}}
        for n in range(60)
    ]
    told = tools_note(tools)
    assert told is not None
    lines = told.splitlines()[1:]
    assert len(lines) == 60
    assert lines[0].startswith("- tool_0(x): words words")
    assert lines[59] == "- tool_59"
    assert len(told) < 6000
