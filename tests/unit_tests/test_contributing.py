"""CONTRIBUTING.md tells of the rooms as they are."""

from __future__ import annotations

import re

from tests.rooms import PAGE, ROOT, levels, with_drawing

TEXT = PAGE.read_text("utf-8")
PACKAGE = ROOT / "langchain_moa"


def test_the_drawing_is_that_of_the_contracts() -> None:
    assert with_drawing(TEXT) == TEXT, "write it anew: make readme"


def test_each_room_has_a_row() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    rooms = [room for level in levels() for room in level]
    assert [r for r in rooms if f"`{r}/`" not in rows and f"`{r}.py`" not in rows] == []


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", TEXT))
    assert len(named) > 20
    lost = [n for n in sorted(named) if not (PACKAGE / n).exists() and not (ROOT / n).exists()]
    assert lost == []
