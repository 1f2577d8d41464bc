"""How much room messages take, and proposals made to fit into what is left of it.

Tokens are estimated from bytes, without a tokenizer: the members of a mixture have different
ones, and loading one costs more than a call.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage

MEDIA_TOKENS: Final = 1000
"""Tokens of an image, a sound or a file. A guess: providers count from 85 to many thousands."""

PROPOSAL_TOKENS: Final = 1000
"""Tokens of a proposal whose author has no limit of its own. A guess: about 700 English words."""

MESSAGE_TOKENS: Final = 4
"""Tokens of a message beside its content: role and separators."""

MARK: Final = "\n[... shortened]"
"""What a shortened text ends with."""

_BYTES_PER_TOKEN: Final = 4
_LEAST: Final = 4
"""Tokens, about a long word: a text of which less would be left is left out."""

_MEDIA: Final = frozenset(
    {
        *("image", "image_url", "input_image", "audio", "input_audio", "video", "media"),
        *("file", "input_file", "document", "text-plain"),
    }
)
"""Types of content blocks that hold data, in the formats of LangChain and of providers."""

_CALLS: Final = frozenset({"tool_call", "invalid_tool_call", "tool_use", "function_call"})
"""Types of content blocks that repeat a message's tool calls."""

_CONTINUATION_MASK: Final = 0xC0
_CONTINUATION: Final = 0x80
_VIRAMA: Final = 9
"""Combining class of the signs that tie two letters of an Indic script together."""

_JOINERS: Final = ("\u200c", "\u200d")
_FOLLOWERS: Final = (
    ("\u1160", "\u11ff"),  # vowels and finals of a Korean syllable
    ("\udc00", "\udfff"),  # second halves of a surrogate pair
    ("\U0001f3fb", "\U0001f3ff"),  # skin tones
    ("\U000e0020", "\U000e007f"),  # tags, as in the flag of Wales
)
_FLAG_LETTERS: Final = ("\U0001f1e6", "\U0001f1ff")


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is: a quarter of its UTF-8 bytes, rounded up.

    LangChain's `count_tokens_approximately` takes a quarter of the characters, which is too
    low by half or more for Chinese, Japanese and Korean.

    Example:
        >>> estimated_tokens("Hello, world")
        3
        >>> estimated_tokens("你好世界")
        3
    """
    return -(-len(_utf8(text)) // _BYTES_PER_TOKEN)


def input_tokens(messages: Sequence[BaseMessage]) -> int:
    """About how many tokens a conversation is as a model's input.

    Counted are texts, tool calls as JSON, `MEDIA_TOKENS` for each image, sound or file, and
    `MESSAGE_TOKENS` for each message. Definitions of tools are not counted.

    Args:
        messages: The conversation, or a part of it: the parts add up to the whole.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> input_tokens([HumanMessage("Why is the sky blue?")])
        9
    """
    return sum(_message_tokens(message) for message in messages)


def shortened(texts: Sequence[str], room: int) -> list[str]:
    r"""The texts, shortened so that together they are estimated at no more than `room` tokens.

    The longest are cut first, all to the same length, the greatest at which the texts fit;
    those that are not longer keep every word. A cut text loses its end, at white space where
    there is some near, never inside a character as a reader sees it, and ends with `MARK`,
    which is counted.

    Where the room gives a text less than the mark and about one word (8 tokens), nothing of it
    is left: it becomes an empty string, and in a very small room all of them may. Callers
    should give `8 * len(texts)` tokens at the least, and leave out what came back empty.

    Args:
        texts: The proposals, in any order, which is kept.
        room: Tokens for all texts together; a negative number is taken as 0.

    Returns:
        As many texts as were given; those that are not cut are the same objects.

    Example:
        >>> shortened(["Blue.", "The sky is blue because air scatters blue light most."], 13)
        ['Blue.', 'The sky is blue because air\n[... shortened]']
    """
    sizes = [estimated_tokens(text) for text in texts]
    cap = _cap(sizes, max(room, 0))
    return [
        text if size <= cap else _cut(text, cap) for text, size in zip(texts, sizes, strict=True)
    ]


def _cap(sizes: Sequence[int], room: int) -> int:
    """The greatest size that all can be cut to so that they fit: short ones leave room."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return room


def _cut(text: str, tokens: int) -> str:
    """The beginning of a text that is longer than `tokens`, and the mark."""
    left = tokens - estimated_tokens(MARK)
    if left < _LEAST:
        return ""
    place = _boundary(text, _characters(text, left * _BYTES_PER_TOKEN))
    kept = text[: _word_end(text, place)].rstrip()
    return f"{kept}{MARK}" if kept else ""


def _characters(text: str, size: int) -> int:
    """How many characters of a text fit into so many bytes; it has more."""
    data = _utf8(text)
    while data[size] & _CONTINUATION_MASK == _CONTINUATION:
        size -= 1
    return len(data[:size].decode("utf-8", "surrogatepass"))


def _boundary(text: str, place: int) -> int:
    """The last place up to `place` at which no combined character is torn apart."""
    while place > 0 and _joined(text[place - 1], text[place]):
        place -= 1
    return place


def _word_end(text: str, place: int) -> int:
    """The last white space before `place`, if a tenth of the text reaches back to it."""
    for end in range(place, place - place // 10 - 1, -1):
        if text[end].isspace() and _boundary(text, end) == end:
            return end
    return place


def _joined(before: str, after: str) -> bool:
    """Whether two characters are parts of one; rather too often than not."""
    return (
        before in _JOINERS
        or after in _JOINERS
        or unicodedata.category(after).startswith("M")
        or unicodedata.combining(before) == _VIRAMA
        or any(first <= after <= last for first, last in _FOLLOWERS)
        # which two of several letters make a flag is told from the first one on
        or all(_FLAG_LETTERS[0] <= letter <= _FLAG_LETTERS[1] for letter in (before, after))
    )


def _message_tokens(message: BaseMessage) -> int:
    calls: list[Any] = []
    if isinstance(message, AIMessage):
        calls = [*message.tool_calls, *message.invalid_tool_calls]
    content = message.content
    blocks = [content] if isinstance(content, str) else content
    skipped = _CALLS if calls else frozenset()
    of_blocks = sum(_block_tokens(block, skipped) for block in blocks)
    of_calls = sum(_json_tokens([call["name"], call["args"], call["id"]]) for call in calls)
    return MESSAGE_TOKENS + of_blocks + of_calls


def _block_tokens(block: str | dict[str, Any], skipped: frozenset[str]) -> int:
    """Tokens of one content block; one of an unknown type counts as JSON."""
    if isinstance(block, str):
        return estimated_tokens(block)
    if isinstance(block.get("text"), str):
        return estimated_tokens(block["text"])
    if block.get("type") in skipped:
        return 0
    if block.get("type") in _MEDIA:
        return MEDIA_TOKENS
    if isinstance(block.get("content"), list):  # a tool's result, which may hold an image
        return sum(_block_tokens(part, skipped) for part in block["content"])
    return _json_tokens(block)


def _json_tokens(value: object) -> int:
    return estimated_tokens(json.dumps(value, ensure_ascii=False, default=str))


def _utf8(text: str) -> bytes:
    """The bytes of a text; halves of surrogate pairs, which JSON may bring, are let pass."""
    return text.encode("utf-8", "surrogatepass")
