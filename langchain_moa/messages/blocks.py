"""Types of content blocks, in the words of LangChain and of all providers: one table for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from langchain_moa.types import AnyMapping

Kind: TypeAlias = Literal[
    "text",
    "refusal",
    "reasoning",
    "call",
    "server_call",
    "result",
    "image",
    "audio",
    "video",
    "file",
]
"""What a block holds. What a `"file"` is, its media type says.

A `"call"` repeats one of the message's `tool_calls`; a `"server_call"` ran at the provider.
"""


class BlockType(NamedTuple):
    """What is known of a type of blocks.

    Attributes:
        kind: What such a block holds.
        maker: Whose clients alone make it, as their messages' `model_provider`; empty for several.
    """

    kind: Kind
    maker: str = ""


BLOCK_TYPES: Final[Mapping[str, BlockType]] = {
    "text": BlockType("text"),
    "refusal": BlockType("refusal", "openai"),
    "reasoning": BlockType("reasoning", "openai"),
    "thinking": BlockType("reasoning"),  # Anthropic's, Google's, Mistral's: see `maker_of`
    "redacted_thinking": BlockType("reasoning", "anthropic"),
    "reasoning_content": BlockType("reasoning", "bedrock"),
    "tool_call": BlockType("call"),
    "invalid_tool_call": BlockType("call"),
    "tool_use": BlockType("call"),
    "function_call": BlockType("call", "openai"),
    "server_tool_use": BlockType("server_call", "anthropic"),
    "tool_result": BlockType("result"),
    "image": BlockType("image"),
    "image_url": BlockType("image"),
    "input_image": BlockType("image"),
    "audio": BlockType("audio"),
    "input_audio": BlockType("audio"),
    "video": BlockType("video"),
    "video_url": BlockType("video"),
    "media": BlockType("file"),
    "file": BlockType("file"),
    "document": BlockType("file"),
    "input_file": BlockType("file"),
    "text-plain": BlockType("file"),
}

_MAKERS_BY_ENDING: Final = {"_tool_result": "anthropic", "_call": "openai"}
"""Makers of the blocks of tools that run at a provider's, by how their types end."""

MEDIA: Final = ("image", "audio", "video", "file")
"""Kinds of data that is no text."""

REASONING_TYPES: Final = tuple(t for t, known in BLOCK_TYPES.items() if known.kind == "reasoning")
"""Types of the blocks in which providers put reasoning, and their fields that hold its words."""
REASONING_KEY: Final = "reasoning_content"
"""Where LangChain's classes put reasoning that came beside the content (`additional_kwargs`)."""


def kind_of(block: object) -> Kind | None:
    """What a block holds; `None` where its type is not known.

    Args:
        block: A block, or a bare text in its place.

    Example:
        >>> kind_of({"type": "input_image", "image_url": "https://example.com/cat.png"})
        'image'
    """
    if isinstance(block, str):
        return "text"
    known = BLOCK_TYPES.get(str(block.get("type"))) if isinstance(block, dict) else None
    return known.kind if known is not None else None


def maker_of(block: AnyMapping) -> str:
    """Whose client a block looks like it was made by; empty where it may be anybody's."""
    kind = str(block.get("type"))
    if kind == "thinking":
        if isinstance(block.get("thinking"), list):
            return "mistralai"
        unsigned = block.get("thinking") and not block.get("signature")
        return "google_genai" if unsigned else "anthropic"
    if known := BLOCK_TYPES.get(kind):
        return known.maker
    return next((who for end, who in _MAKERS_BY_ENDING.items() if kind.endswith(end)), "")


def is_reasoning(block: object) -> bool:
    """Whether a block holds reasoning, in the words of any provider."""
    return kind_of(block) == "reasoning"


def is_blank(block: object) -> bool:
    """Whether a block, or a bare text in its place, is a text of nothing but white space."""
    text = block.get("text") if isinstance(block, dict) else block
    return kind_of(block) == "text" and not str(text or "").strip()
