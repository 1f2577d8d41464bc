"""What a chat says first, before LangChain is imported, which takes a while.

Nothing here imports LangChain.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import folded, on_one_line
from langchain_moa.presets import DEFAULT_PRESET, get_preset

KEY: Final = "TOGETHER_API_KEY"
OPENAI_KEY, OPENAI_ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
ADDRESS: Final = "TOGETHER_API_BASE"
NO_KEY_MESSAGE: Final = (
    f"no key for Together: set {KEY}, or give members of another provider "
    "(-m openai:gpt-5-mini --reference-models openai:gpt-5-mini), or --base-url of an endpoint "
    "of your own, or try --local or --demo, which need neither."
)
"""What is said where the members' key is missing."""


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
    """List the mixture on a terminal, as far as it is known without building it.

    Raises:
        click.ClickException: It needs a key that is missing.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    click.echo("Mixture-of-Agents")
    if options.serves or options.config:
        told = options.config or ("scripted models" if options.demo else "models on this machine")
        click.echo(folded("", on_one_line(str(told))))
        click.echo()
        return
    require_key(options)
    names, aggregator = _names(options)
    for place, name in enumerate(names):
        click.echo(folded(f"{'proposers' if place == 0 else '':11}", on_one_line(name)))
    if aggregator:
        click.echo(folded(f"{'aggregator':11}", on_one_line(aggregator)))
    if takes_openai(options):
        click.echo(folded("", f"asked at {OPENAI_ADDRESS}, for no {KEY} is set"))
    click.echo()


def require_key(options: MixtureOptions) -> None:
    """Tell that the members' key is missing, where that is known without building the mixture.

    Raises:
        click.ClickException: All members are Together's, and there is no key for it.
    """
    names, aggregator = _names(options)
    if options.serves or options.config or not (names or aggregator):
        return
    address = options.settings.get("base_url") or _settings(options).get("base_url")
    if any(":" in name for name in (*names, aggregator)) or address or _is_set(ADDRESS):
        return
    if not (_is_set(KEY) or takes_openai(options)):
        raise click.ClickException(NO_KEY_MESSAGE)


def _settings(options: MixtureOptions) -> Mapping[str, Any]:
    return get_preset(options.preset or DEFAULT_PRESET).settings


def _names(options: MixtureOptions) -> tuple[list[str], str]:
    """The names of the reference models and of the aggregator, as far as they are known."""
    settings = _settings(options)
    names = options.reference_models or map(_name, settings.get("reference_models", ()))
    return [name for name in names if name], options.aggregator or _name(settings.get("aggregator"))


def _name(member: object) -> str:
    while isinstance(member, list) and member:
        member = member[0]
    given = member.get("model", "") if isinstance(member, dict) else member
    return str(given) if isinstance(given, str) else ""


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())
