"""The reference demo's questions at the start of a chat, with what they are answered by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.prompt import reader
from langchain_moa.presets import DEFAULT_PRESET, get_preset

Value = TypeVar("Value")
_TEMPERATURE: Final = 0.7  # the paper's and the reference demo's
_MAX_TOKENS: Final = 2048


def asked_options(options: MixtureOptions) -> MixtureOptions:
    """The reference demo's three questions, as far as options leave them open."""
    ask_for = reader()
    default = options.aggregator or get_preset(DEFAULT_PRESET).settings["aggregator"]
    if options.aggregator is None:
        options = replace(options, aggregator=_asked(ask_for, "Main model", default, str))
    if options.temperature is None:
        temperature = _asked(ask_for, "Temperature", _TEMPERATURE, _from(0, float))
        options = replace(options, temperature=temperature)
    if options.max_tokens is None:
        max_tokens = _asked(ask_for, "Max tokens", _MAX_TOKENS, _from(1, int))
        options = replace(options, max_tokens=max_tokens)
    return options


def _asked(
    ask_for: Callable[[str], str], what: str, default: Value, parse: Callable[[str], Value]
) -> Value:
    while True:
        given = ask_for(f"{what} [{default}]: ").strip()
        try:
            return parse(given) if given else default
        except ValueError:
            print(f"{given!r} won't do; give something like {default}.")  # noqa: T201


def _from(least: int, kind: Callable[[str], Value]) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        value = kind(text)
        if not least <= float(text) < float("inf"):
            raise ValueError
        return value

    return parse
