"""Writes the reference of all settings and the table of options, from where they are declared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from langchain_moa import MoAChatModel
from langchain_moa.cli.setting_options import TABLE
from langchain_moa.config.settings import GROUPS
from langchain_moa.settings import heading, own_settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
_HEAD = """\
# Settings

All settings of a mixture: arguments of `MoAChatModel` and `create_moa_graph`, and names in
configuration files. `MoAChatModel` also takes `streaming`, and whatever every LangChain chat model
takes (`name`, `cache`, `tags`, `rate_limiter` …). Seconds are wall time; prices are in USD per
million tokens.

This page is generated (`make readme`) from the code that declares the settings.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    for group in GROUPS:
        yield f"\n## {heading(group)}\n\n| setting | default | what it does |\n|---|---|---|\n"
        for name in own_settings(group):
            yield _row(name, group.model_fields[name])
    streaming = MoAChatModel.model_fields["streaming"]
    yield "\n## The chat model alone\n\n| setting | default | what it does |\n|---|---|---|\n"
    yield _row("streaming", streaming)


def _row(name: str, field: FieldInfo) -> str:
    text = str(field.description).replace("|", "\\|")
    return f"| `{name}` | {_default(field)} | {text} |\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, str) and re.search(r"\s", value):
        return "the prompt in `langchain_moa.proposals.prompt`"
    return f"`{value!r}`".replace("'", '"')


def options() -> str:
    """The settings that can be typed: `langchain_moa/cli/setting_options.json`."""
    table = {
        name: (kind, _short(str(group.model_fields[name].description)))
        for group in GROUPS
        for name in own_settings(group)
        if name not in _NO_OPTIONS and (kind := _kind(group.model_fields[name].annotation))
    }
    return json.dumps(table, indent=1) + "\n"


_NO_OPTIONS = {
    # who takes part has options of its own
    "aggregator",
    "reference_models",
    "fallbacks",
    # on the command line these count for all members, as in the reference code
    "temperature",
    "max_tokens",
    "api_key",  # a shell's history is no place for a key
}


def _kind(annotation: object) -> str | list[str] | None:
    """What can be typed for a setting: a number, a switch, one of some words, or a text."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, UnionType):
        return next((kind for argument in arguments if (kind := _kind(argument))), None)
    if origin is Literal:
        return list(arguments) if all(isinstance(one, str) for one in arguments) else None
    kinds = {int: "number", float: "number", bool: "switch", str: "text"}
    return next((kind for of, kind in kinds.items() if annotation is of), None)


def _short(text: str) -> str:
    """The first clause of a sentence of documentation, without its marks."""
    return re.split(r"(?<=\.)\s|[;:]\s", text.replace("`", ""))[0].rstrip(".") + "."


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    TABLE.write_text(options(), "utf-8")
