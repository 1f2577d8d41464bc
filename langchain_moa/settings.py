"""How a setting is declared: one field, with its name, type, default, check and sentence.

Each room declares the settings that it owns as a group, in a file `settings.py` of its own.
`config.settings` unites the groups; everything else follows from that class: the arguments of
`MoAChatModel` and `create_moa_graph`, configuration files, and the reference of all settings.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from numbers import Real
from textwrap import fill
from typing import Annotated, Final, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from langchain_moa.errors import MoAConfigurationError, shown

_WIDTH: Final = 92


@dataclass(frozen=True, kw_only=True)
class Number:
    """What a setting that is a number may be: the one check of all of them.

    As a validator in a field's type it takes the field's name from pydantic.

    Attributes:
        least: The smallest value.
        most: The largest value. There always is one: clocks, locks and lists refuse numbers
            without end, and `None` is no limit at all where a setting takes it.
        above: Whether the smallest value itself is too small.
        whole: Whether it must be a whole number.
        note: What to add about it in an error.

    Example:
        >>> share = Number(least=0, most=1, above=True)
        >>> share.checked(0.5, "share")
        0.5
        >>> share.checked(True, "share")
        Traceback (most recent call last):
        ...
        langchain_moa.errors.MoAConfigurationError: share=True must be a number above 0, up to 1.
    """

    least: float
    most: float
    above: bool = False
    whole: bool = False
    note: str = ""

    def __call__(self, value: object, info: ValidationInfo) -> float:
        """The number that the field which is validated holds."""
        return self.checked(_read(value), str(info.field_name))

    def checked(self, value: object, field: str) -> float:
        """The number that a value means.

        Args:
            value: What was given.
            field: Where it stands, for the error.

        Raises:
            MoAConfigurationError: It is none (`True` and `False` are none, nor is NaN), or out of
                bounds.
        """
        number = _number(value, whole=self.whole)
        fits = number is not None and self.least <= number <= self.most
        if number is not None and fits and not (self.above and number == self.least):
            return number + 0  # there is no negative zero
        msg = f"{field}={shown(value)} must be {self}."
        raise MoAConfigurationError(msg)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        least = f"above {self.least:,}, up to" if self.above else f"from {self.least:,} to"
        return f"{kind} {least} {self.most:,}{self.note}"


def _number(value: object, *, whole: bool) -> float | None:
    """The number that a value means, or `None`."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        number: object = math.trunc(value) if whole else float(value)
    except (ValueError, OverflowError):  # there is no whole number for NaN, and no float so large
        return None
    return cast("float", number) if not whole or number == value else None


def _read(value: object) -> object:
    """The number that a text holds; anything else as it is."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        return value
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value


_LONGEST_NUMBER: Final = 40
"""Characters of a text that can be a number."""
LONGEST: Final = 31_536_000
"""Seconds that a limit of time may be at most: a year."""
COUNT: Final = Number(least=1, most=10**12, whole=True)
SAMPLES: Final = Number(least=1, most=1000, whole=True)
SECONDS: Final = Number(least=0, most=LONGEST, above=True, note=" seconds")
Seconds = Annotated[float, BeforeValidator(SECONDS)]
Grace = Annotated[float, BeforeValidator(Number(least=0, most=LONGEST, note=" seconds"))]
Temperature = Annotated[float, BeforeValidator(Number(least=0, most=100))]
Count = Annotated[int, BeforeValidator(COUNT)]
Usd = Annotated[float, BeforeValidator(Number(least=0, most=10**12, above=True, note=" USD"))]
Retries = Annotated[int, BeforeValidator(Number(least=0, most=1000, whole=True))]
Layers = Annotated[
    int,
    BeforeValidator(
        Number(
            least=2,
            most=100,
            whole=True,
            note=" (the aggregator's layer counts, and one is for the reference models)",
        )
    ),
]


class SettingsGroup(BaseModel):
    """The settings that one room owns, as fields with their sentences as descriptions.

    The first line of a group's docstring is its heading in the reference. Checks stand in a field's
    type (`AfterValidator`): methods of the same name in two groups would replace one another.
    """

    # they are built where all groups are united
    model_config = ConfigDict(arbitrary_types_allowed=True, defer_build=True)


def checked_limits(value: object, info: ValidationInfo) -> object:
    """A limit, or a dict of limits per model name, or `None`.

    Raises:
        MoAConfigurationError: A limit is no whole number above 0, or a very large one.
    """
    if value is None:
        return None
    named = {str(info.field_name): value}
    if isinstance(value, Mapping):
        named = {f"{info.field_name}[{model!r}]": limit for model, limit in value.items()}
    checked = {field: COUNT.checked(limit, field) for field, limit in named.items()}
    if isinstance(value, Mapping):
        return dict(zip(value, checked.values(), strict=True))
    return checked[str(info.field_name)]


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


_OF_MEMBERS: Final = (
    "it is an argument of each member's own model: give the member as {{'model': ..., '{name}': "
    "...}}, of all proposals proposal_kwargs={{'{name}': ...}}, of the answer "
    "llm.bind({name}=...)."
)
_MEANT: Final = {
    "model": "aggregator=... writes the answer, and reference_models=[...] propose.",
    "model_name": "aggregator=... writes the answer, and reference_models=[...] propose.",
    "models": "reference_models=[...] propose, and aggregator=... writes the answer.",
    "proposers": "they are reference_models=[...].",
    "rounds": "layers=... counts the aggregator's, too: it is rounds + 1.",
    "preset": "give MoAChatModel.from_preset(name).",
    "samples": "one model is sampled several times by MoAChatModel.self_moa(model, samples=...).",
    **{
        name: _OF_MEMBERS.format(name=name)
        for name in ("top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "logprobs")
    },
}
"""What those look for who come from a plain chat model, or from the paper."""


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that do not exist.

    Raises:
        MoAConfigurationError: One does not; the message names the one that was likely meant.
    """
    for name in given:
        if name not in known:
            hint = _MEANT.get(name) or did_you_mean(name, known, "see help(MoAChatModel).")
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
