"""Structured answers by majority: each field of a small closed schema is put to the vote.

This is self-consistency (Wang et al. 2023, arXiv 2203.11171) over the members of a mixture: where
answers can be equal, the most frequent one is taken.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.types import VoteRecord

_CLOSED: Final = ("boolean", "integer", "number", "null")


Votable: TypeAlias = Mapping[str, Callable[[Any], bool]]
"""Per field of a schema, whether a value is one that it may have."""


def votable_fields(schema: Any) -> Votable:
    """The fields of a schema, each of which has few possible values.

    Args:
        schema: As `with_structured_output` takes it.

    Raises:
        MoAConfigurationError: A field is open, such as free text, and could not be voted on.
    """
    described = convert_to_json_schema(schema)
    definitions = {**described.get("$defs", {}), **described.get("definitions", {})}
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


def voted(
    answer: AIMessage, proposals: Sequence[str], fields: Votable
) -> tuple[AIMessage, VoteRecord]:
    """The aggregator's answer with the majority's value in each field.

    Args:
        answer: The aggregator's structured answer; its value counts where the vote is tied.
        proposals: The members' structured proposals, as JSON.
        fields: What is voted on.

    Returns:
        The answer, and how much the members agreed.
    """
    ballots = [ballot for text in proposals if isinstance(ballot := _loaded(text), dict)]
    own = _values(answer)
    if own is None or not ballots:
        return answer, {"ballots": len(ballots), "fields": {}}
    record: VoteRecord = {"ballots": len(ballots), "fields": {}}
    for field, is_allowed in fields.items():
        counted = Counter(_ballot(b[field]) for b in ballots if field in b and is_allowed(b[field]))
        best = counted.most_common(2)
        tied = not best or (len(best) > 1 and best[0][1] == best[1][1])
        if not tied:
            own[field] = json.loads(best[0][0])
        votes = counted[_ballot(own.get(field))]
        record["fields"][field] = {"votes": votes, "tied": tied}
    return _with_values(answer, own), record


def _ballot(value: Any) -> str:
    """A value as it is counted: 1 and 1.0 are one, True is another."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _is_allowed(field: Mapping[str, Any], definitions: Mapping[str, Any], value: Any) -> bool:
    """Whether a closed field may have a value."""
    if "$ref" in field:
        return _is_allowed(definitions[field["$ref"].rsplit("/", 1)[-1]], definitions, value)
    if "enum" in field:
        return any(type(value) is type(one) and value == one for one in field["enum"])
    if "const" in field:
        return type(value) is type(field["const"]) and bool(value == field["const"])
    options = [*field.get("anyOf", ()), *field.get("allOf", ()), *field.get("oneOf", ())]
    if options:
        return any(_is_allowed(option, definitions, value) for option in options)
    kinds = field["type"]
    return any(_TYPES[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "number": _is_number,
    "null": lambda value: value is None,
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
    if answer.tool_calls:
        first, *others = answer.tool_calls
        return answer.model_copy(update={"tool_calls": [{**first, "args": values}, *others]})
    update: dict[str, Any] = {"content": json.dumps(values, ensure_ascii=False)}
    parsed = answer.additional_kwargs.get("parsed")  # what OpenAI's own parser left there
    if parsed is not None:
        new = type(parsed)(**values) if isinstance(parsed, BaseModel) else values
        update["additional_kwargs"] = {**answer.additional_kwargs, "parsed": new}
    return answer.model_copy(update=update)


def _loaded(text: str) -> Any:
    try:
        return parse_json_markdown(text, parser=json.loads)  # fenced or not
    except (ValueError, RecursionError):
        return None
