"""The fences around proposals, which no proposal can close or forge, and which no user sees."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

LOOKALIKES: Final[Mapping[str, str]] = {
    "<": "\u02c2\u1438\u16b2\u2039\u226e\u276c\u276e\u2770\u27e8\u2991\u29fc\u3008\ufe64\uff1c"
    "\U0001d236",
    "a": "\u0251\u0391\u03b1\u0410\u0430\u13aa\u15c5\u237a\u2c6d\ua4ee\uab7a\U000102a0\U00016f40",
    "l": "1Ii|\u0196\u01c0\u0269\u0399\u03b9\u0406\u0456\u04c0\u04cf\u05c0\u05d5\u05df\u0627"
    "\u0661\u06f1\u07ca\u13de\u14aa\u16c1\u2223\u23fd\u2c92\u2c93\u2cd0\u2cd1\u2d4f\ua4e1\ua4f2"
    "\uabae\U0001028a\U00010309\U00010320\U0001041b\U00010443\U00010526\U000118a3\U000118b2"
    "\U000118c3\U000118d2\U00016f16\U00016f28\U0001d22a\U0001e8c7",
    "o": "0\u039f\u03a3\u03bf\u03c3\u041e\u043e\u0555\u0585\u05e1\u0647\u0665\u06be\u06c1\u06d5"
    "\u06f5\u07c0\u0966\u09e6\u0a66\u0ae6\u0b20\u0b66\u0be6\u0c02\u0c66\u0c82\u0ce6\u0d02\u0d20"
    "\u0d66\u0d82\u0e50\u0ed0\u101d\u1040\u10ff\u12d0\u1cbf\u1d0f\u1d11\u2c9e\u2c9f\u2d54\u3007"
    "\ua4f3\uab3d\U00010292\U000102ab\U00010404\U0001042c\U000104c2\U000104ea\U00010516"
    "\U000114d0\U000118a8\U000118b5\U000118b7\U000118c8\U000118d5\U000118d7\U000118e0",
    "p": "\u03a1\u03c1\u0420\u0440\u13e2\u146d\u2374\u2ca2\u2ca3\ua4d1\uabb2\U00010295",
    "r": "\u01a6\u0280\u0413\u0433\u13a1\u13b1\u13d2\u1587\u1d26\u2c84\u2c85\ua4e3\uab47\uab48"
    "\uab71\uab81\uaba2\U000104b4\U000104dc\U00016f35\U0001d216",
    "s": "\u01bc\u01bd\u0405\u0455\u054f\u057f\u13d5\u13da\ua4e2\ua731\uaba5\uabaa\U00010296"
    "\U00010420\U00010448\U000118a1\U000118c1\U00016f3a",
}
"""Characters that can be taken for those of a tag, by Unicode's data, as a test works them out.

They are the confusables of Unicode Technical Standard 39 in either case, and the left angle
brackets. What compatibility decomposition (NFKD) makes of a character need not be here.
"""

_PLAIN: Final = {ord(c): plain for plain, alike in LOOKALIKES.items() for c in alike}
_WORD: Final = "proposal"
_TAG_CHARACTERS: Final = range(0xE0020, 0xE007F)
"""Copies of ASCII that nobody sees and some models read."""


class Beside(NamedTuple):
    """What a reader gets beside the proposals, written by models like these.

    Attributes:
        analysis: What an analyst found in them; it refers to them by their numbers.
        reasoning: Per proposal, how its author came to it; empty where that is not known.
    """

    analysis: str = ""
    reasoning: Sequence[str] = ()


PROPOSALS_ALONE: Final = Beside()
_REASONING: Final = """\
How authors of drafts came to theirs, by the drafts' numbers. It is material, too, and may be \
right where its conclusion is wrong, or wrong where that is right:"""
_ANALYSIS: Final = """\
Another assistant has compared the drafts, to which it refers by their numbers. Its analysis is \
material, too, and may be wrong:"""


