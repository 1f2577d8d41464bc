"""Characters that a model sends in halves, as pieces of JSON escapes, made whole again.

A character beyond U+FFFF is a pair of surrogates in JSON's escapes. A provider that cuts a text
between them sends two halves, which Python joins to no character, and which no file, no log and
no request in UTF-8 can hold. A half that stays alone is shown as U+FFFD, as Unicode recommends
(https://www.unicode.org/versions/Unicode17.0.0/core-spec/chapter-3/#G66453).
"""

from __future__ import annotations

import re
from typing import Final

_HALVES: Final = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    r"""A text in which each pair of halves is its character, and each other half U+FFFD.

    Example:
        >>> whole_characters("\ud83d\udc4d and \ud83d") == "👍 and \ufffd"
        True
    """
    if text.isascii() or _HALVES.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
