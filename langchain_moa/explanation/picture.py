"""A mixture as a picture, a row of boxes for each layer, as SVG: no script, nothing remote."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from itertools import pairwise, product
from typing import Final, NamedTuple
from unicodedata import east_asian_width

from langchain_moa.explanation import words

_CHARACTER, _HEIGHT, _RISE = 8.5, 34, 74
_PAD, _GAP, _MARGIN = 14, 20, 12
_LONGEST: Final = 40
INK: Final = "#24292f"
_PAPER: Final = '<rect width="100%" height="100%" rx="8" fill="#ffffff"/>'
"""Pictures bring their own ground: what is drawn for light pages and dark ones is dim on both."""
_FILLS: Final = {
    "end": "#8c959f22",
    "proposer": "#4493f833",
    "adviser": "#d4a72c33",
    "aggregator": "#2da44e33",
}


class _Box(NamedTuple):
    left: float
    top: float
    width: float
    text: str

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def image(picture: str, alt: str) -> str:
    """A picture as HTML that notebooks show before they are trusted, too: they drop SVG itself."""
    data = b64encode(picture.encode("utf-8", "replace")).decode()
    style = "max-width:100%;height:auto"
    return f'<img alt="{alt}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def svg(width: float, height: float, drawn: str) -> str:
    """What is drawn, as a picture of this size in pixels, on a ground of its own."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{_PAPER}{drawn}</svg>'
    )


def mixture_svg(names: Sequence[Sequence[str]], consulted: tuple[str, str] | None = None) -> str:
    """The picture of a mixture.

    Args:
        names: The members' names layer by layer, the aggregator's layer last.
        consulted: Who is consulted before the aggregator: its role and its name.

    Example:
        >>> mixture_svg([["acme/a", "acme/b"], ["acme/c"]]).count("<rect")
        6
    """
    *layers, aggregator = [[_short(name) for name in layer] for layer in names]
    advisers = [] if consulted is None else [[f"{consulted[0]}: {_short(consulted[1])}"]]
    rows = [["question"], *layers, *advisers, aggregator, ["answer"]]
    widths = [[_width(text) for text in row] for row in rows]
    longest = max(sum(row) + _GAP * (len(row) - 1) for row in widths)
    boxes = [
        _row(texts, row, longest, place)
        for place, (texts, row) in enumerate(zip(rows, widths, strict=True))
    ]
    asked = [*["proposer"] * len(layers), *["adviser"] * len(advisers), "aggregator"]
    kinds = ["end", *asked, "end"]
    lines = "".join(
        f'<line x1="{one.middle:.0f}" y1="{one.top + _HEIGHT:.0f}" x2="{other.middle:.0f}" '
        f'y2="{other.top:.0f}" stroke="#8c959f"/>'
        for above, below in pairwise(boxes)
        for one, other in product(above, below)
    )
    drawn = "".join(
        _drawn(box, _FILLS[kind]) for row, kind in zip(boxes, kinds, strict=True) for box in row
    )
    width, height = longest + 2 * _MARGIN, _RISE * (len(rows) - 1) + _HEIGHT + 2 * _MARGIN
    return svg(width, height, f"{lines}{drawn}")


def _row(texts: Sequence[str], widths: Sequence[float], longest: float, place: int) -> list[_Box]:
    whole = sum(widths) + _GAP * (len(widths) - 1)
    left, top, boxes = _MARGIN + (longest - whole) / 2, _MARGIN + place * _RISE, list[_Box]()
    for text, width in zip(texts, widths, strict=True):
        boxes.append(_Box(left, top, width, text))
        left += width + _GAP
    return boxes


def _drawn(box: _Box, fill: str) -> str:
    return (
        f'<rect x="{box.left:.0f}" y="{box.top:.0f}" width="{box.width:.0f}" height="{_HEIGHT}" '
        f'rx="8" fill="{fill}" stroke="#8c959f"/><text x="{box.middle:.0f}" '
        f'y="{box.top + 22:.0f}" text-anchor="middle" fill="{INK}" '
        f'style="font:14px ui-monospace,monospace">{escape(box.text)}</text>'
    )


def _width(text: str) -> float:
    wide = sum(east_asian_width(character) in "WF" for character in text)
    return (len(text) + wide) * _CHARACTER + 2 * _PAD


def _short(name: str) -> str:
    """A model's name without its owner."""
    return words.line(name.rstrip("/").rpartition("/")[2], _LONGEST)
