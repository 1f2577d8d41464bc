"""How a setting is declared: one field, with its name, type, default, check and sentence.

Each room declares the settings that it owns as a group, in a file `settings.py` of its own.
`config.settings` unites the groups; everything else follows from that class: the arguments of
`MoAChatModel` and `create_moa_graph`, configuration files, and the reference of all settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from textwrap import fill
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from langchain_moa.errors import MoAConfigurationError, shown

_WIDTH: Final = 92


def _no_switch(value: object, info: ValidationInfo) -> Any:
    """Refuse `True` and `False` where a number is meant; Python counts them as 1 and 0."""
    if isinstance(value, bool):
        msg = f"{info.field_name}={value!r} is no number; give a number."
        raise MoAConfigurationError(msg)
    return value


LONGEST: Final = 31_536_000
"""Seconds that a limit of time may be at most: a year. Clocks and locks refuse numbers without end,
and `None` is no limit at all."""
Seconds = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0), BeforeValidator(_no_switch)]
Usd = Annotated[float, Field(gt=0), BeforeValidator(_no_switch)]
Retries = Annotated[int, Field(ge=0)]


class SettingsGroup(BaseModel):
    """The settings that one room owns, as fields with their sentences as descriptions.

    The first line of a group's docstring is its heading in the reference. Checks stand in a field's
    type (`AfterValidator`): methods of the same name in two groups would replace one another.
    """

    # they are built where all groups are united
    model_config = ConfigDict(arbitrary_types_allowed=True, defer_build=True)


def checked_limits(value: object, info: ValidationInfo) -> Any:
    """A limit, or a dict of limits per model name, or `None`.

    Raises:
        MoAConfigurationError: A limit is no whole number above 0.
    """
    if value is None:
        return None
    named = {str(info.field_name): value}
    if isinstance(value, Mapping):
        named = {f"{info.field_name}[{model!r}]": limit for model, limit in value.items()}
    for field, limit in named.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            msg = f"{field}={shown(limit)} must be a whole number, 1 or more."
            raise MoAConfigurationError(msg)
    return dict(value) if isinstance(value, Mapping) else value


def is_async(function: object) -> bool:
    """Whether calling this gives a coroutine, as far as that can be told beforehand.

    Where a plain function is called, an async one would never run.

    Example:
        >>> async def no(_): ...
        >>> is_async(no), is_async(len)
        (True, False)
    """
    called = getattr(function, "__call__", None)  # noqa: B004 - an object's own method
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def did_you_mean(name: object, known: Collection[str], otherwise: str) -> str:
    """The known name that was likely meant, as the end of an error message."""
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that do not exist.

    Raises:
        MoAConfigurationError: One does not; the message names the one that was likely meant.
    """
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known, "see help(MoAChatModel).")
            msg = f"{name} is not an argument of a mixture; {hint}"
            raise MoAConfigurationError(msg)


def arguments_text(groups: Iterable[type[SettingsGroup]]) -> str:
    """The settings of some groups as sections of a class's docstring."""
    lines = []
    for group in groups:
        lines.append(f"    {heading(group)}:")
        for name in own_settings(group):
            text = f"{name}: {group.model_fields[name].description}"
            lines.append(fill(text, _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12))
        lines.append("")
    return "\n".join([*lines, ""])


def heading(group: type[SettingsGroup]) -> str:
    """The heading of a group in the reference."""
    return str(group.__doc__).partition("\n")[0].removesuffix(".")


def own_settings(group: type[SettingsGroup]) -> list[str]:
    """Names of the settings that a group declares itself, in their order."""
    return [name for name in group.__annotations__ if name in group.model_fields]
