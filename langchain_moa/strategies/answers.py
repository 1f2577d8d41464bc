"""Finds the JSON object in what a model answered, whichever way it gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from langchain_core.messages import AIMessage

from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.strategies.base import UnusableAnswerError
from langchain_moa.types import AnyDict

_STARTS: Final = 16
"""Braces at which JSON is looked for: an answer may speak of braces before it comes to its own."""


def values_of(answer: AIMessage) -> AnyDict:
    r"""The JSON object of an answer: a call's arguments, or in its text, Markdown around it or not.

    Raises:
        UnusableAnswerError: There is none.

    Example:
        >>> values_of(AIMessage('Here it is:\n```json\n{"number": 2}\n```\nGood luck!'))
        {'number': 2}
        >>> values_of(AIMessage("I like the second one."))
        Traceback (most recent call last):
        ...
        langchain_moa.strategies.base.UnusableAnswerError: the answer holds no JSON object
    """
    if answer.tool_calls:
        return dict(answer.tool_calls[0]["args"])
    broken = [str(call["args"]) for call in answer.invalid_tool_calls]
    texts = [text for text in (*broken, strip_reasoning(answer.text)) if text.strip()]
    if not texts:
        msg = "the answer is empty"
        raise UnusableAnswerError(msg, "empty")
    found = [value for text in texts for value in _loaded(text)]
    objects = [value for value in found if isinstance(value, dict)]
    if objects:
        return objects[0]
    if found:
        msg = "the answer is JSON, but no object"
        raise UnusableAnswerError(msg, "schema_mismatch")
    msg = "the answer holds no JSON object"
    raise UnusableAnswerError(msg, "invalid_json")


def _loaded(text: str) -> Iterator[Any]:
    """What of a text is JSON: all of it, or objects in it."""
    try:
        yield json.loads(text)
    except (ValueError, RecursionError):
        yield from _objects(text)


def _objects(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), text.find("{")
    for _ in range(_STARTS):
        if place < 0:
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield value
        place = text.find("{", end)
