"""What a chat says first, before LangChain is imported, which takes a while.

Nothing here imports LangChain.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import click

from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import on_one_line
from langchain_moa.presets import DEFAULT_PRESET, get_preset

KEY: Final = "TOGETHER_API_KEY"
OPENAI_KEY, OPENAI_ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
ADDRESS: Final = "TOGETHER_API_BASE"


def takes_openai(options: MixtureOptions) -> bool:
    """Whether bare ids are asked for where OpenAI's variables say, as the reference code does.

    That is so where no Together key and no address is given.
    """
    preset = get_preset(options.preset or DEFAULT_PRESET)
    named = options.settings.get("base_url") or os.environ.get(ADDRESS) or options.config
    named = named or preset.lists or preset.settings.get("base_url")
    both = _is_set(OPENAI_KEY) and _is_set(OPENAI_ADDRESS)
    return both and not named and not _is_set(KEY) and not options.serves


def greet(options: MixtureOptions) -> None:
    """List the mixture on a terminal, as far as it is known without building it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or options.serves or options.config:
        return
    settings: dict[str, Any] = dict(get_preset(options.preset or DEFAULT_PRESET).settings)
    aggregator = options.aggregator or _name(settings.get("aggregator"))
    names = options.reference_models or tuple(map(_name, settings.get("reference_models", ())))
    click.echo("Mixture-of-Agents")
    for place, name in enumerate(filter(None, names)):
        click.echo(f"{'proposers' if place == 0 else '':11}{on_one_line(name)}")
    if aggregator:
        click.echo(f"{'aggregator':11}{on_one_line(aggregator)}")
    if takes_openai(options):
        click.echo(f"asked at {OPENAI_ADDRESS}, for no {KEY} is set")
    click.echo()


def _name(member: object) -> str:
    while isinstance(member, list) and member:
        member = member[0]
    given = member.get("model", "") if isinstance(member, dict) else member
    return str(given) if isinstance(given, str) else ""


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())
