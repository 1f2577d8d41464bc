"""The fan-out gate: whether a turn asks the reference models, or the aggregator alone.

A step after results of a mixture's own tools mostly routes: the question has been answered by the
reference models already, and each layer would cost as much again. Results of another agent's tools
are something else: after a handoff, say, the mixture is asked for the first time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.messages.roles import last_user_place, role_of
from langchain_moa.messages.visibility import copied
from langchain_moa.reliability.users_code import as_errors
from langchain_moa.settings import is_async

FanOut: TypeAlias = str | Callable[[list[BaseMessage]], bool]
"""`"always"`, `"user_turns"`, `"every_<n>"`, `"never"`, or a function of the conversation."""

USUAL: Final = "user_turns"
logger = logging.getLogger(__name__)
_EVERY: Final = re.compile(r"every_([1-9]\d{0,5})")


def fans_out(
    setting: FanOut, messages: Sequence[BaseMessage], tools: Collection[str] | None = None
) -> bool:
    """Whether the reference models are asked in this step.

    Args:
        setting: `"user_turns"` asks them unless the conversation ends on tool results and one of
            the mixture's own tools was called since the user's message, so that this is a loop of
            its own; `"every_3"` in the first step of its own after a user's message, and in every
            third after that. A function gets copies, for it may change what it is given; one that
            fails is logged, and the turn is decided as by default.
        messages: The conversation.
        tools: Names of the mixture's own tools, of which it may have none; `None` where they are
            not known, so that all may be.

    Example:
        >>> from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
        >>> called = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
        >>> turn = [HumanMessage("2 + 2?"), called, ToolMessage("4", tool_call_id="1")]
        >>> fans_out("user_turns", turn[:1]), fans_out("user_turns", turn)
        (True, False)
        >>> fans_out("user_turns", turn, {"add"}), fans_out("user_turns", turn, {"search"})
        (False, True)
    """
    if callable(setting):
        try:
            with as_errors():
                return bool(setting([copied(message) for message in messages]))
        except Exception:
            logger.exception("fan_out failed; the turn is decided as %r", USUAL)
            return fans_out(USUAL, messages, tools)
    if setting == "user_turns":
        ends_on_results = bool(messages) and role_of(messages[-1]) == "tool"
        return not ends_on_results or (tools is not None and not _steps(messages, tools))
    every = _EVERY.fullmatch(setting)
    if every is None:
        return setting == "always"
    return _steps(messages, tools or None) % int(every[1]) == 0


def _steps(messages: Sequence[BaseMessage], tools: Collection[str] | None) -> int:
    """How many answers since the user's message called one of these tools; `None` counts all."""
    place = last_user_place(messages)
    since = messages[0 if place is None else place + 1 :]
    answers = [message for message in since if role_of(message) == "assistant"]
    return len([m for m in answers if tools is None or not _called(m).isdisjoint(tools)])


def _called(message: BaseMessage) -> set[str | None]:
    if not isinstance(message, AIMessage):
        return set()
    return {call["name"] for call in (*message.tool_calls, *message.invalid_tool_calls)}


def checked_fan_out(given: object) -> FanOut:
    """The user's setting, found to be one.

    Raises:
        MoAConfigurationError: It is none.
    """
    if callable(given) and not is_async(given):
        function: FanOut = given
        return function
    known = given in ("always", "user_turns", "never")
    if known or (isinstance(given, str) and _EVERY.fullmatch(given)):
        return str(given)
    msg = (
        f"fan_out={shown(given)} is unknown; give 'always', 'user_turns', 'never', 'every_2' (or "
        "any other number), or a function that takes the messages and returns True to fan out."
    )
    raise MoAConfigurationError(msg)
