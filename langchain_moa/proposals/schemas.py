"""Whether values are what a schema permits."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

_CLOSED: Final = ("boolean", "integer", "number", "null")


Accepts: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether a schema permits values of its fields, also in this combination."""


def acceptance(schema: Any) -> Accepts:
    """What tells whether a schema permits some values.

    A class is asked itself, for it may have validators that no JSON schema tells of.

    Args:
        schema: As `with_structured_output` takes it.

    Example:
        >>> from pydantic import BaseModel
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
    return is_allowed(described, definitions_of(described), values)


def _validates(adapter: TypeAdapter[Any], values: Mapping[str, Any]) -> bool:
    try:
        adapter.validate_json(json.dumps(values))  # an enum's value is one in JSON only
    except (ValidationError, ValueError, TypeError):
        return False
    return True


def definitions_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions of a JSON schema, by name."""
    return {**described.get("$defs", {}), **described.get("definitions", {})}


def is_allowed(schema: Mapping[str, Any], definitions: Mapping[str, Any], value: Any) -> bool:
    """Whether a JSON schema without open texts and lists permits a value: all keywords must."""
    fits = partial(is_allowed, definitions=definitions, value=value)
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
        is_allowed(one, definitions, value[field]) for field, one in known.items() if field in value
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


def is_closed(
    field: Mapping[str, Any], definitions: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> bool:
    """Whether a field has few values that can be told apart: what can be voted on."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        if name in seen:  # it refers to itself, so it has no end
            return False
        return is_closed(definitions.get(name, {}), definitions, seen | {name})
    if "enum" in field or "const" in field:
        return True
    options = [*field.get("anyOf", ()), *field.get("allOf", ()), *field.get("oneOf", ())]
    if options:
        return all(is_closed(option, definitions, seen) for option in options)
    kinds = field.get("type", ())
    return bool(kinds) and all(
        kind in _CLOSED for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )
