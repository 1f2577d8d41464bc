"""Checks that several settings share, so that their errors say the same in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_moa.errors import MoAConfigurationError, shown


def checked_choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """An option that is one of several words, the first of which is the default.

    Raises:
        MoAConfigurationError: It is none of them.
    """
    value = options.get(name, choices[0])
    if value not in choices:
        msg = f"{name}={shown(value)} is unknown; give {' or '.join(map(repr, choices))}."
        raise MoAConfigurationError(msg)
    return value


def checked_limits(
    options: Mapping[str, Any], name: str, unit: str = ""
) -> int | dict[str, int] | None:
    """An option that is a limit, or a dict of limits per model name, or `None`.

    Args:
        options: The options that are given.
        name: The option's name.
        unit: What is limited, for the error, such as `" of tokens"`.

    Raises:
        MoAConfigurationError: A limit is no whole number above 0.
    """
    given = options.get(name)
    if given is None:
        return None
    named = {name: given}
    if isinstance(given, Mapping):
        named = {f"{name}[{model!r}]": limit for model, limit in given.items()}
    for field, limit in named.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            msg = f"{field}={shown(limit)} must be a whole number{unit}, 1 or more."
            raise MoAConfigurationError(msg)
    return dict(given) if isinstance(given, Mapping) else given
