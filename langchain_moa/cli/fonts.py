"""Fonts of the system for names in any script."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

from PIL import ImageFont, features

from langchain_moa.errors import MoAConfigurationError

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Run: TypeAlias = tuple[str, Font]
"""A part of a name, and the font that has all of it."""

_NO_CHARACTER: Final = "\U0010fffe"
"""A noncharacter, which each font draws as its box for what it has not."""
_SUFFIXES: Final = {".ttf", ".otf", ".ttc", ".otc"}
_MOST_FONTS: Final = 2000
# Hebrew to Tibetan, Burmese and Khmer: letters join, stand above one another, or run from the right
_SHAPED: Final = ((0x0590, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xFB1D, 0xFEFC))


def runs_of(name: str, size: int) -> list[Run]:
    """A name cut into parts, each with a font that has its characters.

    Args:
        name: The name.
        size: Height of the letters in pixels.

    Raises:
        MoAConfigurationError: No font here has some of them; the message names these.
    """
    if not features.check("raqm") and any(map(_is_shaped, name)):
        msg = f"{name!r} cannot be drawn: the installed Pillow has no Raqm, which sets its script."
        raise MoAConfigurationError(msg)
    fonts: list[Font] = []
    missing: list[str] = []
    for character in name:
        font = _font_for(character, size, fonts[-1] if fonts else None)
        if font is None:
            missing.append(character)
        fonts.append(font or _default(size))
    if missing:
        lacking = "".join(dict.fromkeys(missing))
        msg = (
            f"no font here has {lacking!r} of the name {name!r}; install one that has, such as "
            "Noto Sans for its script (https://fonts.google.com/noto), or leave --png out: the "
            "drawing as text needs none."
        )
        raise MoAConfigurationError(msg)
    pairs = groupby(zip(name, fonts, strict=True), key=lambda pair: id(pair[1]))
    parts = [list(pair) for _, pair in pairs]
    return [("".join(character for character, _ in part), part[0][1]) for part in parts]


def _font_for(character: str, size: int, before: Font | None) -> Font | None:
    """A font that has a character: that of the one before it, the default, or one of the system."""
    # marks, joiners and spaces belong to what they follow
    if before is not None and unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf", "Zs"):
        return before
    if _has(_default(size), character):
        return _default(size)
    if before is not None and _has(before, character):
        return before
    return next((font for font in _system_fonts(size) if _has(font, character)), None)


@lru_cache(maxsize=8)
def _default(size: int) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _has(font: Font, character: str) -> bool:
    """Whether a font draws a character as something else than its box."""
    drawn, box = (font.getmask(each) for each in (character, _NO_CHARACTER))
    return (drawn.size, bytes(drawn)) != (box.size, bytes(box))


def _is_shaped(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _SHAPED)


def _system_fonts(size: int) -> Iterator[Font]:
    """The system's fonts, those without serifs and of the usual weight first."""
    for path in _paths(_folders()):
        font = _opened(path, size)
        if font is not None:
            yield font


@lru_cache(maxsize=_MOST_FONTS)
def _opened(path: Path, size: int) -> Font | None:
    try:
        return ImageFont.truetype(path, size)
    except (OSError, ValueError):  # of a kind that cannot be read
        return None


@lru_cache(maxsize=4)
def _paths(folders: tuple[Path, ...]) -> list[Path]:
    found = {path for folder in folders if folder.is_dir() for path in folder.rglob("*")}
    fonts = [path for path in found if path.suffix.lower() in _SUFFIXES]
    return sorted(fonts, key=_rank)[:_MOST_FONTS]


def _rank(path: Path) -> tuple[bool, bool, str]:
    name = path.stem.lower()
    odd = any(word in name for word in ("bold", "italic", "oblique", "light", "thin", "black"))
    return odd, "sans" not in name, str(path)


def _folders() -> tuple[Path, ...]:
    home = Path.home()
    if sys.platform == "win32":
        return (Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts"),)
    if sys.platform == "darwin":
        return (home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts"))
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    shared = (Path("/usr/local/share/fonts"), Path("/usr/share/fonts"))
    return (data / "fonts", home / ".fonts", *shared)
