"""Which messages members may see, as the user's own filter says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.reliability.users_code import as_errors
from langchain_moa.settings import is_async

ContextFilter: TypeAlias = (
    Callable[[str, list[BaseMessage]], Sequence[BaseMessage]]
    | Mapping[str, Callable[[list[BaseMessage]], Sequence[BaseMessage]]]
    | None
)
"""Which messages members may see: a function of a model's name and the conversation, or one
function of the conversation per model name."""


def visible(
    given: ContextFilter, names: Iterable[str], messages: Sequence[BaseMessage]
) -> list[BaseMessage]:
    """The messages that a member may see.

    Args:
        given: The user's filter. It gets copies, for it may change what it is given.
        names: The member's name, and that of the member which it stands in for: what is hidden
            from the one, the other must not see.
        messages: The conversation.

    Raises:
        RuntimeError: The filter failed.
        TypeError: It gave no messages.
    """
    filters = _filters(given, names)
    seen = [copied(message) for message in messages] if filters else list(messages)
    for each in filters:
        seen = _filtered(each, seen)
    return seen


def _filtered(
    function: Callable[[list[BaseMessage]], Sequence[BaseMessage]], messages: list[BaseMessage]
) -> list[BaseMessage]:
    try:
        with as_errors():
            kept: object = function(messages)
            found = list(kept) if isinstance(kept, Iterable) else [kept]
    except Exception as error:
        msg = f"context_filter failed ({type(error).__name__}: {error})"
        raise RuntimeError(msg) from error
    if others := [each for each in found if not isinstance(each, BaseMessage)]:
        kind = type(others[0]).__name__
        msg = f"context_filter must give a list of messages; it gave {kind!r} among them"
        raise TypeError(msg)
    return [each for each in found if isinstance(each, BaseMessage)]


def _filters(
    given: ContextFilter, names: Iterable[str]
) -> list[Callable[[list[BaseMessage]], Sequence[BaseMessage]]]:
    once = list(dict.fromkeys(names))
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [given[name] for name in once if name in given]
    return [_named(given, name) for name in once]


def _named(
    function: Callable[[str, list[BaseMessage]], Sequence[BaseMessage]], name: str
) -> Callable[[list[BaseMessage]], Sequence[BaseMessage]]:
    return lambda messages: function(name, messages)


def copied(message: BaseMessage) -> BaseMessage:
    """A copy that shares nothing but a tool's artifact, which may be anything and is never sent."""
    own = {name: deepcopy(value) for name, value in vars(message).items() if name != "artifact"}
    return message.model_copy(update=own)


def checked_context_filter(given: Any) -> ContextFilter:
    """The user's filter, found to be one.

    Raises:
        MoAConfigurationError: It is none, or an async one.
    """
    functions = given.values() if isinstance(given, Mapping) else [given]
    if given is None or all(callable(each) and not is_async(each) for each in functions):
        known: ContextFilter = given
        return known
    msg = (
        f"context_filter={shown(given)} is no filter; give a function (not an async one) of a "
        "model's name and the messages, or a dict of functions of the messages per model name."
    )
    raise MoAConfigurationError(msg)
