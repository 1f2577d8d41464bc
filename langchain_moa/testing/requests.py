"""A chat completions request: as the server keeps it, and what a provider would refuse of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")


@dataclass(kw_only=True)
class RecordedRequest:
    """One chat completions request that the server got.

    Attributes:
        model: The model that was asked for.
        body: The whole JSON body.
        headers: The headers, names in lower case.
        arrived: When it came, on the clock of `time.monotonic`.
        usage: Tokens of the answer, once it was sent.
        finished: Whether the answer was sent to its end.
    """

    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    arrived: float = field(default_factory=time.monotonic)
    usage: dict[str, int] | None = None
    finished: bool = False


def complaint_about(body: Any) -> str | None:
    """Why a provider would answer 400, or `None`.

    It holds a request to what OpenAI's and Together's references say of messages: known roles,
    content where there must be some, tool results right after the call that they answer.

    Args:
        body: The request's body, whatever was sent.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("model"), str):
        return "model must be a string."
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages must be a list with at least one message."
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        complaint = _about_message(message, open_calls)
        if complaint is not None:
            return f"messages[{place}]: {complaint}"
    if open_calls:
        return f"the tool calls {sorted(open_calls)} have no result."
    return _about_choice(body)


def _about_message(message: Any, open_calls: set[str]) -> str | None:
    """What is wrong with a message, given the calls that wait for a result."""
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        return f"role must be one of {', '.join(_ROLES)}."
    if message["role"] == "tool":
        if message.get("tool_call_id") not in open_calls:
            return f"no call waits for the result of {message.get('tool_call_id')!r}."
        open_calls.discard(message["tool_call_id"])
    elif open_calls:
        return f"the tool calls {sorted(open_calls)} need a result first."
    calls = message.get("tool_calls") or []
    open_calls.update(call["id"] for call in calls)
    content = message.get("content")
    if content is None and calls:
        return None
    return _about_content(content)


def _about_content(content: Any) -> str | None:
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        return "content must be a string or a list of parts."
    if all(isinstance(part, Mapping) and "type" in part for part in content):
        return None
    return "each part of content must be an object with a type."


def _about_choice(body: Mapping[str, Any]) -> str | None:
    choice = body.get("tool_choice")
    names = [tool["function"]["name"] for tool in body.get("tools") or []]
    if isinstance(choice, Mapping) and choice["function"]["name"] not in names:
        return f"tool_choice names {choice['function']['name']!r}, which is not among the tools."
    return None
