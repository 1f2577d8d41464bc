"""How much room messages take, and proposals made to fit into what is left of it.

Tokens are estimated from characters, without a tokenizer: the members of a mixture have different
ones, and loading one costs more than a call.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from operator import add, itemgetter
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, InvalidToolCall, ToolCall

from langchain_moa.messages.blocks import MEDIA, kind_of
from langchain_moa.types import AnyDict, AnyMapping

MEDIA_TOKENS: Final = 1000
"""Tokens of an image, a sound or a file. A guess: providers count from 85 to many thousands."""

PROPOSAL_TOKENS: Final = 1000
"""Tokens of a proposal whose author has no limit of its own. A guess: about 700 English words."""

MESSAGE_TOKENS: Final = 4
"""Tokens of a message beside its content: role and separators."""

MARK: Final = "\n[... shortened]"
"""What a shortened text ends with."""

_READ: Final = ("tools", "functions", "response_format")
"""Call arguments that a model reads beside the conversation."""

_LEAST: Final = 4
"""Tokens, about a long word: a text of which less would be left is left out."""

_ASCII: Final = (
    (b"abcdefghijklmnopqrstuvwxyz", 27),
    (b"ABCDEFGHILMNOPRSTUY", 45),
    (b"JKQVWXZ", 85),  # few where capitals are words, many where they are codes
    (b" ", 15),
    (b"0123456789", 100),
    (b"\t\n\v\f\r", 50),
)
"""Hundredths of a token of ASCII characters; of all others, `_OTHER_ASCII`."""

_OTHER_ASCII: Final = 80
_KINDS: Final = bytes(
    b"a"[0] if chr(c).islower() else b"A"[0] if chr(c).isupper() else b"0"[0] if chr(c).isdigit()
    else b" "[0]
    for c in range(128)
) + b" " * 128  # fmt: skip
_SEAMS: Final = {b"aA": 35, b"a0": 50, b"0a": 50, b"A0": 50, b"0A": 50}
"""Hundredths of a token more between two kinds of characters, where tokens end: the words of
`camelCase` are few, but Base64, hexadecimal numbers, UUIDs and passwords have many such places."""
_LIGHTEST: Final = min(weight for _, weight in _ASCII)

_SCRIPTS: Final = (
    (0x80, 200),  # Latin letters with marks, which also tear the words around them
    (0x300, 230),  # marks by themselves
    (0x370, 100),  # Greek
    (0x400, 60),  # Cyrillic
    (0x530, 200),  # Armenian
    (0x590, 120),  # Hebrew
    (0x600, 115),  # Arabic
    (0x700, 200),
    (0x900, 115),  # Devanagari
    (0x980, 140),  # Bengali
    (0xA00, 200),  # Gurmukhi, Gujarati, Oriya
    (0xB80, 150),  # Tamil
    (0xC00, 200),  # Telugu, Kannada, Malayalam, Sinhala
    (0xE00, 110),  # Thai
    (0xE80, 230),  # Lao, Tibetan, Burmese, Georgian
    (0x1100, 300),  # Korean in single letters, Ethiopic
    (0x1400, 230),
    (0x16A0, 300),  # runes
    (0x1700, 230),  # Khmer among others
    (0x1E00, 140),  # Vietnamese
    (0x2000, 110),  # punctuation
    (0x200B, 300),  # joiners, as between emoji
    (0x2010, 110),
    (0x2100, 200),  # signs and arrows
    (0x2800, 300),  # Braille
    (0x2900, 200),
    (0x3000, 120),  # Japanese syllables, punctuation of East Asia
    (0x3130, 250),  # Korean in single letters
    (0x3190, 120),
    (0x3400, 300),
    (0x4E00, 155),  # Chinese characters
    (0xA000, 300),
    (0xAC00, 135),  # Korean
    (0xD7A4, 250),
    (0xFF00, 200),  # full and half width
    (0x10000, 400),  # cuneiform, hieroglyphs
    (0x1D000, 300),  # emoji, rare characters
)
"""Hundredths of a token of a character, by the first code point of each stretch.

