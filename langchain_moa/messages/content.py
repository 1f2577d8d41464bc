"""What a model cannot take, pictures for one, and the conversation without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

from langchain_moa.messages.blocks import MEDIA, kind_of
from langchain_moa.types import AnyMapping

_DEEPEST: Final = 64
OnUnsupported: TypeAlias = Literal["drop_content", "skip_member", "raise"]
"""What to do with a member that cannot take some content of the conversation."""


def unsupported(profile: AnyMapping, messages: Sequence[BaseMessage]) -> list[str]:
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
    return sorted({kind for message in messages for kind in _lacking(profile, message)})


def without_content(messages: Sequence[BaseMessage], profile: AnyMapping) -> list[BaseMessage]:
    """The conversation with a note in the place of each block that a model cannot take.

    Args:
        messages: The conversation. It is not changed.
        profile: The model's profile.
    """
    return [_without(message, _lacking(profile, message)) for message in messages]


def length_of(message: BaseMessage) -> int:
    """Characters of all that a message says, reasoning and calls included."""
    content = message.content
    length = len(content) if isinstance(content, str) else sum(map(_length, content))
    if message.additional_kwargs:
        length += _length(message.additional_kwargs)
    if isinstance(message, AIMessageChunk):
        return length + sum(len(call["args"] or "") for call in message.tool_call_chunks)
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return length + (_length(calls) if calls else 0)


def _length(value: object) -> int:
    """Characters of all texts in some JSON, as deep as answers are nested."""
    length, left = 0, [(value, 0)]
    while left:
        one, depth = left.pop()
        if isinstance(one, str):
            length += len(one)
        elif isinstance(one, dict) and depth < _DEEPEST:
            left += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list) and depth < _DEEPEST:
            left += [(inner, depth + 1) for inner in one]
    return length


def _lacking(profile: AnyMapping, message: BaseMessage) -> set[str]:
    """Kinds of a message's content that a model cannot take there."""
    if not isinstance(message.content, list):
        return set()
    # some take pictures of users, but none in the results of tools
    places = ["inputs", *(["tool_message"] if isinstance(message, ToolMessage) else [])]
    found = set(_kinds(message.content))
    return {k for k in found if any(profile.get(f"{k}_{place}") is False for place in places)}


def _without(message: BaseMessage, kinds: Collection[str]) -> BaseMessage:
    if not kinds:
        return message
    return message.model_copy(
        update={"content": [_replaced(block, kinds) for block in message.content]}
    )


def _replaced(block: Any, kinds: Collection[str]) -> object:
    """A block, or a note in its place; Anthropic's tool results are blocks with blocks inside."""
    kind = _kind(block)
    if kind in kinds:
        return {"type": "text", "text": f"[{kind} left out: this model cannot take it]"}
    inner = _inside(block)
    if not inner:
        return block
    replaced = [_replaced(one, kinds) for one in inner]
    if isinstance(block.get("content"), list):
        return {**block, "content": replaced}
    return {**block, "source": {**block["source"], "content": replaced}}


def _kinds(blocks: Sequence[object]) -> Iterator[str]:
    for block in blocks:
        if (kind := _kind(block)) is not None:
            yield kind
        yield from _kinds(_inside(block))


def _inside(block: object) -> Sequence[object]:
    """The blocks in a block: of a tool's result, or of a document that is made of blocks."""
    for holder in (block, _source(block)):
        inner = holder.get("content") if isinstance(holder, dict) else None
        if isinstance(inner, list):
            return inner
    return ()


def _source(block: object) -> AnyMapping:
    """Where Anthropic keeps a block's data, and what it is."""
    source = block.get("source") if isinstance(block, dict) else None
    return source if isinstance(source, dict) else {}


def _kind(block: object) -> str | None:
    """The kind of a block's content, by its media type where it is said."""
    kind = kind_of(block)
    if kind != "file" or not isinstance(block, dict):
        return kind if kind in MEDIA else None
    if block["type"] == "text-plain":
        return None
    source = _source(block)
    if source.get("type") in ("text", "content"):  # a document that is no file
        return None
    said = block.get("mime_type") or block.get("media_type") or source.get("media_type")
    mime = str(said or "application/pdf")
    found = [kind for kind in ("image", "audio", "video", "pdf") if kind in mime]
    return found[0] if found else None
