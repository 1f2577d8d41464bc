"""The fan-out gate: whether a turn asks the reference models, or the aggregator alone.

A turn after tool results mostly routes: the question has been answered by the reference models
already, and each layer would cost as much again.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from langchain_core.messages import BaseMessage

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.prompts import role_of

FanOut: TypeAlias = str | Callable[[list[BaseMessage]], bool]
"""`"always"`, `"user_turns"`, `"every_<n>"`, `"never"`, or a function of the conversation."""

_EVERY: Final = re.compile(r"every_([1-9]\d*)")


def checked_fan_out(given: Any) -> FanOut:
    """The user's setting, found to be one.

    Raises:
        MoAConfigurationError: It is none.
    """
    called = given if inspect.isroutine(given) else getattr(given, "__call__", None)  # noqa: B004
    if callable(given) and not inspect.iscoroutinefunction(called):
        return given  # type: ignore[no-any-return]
    known = given in ("always", "user_turns", "never")
    if known or (isinstance(given, str) and _EVERY.fullmatch(given)):
        return str(given)
    msg = (
        f"fan_out={shown(given)} is unknown; give 'always', 'user_turns', 'never', 'every_2' (or "
        "any other number), or a function that takes the messages and returns True to fan out."
    )
    raise MoAConfigurationError(msg)


def fans_out(setting: FanOut, messages: Sequence[BaseMessage]) -> bool:
    """Whether the reference models are asked in this turn.

    Args:
        setting: `"user_turns"` asks them unless the conversation ends on tool results;
            `"every_3"` in the first turn after a user's message, and in every third after that.
        messages: The conversation.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
        >>> called = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
        >>> turn = [HumanMessage("2 + 2?"), called, ToolMessage("4", tool_call_id="1")]
        >>> fans_out("user_turns", turn[:1]), fans_out("user_turns", turn)
        (True, False)
    """
    if callable(setting):
        return bool(setting(list(messages)))
    if setting == "user_turns":
        return not messages or role_of(messages[-1]) != "tool"
    every = _EVERY.fullmatch(setting)
    if every is None:
        return setting == "always"
    return _answers_since_user(messages) % int(every[1]) == 0


def _answers_since_user(messages: Sequence[BaseMessage]) -> int:
    roles = [role_of(message) for message in messages]
    since = roles[::-1].index("user") if "user" in roles else len(roles)
    return roles[len(roles) - since :].count("assistant")
