"""What a model cannot take, pictures for one, and the conversation without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from langchain_core.messages import BaseMessage

OnUnsupported: TypeAlias = Literal["drop_content", "skip_member", "raise"]
"""What to do with a member that cannot take some content of the conversation."""

_KINDS: Final = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "file": "pdf",
    "document": "pdf",
    "input_file": "pdf",
}
"""Kind of a content block by its type, in LangChain's, OpenAI's and Anthropic's words."""


def unsupported(profile: Mapping[str, Any], messages: Sequence[BaseMessage]) -> list[str]:
    """Which kinds of content of a conversation a model says it cannot take.

    What its profile does not speak of is sent: the provider then says whether it can.

    Args:
        profile: The model's profile.
        messages: The conversation.

    Returns:
        Some of `image`, `audio`, `video`, `pdf`, sorted.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> picture = {"type": "image", "url": "https://example.com/cat.png"}
        >>> unsupported({"image_inputs": False}, [HumanMessage([picture])])
        ['image']
    """
    lacking = {kind for kind in _KINDS.values() if profile.get(f"{kind}_inputs") is False}
    if not lacking:
        return []
    found = {_kind(block) for message in messages for block in _blocks(message)}
    return sorted(kind for kind in found if kind in lacking)


def without_content(messages: Sequence[BaseMessage], kinds: Sequence[str]) -> list[BaseMessage]:
    """The conversation with a note in the place of each block of these kinds."""
    return [_without(message, kinds) for message in messages] if kinds else list(messages)


def _without(message: BaseMessage, kinds: Sequence[str]) -> BaseMessage:
    if not any(_kind(block) in kinds for block in _blocks(message)):
        return message
    content = [
        {"type": "text", "text": f"[{_kind(block)} left out: this model cannot take it]"}
        if _kind(block) in kinds
        else block
        for block in message.content
    ]
    return message.model_copy(update={"content": content})


def _blocks(message: BaseMessage) -> Sequence[Any]:
    return message.content if isinstance(message.content, list) else ()


def _kind(block: Any) -> str | None:
    return _KINDS.get(str(block.get("type"))) if isinstance(block, dict) else None
