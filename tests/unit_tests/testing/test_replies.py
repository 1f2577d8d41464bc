"""The stand-in assistant does what a request asks of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_moa.testing import Reply, ToolCall, assistant_reply
from langchain_moa.testing.replies import content_text, count_prompt_tokens, tokens, user_text


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def request(text: str, **values: Any) -> dict[str, Any]:
    return {"model": "acme/a", "messages": [user(text)], **values}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


STRING, NUMBER = {"type": "string"}, {"type": "integer"}
ADD, SAY = tool("add", a=NUMBER, b=NUMBER), tool("say", text=STRING)
BARE = {"type": "function", "function": {"name": "now"}}
ANSWERED = [user("hi"), {"role": "assistant"}, {"role": "tool", "content": "4"}]
NAMED = {"type": "function", "function": {"name": "say"}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"a": 1}, '{"a": 1}'),
        ({"word": "naïve"}, '{"word": "naïve"}'),
        ({}, "{}"),
        ('{"a": ', '{"a": '),
    ],
)
def test_arguments_on_the_wire(arguments: Any, text: str) -> None:
    assert ToolCall(name="f", arguments=arguments).arguments_text == text


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(text="a"), "stop"),
        (Reply(tool_calls=(ToolCall(name="f", arguments={}),)), "tool_calls"),
        (Reply(text="a", finish_reason="length"), "length"),
        (Reply(tool_calls=(ToolCall(name="f", arguments={}),), finish_reason="stop"), "stop"),
    ],
)
def test_why_a_reply_ends(reply: Reply, reason: str) -> None:
    assert reply.reason == reason


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("one", ["one"]),
        ("one two\nthree", ["one", " two", "\nthree"]),
        (" one ", [" one", " "]),
        ("   ", ["   "]),
    ],
)
def test_tokens(text: str, pieces: list[str]) -> None:
    assert tokens(text) == pieces
    assert "".join(pieces) == text


def test_longer_prompts_count_more_tokens() -> None:
    short, long = [user("hi")], [user("hi " * 400)]
    assert 1 <= count_prompt_tokens(short) < 300 < count_prompt_tokens(long)
    assert count_prompt_tokens([]) == 1
    assert count_prompt_tokens([user("éé" * 40)]) > count_prompt_tokens([user("ee" * 40)])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        (None, ""),
        ([], ""),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
            "a b",
        ),
    ],
)
def test_text_of_a_content(content: Any, text: str) -> None:
    assert content_text(content) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (request("hi"), "hi"),
        ({"messages": [user("a"), {"role": "assistant", "content": "b"}]}, "a"),
        ({"messages": [user("a"), user("b")]}, "b"),
        ({"messages": [{"role": "system", "content": "s"}]}, ""),
        ({}, ""),
    ],
)
def test_text_of_the_user(body: dict[str, Any], text: str) -> None:
    assert user_text(body) == text


def test_a_plain_question_gets_a_sentence() -> None:
    assert assistant_reply(request("hi")) == Reply(text="acme/a answers: hi")
    assert assistant_reply({"messages": [user("hi")]}).text == "This model answers: hi"
    assert assistant_reply(request("x" * 500)).text == "acme/a answers: " + "x" * 80


@pytest.mark.parametrize(
    ("body", "called"),
    [
        (request("2 and 3", tools=[ADD]), "add"),
        (request("hi", tools=[SAY, ADD]), "say"),
        (request("hi", tools=[BARE]), "now"),
        (request("hi", tools=[ADD, SAY], tool_choice="auto"), "add"),
        (request("hi", tools=[ADD, SAY], tool_choice="required"), "add"),
        (request("hi", tools=[ADD, SAY], tool_choice=NAMED), "say"),
        (request("hi", tools=[ADD], tool_choice="none"), None),
        (request("hi", tools=[]), None),
        (request("hi", tools=None), None),
        ({"messages": ANSWERED, "tools": [ADD]}, None),
        ({"messages": ANSWERED, "tools": [ADD], "tool_choice": "any"}, "add"),
        ({"messages": ANSWERED, "tools": [ADD, SAY], "tool_choice": NAMED}, "say"),
    ],
)
def test_which_tool_is_called(body: dict[str, Any], called: str | None) -> None:
    reply = assistant_reply(body)
    assert [call.name for call in reply.tool_calls] == ([] if called is None else [called])
    assert (reply.text is None) == (called is not None)


def called_with(text: str, **properties: Any) -> Any:
    (call,) = assistant_reply(request(text, tools=[tool("f", **properties)])).tool_calls
    return json.loads(call.arguments_text)["x"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "add -12 to 5", -12),
        ({"type": "number"}, "take 3 of them", 3),
        ({"type": "integer"}, "no number", 1),
        ({"type": "boolean"}, "hi", True),
        ({"type": "string"}, "say 'good day' to her", "good day"),
        ({"type": "string"}, "say “good day” to her", "good day"),
        ({"type": "string"}, "y" * 100, "y" * 60),
        ({"type": "string"}, "", "x"),
        ({}, "hi", "hi"),
        ({"enum": ["red", "blue"]}, "make it blue", "blue"),
        ({"enum": ["red", "blue"]}, "make it green", "red"),
        ({"enum": [1, 2]}, "the 2nd", 2),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "give 7", 7),
        ({"type": "array", "items": {"type": "integer"}}, "give 7", [7]),
        ({"type": "array"}, "hi", ["hi"]),
        ({"type": "object", "properties": {"y": {"type": "integer"}}}, "give 7", {"y": 7}),
        ({"type": "object"}, "hi", {}),
    ],
)
def test_values_for_schemas(schema: dict[str, Any], text: str, value: Any) -> None:
    assert called_with(text, x=schema) == value


def test_a_tool_without_parameters_gets_none() -> None:
    (call,) = assistant_reply(request("hi", tools=[BARE])).tool_calls
    assert call.arguments == {}


FORM = {"type": "object", "properties": {"word": {"type": "string"}, "n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("form", "text", "answer"),
    [
        (
            {"type": "json_schema", "json_schema": {"name": "f", "schema": FORM}},
            "the word 'tree' 3 times",
            {"word": "tree", "n": 3},
        ),
        ({"type": "json_schema", "json_schema": {"name": "f"}}, "hi", "hi"),
        (
            {"type": "json_object"},
            "JSON with 'setup' and \"punchline\"",
            {"setup": "about setup", "punchline": "about punchline"},
        ),
        ({"type": "json_object"}, "any JSON", {}),
    ],
)
def test_answers_in_a_form(form: dict[str, Any], text: str, answer: Any) -> None:
    reply = assistant_reply(request(text, response_format=form))
    assert json.loads(reply.text or "") == answer


def test_a_text_form_is_a_sentence() -> None:
    reply = assistant_reply(request("hi", response_format={"type": "text"}))
    assert reply.text == "acme/a answers: hi"
