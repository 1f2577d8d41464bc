"""Roles of messages, and text added to the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from langchain_core.messages import BaseMessage, ChatMessage

GO_ON: Final = "Write the next message of this conversation."
"""The user turn of a conversation that has none at its end, as providers want it."""


_ROLES: Final = {"human": "user", "ai": "assistant", "developer": "system"}


def role_of(message: BaseMessage) -> str:
    """The role that a provider sees: user, assistant, system, tool or the message's own."""
    role = message.role if isinstance(message, ChatMessage) else message.type
    return _ROLES.get(role, role)


def last_user_place(messages: Sequence[BaseMessage]) -> int | None:
    """The place of the last user message; `None` where there is none."""
    places = reversed(range(len(messages)))
    return next((place for place in places if role_of(messages[place]) == "user"), None)


def appended(message: BaseMessage, text: str, *, in_block: bool = False) -> BaseMessage:
    """A copy of a message with one more paragraph of text.

    Args:
        message: The message.
        text: The paragraph.
        in_block: Whether it must be a block of its own, also where the content is one text.
    """
    content = message.content
    if isinstance(content, str) and in_block and content:
        content = [{"type": "text", "text": content}]
    if isinstance(content, str):
        joined = f"{content}\n\n{text}" if content else text
        return message.model_copy(update={"content": joined})
    return message.model_copy(update={"content": [*content, {"type": "text", "text": text}]})
