"""Addresses of this project lead to files and headings that exist, in pages, notebooks and code."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tests.documents import ROOT
from tests.notebooks import NOTEBOOKS, read

HOME = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
_OURS = re.compile(
    rf"{HOME}/(?:blob|tree)/main/([^\s)\"'#>`\\]+)(#[\w-]+)?"
    rf"|{HOME.replace('github.com', 'raw.githubusercontent.com')}/main/([^\s)\"'#>`\\]+)"
)
_RELATIVE = re.compile(r"\]\((?!https?:|mailto:|<)([^)\s#]*)(#[^)\s]*)?\)")
_CODE = re.compile(r"^(```|~~~).*?^\1$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
"""An address in code is no link, but one of ours must lead somewhere there, too."""
# site_hooks see to the site's own; names of the Python reference exist only there
_OF_THE_SITE = "#langchain_moa."


def written() -> list[Path]:
    """The files in which an address of ours may stand."""
    command = ["git", "ls-files", "*.md", "*.py", "*.yml", "*.toml", "*.cff", "*.ipynb", "*.json"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - git
    return [ROOT / name for name in listed.stdout.splitlines()]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The headings of a page, as GitHub names them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", prose, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading) for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in plain)


def leads(page: Path, anchor: str) -> bool:
    if not page.exists():
        return False
    known = not anchor or anchor.startswith(_OF_THE_SITE)
    return known or (page.suffix == ".md" and anchor[1:] in anchors(page))


def links_of(page: Path, text: str) -> Iterator[tuple[str, bool]]:
    """The links of a page, each with whether it leads somewhere."""
    for path, anchor in _RELATIVE.findall(_CODE.sub("", text)):
        yield path + anchor, leads(page.parent / path if path else page, anchor)


def test_addresses_of_the_project_lead_somewhere() -> None:
    found, dead = 0, []
    for file in written():
        for path, anchor, raw in _OURS.findall(file.read_text("utf-8")):
            found += 1
            if not leads(ROOT / (path or raw).rstrip("."), anchor):
                dead.append((file.name, path or raw, anchor))
    assert found >= 50
    assert dead == []


def test_relative_links_of_pages_lead_somewhere() -> None:
    pages = [path for path in written() if path.suffix == ".md"]
    links = [
        (page.name, *link) for page in pages for link in links_of(page, page.read_text("utf-8"))
    ]
    assert len(links) >= 80
    assert [link for link in links if not link[-1]] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_have_whole_addresses(path: Path) -> None:
    """A relative link would lead nowhere in a copy, on Colab or in a browser."""
    cells: list[nbformat.NotebookNode] = read(path).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert _OURS.findall(prose)
    assert _RELATIVE.findall(_CODE.sub("", prose)) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `head`, here\n\n[a](#a-head-here) [b](#gone) [c](gone.md) [d](page.md#a-head-here)\n"
    )
    assert [good for _, good in links_of(page, page.read_text())] == [True, False, False, True]
