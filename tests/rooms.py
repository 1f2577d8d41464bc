"""Draws the rooms of the package into CONTRIBUTING.md, from the import contracts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
_MARKED = re.compile(r"(<!-- rooms: [^\n]*-->\n)(.*?)(<!-- end of rooms -->)", re.DOTALL)
_PACKAGE = ROOT / "langchain_moa"


def levels() -> list[list[str]]:
    """The rooms that exist, level by level from the top, as the contract of layers has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers: list[str] = next(c["layers"] for c in contracts if c["type"] == "layers")
    named = [[room.strip(" ()") for room in layer.split("|")] for layer in layers]
    found = [[room for room in level if _exists(room)] for level in named]
    return [level for level in found if level]


def _exists(room: str) -> bool:
    return (_PACKAGE / room).is_dir() or (_PACKAGE / f"{room}.py").is_file()


def drawing() -> str:
    """The rooms as boxes: each may import what stands below it, and nothing beside or above it."""
    rows = [
        [f" {room}{'/' if (_PACKAGE / room).is_dir() else ''} " for room in level]
        for level in levels()
    ]
    width = max(sum(map(len, row)) + len(row) + 1 for row in rows)
    lines = []
    for row in rows:
        share, rest = divmod(width - 1 - len(row), len(row))
        sizes = [share + (place < rest) for place in range(len(row))]
        lines.append("┌" + "┬".join("─" * size for size in sizes) + "┐")
        cells = (cell.strip().center(size) for cell, size in zip(row, sizes, strict=True))
        lines.append("│" + "│".join(cells) + "│")
        lines.append("└" + "┴".join("─" * size for size in sizes) + "┘")
    return "```text\n" + "\n".join(lines) + "\n```\n"


def with_drawing(page: str) -> str:
    """The page with the drawing of the rooms as they are now."""
    found = _MARKED.search(page)
    assert found is not None, "the page has no marks for the rooms"
    return page[: found.start(2)] + drawing() + page[found.end(2) :]


if __name__ == "__main__":
    PAGE.write_text(with_drawing(PAGE.read_text("utf-8")), "utf-8")