def fence(texts: Sequence[str], beside: Beside = PROPOSALS_ALONE, key: str | None = None) -> str:
    """Number and fence proposals so that none can close its fence or forge a number.

    Args:
        texts: The proposals, in the order in which they are numbered. An empty one is left out; the
            others keep their numbers.
        beside: What else is read with them.
        key: The key in their tags, where it is known: `fence_key` of the other arguments.

    Returns:
        The fenced proposals as one text, numbered from 1, without any model's name.
    """
    key = key or fence_key(texts, beside)
    blocks = list(_blocks(key, "number", texts))
    if any(beside.reasoning):
        blocks += [_REASONING, *_blocks(key, "reasoning", beside.reasoning)]
    if beside.analysis:
        blocks += [_ANALYSIS, _block(key, "analysis", beside.analysis)]
    return "\n\n".join(blocks)


def _blocks(key: str, name: str, texts: Sequence[str]) -> Iterator[str]:
    numbered = enumerate(texts, start=1)
    return (_block(key, f'{name}="{number}"', text) for number, text in numbered if text)


def _block(key: str, attribute: str, text: str) -> str:
    return f"<proposal-{key} {attribute}>\n{_neutralised(text)}\n</proposal-{key}>"


def fence_key(texts: Sequence[str], beside: Beside = PROPOSALS_ALONE) -> str:
    """The key in the tags around these proposals, hashed from all that stands between them.

    No text can hold it, for it would have to hold a hash of itself, and yet equal calls make equal
    requests, so that caches hit.
    """
    hashed = list(texts) if beside == PROPOSALS_ALONE else [*texts, *beside]
    return blake2b(json.dumps(hashed).encode(), digest_size=8).hexdigest()


def without_tags(text: str, key: str, *, ended: bool = True) -> str:
    r"""A text of a model without the tags of the fences that it was shown, garbled ones as well.

    A tag is told by the beginning of this call's key, whatever comes after it and whether it is
    closed or not, or by a place for a key with none in it. Tags with other keys, or of other names,
    are somebody's text and stay.

    Args:
        text: What the model wrote.
        key: The key of the fences.
        ended: Whether nothing comes after the text, so that a tag at its end is one that was cut.

    Example:
        >>> without_tags('<proposal-0123 number="1">\nYes.\n</proposal-0123>', "0123")
        'Yes.'
        >>> without_tags('Yes.\n</proposal-', "0123"), without_tags("<proposal-card>", "0123")
        ('Yes.', '<proposal-card>')
    """
    if _NAME not in text:
        return text
    cleaned = _tags(key, ended=ended).sub("", text)
    if _tags(key, ended=ended).search(cleaned):
        # around a tag that was taken out there stood the halves of another one
        cleaned = cleaned.replace(_NAME, f"{_WORD} ")
    return cleaned


_NAME: Final = f"{_WORD}-"
_TOLD: Final = 4
"""Digits of a key by which a tag is told to be this call's: one text in 65,536 has them by chance.
"""
_SIGNS: Final = 2
"""Signs between a tag's bracket and its name: a slash, as JSON writes it, or a stray blank."""
_REST: Final = r"(?: [^<>\n]{0,32})?>"
"""The end of a tag."""
_GARBLED: Final = rf"[0-9A-Za-z_-]{{0,32}}{_REST}"
_ATTRIBUTES: Final = ("number", "reasoning", "analysis")


@lru_cache(maxsize=256)
def _tags(key: str, *, ended: bool) -> re.Pattern[str]:
    known = f"{_NAME}{key[:_TOLD]}"
    # a quotation mark without a number behind it may end the text of a JSON document
    value = r"""(?:\d{1,9}|\\?["']\d{1,9}(?:\\?["'])?)"""
    attribute = rf" (?:{'|'.join(_ATTRIBUTES)})=(?:{value})?"
    unclosed = f"[0-9a-f]{{0,{len(key)}}}(?:{attribute})?"  # what follows may be an answer's word
    named = f"{known}(?:{_GARBLED}|{unclosed})"
    opening, closing = rf"<[ \\]?{named}\n?", rf"\n?<[ \\]?/ ?{named}"
    bare = rf"<{_NAME}{_REST}\n?", rf"\n?</{_NAME}{_REST}", rf"</{_NAME}(?=\n)"
    at_end = (
        rf"\n?</?{_NAME}(?:{_beginnings(key)})?\Z",
        rf"""<{known}[0-9a-f]* (?:{_CUT})=?\\?["']?\Z""",
    )
    return re.compile("|".join([*(at_end if ended else ()), opening, closing, *bare]))


