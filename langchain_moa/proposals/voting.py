"""Structured answers by majority: each field of a small closed schema is put to the vote.

This is self-consistency (Wang et al. 2023, arXiv 2203.11171) over the members of a mixture: where
answers can be equal, the most frequent one is taken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.json import parse_json_markdown
from pydantic import BaseModel

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.proposals.schemas import (
    Accepts,
    definitions_of,
    is_closed,
    permits,
    texts_of,
)
from langchain_moa.proposals.similarity import comparable, in_one_form
from langchain_moa.types import AnyDict, AnyMapping, VoteRecord

Votable: TypeAlias = Mapping[str, Callable[[Any], Sequence[Any]]]
"""Per field of a schema, a value as the schema writes it; nothing where it does not permit it."""


def votable_fields(schema: Any) -> Votable:
    """The fields of a schema, each of which has few possible values.

    Args:
        schema: As `with_structured_output` takes it.

    Raises:
        MoAConfigurationError: A field is open, such as free text, and could not be voted on.
    """
    described = convert_to_json_schema(schema)
    definitions = definitions_of(described)
    fields: AnyMapping = described.get("properties", {})
    for name, field in fields.items():
        if not is_closed(field, definitions):
            msg = (
                f"vote=True: the field {name!r} has no closed set of values; give it a Literal, "
                "an enum, bool or a number, or leave vote out."
            )
            raise MoAConfigurationError(msg)
    if not fields:
        msg = "vote=True: the schema has no fields to vote on; leave vote out."
        raise MoAConfigurationError(msg)
    inner: AnyDict = {
        key: described[key] for key in ("$schema", "$defs", "definitions") if key in described
    }
    return {
        name: partial(
            _as_permitted,
            {**inner, "properties": {"value": field}},
            _by_form(texts_of(field, definitions)),
        )
        for name, field in fields.items()
    }


def _by_form(texts: Iterable[str]) -> dict[str, str]:
    """A schema's texts by what is compared of them; of several that are alike, each by itself."""
    given = list(texts)
    alike = Counter(map(comparable, given))
    return {comparable(t): t for t in given if alike[comparable(t)] == 1} | {t: t for t in given}


def _as_permitted(schema: AnyMapping, texts: Mapping[str, str], value: object) -> list[object]:
    """A field's value with a text in the form that the schema has it in, if that permits it."""
    if isinstance(value, str):
        forms = (value, in_one_form(value), comparable(value))
        value = next((texts[form] for form in forms if form in texts), value)
    return [value] if permits(schema, {"value": value}) else []


def permitted(text: str, accepts: Accepts) -> AnyDict | None:
    """The values that a structured proposal gives; `None` where the schema does not permit them."""
    values = _loaded(text)
    return values if isinstance(values, dict) and accepts(values) else None


def structured_answer(values: AnyDict, tool: str | None) -> AIMessage:
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
        field: Counter(_ballot(v) for b in ballots if field in b for v in as_permitted(b[field]))
        for field, as_permitted in fields.items()
    }
    winners = {field: _winner(counted) for field, counted in counts.items()}
    chosen = {field: json.loads(best) for field, best in winners.items() if best is not None}
    refused = bool(chosen) and not accepts({**own, **chosen})
    taken = own if refused else {**own, **chosen}
    record: VoteRecord = {"ballots": len(ballots), "refused": refused, "fields": {}}
    for field, counted in counts.items():
        value = taken.get(field)
        votes = counted[_ballot(next(iter(fields[field](value)), value))]
        record["fields"][field] = {"votes": votes, "tied": winners[field] is None}
    return (answer if refused else _with_values(answer, taken)), record


def _winner(counted: Counter[str]) -> str | None:
    """The ballot that most have, `None` where there is none or several have as many."""
    best = counted.most_common(2)
    tied = not best or (len(best) > 1 and best[0][1] == best[1][1])
    return None if tied else best[0][0]


def _ballot(value: object) -> str:
    """A value as it is counted: 1 and 1.0 are one, True is another."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _values(answer: AIMessage) -> AnyDict | None:
    """The fields of a structured answer, whichever way it was asked for."""
    if answer.tool_calls:
        return dict(answer.tool_calls[0]["args"])
    loaded = _loaded(answer.text)
    return loaded if isinstance(loaded, dict) else None


def _with_values(answer: AIMessage, values: AnyDict) -> AIMessage:
    update: AnyDict
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


def _voted_block(block: Any, call: str | None, values: AnyDict) -> object:
    called = isinstance(block, dict) and block.get("type") == "tool_use" and block["id"] == call
    return {**block, "input": values} if called else block


def _loaded(text: str) -> object:
    try:
        return parse_json_markdown(text, parser=json.loads)  # fenced or not
    except (ValueError, RecursionError):
        return None
