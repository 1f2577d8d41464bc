"""Every setting of a mixture that is a number, a switch or a word, as an option of the commands.

What a setting is stands where it is declared, in its room's `settings.py`. Reading it there would
import LangChain, for which `--help` must not wait; so `make readme` writes what options need of
it to `setting_options.json`. The settings check their own values, when the mixture is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

Decorator: TypeAlias = Callable[[Any], object]
TABLE: Final = Path(__file__).with_name("setting_options.json")
_SHOWN: Final = {
    "layers",
    "strategy",
    "quorum",
    "timeout",
    "proposer_timeout",
    "layer_timeout",
    "grace",
    "base_url",
    "max_calls",
    "max_cost",
    "max_concurrency",
    "sequential",
}
"""What `--help` lists; the others are in the reference of all settings."""
_ALSO: Final = {"max_concurrency": ("--num-proc",)}
"""The reference code's names for the same."""


def _number(text: str) -> float:
    """A number as it was typed, whole or not: 1 is a count, 0.5 may be a share."""
    try:
        number = float(text)
    except ValueError:
        msg = f"{text!r} is no number."
        raise click.BadParameter(msg) from None
    return int(number) if number.is_integer() else number


def setting_options() -> Iterator[Decorator]:
    """The options, as decorators of a command, in the order of the reference."""
    for name, (kind, text) in setting_table().items():
        words = [name, f"--{name.replace('_', '-')}", *_ALSO.get(name, ())]
        if kind == "switch":
            words[1] += f"/--no-{words[1][2:]}"
        yield click.option(
            *words,
            type=_kind(kind),
            metavar=None if kind == "switch" else _metavar(name, kind),
            default=None,
            help=text,
            hidden=name not in _SHOWN,
        )


@cache
def setting_table() -> dict[str, tuple[str | list[str], str]]:
    """Of each setting that is an option its kind, or the words that it may be, and its help."""
    table: dict[str, tuple[str | list[str], str]] = json.loads(TABLE.read_text("utf-8"))
    return table


def _kind(kind: str | list[str]) -> object:
    if isinstance(kind, list):
        return click.Choice(kind)
    return {"number": _number, "switch": bool}.get(kind, str)


def _metavar(name: str, kind: str | list[str]) -> str:
    if isinstance(kind, list):
        return "|".join(kind)
    if name.endswith(("timeout", "grace", "hedge_after")):
        return "SECONDS"
    return {"base_url": "URL"}.get(name, "TEXT" if kind == "text" else "NUMBER")