def _beginnings(word: str) -> str:
    return "|".join(word[:end] for end in range(len(word), 0, -1))


_CUT: Final = "|".join(map(_beginnings, _ATTRIBUTES))


def begun_tag(text: str, key: str) -> int:
    """How many characters at the end of a text may belong to a tag that goes on."""
    place = text.rfind("<")
    if place >= 0 and _may_go_on(text[place + 1 :], key):
        return len(text) - place + text.endswith("\n", 0, place)
    opened = place >= 0 and _tags(key, ended=False).fullmatch(text, place)
    return 0 if opened else int(text.endswith("\n"))  # which goes with the opening tag


def _may_go_on(written: str, key: str) -> bool:
    """Whether what stands after a bracket may be the beginning of a tag, or one as yet."""
    name = written.lstrip(" \\/")
    known = f"{_NAME}{key[:_TOLD]}"
    if len(written) - len(name) > _SIGNS:
        return False
    if known.startswith(name):
        return True
    begun, more = (known, f"{_GARBLED}?") if name.startswith(known) else (_NAME, rf"{_REST}?|\n")
    return name.startswith(begun) and re.fullmatch(more, name[len(begun) :]) is not None


def _neutralised(text: str) -> str:
    """The text with `&lt;` for each bracket that a reader could take for the start of a tag."""
    places = [place for place in _brackets(text) if _names_a_proposal(text, place + 1)]
    kept = [text[end:start] for end, start in _between(places, len(text))]
    return "&lt;".join(kept)


def _between(places: Sequence[int], end: int) -> Iterator[tuple[int, int]]:
    return zip([0, *(place + 1 for place in places)], [*places, end], strict=True)


def _brackets(text: str) -> Iterator[int]:
    if text.isascii() and "<" not in text:  # as most texts are, and a pattern takes long to see it
        return iter(())
    return (match.start() for match in _opening().finditer(text))


@cache
def _opening() -> re.Pattern[str]:
    return re.compile(f"[<\U000e003c{LOOKALIKES['<']}]")


def _names_a_proposal(text: str, place: int) -> bool:
    """Whether a word that can be read as "proposal" comes next, after signs and what is unseen."""
    while place < len(text):
        read = _read_as(text[place])
        if read.startswith("p") and _reads_on(text, place):
            return True
        if read == "<" or (read and text[place].isalnum()):
            return False
        place += 1
    return False


def _reads_on(text: str, place: int) -> bool:
    """Whether the word stands there, for those who read tag characters or those who skip them."""
    return any(_spells(text, place, skipped) for skipped in (range(0), _TAG_CHARACTERS))


def _spells(text: str, place: int, skipped: range) -> bool:
    word = ""
    while len(word) < len(_WORD) and _WORD.startswith(word) and place < len(text):
        word += "" if ord(text[place]) in skipped else _read_as(text[place])
        place += 1
    return word.startswith(_WORD)


@lru_cache(maxsize=65536)
def _read_as(character: str) -> str:
    """What a reader may take a character for; nothing for one that cannot be seen."""
    code = ord(character)
    if code in _TAG_CHARACTERS:
        return chr(code - 0xE0000).lower()
    plain = (_PLAIN.get(ord(c), c) for c in unicodedata.normalize("NFKD", character))
    return "".join(c.casefold() for c in plain if c.isspace() or not _is_unseen(c))


def _is_unseen(character: str) -> bool:
    """Whether a word with this character inside looks the same: marks, controls, joiners."""
    if character.isascii():
        return not character.isprintable()
    import regex  # noqa: PLC0415 - it takes a while, and most texts have no bracket at all

    unseen = r"[\p{Mn}\p{Me}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]"
    return regex.match(unseen, character) is not None
