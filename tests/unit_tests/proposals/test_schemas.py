"""What a JSON schema permits is what its draft says, and nothing is fetched to know it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from langchain_moa.proposals.schemas import permits
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("schema", "permitted", "forbidden"),
    [
        ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["1"], [1, "2"], 1]),
        ({"type": "array", "minItems": 2, "maxItems": 3}, [[1, 2]], [[], [1], [1, 2, 3, 4]]),
        ({"type": "array", "uniqueItems": True}, [[1, 2]], [[1, 1]]),
        ({"prefixItems": [{"type": "string"}], "items": False}, [["a"]], [[1], ["a", "b"]]),
        ({"type": "string", "pattern": "^[a-z]+$"}, ["abc"], ["ABC", "", 1]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "天空"], ["a", "abcd"]),
        ({"type": "string", "format": "date"}, ["2026-02-28"], ["2026-02-30", "soon"]),
        (
            {"type": "string", "format": "date-time"},
            ["2026-02-28T10:00:00Z", "2026-02-28T10:00:00+02:00"],
            ["2026-02-28", "2026-02-28T10:00:00", "soon"],
        ),
        ({"type": "string", "format": "email"}, ["a@example.org"], ["nobody"]),
        ({"type": "string", "format": "uuid"}, ["12345678-1234-5678-1234-567812345678"], ["7"]),
        ({"type": "string", "format": "ipv4"}, ["127.0.0.1"], ["300.0.0.1"]),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "boolean"}}}, [True], [1, "true"]),
        ({"$ref": "#/definitions/A", "definitions": {"A": {"const": 1}}}, [1], [2, True]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, [1, 2.5], [3, 1.5]),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["b"]}, [{"b": 1}], [{"a": {}}]),
        ({"additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "1"}]),
        ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
        ({"type": "number", "multipleOf": 0.1}, [0.3, 4.3, 3], [0.35]),
        ({"type": "number"}, [1, 1.5], [True, float("nan"), float("inf"), 10**400, "1"]),
        ({"type": "integer"}, [1, 1.0, -(10**20)], [1.5, True, 10**400]),
        ({"const": 1}, [1, 1.0], [True, "1"]),
        ({"$schema": DRAFT_7, "items": [{"const": 1}]}, [[1]], [[2]]),
    ],
)  # fmt: skip
def test_keywords(schema: dict[str, Any], permitted: list[Any], forbidden: list[Any]) -> None:
    assert [permits(schema, value) for value in permitted] == [True] * len(permitted)
    assert [permits(schema, value) for value in forbidden] == [False] * len(forbidden)


@pytest.mark.parametrize("where", ["$ref", "$dynamicRef"])
def test_no_reference_is_ever_fetched(where: str) -> None:
    with LoopbackServer({}) as server:
        schema = {"properties": {"a": {where: f"{server.base_url}/schema.json"}}}
        assert not permits(schema, {"a": 1})
        assert permits(schema, {"b": 1})
        assert not server.requests


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/unknown"},
        {"$ref": "#"},
        {"multipleOf": 0},
        {"type": "string", "pattern": "("},
    ],
)
def test_what_cannot_be_worked_out_is_not_permitted(schema: dict[str, Any]) -> None:
    assert not permits(schema, "x" if "pattern" in schema else 3)


def test_a_providers_own_form_of_a_schema_is_its_business() -> None:
    assert permits({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, {"a": "x"})


def test_the_library_is_imported_at_first_use() -> None:
    code = (
        "import sys, langchain_moa.chat_models, langchain_moa.proposals.schemas as schemas\n"
        "before = 'jsonschema' in sys.modules\n"
        "schemas.permits({}, 1)\n"
        "print(before, 'jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603
    assert done.stdout.split() == ["False", "True"]


NUMBERS = {
    "title": "Numbers",
    "description": "Some numbers.",
    "type": "object",
    "properties": {"numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
    "required": ["numbers"],
}


def test_the_best_proposal_is_one_that_the_schema_permits() -> None:
    """Two that agree give texts where the schema wants integers; the third is the answer."""
    wrong, right = '{"numbers": ["1", "2"]}', '{"numbers": [1, 2]}'
    models = {
        ALPHA: says(wrong),
        BETA: says(right),
        "acme/liar": says(wrong),
        AGGREGATOR: says("", status=500),
    }
    with LoopbackServer(models) as server:
        llm = mixture(
            server,
            reference_models=[ALPHA, "acme/liar", BETA],
            structured_proposals=True,
            on_aggregator_failure="best_proposal",
        )
        answer = llm.with_structured_output(NUMBERS, method="json_schema").invoke("Which?")
    assert answer == {"numbers": [1, 2]}
