"""Votes on the fields of structured answers."""

from __future__ import annotations

import json
from enum import Enum
from math import isfinite
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_moa import MoAConfigurationError
from langchain_moa.voting import Votable, votable_fields, voted


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Closed(BaseModel):
    """Only closed fields."""

    a: Literal["x", "y"]
    b: Color
    c: bool
    d: int
    e: float
    f: Literal["x"] | None
    g: Literal[1, "one"]
    h: bool | None = None


class ClosedDict(TypedDict):
    """Only closed fields."""

    a: Literal["x", "y"]
    b: bool


JSON = {
    "title": "Closed",
    "description": "Closed.",
    "type": "object",
    "properties": {
        "a": {"const": 1},
        "b": {"type": ["integer", "null"]},
        "c": {"$ref": "#/$defs/C"},
        "d": {"allOf": [{"$ref": "#/$defs/C"}]},
    },
    "$defs": {"C": {"enum": ["p", "q"]}},
}


@pytest.mark.parametrize(
    ("schema", "fields"), [(Closed, "abcdefgh"), (ClosedDict, "ab"), (JSON, "abcd")]
)
def test_closed_fields(schema: Any, fields: str) -> None:
    assert tuple(votable_fields(schema)) == tuple(fields)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string"},
        {"type": "array", "items": {"type": "boolean"}},
        {"type": "object", "properties": {"a": {"type": "boolean"}}},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
        {"$ref": "#/$defs/unknown"},
        {},
    ],
)
def test_open_fields_are_refused(field: dict[str, Any]) -> None:
    schema = {"title": "S", "description": "S.", "type": "object", "properties": {"open": field}}
    with pytest.raises(MoAConfigurationError, match="'open' has no closed set"):
        votable_fields(schema)


def test_a_schema_that_holds_itself_is_refused() -> None:
    schema = {
        "title": "S",
        "description": "S.",
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}]}},
    }
    with pytest.raises(MoAConfigurationError):
        votable_fields(schema)


def called(**values: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "S", "args": values, "id": "1"}])


def fields(*names: str) -> Votable:
    """Fields that may have any value but numbers that are none."""
    return dict.fromkeys(names, lambda value: not isinstance(value, float) or isfinite(value))


def ballots(*values: Any) -> list[str]:
    return [json.dumps({"a": value}) for value in values]


@pytest.mark.parametrize(
    ("own", "given", "expected", "votes", "tied"),
    [
        (1, [2, 2, 1], 2, 2, False),
        (1, [2, 3], 1, 0, True),
        (2, [2, 3], 2, 1, True),
        (1, [2, 2, 3, 3, 4], 1, 0, True),
        (1, [2], 2, 1, False),
        (True, [1, 1, True], 1, 2, False),
        (1, [2.0, 2, 3], 2, 2, False),
        ("x", [None, None, "x"], None, 2, False),
    ],
)
def test_majority(own: Any, given: list[Any], expected: Any, votes: int, tied: bool) -> None:  # noqa: FBT001
    answer, record = voted(called(a=own), ballots(*given), fields("a"))
    taken = answer.tool_calls[0]["args"]["a"]
    assert (taken, type(taken)) == (expected, type(expected))
    assert record == {"ballots": len(given), "fields": {"a": {"votes": votes, "tied": tied}}}


@pytest.mark.parametrize("text", ["", "no", "[1]", "7", '{"a": ', "null"])
def test_what_is_no_object_is_no_ballot(text: str) -> None:
    answer, record = voted(called(a=1), [text, *ballots(2)], fields("a"))
    assert answer.tool_calls[0]["args"] == {"a": 2}
    assert record["ballots"] == 1


def test_no_ballots() -> None:
    given = called(a=1)
    assert voted(given, [], fields("a")) == (given, {"ballots": 0, "fields": {}})
    prose = AIMessage("I'd rather not.")
    assert voted(prose, ballots(1), fields("a"))[0] is prose


def test_a_field_that_nobody_gives_is_the_aggregators() -> None:
    answer, record = voted(called(a=1, b=5), ballots(2, 2), fields("a", "b"))
    assert answer.tool_calls[0]["args"] == {"a": 2, "b": 5}
    assert record["fields"]["b"] == {"votes": 0, "tied": True}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(number: str) -> None:
    answer, _ = voted(called(a=1), [f'{{"a": {number}}}', *ballots(2, 2)], fields("a"))
    assert answer.tool_calls[0]["args"] == {"a": 2}


def test_a_deep_ballot_is_no_ballot() -> None:
    _, record = voted(called(a=1), ["[" * 200_000, *ballots(2)], fields("a"))
    assert record["ballots"] == 1


def test_a_text_answer_and_what_was_parsed_of_it() -> None:
    class Answer(BaseModel):
        a: int

    given = AIMessage('{"a": 1}', additional_kwargs={"parsed": Answer(a=1), "refusal": None})
    answer, _ = voted(given, ballots(2, 2), fields("a"))
    assert json.loads(answer.text) == {"a": 2}
    assert answer.additional_kwargs == {"parsed": Answer(a=2), "refusal": None}
    assert given.additional_kwargs["parsed"] == Answer(a=1)
    assert given.text == '{"a": 1}'


def test_other_calls_and_fields_stay() -> None:
    given = called(a=1, why="so")
    given.tool_calls.append({"name": "T", "args": {}, "id": "2"})
    answer, _ = voted(given, ballots(2), fields("a"))
    assert [c["args"] for c in answer.tool_calls] == [{"a": 2, "why": "so"}, {}]
    assert given.tool_calls[0]["args"] == {"a": 1, "why": "so"}
