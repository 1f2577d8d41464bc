"""`langchain-moa presets` and `config`: mixtures as data."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Final

import click

from langchain_moa.cli.exits import say
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import write_data
from langchain_moa.presets import get_preset, preset_names

_WIDTH: Final = 80


def presets(name: str | None, *, as_json: bool = False) -> int:
    """List the presets, or print one as TOML, or either as JSON.

    Args:
        name: Which one; `None` lists all.
        as_json: Whether to print JSON.

    Raises:
        MoAConfigurationError: There is no preset of that name.
    """
    if as_json:
        found = [_told(each) for each in preset_names()] if name is None else _told(name)
        write_data(f"{json.dumps(found, indent=2)}\n")
        return 0
    if name is None:
        for each in preset_names():
            preset = get_preset(each)
            click.echo(f"{each:20} {preset.title}{' [retired]' if preset.retired else ''}")
        return 0
    from langchain_moa.config.files import settings_text  # noqa: PLC0415 - a list needs no LangChain

    preset = get_preset(name)
    notes = [preset.title, preset.source]
    if preset.retired:
        notes.append("Models of it are retired: it shows how it was done.")
    for note in notes:
        click.echo(fill(note, _WIDTH, initial_indent="# ", subsequent_indent="# "))
    click.echo()
    write_data(settings_text(preset.settings, ".toml"))
    return 0


def _told(name: str) -> dict[str, object]:
    preset = get_preset(name)
    told = {"name": name, "title": preset.title, "source": preset.source}
    return {**told, "retired": preset.retired, "settings": dict(preset.settings)}


def config(
    options: MixtureOptions, *, form: str, every: bool, write: Path | None, force: bool
) -> int:
    """Print the mixture that options mean, or write it to a file.

    Args:
        options: Which mixture.
        form: `toml`, `yaml` or `json`.
        every: Whether settings that have their default are printed, too.
        write: The file, whose suffix says the format.
        force: Whether it may be written over a file that is there.

    Raises:
        MoAConfigurationError: The mixture or the file is wrong.
    """
    from langchain_moa.cli.inputs import may_be_written  # noqa: PLC0415 - slow to import
    from langchain_moa.cli.mixture import mixture_for  # noqa: PLC0415
    from langchain_moa.config.data import config_of  # noqa: PLC0415
    from langchain_moa.config.files import settings_text, write_settings  # noqa: PLC0415

    with mixture_for(options, asks=False) as llm:
        settings = config_of(llm, every=every)
    if options.serves:  # their server is gone by now
        settings.pop("base_url", None)
    if write is None:
        write_data(settings_text(settings, f".{form}"))
        return 0
    may_be_written(write, force=force, mend="give --force")
    write_settings(settings, write)
    say(f"written to {write}.")
    return 0
