"""Writes the command line's help into its page, between two marks."""

from __future__ import annotations

import re
from pathlib import Path

import click

from langchain_moa.cli.app import app

PAGE = Path(__file__).parent.parent / "docs" / "command-line.md"
_MARKED = re.compile(r"(<!-- help: [^\n]*-->\n)(.*?)(<!-- end of help -->)", re.DOTALL)
_SHOWN = ("chat", "ask")


def help_text() -> str:
    """The help of the program and of its two main commands, as a Markdown block."""
    context = click.Context(app, info_name="langchain-moa", **app.context_settings)
    texts = [context.get_help()]
    for name in _SHOWN:
        command = app.commands[name]
        inner = click.Context(command, info_name=name, parent=context, terminal_width=80)
        texts.append(inner.get_help())
    return "```text\n" + "\n\n".join(texts) + "\n```\n"


def with_help(page: str) -> str:
    """The page with the help that the program gives now."""
    found = _MARKED.search(page)
    assert found is not None, "the page has no marks for the help"
    return page[: found.start(2)] + help_text() + page[found.end(2) :]


if __name__ == "__main__":
    PAGE.write_text(with_help(PAGE.read_text("utf-8")), "utf-8")
