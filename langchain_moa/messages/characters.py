"""What of a text can be seen, and characters that a model sends in halves, made whole again.

A character beyond U+FFFF is a pair of surrogates in JSON's escapes. A provider that cuts a text
between them sends two halves, which Python joins to no character, and which no file, no log and
no request in UTF-8 can hold. A half that stays alone is shown as U+FFFD, as Unicode recommends
(https://www.unicode.org/versions/Unicode17.0.0/core-spec/chapter-3/#G66453).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import regex

_HALVES: Final = re.compile("[\ud800-\udfff]")
_ESCAPES: Final = re.compile(
    r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
"""Escapes of JSON: a pair of halves, a half alone (the only one of six characters), another one."""
_BEGUN: Final = (
    re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"),
    re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z"),
)


def whole_characters(text: str) -> str:
    r"""A text in which each pair of halves is its character, and each other half U+FFFD.

    Example:
        >>> whole_characters("\ud83d\udc4d and \ud83d") == "👍 and \ufffd"
        True
    """
    if text.isascii() or _HALVES.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_escapes(json: str) -> str:
    r"""JSON in which each half that is escaped alone is U+FFFD.

    Example:
        >>> print(whole_escapes(r'["\ud83d\udc4d", "\ud83d", "\\ud83d"]'))
        ["\ud83d\udc4d", "\ufffd", "\\ud83d"]
    """
    if "\\" not in json:
        return json
    half = len(r"\ud83d")
    return _ESCAPES.sub(lambda found: r"\ufffd" if len(found[0]) == half else found[0], json)


def begun_escape(json: str) -> int:
    r"""How many characters at the end are an escape that what follows may complete.

    Example:
        >>> [begun_escape(json) for json in (r'"\ud83d', r'"\ud83d\u', r'"\\', "a")]
        [6, 8, 0, 0]
    """
    for begun in _BEGUN if "\\" in json else ():
        found = begun.search(json)
        before = json[: found.start()] if found else ""
        if found and (len(before) - len(before.rstrip("\\"))) % 2 == 0:  # is itself not escaped
            return len(json) - found.start()
    return 0


def from_first_seen(text: str) -> str:
    r"""A text from its first character on that can be seen; nothing where there is none.

    Spaces of every script, controls, and what Unicode calls ignorable, as joiners and fillers are,
    cannot be seen.

    Example:
        >>> from_first_seen("\u200b\u3164 4"), from_first_seen("\u200b\ufeff\u3164")
        ('4', '')
    """
    text = text.lstrip()
    if not text or (text[0].isascii() and text[0].isprintable()):
        return text
    return _unseen().sub("", text, count=1)


@cache
def _unseen() -> regex.Pattern[str]:
    import regex  # noqa: PLC0415 - it takes a while, and most texts begin with a letter of ASCII

    return regex.compile(r"\A[\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]*")
