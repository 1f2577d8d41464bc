"""Draws the pictures of the README, from real runs: the mixture, and the board in a terminal."""

from __future__ import annotations

import subprocess
import sys
from base64 import b64decode
from io import StringIO
from pathlib import Path

from pyte.screens import Char
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from langchain_moa import MoAChatModel, explain
from langchain_moa.testing import LoopbackServer
from langchain_moa.testing.demo_models import AGGREGATOR, DEMO_MODELS, DEMO_QUESTION, PROPOSERS
from tests.pty import Terminal

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
_MEMBERS = (
    "meta-llama/Llama-3.3-70B-Instruct-Turbo,openai/gpt-oss-20b,deepseek-ai/DeepSeek-V4-Flash-0731"
)
# rich's own frame loads a font from another host
_FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>A call of langchain-moa in a terminal</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def draw_board(path: Path) -> None:
    """Ask the demo's models on a terminal: the screen while they answer, and the one at the end."""
    words = ["ask", "--demo", DEMO_QUESTION, "--layers", "3"]
    terminal = Terminal("-m", "langchain_moa", *words, rows=24)
    screen = Text()
    screen.append(f'$ langchain-moa ask --demo "{DEMO_QUESTION}" --layers 3\n\n', "bold")
    try:
        terminal.until(lambda: terminal.screen.count("done") >= 6 and "asking" in terminal.screen)
        screen.append_text(_shown(terminal))
        screen.append("\n\n")
        terminal.ends()
        screen.append_text(_shown(terminal))
    finally:
        terminal.close()
    console = Console(record=True, width=Terminal.columns, file=StringIO(), force_terminal=True)
    console.print(screen)
    svg = console.export_svg(title="langchain-moa", theme=MONOKAI, code_format=_FRAME)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")


def _shown(terminal: Terminal) -> Text:
    lines = terminal.cells
    while lines and not "".join(cell.data for cell in lines[-1]).strip():
        lines.pop()
    text = Text("\n").join(Text.assemble(*map(_styled, line)) for line in lines)
    text.rstrip()
    return text


def _styled(cell: Char) -> tuple[str, str]:
    """A cell of the terminal as rich has it."""
    colour = {"default": "", "brown": "yellow"}.get(cell.fg, cell.fg)
    if len(colour) == 6 and all(digit in "0123456789abcdef" for digit in colour):
        colour = f"#{colour}"
    marks = [name for name in ("bold", "italics", "underscore") if getattr(cell, name)]
    names = {"italics": "italic", "underscore": "underline"}
    return cell.data, " ".join([*(names.get(mark, mark) for mark in marks), colour])


def draw_mixture(path: Path) -> None:
    """Have the command line draw the README's mixture of three reference models in three layers."""
    options = ["--reference-models", _MEMBERS, "--model", "deepseek-ai/DeepSeek-V4-Pro"]
    command = [sys.executable, "-m", "langchain_moa", "graph", *options, "--layers", "3"]
    subprocess.run([*command, "--png", str(path), "--force"], check=True)  # noqa: S603 - our own


def draw_timeline(path: Path) -> None:
    """Have an explanation draw when each request of a call began and ended."""
    with LoopbackServer(DEMO_MODELS) as server:
        llm = MoAChatModel(
            reference_models=list(PROPOSERS),
            aggregator=AGGREGATOR,
            layers=3,
            base_url=server.base_url,
            api_key=server.api_key,
        )
        llm.invoke("Hi!")  # opens the connections
        page = explain(llm.invoke(DEMO_QUESTION))._repr_html_()
    svg = page.partition("svg+xml;base64,")[2].partition('"')[0]
    path.write_bytes(b64decode(svg) + b"\n")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    draw_board(FOLDER / "board.svg")
    draw_mixture(FOLDER / "mixture.png")
    draw_timeline(FOLDER / "timeline.svg")
