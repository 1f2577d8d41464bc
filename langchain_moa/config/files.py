"""Settings in TOML, YAML and JSON files: read strictly, written so that reading gives the same."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from langchain_moa.errors import MoAConfigurationError


class Format(NamedTuple):
    """How one kind of file is read and written.

    Attributes:
        loads: Makes data of a text; raises a `ValueError` or `yaml.YAMLError` that tells the line.
        dumps: Makes a text of data; raises a `TypeError` or `ValueError` for what it cannot hold.
    """

    loads: Callable[[str], Any]
    dumps: Callable[[Mapping[str, Any]], str]


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a file.

    Args:
        path: A file whose suffix is `.toml`, `.yaml`, `.yml` or `.json`, in UTF-8.

    Raises:
        MoAConfigurationError: It can't be read, is not valid (the message tells the line), holds
            a key twice, or is no table of settings.
    """
    format_ = format_of(path)
    try:
        settings = format_.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        msg = f"{path}: {_reason(error)}."
        raise MoAConfigurationError(msg) from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        msg = f"{path} holds no settings; give 'name = value' for each."
        raise MoAConfigurationError(msg)
    return settings


def write_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Write settings to a file, in the format that its suffix names.

    Raises:
        MoAConfigurationError: The format can't hold them, or the file can't be written.
    """
    format_of(path)
    text = settings_text(settings, path.suffix)
    try:
        path.write_text(text, "utf-8")
    except (OSError, ValueError) as error:  # half of a surrogate pair is no text
        msg = f"{path}: {_reason(error)}."
        raise MoAConfigurationError(msg) from None


def _reason(error: Exception) -> str:
    """Why a file can't be read or written, in one line, with the line of the file."""
    text = str(error)
    if isinstance(error, OSError):
        text = error.strerror or text
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        text = f"{error.problem} (at line {mark.line + 1}, column {mark.column + 1})"
    if isinstance(error, RecursionError):
        text = "it is nested too deeply"
    return " ".join(text.split()) or type(error).__name__


def settings_text(settings: Mapping[str, Any], suffix: str) -> str:
    """Settings as the text of a file.

    Args:
        settings: Plain data: what JSON can hold.
        suffix: `.toml`, `.yaml`, `.yml` or `.json`.

    Raises:
        MoAConfigurationError: The format can't hold them, as TOML no `null` in a list.
    """
    try:
        return format_of(Path(f"settings{suffix}")).dumps(settings)
    except (TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        msg = f"{suffix} can't hold these settings: {reason}; give a .json or .yaml file."
        raise MoAConfigurationError(msg) from None


def format_of(path: Path) -> Format:
    """The format that a path's suffix names.

    Raises:
        MoAConfigurationError: It is none that we know.
    """
    if path.suffix.lower() not in _FORMATS:
        msg = f"{path}: unknown format {path.suffix!r}; give one of {', '.join(_FORMATS)}."
        raise MoAConfigurationError(msg)
    return _FORMATS[path.suffix.lower()]


def _once(pairs: list[tuple[Hashable, Any]]) -> dict[Hashable, Any]:
    """A dict of pairs, none of whose keys stands there twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        msg = f"{twice!r} stands there twice"
        raise ValueError(msg)
    return made


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML, without repeated keys."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    loader.flatten_mapping(node)
    pairs = [tuple(loader.construct_object(part, deep=True) for part in p) for p in node.value]
    try:
        return _once(pairs)
    except ValueError as error:
        problem = str(error)
    except TypeError:
        problem = "a list or a table can't be a key"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _toml(settings: Mapping[str, Any]) -> str:
    import tomli_w  # noqa: PLC0415 - most programs write no TOML

    return tomli_w.dumps(_without_null(settings))


def _without_null(value: Any) -> Any:
    """TOML has no null: in a mixture's table infinity stands for no limit of time.

    Of its other settings `null` is the default, so they are left out.
    """
    if isinstance(value, list | tuple):
        return [_without_null(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept = dict(value)
    if "reference_models" in value:
        kept = {k: v for k, v in value.items() if v is not None or k.endswith("timeout")}
        kept = {k: math.inf if v is None else v for k, v in kept.items()}
    return {name: _without_null(item) for name, item in kept.items()}


def _json(settings: Mapping[str, Any]) -> str:
    return f"{json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False)}\n"


class _Dumper(yaml.SafeDumper):
    """Plain YAML whose texts are read as they were, whatever line breaks they hold."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML folds these as it folds its own line breaks, unless they are escaped
    style = '"' if _LINE_BREAKS.intersection(text) else None
    return dumper.represent_scalar(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, text, style)


_LINE_BREAKS: Final = frozenset("\x85\u2028\u2029")
_Dumper.add_representer(str, _text)


def _yaml(settings: Mapping[str, Any]) -> str:
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


_YAML: Final = Format(lambda text: yaml.load(text, _StrictLoader), _yaml)  # noqa: S506 - is a SafeLoader

_FORMATS: Final = {
    ".toml": Format(tomllib.loads, _toml),
    ".yaml": _YAML,
    ".yml": _YAML,
    ".json": Format(lambda text: json.loads(text, object_pairs_hook=_once), _json),
}