Measured on texts in 50 languages and notations with the tokenizers of GPT-4 (cl100k), GPT-4o, Llama
3, Qwen 2.5, Qwen 3.6 and DeepSeek: of each the least thrifty, for an estimate that is too low costs
a whole answer and one that is too high the end of a draft. GPT-4's takes 1.3 tokens for a Chinese
character, 2 for one that is rare, and 3 for a Burmese or Ethiopic one; Qwen's takes one for each
digit. Of random small letters both make twice as many as of
words, which counts of characters don't tell.
"""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is, for the tokenizer that makes most of it.

    Each character counts by its script; see `_SCRIPTS`. LangChain's `count_tokens_approximately`
    takes a quarter of the characters, of which Chinese has up to five times as many tokens.

    Example:
        >>> estimated_tokens("Hello, world")
        4
        >>> estimated_tokens("你好世界")
        7
    """
    return -(-_hundredths(text) // 100)


def _hundredths(text: str) -> int:
    """Hundredths of a token: of the characters and the seams, so that parts add up to the whole."""
    ascii_part = text.encode("ascii", "ignore")
    kinds = _kinds(text)
    total, others = sum(kinds.count(seam) * weight for seam, weight in _SEAMS.items()), ascii_part
    for characters, weight in _ASCII:
        left = others.translate(None, characters)
        total += (len(others) - len(left)) * weight
        others = left
    total += len(others) * _OTHER_ASCII
    if len(ascii_part) == len(text):
        return total
    return total + sum(_weight(c) * n for c, n in Counter(text).items() if not c.isascii())


def _kinds(text: str) -> bytes:
    """Of each character, whether it is a small letter, a capital, a digit or none of these."""
    return text.encode("ascii", "replace").translate(_KINDS)


@lru_cache(maxsize=4096)
def _weight(character: str) -> int:
    """Hundredths of a token of one character."""
    if character.isascii():
        return _hundredths(character)
    return _SCRIPTS[bisect(_SCRIPTS, ord(character), key=itemgetter(0)) - 1][1]


def input_tokens(messages: Sequence[BaseMessage], *, media: int = MEDIA_TOKENS) -> int:
    """About how many tokens a conversation is as a model's input.

    Counted are texts, tool calls as JSON, `MEDIA_TOKENS` for each image, sound or file, and
    `MESSAGE_TOKENS` for each message. What is bound to the model counts `bound_tokens`.

    Args:
        messages: The conversation, or a part of it: the parts add up to the whole.
        media: Tokens of each image, sound or file.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> input_tokens([HumanMessage("Why is the sky blue?")])
        11
    """
    return sum(_message_tokens(message, media) for message in messages)


def bound_tokens(arguments: AnyMapping) -> int:
    """About how many tokens the tools and the schema in a call's arguments are, as JSON.

    Example:
        >>> bound_tokens({"temperature": 0.5})
        0
    """
    return sum(_json_tokens(arguments[name]) for name in _READ if arguments.get(name))


def shortened(texts: Sequence[str], room: int) -> list[str]:
    r"""The texts, shortened so that together they are estimated at no more than `room` tokens.

    The longest are cut first, all to the same length, the greatest at which the texts fit;
    those that are not longer keep every word. A cut text loses its end, at white space where
    there is some near, never inside a character as a reader sees it, and ends with `MARK`,
    which is counted.

    Where the room gives a text less than the mark and about one word (12 tokens), nothing of it
    is left: it becomes an empty string, and in a very small room all of them may. Callers
    should give `12 * len(texts)` tokens at the least, and leave out what came back empty.

    Args:
        texts: The proposals, in any order, which is kept.
        room: Tokens for all texts together; a negative number is taken as 0.

    Returns:
        As many texts as were given; those that are not cut are the same objects.

    Example:
        >>> shortened(["Blue.", "The sky is blue as air scatters blue light most strongly."], 17)
        ['Blue.', 'The sky is blue as air\n[... shortened]']
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
    place = _place(text, left * 100)
    kept = text[: _word_end(text, place)].rstrip()
    return f"{kept}{MARK}" if kept else ""


def _place(text: str, room: int) -> int:
    """The last place at which a text can be cut to so many hundredths of a token.

    That is between two characters as a reader sees them: grapheme clusters, as Unicode calls them.
    """
    import regex  # noqa: PLC0415 - few calls cut anything

    beginning = text[: room // _LIGHTEST + 1]
    kinds = _kinds(beginning)
    seams = (_SEAMS.get(kinds[at - 1 : at + 1], 0) for at in range(len(kinds)))
    fits = bisect(list(accumulate(map(add, map(_weight, beginning), seams))), room)
    place = 0
    for cluster in regex.finditer(r"[\ud800-\udbff][\udc00-\udfff]|\X", text):
        if cluster.end() > fits:
            break
        place = cluster.end()
    return place


def _word_end(text: str, place: int) -> int:
    """The last white space up to `place`, if a tenth of the text reaches back to it."""
    for end in range(place, place - place // 10 - 1, -1):
        if text[end].isspace():
            return end
    return place


def _message_tokens(message: BaseMessage, media: int) -> int:
    calls: list[ToolCall | InvalidToolCall] = []
    if isinstance(message, AIMessage):
        calls = [*message.tool_calls, *message.invalid_tool_calls]
    content = message.content
    blocks = [content] if isinstance(content, str) else content
    of_blocks = sum(_block_tokens(block, media, with_calls=not calls) for block in blocks)
    of_calls = sum(_json_tokens([call["name"], call["args"], call["id"]]) for call in calls)
    return MESSAGE_TOKENS + of_blocks + of_calls


def _block_tokens(block: str | AnyDict, media: int, *, with_calls: bool) -> int:
    """Tokens of one content block; one of an unknown type counts as JSON.

    Args:
        block: The block.
        media: Tokens of an image, a sound or a file.
        with_calls: Whether calls of tools count; not where the message's `tool_calls` do.
    """
    if isinstance(block, str):
        return estimated_tokens(block)
    if isinstance(block.get("text"), str):
        return estimated_tokens(block["text"])
    kind = kind_of(block)
    if kind == "call" and not with_calls:
        return 0
    if kind in MEDIA:
        return media
    if isinstance(block.get("content"), list):  # a tool's result, which may hold an image
        return sum(_block_tokens(p, media, with_calls=with_calls) for p in block["content"])
    return _json_tokens(block)


def _json_tokens(value: object) -> int:
    return estimated_tokens(json.dumps(value, ensure_ascii=False, default=str))
