"""Foreign answers made of what clients read: data of an odd type never ends a call.

LangChain builds checked objects of what a server sends, and a usage of `1.5` tokens or an id that
is a number ends the call that it belongs to. Here, before that, what is not of the type that the
chat completions API gives it becomes unknown, and what can be told is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from langchain_moa.types import AnyDict, AnyMapping, whole_number

_TEXTS: Final = ("id", "model", "object", "system_fingerprint", "service_tier")
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS: Final = ("prompt_tokens_details", "completion_tokens_details")
_SAID: Final = ("message", "delta")
_FREE_TEXTS: Final = ("reasoning_content", "reasoning", "refusal", "role", "name")
"""Fields of a message that are read as text where they are one."""


def tidied(answer: Any) -> Any:
    """A whole answer of chat completions, or a piece of a streamed one, as clients read it.

    Args:
        answer: What the server sent, of any JSON type. It is not changed.

    Returns:
        The same where there is nothing to tidy, or it is no object.

    Example:
        >>> tidied({"id": 7, "usage": {"prompt_tokens": 1.5}, "choices": []})
        {'id': None, 'usage': None, 'choices': []}
    """
    if not isinstance(answer, dict):
        return answer
    changed: AnyDict = {n: None for n in _TEXTS if not isinstance(answer.get(n), str | None)}
    if (usage := answer.get("usage")) is not None and (known := _usage(usage)) != usage:
        changed["usage"] = known
    choices = answer.get("choices")
    if isinstance(choices, list):
        tidy = [_choice(choice) for choice in choices]
        if any(new is not old for new, old in zip(tidy, choices, strict=True)):
            changed["choices"] = [choice for choice in tidy if choice is not None]
    elif isinstance(choices, dict | str | int | float):
        changed["choices"] = []
    return {**answer, **changed} if changed else answer


def _usage(usage: object) -> AnyDict | None:
    """The usage in whole tokens; `None` where it does not say how many were read and written."""
    if not isinstance(usage, Mapping):
        return None
    counts = {name: usage.get(name) for name in _COUNTS if usage.get(name) is not None}
    known = {name: whole_number(value) for name, value in counts.items()}
    if not known or None in known.values():
        return None
    details = {name: _counts(usage.get(name)) for name in _DETAILS if usage.get(name) is not None}
    return {**usage, **known, **details}


def _counts(details: object) -> AnyDict:
    if not isinstance(details, Mapping):
        return {}
    counted = {name: whole_number(value) for name, value in details.items()}
    return {name: number for name, number in counted.items() if number is not None}


def _choice(choice: Any) -> Any:
    """A choice as clients read it; `None` where it is none."""
    if not isinstance(choice, dict):
        return None
    changed: AnyDict = {}
    if not isinstance(choice.get("finish_reason"), str | None):
        changed["finish_reason"] = None
    if not isinstance(choice.get("logprobs"), dict | None):
        changed["logprobs"] = None
    for name in _SAID:
        if name in choice and (said := _said(choice[name])) is not choice[name]:
            changed[name] = said
    return {**choice, **changed} if changed else choice


def _said(message: Any) -> Any:
    """What a choice says as clients read it."""
    if not isinstance(message, dict):
        return {} if message is not None else None
    changed: AnyDict = {n: None for n in _FREE_TEXTS if not isinstance(message.get(n), str | None)}
    content = message.get("content")
    if not isinstance(content, str | list | None):
        changed["content"] = [content] if isinstance(content, dict) else json.dumps(content)
    calls = message.get("tool_calls")
    if calls is not None:
        given = calls if isinstance(calls, list) else []
        tidy = [known for call in given if (known := _call(call)) is not None]
        if tidy != calls:
            changed["tool_calls"] = tidy
    return {**message, **changed} if changed else message


def _call(call: Any) -> AnyDict | None:
    """A tool call as clients read it; `None` where it names no function."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments")
    changed: AnyDict = {}
    if not isinstance(function.get("name"), str | None):
        changed["name"] = None
    if not isinstance(arguments, str | None):
        changed["arguments"] = json.dumps(arguments)
    known = {**call, "function": {**function, **changed}} if changed else dict(call)
    as_text: Callable[[object], str] = json.dumps
    if not isinstance(call.get("id"), str | None):
        known["id"] = as_text(call["id"])
    if not isinstance(call.get("index"), int | str | None):
        known["index"] = None
    return known


def error_within(answer: AnyMapping) -> object:
    """The error that an answer holds, or one of its choices; `None` where there is none.

    Args:
        answer: A whole answer, or a piece of a streamed one.
    """
    if error := answer.get("error"):
        return error
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and (error := choice.get("error")):
            return error
    return None
