"""Foreign answers made of what clients read: data of an odd type never ends a call.

LangChain builds checked objects of what a server sends, and a usage of `1.5` tokens or an id that
is a number ends the call that it belongs to. Here, before that, what is not of the type that the
chat completions API gives it becomes unknown, and what can be told is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from langchain_core.exceptions import ModelAPIError

from langchain_moa.types import AnyDict, whole_number

_TEXTS: Final = ("id", "model", "object", "system_fingerprint", "service_tier")
_LONGEST_INDEX: Final = 6
"""Digits of the number of a call."""
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS: Final = ("prompt_tokens_details", "completion_tokens_details")
_SAID: Final = {"message": None, "delta": "assistant"}
"""Where a choice says something, and the role that it has where it names none."""
_FREE_TEXTS: Final = ("reasoning_content", "reasoning", "refusal", "name")
"""Fields of a message that are read as text where they are one."""
_TEXT_BLOCKS: Final = ("text", "output_text", "output", None)
"""Types of content blocks whose text is read; some servers give none."""
_TELLING: Final = (
    *("message", "detail", "details", "errors", "msg"),
    *("error_message", "error_msg", "errorMessage", "error_description"),
)
"""Where servers say what is wrong, beside or in place of `error`, the plainest first."""


def tidied(answer: object) -> Any:
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
        if any(new is None or new is not old for new, old in zip(tidy, choices, strict=True)):
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


def _choice(choice: object) -> object:
    """A choice as clients read it; `None` where it is none."""
    if not isinstance(choice, dict):
        return None
    changed: AnyDict = {}
    if not isinstance(choice.get("finish_reason"), str | None):
        changed["finish_reason"] = None
    if not isinstance(choice.get("logprobs"), dict | None):
        changed["logprobs"] = None
    for name, role in _SAID.items():
        if name in choice and (said := _said(choice[name], role)) is not choice[name]:
            changed[name] = said
    return {**choice, **changed} if changed else choice


def _said(message: object, role: str | None) -> object:
    """What a choice says as clients read it; its role by default is this."""
    if not isinstance(message, dict):
        return {} if message is not None else None
    changed: AnyDict = {n: None for n in _FREE_TEXTS if not isinstance(message.get(n), str | None)}
    if message.get("role", role) != "assistant":  # a whole message must have it
        changed["role"] = "assistant"
    content = message.get("content")
    if isinstance(content, list | dict):
        given = content if isinstance(content, list) else [content]
        blocks = [_block(block) for block in given if block is not None]
        if blocks != content:
            changed["content"] = blocks
    elif not isinstance(content, str | None):
        changed["content"] = json.dumps(content)
    called = message.get("function_call")
    if called is not None and (function := _function(called)) != called:
        changed["function_call"] = function
    calls = message.get("tool_calls")
    if calls is not None:
        given = calls if isinstance(calls, list) else []
        tidy = [known for call in given if (known := _call(call)) is not None]
        if tidy != calls:
            changed["tool_calls"] = tidy
    return {**message, **changed} if changed else message


def _block(block: object) -> object:
    """A part of a message's content as clients read it."""
    if not isinstance(block, dict):
        return block if isinstance(block, str) else json.dumps(block)
    kind = block.get("type")
    text = block.get("text", "")
    if kind not in _TEXT_BLOCKS or (isinstance(text, str) and kind == "text"):
        return block if isinstance(kind, str) else {**block, "type": json.dumps(kind)}
    known = text if isinstance(text, str | None) else json.dumps(text)
    return {**block, "type": "text", "text": known or ""}


def _function(called: object) -> AnyDict | None:
    """The name and the arguments of a call as clients read them; `None` where it has neither."""
    if not isinstance(called, dict):
        return None
    changed: AnyDict = {}
    if not isinstance(called.get("name"), str | None):
        changed["name"] = None
    arguments = called.get("arguments")
    if not isinstance(arguments, str | None):
        changed["arguments"] = json.dumps(arguments)
    return {**called, **changed} if changed else called


def _call(call: Any) -> AnyDict | None:
    """A tool call as clients read it; `None` where it names no function."""
    function = _function(call.get("function")) if isinstance(call, dict) else None
    if function is None:
        return None
    as_text: Callable[[object], str] = json.dumps
    name, index = call.get("id"), call.get("index")
    if isinstance(index, str) and index.isdecimal() and len(index) <= _LONGEST_INDEX:
        index = int(index)
    known = {**call, "function": function}
    # clients of streams drop all calls of a piece in which one has no index
    known["index"] = index if isinstance(index, int) and not isinstance(index, bool) else None
    if not isinstance(name, str | None):
        known["id"] = as_text(name)
    return known


def calls_apart(answer: AnyDict) -> tuple[AnyDict, list[list[AnyDict]]]:
    """A whole answer without tool calls whose arguments are no JSON object, and those, by choice.

    A client takes JSON of any kind for arguments, and cannot make a message of them. In a stream,
    such calls are invalid ones.

    Args:
        answer: A tidied answer. It is not changed.

    Example:
        >>> call = {"id": "1", "function": {"name": "add", "arguments": "[1]"}}
        >>> calls_apart({"choices": [{"message": {"tool_calls": [call]}}]})[1] == [[call]]
        True
    """
    choices = answer.get("choices") or []
    calls = [((choice.get("message") or {}).get("tool_calls") or []) for choice in choices]
    odd = [[call for call in given if not _takes_arguments(call)] for given in calls]
    if not any(odd):
        return answer, odd
    kept = [[call for call in given if _takes_arguments(call)] for given in calls]
    told_apart = [
        {**choice, "message": {**choice["message"], "tool_calls": good}} if bad else choice
        for choice, good, bad in zip(choices, kept, odd, strict=True)
    ]
    return {**answer, "choices": told_apart}, odd


def _takes_arguments(call: AnyDict) -> bool:
    """Whether arguments can be read of it; none at all are an empty object."""
    arguments = call["function"].get("arguments")
    return not arguments or arguments.lstrip().startswith("{")


def error_within(answer: object) -> object:
    """The error that an answer holds, or one of its choices, or that it is; `None` for none.

    Args:
        answer: A whole answer, or a piece of a streamed one. Some of Google's endpoints put an
            error into a list.

    Example:
        >>> error_within({"object": "error", "message": "Overloaded", "code": 503})["code"]
        503
        >>> error_within([{"error": "quota"}]), error_within({"choices": []})
        ('quota', None)
    """
    for one in answer if isinstance(answer, list) else [answer]:
        if not isinstance(one, Mapping):
            continue
        if error := one.get("error"):
            return error
        choices = one.get("choices")
        if choices is None and told(one) is not None:
            return one
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and (error := choice.get("error")):
                return error
    return None


def told(error: object) -> object:
    """What an error object says, most plainly; `None` where it says nothing."""
    if not isinstance(error, Mapping):
        return error or None
    return next((error[name] for name in _TELLING if error.get(name)), None)


def unread(what: str) -> ModelAPIError:
    """The error of an answer that nobody can read; it may be asked for again."""
    return ModelAPIError(f"the answer cannot be read: {what}")


def is_page(text: object) -> bool:
    """Whether it is a page, as a wrong address gives, and nothing that a model's server says."""
    return isinstance(text, str) and text.lstrip().startswith("<")


def is_document(response: Any) -> bool:
    """Whether a response is a whole JSON document or a page, and no stream."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return bool(kind.endswith(("/json", "+json", "/html")))
