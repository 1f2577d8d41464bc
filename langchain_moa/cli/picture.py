"""Draws a mixture as a picture, a row of boxes for each layer.

Own code, because what LangChain offers asks a web service, a browser, or Graphviz to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from langchain_moa.cli.fonts import Run, runs_of
from langchain_moa.cli.terminal import on_one_line
from langchain_moa.config.text_files import write_file

_SIZE: Final = 22
_PAD, _GAP, _RISE, _MARGIN = 16, 28, 84, 40
_LONGEST_NAME: Final = 60
_INK, _LINE, _PAPER = "#1f2328", "#8c959f", "#ffffff"
_FILLS: Final = {
    "end": "#f6f8fa",
    "proposer": "#ddf4ff",
    "adviser": "#fff8c5",
    "aggregator": "#dafbe1",
}

Box = tuple[float, float, float, float]


def draw_png(
    names: Sequence[Sequence[str]], path: Path, consulted: tuple[str, str] | None = None
) -> None:
    """Draw the mixture into a PNG file.

    Args:
        names: The members' names layer by layer, the aggregator's layer last.
        path: The file.
        consulted: Who is consulted before the aggregator: its role and its name.

    Raises:
        MoAConfigurationError: The file can't be written, or no font here has a name's characters.
    """
    *layers, aggregator = [[_short(name) for name in layer] for layer in names]
    advisers = [] if consulted is None else [[f"{consulted[0]}: {_short(consulted[1])}"]]
    rows = [["question"], *layers, *advisers, aggregator, ["answer"]]
    labels = [[runs_of(text, _SIZE) for text in row] for row in rows]
    widths = [[_length(label) + 2 * _PAD for label in row] for row in labels]
    lengths = [sum(row) + _GAP * (len(row) - 1) for row in widths]
    size = (int(max(lengths)) + 2 * _MARGIN, _RISE * (len(rows) - 1) + _SIZE + _PAD + _MARGIN)
    image = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(image)
    boxes = [
        _row(ws, size[0] / 2 - length / 2, place)
        for place, (ws, length) in enumerate(zip(widths, lengths, strict=True))
    ]
    for above, below in pairwise(boxes):
        for one, other in product(above, below):
            draw.line((_middle(one), one[3], _middle(other), other[1]), _LINE, 2)
    asked = [*["proposer"] * len(layers), *["adviser"] * len(advisers), "aggregator"]
    kinds = ["end", *asked, "end"]
    for row, texts, kind in zip(boxes, labels, kinds, strict=True):
        for box, label in zip(row, texts, strict=True):
            draw.rounded_rectangle(box, 10, _FILLS[kind], _LINE, 2)
            _write(draw, box, label)
    write_file(path, lambda beside: image.save(beside, "PNG"))


def _length(label: Sequence[Run]) -> float:
    return sum(font.getlength(text) for text, font in label)


def _write(draw: ImageDraw.ImageDraw, box: Box, label: Sequence[Run]) -> None:
    left, middle = box[0] + _PAD, (box[1] + box[3]) / 2
    for text, font in label:
        draw.text((left, middle), text, _INK, font, anchor="lm")
        left += font.getlength(text)


def _row(widths: Sequence[float], left: float, place: int) -> list[Box]:
    top = _MARGIN / 2 + place * _RISE
    boxes = []
    for width in widths:
        boxes.append((left, top, left + width, top + _SIZE + _PAD))
        left += width + _GAP
    return boxes


def _middle(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _short(name: str) -> str:
    """A model's name without its owner, as the graph's nodes have it."""
    return on_one_line(name.rpartition("/")[2], _LONGEST_NAME)
