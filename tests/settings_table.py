"""Writes the reference of all settings, `docs/settings.md`, from where they are declared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from langchain_moa import MoAChatModel
from langchain_moa.config.settings import GROUPS
from langchain_moa.settings import heading, own_settings

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
_HEAD = """\
# Settings

All settings of a mixture, as arguments of `MoAChatModel` and `create_moa_graph`, and as the names
in configuration files. `MoAChatModel` takes `streaming`, and all that every LangChain chat model
takes (`name`, `cache`, `tags`, `rate_limiter` …), too. Seconds are wall time, prices USD per
million tokens.

This page is written by `make readme` from the declarations, which stand in the `settings.py` of
each room.
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


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
