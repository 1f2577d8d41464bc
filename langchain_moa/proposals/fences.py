"""The fences around proposals, which no proposal can close or forge."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from unicodedata import normalize

_BRACKETS: Final = "<\u02c2\u1438\u2039\u2329\u276c\u276e\u27e8\u29fc\u3008\ufe64\uff1c\U000e003c"
_UNSEEN: Final = (
    "[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\\xad\\u0300-\\u036f\\u061c\\u180b-\\u180f\\u200b-\\u200f"
    "\\u202a-\\u202e\\u2060-\\u206f\\ufe00-\\ufe0f\\ufeff\\U000e0000-\\U000e001f\\U000e007f-\\U000e0fff]*"
)
"""Characters that nobody sees: a word with some of them inside looks the same."""
_DRAWN_ALIKE: Final = {
    "a": "\u0430\u0410\u03b1\u0391",
    "l": "\u04cf",
    "o": "\u043e\u041e\u03bf\u039f",
    "p": "\u0440\u0420\u03c1\u03a1",
    "s": "\u0455\u0405",
}
_STYLED: Final = (
    *range(0xA0, 0x250),
    *range(0x1D00, 0x1F00),
    *range(0x2070, 0x20A0),
    *range(0x2100, 0x2190),
    *range(0x2460, 0x2500),
    *range(0xFF00, 0xFF5F),
    *range(0x1D400, 0x1D800),
)
"""Where Unicode keeps Latin letters with marks, in circles, in mathematical dress."""


def _like(letter: str) -> str:
    """A class of the characters that can be taken for a letter."""
    styled = (chr(c) for c in _STYLED if normalize("NFKD", chr(c))[:1].lower() == letter)
    return f"[{letter}{chr(0xE0000 + ord(letter))}{_DRAWN_ALIKE.get(letter, '')}{''.join(styled)}]"


_FENCE_LOOKALIKE = re.compile(
    rf"[{_BRACKETS}](?=(?:(?![{_BRACKETS}])[\W_])*{_UNSEEN.join(map(_like, 'proposal'))})",
    re.IGNORECASE,
)


def fence(texts: Sequence[str]) -> str:
    """Number and fence proposals so that none can close its fence or forge a number.

    The tag carries a key hashed from all the texts: no text can hold it, for it would have
    to hold a hash of itself, and yet equal calls make equal requests, so that caches hit.

    Args:
        texts: The proposals, in (layer, index) order.

    Returns:
        The fenced proposals as one text, numbered from 1, without any model's name.
    """
    key = blake2b(json.dumps(texts).encode(), digest_size=8).hexdigest()
    blocks = [
        f'<proposal-{key} number="{number}">\n'
        f"{_FENCE_LOOKALIKE.sub('&lt;', text)}\n"
        f"</proposal-{key}>"
        for number, text in enumerate(texts, start=1)
    ]
    return "\n\n".join(blocks)
