"""Finds the JSON object in what a model answered, whichever way it gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from langchain_core.messages import AIMessage

from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.strategies.base import UnusableAnswerError
from langchain_moa.types import AnyDict

_MOST_DIGITS: Final = 300
"""More than any number has that is meant; Python refuses to read integers of some thousands."""


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


_DECODER: Final = json.JSONDecoder(strict=False, parse_int=_integer)
"""Takes line breaks in texts, too, which models write as they are."""


def values_of(answer: AIMessage, fields: AbstractSet[str]) -> AnyDict:
    r"""The JSON object of an answer: a call's arguments, or in its text, Markdown around it or not.

    Of several it is the one with most of the fields, and of those the last: before it a model may
    have thought, or quoted what a draft holds.

    Args:
        answer: The answer.
        fields: What the object may have.

    Raises:
        UnusableAnswerError: There is none.

    Example:
        >>> said = 'Draft {1} says {"x": 1}. So:\n```json\n{"number": 2}\n```\nGood luck {}!'
        >>> values_of(AIMessage(said), {"number"})
        {'number': 2}
        >>> values_of(AIMessage("I like the second one."), {"number"})
        Traceback (most recent call last):
        ...
        langchain_moa.strategies.base.UnusableAnswerError: the answer holds no JSON object
    """
    broken = [str(call["args"]) for call in answer.invalid_tool_calls]
    texts = [text for text in (strip_reasoning(answer.text), *broken) if text.strip()]
    found = [value for text in texts for value in _loaded(text)]
    found += [call["args"] for call in answer.tool_calls]
    if not (texts or found):
        msg = "the answer is empty"
        raise UnusableAnswerError(msg, "empty")
    objects = [value for value in found if isinstance(value, dict)]
    best = max(reversed(objects), key=lambda value: len(value.keys() & fields), default=None)
    if best is None and not found:
        msg = "the answer holds no JSON object"
        raise UnusableAnswerError(msg, "invalid_json")
    if best is None or not best.keys() & fields:
        msg = f"the answer is no JSON object with the fields {', '.join(fields)}"
        raise UnusableAnswerError(msg, "schema_mismatch")
    return best


def _loaded(text: str) -> Iterator[object]:
    """What of a text is JSON: all of it, its items where it is a list, or objects in it."""
    try:
        whole = _DECODER.decode(text)
    except (ValueError, RecursionError):
        yield from _objects(text)
    else:
        yield from whole if isinstance(whole, list) else [whole]


def _objects(text: str) -> Iterator[object]:
    """The objects in a text; what is inside of one that breaks off is none."""
    place = text.find("{")
    while place >= 0:
        try:
            value, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            end = max(error.pos, place + 1)
        except RecursionError:
            return
        else:
            yield value
        place = text.find("{", end)
