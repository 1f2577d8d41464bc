"""Mixtures by name, as data: the paper's, the reference code's, and current ones."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

DEFAULT_PRESET: Final = "default"
"""The preset of those who name no models."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A mixture by name.

    Attributes:
        name: The name.
        title: What it is, in one line.
        source: Where the models and settings were taken from, and when.
        retired: Whether models of it are known to be served no more.
        settings: The arguments, for `MoAChatModel.from_config`.
        lists: Where a server on this machine lists its models, which are the mixture's: a path.
            `langchain_moa.local.settings_of` asks it. `None` where the settings name them.
        key: The environment's variable that holds that server's key, if it wants one.
    """

    name: str
    title: str
    source: str
    retired: bool
    settings: Mapping[str, Any]
    lists: str | None = None
    key: str | None = None


def get_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        MoAConfigurationError: There is none of that name.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.presets import get_preset
        >>> settings = get_preset("moa-lite").settings
        >>> settings["layers"], len(settings["reference_models"])
        (2, 6)
        >>> llm = MoAChatModel.from_config(settings, api_key="your-key", timeout=60)
    """
    presets = _presets()
    if name not in presets:
        # errors import LangChain, and a list of presets needs none of it
        from langchain_moa.errors import MoAConfigurationError  # noqa: PLC0415

        msg = f"preset={name!r} is unknown; give one of: {', '.join(presets)}."
        if str(name).endswith((".toml", ".yaml", ".yml", ".json")):
            msg = f"preset={name!r} is a file, and no preset; give from_config({name!r})."
        raise MoAConfigurationError(msg)
    found = presets[name]
    return Preset(name=name, **{**found, "settings": deepcopy(found["settings"])})


def preset_names() -> list[str]:
    """The names of all presets, the default first.

    Example:
        >>> from langchain_moa.presets import preset_names
        >>> preset_names()[0]
        'default'
    """
    return list(_presets())


@cache
def _presets() -> dict[str, dict[str, Any]]:
    # `importlib.resources` takes longer to import than all else that `--help` needs of ours
    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))
