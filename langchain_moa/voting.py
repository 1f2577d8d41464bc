"""Structured answers by majority: each field of a small closed schema is put to the vote.

This is self-consistency (Wang et al. 2023, arXiv 2203.11171) over the members of a mixture: where
answers can be equal, the most frequent one is taken.
"""

from __future__ import annotations

import json
import math
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.types import VoteRecord

_CLOSED: Final = ("boolean", "integer", "number", "null")


Votable: TypeAlias = Mapping[str, Callable[[Any], bool]]
"""Per field of a schema, whether a value is one that it may have."""


Accepts: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether a schema permits values of its fields, also in this combination."""


def acceptance(schema: Any) -> Accepts:
    """What tells whether a schema permits some values.

    A class is asked itself, for it may have validators that no JSON schema tells of.

    Args:
        schema: As `with_structured_output` takes it.

    Example:
        >>> class Review(BaseModel):
        ...     stars: int
        >>> accepts = acceptance(Review)
        >>> accepts({"stars": 5}), accepts({})
        (True, False)
    """
    return partial(_accepts, schema)


def _accepts(schema: Any, values: Mapping[str, Any]) -> bool:
    if isinstance(schema, type):
        with suppress(
            PydanticUserError
        ):  # typing.TypedDict below Python 3.12, pydantic's old models
            return _validates(TypeAdapter(schema), values)
    try:
        described = convert_to_json_schema(schema)
    except (ValueError, TypeError, KeyError):  # a provider's own form, which that one looks at
        return True
    return _is_allowed(described, _definitions(described), values)


def _validates(adapter: TypeAdapter[Any], values: Mapping[str, Any]) -> bool:
    try:
        adapter.validate_json(json.dumps(values))  # an enum's value is one in JSON only
    except (ValidationError, ValueError, TypeError):
        return False
    return True


def _definitions(described: Mapping[str, Any]) -> dict[str, Any]:
    return {**described.get("$defs", {}), **described.get("definitions", {})}


def votable_fields(schema: Any) -> Votable:
    """The fields of a schema, each of which has few possible values.

    Args:
        schema: As `with_structured_output` takes it.

    Raises:
        MoAConfigurationError: A field is open, such as free text, and could not be voted on.
    """
    described = convert_to_json_schema(schema)
    definitions = _definitions(described)
    fields: Mapping[str, Any] = described.get("properties", {})
    for name, field in fields.items():
        if not _is_closed(field, definitions):
            msg = (
                f"vote=True: the field {name!r} has no closed set of values; give it a Literal, "
                "an enum, bool or a number, or leave vote out."
            )
            raise MoAConfigurationError(msg)
    if not fields:
        msg = "vote=True: the schema has no fields to vote on; leave vote out."
        raise MoAConfigurationError(msg)
    return {name: partial(_is_allowed, field, definitions) for name, field in fields.items()}


def permitted(text: str, accepts: Accepts) -> dict[str, Any] | None:
    """The values that a structured proposal gives; `None` where the schema does not permit them."""
    values = _loaded(text)
    return values if isinstance(values, dict) and accepts(values) else None


def structured_answer(values: dict[str, Any], tool: str | None) -> AIMessage:
    """The answer that an aggregator would give of these values.

    Args:
        values: The fields.
        tool: The tool that the schema is asked for by; `None` where it is asked for as text.
    """
    if tool is not None:
        return AIMessage("", tool_calls=[{"name": tool, "args": values, "id": f"call_{uuid4()}"}])
    text = json.dumps(values, ensure_ascii=False)
    return AIMessage(text, additional_kwargs={"parsed": values})  # where OpenAI's parser looks


def voted(
    answer: AIMessage, proposals: Sequence[str], fields: Votable, accepts: Accepts
) -> tuple[AIMessage, VoteRecord]:
    """The aggregator's answer with the majority's value in each field.

    Args:
        answer: The aggregator's structured answer; its value counts where the vote is tied.
        proposals: The members' structured proposals, as JSON.
        fields: What is voted on.
        accepts: Whether the schema permits some values together. If it does not permit those that
            were voted for, though of several ballots each may be right, the answer is kept.

    Returns:
        The answer, and how much the members agreed.
    """
    ballots = [ballot for text in proposals if isinstance(ballot := _loaded(text), dict)]
    own = _values(answer)
    if own is None or not ballots:
        return answer, {"ballots": len(ballots), "refused": False, "fields": {}}
    counts = {
        field: Counter(_ballot(b[field]) for b in ballots if field in b and is_allowed(b[field]))
        for field, is_allowed in fields.items()
    }
    winners = {field: _winner(counted) for field, counted in counts.items()}
    chosen = {field: json.loads(best) for field, best in winners.items() if best is not None}
    refused = bool(chosen) and not accepts({**own, **chosen})
    taken = own if refused else {**own, **chosen}
    record: VoteRecord = {"ballots": len(ballots), "refused": refused, "fields": {}}
    for field, counted in counts.items():
        votes = counted[_ballot(taken.get(field))]
        record["fields"][field] = {"votes": votes, "tied": winners[field] is None}
    return (answer if refused else _with_values(answer, taken)), record


def _winner(counted: Counter[str]) -> str | None:
    """The ballot that most have, `None` where there is none or several have as many."""
    best = counted.most_common(2)
    tied = not best or (len(best) > 1 and best[0][1] == best[1][1])
    return None if tied else best[0][0]


def _ballot(value: Any) -> str:
    """A value as it is counted: 1 and 1.0 are one, True is another."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _is_allowed(schema: Mapping[str, Any], definitions: Mapping[str, Any], value: Any) -> bool:
    """Whether a JSON schema without open texts and lists permits a value: all keywords must."""
    fits = partial(_is_allowed, definitions=definitions, value=value)
    if "$ref" in schema and not fits(definitions.get(schema["$ref"].rsplit("/", 1)[-1], {})):
        return False
    if "const" in schema and not _is_same(schema["const"], value):
        return False
    if "enum" in schema and not any(_is_same(one, value) for one in schema["enum"]):
        return False
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES.get(kind, _is_any)(value) for kind in kinds):
        return False
    if _is_number(value) and not all(
        holds(value, schema[keyword]) for keyword, holds in _LIMITS.items() if keyword in schema
    ):
        return False
    return _fits_options(schema, fits) and _fits_fields(schema, definitions, value)


