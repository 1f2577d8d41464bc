"""`langchain-moa graph`: draws the mixture, without any network."""

from __future__ import annotations

from pathlib import Path

import click

from langchain_moa.cli.exits import say
from langchain_moa.cli.inputs import may_be_written
from langchain_moa.cli.mixture import consulted_name, member_names, mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.picture import draw_png
from langchain_moa.cli.terminal import folded, printable, write_data
from langchain_moa.engine.drawing import drawn


def run(options: MixtureOptions, *, mermaid: bool, png: Path | None, force: bool) -> int:
    """Draw the mixture to stdout, or to a file.

    Args:
        options: Which mixture.
        mermaid: Whether to print LangGraph's own drawing as Mermaid's text.
        png: A file for a picture.
        force: Whether it may be written over a file that is there.

    Raises:
        click.UsageError: Both are given.
    """
    if mermaid and png is not None:
        msg = "--mermaid and --png contradict each other; give one of them."
        raise click.UsageError(msg)
    with mixture_for(options, asks=False) as llm:
        names = member_names(llm)
        if png is not None:
            may_be_written(png, force=force, mend="give --force")
            draw_png(names, png, consulted_name(llm))
            say(f"drawn to {png}.")
        elif mermaid:
            write_data(printable(llm.graph.get_graph(xray=1).draw_mermaid()))
        else:
            for line in drawn(names, consulted_name(llm)).splitlines():
                stem, branch, name = line.partition("+-- ")
                click.echo(folded(stem + branch, name, stem + " " * len(branch)))
    return 0
