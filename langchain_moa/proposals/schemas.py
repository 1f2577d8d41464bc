"""Whether values are what a schema permits: JSON schemas are the business of `jsonschema`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_pydantic_v1_subclass
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from langchain_moa.types import AnyDict, AnyMapping

if TYPE_CHECKING:
    import jsonschema
    from jsonschema.protocols import Validator

_CLOSED: Final = ("boolean", "integer", "number", "null")
_OPTIONS: Final = ("anyOf", "allOf", "oneOf")

Accepts: TypeAlias = Callable[[AnyMapping], bool]
"""Whether a schema permits values of its fields, also in this combination."""


def acceptance(schema: Any) -> Accepts:
    """A function that says whether a schema permits some values.

    A class is asked itself, for it may have validators that no JSON schema shows.

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
    if isinstance(schema, type) and not is_pydantic_v1_subclass(schema):
        # typing.TypedDict below Python 3.12
        with suppress(PydanticUserError):
            return partial(_validates, TypeAdapter(schema))
    try:
        described = convert_to_json_schema(schema)
    except (ValueError, TypeError, KeyError):  # a provider's own form, which that one looks at
        return _anything
    return partial(permits, described)


def _validates(adapter: TypeAdapter[object], values: AnyMapping) -> bool:
    try:
        adapter.validate_json(json.dumps(values))  # an enum's value is one in JSON only
    except (ValidationError, ValueError, TypeError):
        return False
    return True


def _anything(_: object) -> bool:
    return True


def permits(schema: AnyMapping, value: Any) -> bool:
    """Whether a JSON schema permits a value.

    Draft 2020-12 counts where the schema names no other one, and formats do. No reference is ever
    fetched: of one that leads out of the schema, as of a keyword that cannot be worked out for a
    value (a pattern that is none) nothing is known, so it permits nothing. A schema with types of a
    provider's own permits everything: that is the provider's business.

    Args:
        schema: The schema, with its definitions.
        value: What JSON gave.

    Example:
        >>> permits({"type": "array", "items": {"type": "integer"}}, ["1"])
        False
        >>> permits({"type": "string", "format": "date"}, "2026-02-30")
        False
    """
    from jsonschema import SchemaError  # noqa: PLC0415 - half a second, and most calls need none
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 - the same

    try:
        return _validator(json.dumps(schema, default=str)).is_valid(value)
    except SchemaError as error:
        return "type" in error.absolute_path
    except (Unresolvable, ArithmeticError, RecursionError, re.error):
        return False


@cache
def _library() -> Callable[[object], Validator]:
    """What makes validators; built at first use."""
    from jsonschema import Draft202012Validator, FormatChecker  # noqa: PLC0415 - see `permits`
    from jsonschema.validators import extend, validator_for  # noqa: PLC0415 - see `permits`
    from referencing import Registry  # noqa: PLC0415 - see `permits`

    formats = FormatChecker()
    formats.checks("date-time", raises=ValueError)(_is_moment)
    nothing: Registry[object] = Registry()
    extended: Callable[..., Callable[..., Validator]] = extend

    def made(schema: Any) -> Validator:
        draft = validator_for(schema, default=Draft202012Validator)
        draft.check_schema(schema)
        numbers = draft.TYPE_CHECKER.redefine("number", _is_number).redefine("integer", _is_whole)
        kind = extended(draft, {"multipleOf": _multiple_of}, type_checker=numbers)
        return kind(schema, registry=nothing, format_checker=formats)

    return made


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    return _library()(json.loads(schema))


def _is_moment(value: object) -> bool:
    """A moment as RFC 3339 writes it, for which the library needs a package more."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def _is_number(_: object, value: object) -> bool:
    """A number as other programs can read it: no NaN, and none of hundreds of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_whole(checker: object, value: object) -> bool:
    return _is_number(checker, value) and (isinstance(value, int) or float(str(value)).is_integer())


def _multiple_of(
    _: object, of: float, value: object, __: object
) -> Iterator[jsonschema.ValidationError]:
    """In decimals, as people write them: the library finds that 0.3 is no multiple of 0.1."""
    from jsonschema import ValidationError  # noqa: PLC0415 - see `permits`

    if _is_number(None, value) and Decimal(str(value)) % Decimal(str(of)) != 0:
        msg = f"{value} is no multiple of {of}"
        yield ValidationError(msg)


def definitions_of(described: AnyMapping) -> AnyDict:
    """The definitions of a JSON schema, by name."""
    return {**described.get("$defs", {}), **described.get("definitions", {})}


def is_closed(
    field: AnyMapping, definitions: AnyMapping, seen: frozenset[str] = frozenset()
) -> bool:
    """Whether a field has few values that can be distinguished: what can be voted on."""
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[-1]
        if name in seen:  # it refers to itself, so it has no end
            return False
        return is_closed(definitions.get(name, {}), definitions, seen | {name})
    if "enum" in field or "const" in field:
        return True
    options = [option for keyword in _OPTIONS for option in field.get(keyword, ())]
    if options:
        return all(is_closed(option, definitions, seen) for option in options)
    kinds = field.get("type", ())
    return bool(kinds) and all(
        kind in _CLOSED for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )


def texts_of(field: AnyMapping, definitions: AnyMapping) -> Iterator[str]:
    """The texts that a closed field may have."""
    if "$ref" in field:
        yield from texts_of(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions)
    for value in (*field.get("enum", ()), field.get("const")):
        if isinstance(value, str):
            yield value
    for keyword in _OPTIONS:
        for option in field.get(keyword, ()):
            yield from texts_of(option, definitions)