def _fits_options(schema: Mapping[str, Any], fits: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether the schemas that a schema is made of permit a value, as `fits` tells of each."""
    if "if" in schema:
        branch = schema.get("then" if fits(schema["if"]) else "else")
        if branch is not None and not fits(branch):
            return False
    return (
        all(map(fits, schema.get("allOf", ())))
        and ("anyOf" not in schema or any(map(fits, schema["anyOf"])))
        and ("oneOf" not in schema or sum(map(fits, schema["oneOf"])) == 1)
        and not ("not" in schema and fits(schema["not"]))
    )


def _fits_fields(schema: Mapping[str, Any], definitions: Mapping[str, Any], value: Any) -> bool:
    """Whether an object has the fields that a schema demands, and in them what it permits."""
    if not isinstance(value, Mapping):
        return True
    known = schema.get("properties", {})
    demanded = [*schema.get("required", ())]
    for field, others in schema.get("dependentRequired", {}).items():
        demanded += others if field in value else []
    if not all(field in value for field in demanded):
        return False
    if schema.get("additionalProperties") is False and not value.keys() <= known.keys():
        return False
    return all(
        _is_allowed(one, definitions, value[field])
        for field, one in known.items()
        if field in value
    )


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _is_any(_: Any) -> bool:
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_multiple(value: float, of: float) -> bool:
    try:
        return Decimal(str(value)) % Decimal(str(of)) == 0  # 0.3 is a multiple of 0.1
    except ArithmeticError:  # by nothing, or so many digits that nobody can tell
        return False


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "number": _is_number,
    "null": lambda value: value is None,
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
}
_LIMITS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
    "multipleOf": _is_multiple,
}


def _is_closed(
    field: Mapping[str, Any], definitions: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> bool:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        if name in seen:  # it refers to itself, so it has no end
            return False
        return _is_closed(definitions.get(name, {}), definitions, seen | {name})
    if "enum" in field or "const" in field:
        return True
    options = [*field.get("anyOf", ()), *field.get("allOf", ()), *field.get("oneOf", ())]
    if options:
        return all(_is_closed(option, definitions, seen) for option in options)
    kinds = field.get("type", ())
    return bool(kinds) and all(
        kind in _CLOSED for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )


def _values(answer: AIMessage) -> dict[str, Any] | None:
    """The fields of a structured answer, whichever way it was asked for."""
    if answer.tool_calls:
        return dict(answer.tool_calls[0]["args"])
    loaded = _loaded(answer.text)
    return loaded if isinstance(loaded, dict) else None


def _with_values(answer: AIMessage, values: dict[str, Any]) -> AIMessage:
    update: dict[str, Any]
    if answer.tool_calls:
        first, *others = answer.tool_calls
        update = {"tool_calls": [{**first, "args": values}, *others]}
        if isinstance(answer.content, list):  # Anthropic's client leaves the call there, too
            update["content"] = [_voted_block(b, first["id"], values) for b in answer.content]
        return answer.model_copy(update=update)
    update = {"content": json.dumps(values, ensure_ascii=False)}
    parsed = answer.additional_kwargs.get("parsed")  # what OpenAI's own parser left there
    if parsed is not None:
        new = type(parsed)(**values) if isinstance(parsed, BaseModel) else values
        update["additional_kwargs"] = {**answer.additional_kwargs, "parsed": new}
    return answer.model_copy(update=update)


def _voted_block(block: Any, call: str | None, values: dict[str, Any]) -> Any:
    called = isinstance(block, dict) and block.get("type") == "tool_use" and block["id"] == call
    return {**block, "input": values} if called else block


def _loaded(text: str) -> Any:
    try:
        return parse_json_markdown(text, parser=json.loads)  # fenced or not
    except (ValueError, RecursionError):
        return None
