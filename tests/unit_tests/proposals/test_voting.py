"""Votes on the fields of structured answers."""

from __future__ import annotations

import json
import unicodedata
from enum import Enum
from math import isfinite
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage
from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypedDict

from langchain_moa import MoAConfigurationError
from langchain_moa.proposals import voting
from langchain_moa.proposals.schemas import acceptance
from langchain_moa.proposals.voting import Votable, votable_fields
from langchain_moa.types import VoteRecord


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
    return dict.fromkeys(names, _unless_no_number)


def _unless_no_number(value: Any) -> list[Any]:
    return [] if isinstance(value, float) and not isfinite(value) else [value]


def voted(answer: AIMessage, proposals: list[str], fields: Votable) -> tuple[AIMessage, VoteRecord]:
    """The vote on a schema that permits everything together."""
    return voting.voted(answer, proposals, fields, lambda _: True)


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
    assert record == {
        "ballots": len(given),
        "refused": False,
        "fields": {"a": {"votes": votes, "tied": tied}},
    }


@pytest.mark.parametrize("text", ["", "no", "[1]", "7", '{"a": ', "null"])
def test_what_is_no_object_is_no_ballot(text: str) -> None:
    answer, record = voted(called(a=1), [text, *ballots(2)], fields("a"))
    assert answer.tool_calls[0]["args"] == {"a": 2}
    assert record["ballots"] == 1


def test_no_ballots() -> None:
    given = called(a=1)
    assert voted(given, [], fields("a")) == (
        given,
        {"ballots": 0, "refused": False, "fields": {}},
    )
    prose = AIMessage("I'd rather not.")
    assert voted(prose, ballots(1), fields("a"))[0] is prose


def test_a_field_that_nobody_gives_is_the_aggregators() -> None:
    answer, record = voted(called(a=1, b=5), ballots(2, 2), fields("a", "b"))
    assert answer.tool_calls[0]["args"] == {"a": 2, "b": 5}
    assert record["fields"]["b"] == {"votes": 0, "tied": True}


@pytest.mark.parametrize(
    ("keywords", "allowed", "forbidden"),
    [
        ({"minimum": 1, "maximum": 5}, [1, 5, 3.0], [0, 6, 11]),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 5}, [2, 4], [1, 5]),
        ({"multipleOf": 5}, [0, 10, -5], [1, 11]),
        ({"multipleOf": 0.1}, [3], []),
        ({"multipleOf": 0}, [], [3]),
        ({"enum": [1, 2, 30], "maximum": 5}, [1, 2], [3, 30]),
        ({"allOf": [{"minimum": 1}, {"maximum": 5}]}, [1, 5], [0, 6]),
        ({"anyOf": [{"maximum": 1}, {"minimum": 5}]}, [1, 5], [2]),
        ({"oneOf": [{"minimum": 1}, {"minimum": 5}]}, [1], [0, 6]),
        ({"not": {"const": 3}}, [2], [3]),
        ({"if": {"minimum": 5}, "then": {"multipleOf": 5}}, [4, 5, 10], [6]),
        ({"if": {"minimum": 5}, "else": {"const": 1}}, [1, 5, 6], [2]),
    ],
)
def test_limits_of_numbers(
    keywords: dict[str, Any], allowed: list[float], forbidden: list[float]
) -> None:
    schema = {
        "title": "S",
        "description": "S.",
        "type": "object",
        "properties": {"a": {"type": "integer", **keywords}},
    }
    accepts = acceptance(schema)
    assert [accepts({"a": value}) for value in allowed] == [True] * len(allowed)
    assert [accepts({"a": value}) for value in forbidden] == [False] * len(forbidden)


class Pair(BaseModel):
    """Fields that belong together."""

    kind: Literal["a", "b"]
    sub: Literal["a1", "b1"]
    stars: int = Field(default=3, ge=1, le=5)

    @model_validator(mode="after")
    def _belong(self) -> Pair:
        if not self.sub.startswith(self.kind):
            msg = "sub is another kind's"
            raise ValueError(msg)
        return self


class Limited(BaseModel):
    """Has limits."""

    stars: int = Field(ge=1, le=5)
    ok: bool
    half: int | None = Field(default=None, multiple_of=2)


def test_values_outside_limits_have_no_vote() -> None:
    given = [{"stars": 11, "ok": True, "half": 3}] * 2 + [{"stars": 4, "ok": True, "half": 2}]
    answer, record = voting.voted(
        called(stars=1, ok=False),
        list(map(json.dumps, given)),
        votable_fields(Limited),
        acceptance(Limited),
    )
    assert answer.tool_calls[0]["args"] == {"stars": 4, "ok": True, "half": 2}
    assert {name: field["votes"] for name, field in record["fields"].items()} == {
        "stars": 1,
        "ok": 3,
        "half": 1,
    }


class PairDict(TypedDict):
    """Fields without a rule."""

    kind: Literal["a", "b"]
    sub: Literal["a1", "b1"]


PAIR_JSON = {
    "title": "Pair",
    "description": "Fields that belong together.",
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "sub": {"enum": ["a1", "b1"]}},
    "required": ["kind"],
    "additionalProperties": False,
    "dependentRequired": {"kind": ["sub"]},
    "if": {"properties": {"kind": {"const": "a"}}},
    "then": {"properties": {"sub": {"const": "a1"}}},
    "else": {"properties": {"sub": {"const": "b1"}}},
}


@pytest.mark.parametrize("schema", [Pair, PAIR_JSON])
def test_what_a_schema_does_not_permit_together_is_the_aggregators(schema: Any) -> None:
    """Most say kind a, and most say sub b1, but nobody says both."""
    given = [{"kind": "a", "sub": "a1"}, {"kind": "a", "sub": "a1"}, {"kind": "b", "sub": "b1"}]
    given += [{"sub": "b1"}, {"sub": "b1"}]
    own = AIMessage("", tool_calls=[{"name": "S", "args": {"kind": "b", "sub": "b1"}, "id": "1"}])
    fields = votable_fields(PairDict)
    answer, record = voting.voted(own, list(map(json.dumps, given)), fields, acceptance(schema))
    assert answer == own
    assert record == {
        "ballots": 5,
        "refused": True,
        "fields": {"kind": {"votes": 1, "tied": False}, "sub": {"votes": 3, "tied": False}},
    }
    answer, record = voting.voted(own, [json.dumps(given[0])] * 2, fields, acceptance(schema))
    assert answer.tool_calls[0]["args"] == {"kind": "a", "sub": "a1"}
    assert not record["refused"]


@pytest.mark.parametrize(
    ("schema", "permitted", "refused"),
    [
        (Pair, {"kind": "a", "sub": "a1"}, {"kind": "a", "sub": "a1", "stars": 6}),
        (Pair, {"kind": "b", "sub": "b1", "why": "so"}, {"kind": "b"}),
        (Closed, {"a": "x", "b": "red", "c": True, "d": 1, "e": 2, "f": None, "g": "one"}, {}),
        (ClosedDict, {"a": "x", "b": True}, {"a": "x"}),
        (ClosedDict, {"a": "x", "b": True, "c": 1}, {"a": "z", "b": True}),
        (PAIR_JSON, {"kind": "a", "sub": "a1"}, {"kind": "a"}),
        (PAIR_JSON, {"kind": "b", "sub": "b1"}, {"kind": "b", "sub": "b1", "why": "so"}),
        (Limited, {"stars": 5, "ok": True}, {"stars": 11, "ok": True}),
        (JSON, {"a": 1, "b": None, "c": "p", "d": "q"}, {"c": "r"}),
    ],
)
def test_what_a_schema_permits(schema: Any, permitted: Any, refused: Any) -> None:
    accepts = acceptance(schema)
    assert (accepts(permitted), accepts(refused)) == (True, False)


def test_a_form_that_only_a_provider_knows_is_its_business() -> None:
    assert acceptance({"my": "schema"})({"a": 1})


def test_a_typed_dict_that_pydantic_does_not_take() -> None:
    from typing import TypedDict as PlainDict  # noqa: PLC0415 - of another name

    class Plain(PlainDict):
        """Pydantic wants that of typing_extensions below Python 3.12."""

        a: bool

    accepts = acceptance(Plain)
    assert (accepts({"a": True}), accepts({"a": "no idea"}), accepts({})) == (True, False, False)


@pytest.mark.parametrize("method", ["as a text", "as an enum"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("서울", unicodedata.normalize("NFD", "서울")),
        ("café", unicodedata.normalize("NFD", "café")),
        ("A1", "\uff21\uff11"),
        ("قاهرة", "قَاهِرَة"),
    ],
)
def test_a_choice_in_another_form_of_unicode_is_a_vote(
    written: str, said: str, method: str
) -> None:
    field = {"enum": [written, "x"]} if method == "as an enum" else {"$ref": "#/$defs/A"}
    schema = {
        "title": "S",
        "description": "S.",
        "type": "object",
        "properties": {"a": field},
        "$defs": {"A": {"anyOf": [{"const": "x"}, {"const": written}]}},
    }
    given = ballots(said, written, "x")
    answer, record = voting.voted(called(a="x"), given, votable_fields(schema), acceptance(schema))
    assert answer.tool_calls[0]["args"] == {"a": written}
    assert record["fields"] == {"a": {"votes": 2, "tied": False}}


@pytest.mark.parametrize(
    ("written", "said", "chosen"),
    [
        (["m", "M"], ["m", "m", "M"], "m"),
        (["M", "m"], ["m", "\uff4d", "M"], "m"),
        (["m2", "m\u00b2"], ["m2", "m2", "m\u00b2"], "m2"),
        (["a", "A", "b"], [" A", "b", "b"], "b"),
    ],
)
def test_choices_that_differ_by_little_are_not_mixed_up(
    written: list[str], said: list[str], chosen: str
) -> None:
    schema = {"title": "S", "type": "object", "properties": {"a": {"enum": written}}}
    given, accepts = ballots(*said), acceptance(schema)
    answer, record = voting.voted(called(a=written[-1]), given, votable_fields(schema), accepts)
    assert answer.tool_calls[0]["args"] == {"a": chosen}
    assert record["fields"] == {"a": {"votes": 2, "tied": False}}


def test_a_number_of_hundreds_of_digits_is_no_ballot() -> None:
    huge = f'{{"stars": {10**400}, "ok": true}}'
    given = [huge, huge, '{"stars": 4, "ok": true}']
    fields = votable_fields(Limited)
    answer, record = voting.voted(called(stars=1, ok=True), given, fields, acceptance(Limited))
    assert answer.tool_calls[0]["args"] == {"stars": 4, "ok": True}
    assert record["fields"]["stars"] == {"votes": 1, "tied": False}


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


def test_the_call_that_anthropic_leaves_in_content_has_the_voted_values() -> None:
    call = {"name": "V", "args": {"label": "bad"}, "id": "1"}
    other = {"type": "text", "text": "So:"}
    block = {"type": "tool_use", "id": "1", "name": "V", "input": {"label": "bad"}}
    answer = AIMessage([other, block], tool_calls=[call])
    ballots = ['{"label": "good"}'] * 2
    result, _ = voted(answer, ballots, {"label": lambda value: [value]})
    assert result.tool_calls[0]["args"] == {"label": "good"}
    assert result.content == [other, {**block, "input": {"label": "good"}}]
