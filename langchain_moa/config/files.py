"""Settings in TOML, YAML and JSON files: read strictly, written so that reading gives the same."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from langchain_moa.config.text_files import escaped, needs_escapes, read_text, write_text
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.presets import preset_names
from langchain_moa.types import AnyDict, AnyMapping

_MERGE: Final = "tag:yaml.org,2002:merge"
_NUMBERS: Final = [f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")]
_LONGEST_NUMBER: Final = 400
"""Characters of a number; the greatest float has 309 digits."""
_MOST_VALUES: Final = 100_000
"""Values of a document, that of each alias counted wherever it stands."""


class Format(NamedTuple):
    """How one kind of file is read and written.

    Attributes:
        loads: Makes data of a text; raises a `ValueError` or `yaml.YAMLError` that tells the line.
        dumps: Makes a text of data; raises a `TypeError` or `ValueError` for what it cannot hold.
    """

    loads: Callable[[str], object]
    dumps: Callable[[AnyMapping], str]


def read_settings(path: Path) -> AnyDict:
    """The settings in a file.

    Args:
        path: A file whose suffix is `.toml`, `.yaml`, `.yml` or `.json`, in UTF-8.

    Raises:
        MoAConfigurationError: It can't be read, is not valid (the message tells the line), holds
            a key twice, or is no table of settings.
    """
    format_ = format_of(path)
    text = read_text(path)
    try:
        settings = format_.loads(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        msg = f"{path}: {_reason(error)}."
        raise MoAConfigurationError(msg) from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        msg = f"{path} holds no settings; give 'name = value' for each."
        raise MoAConfigurationError(msg)
    return settings


def write_settings(settings: AnyMapping, path: Path) -> None:
    """Write settings to a file, in the format that its suffix names, over what is there.

    Raises:
        MoAConfigurationError: The format can't hold them, or the file can't be written.
    """
    format_of(path)
    write_text(path, settings_text(settings, path.suffix))


def _reason(error: Exception) -> str:
    """Why a file's text is not valid, in one line, with the line of the file."""
    text = str(error)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        text = f"{error.problem} (at line {mark.line + 1}, column {mark.column + 1})"
    if isinstance(error, RecursionError):
        text = "it is nested too deeply"
    return " ".join(text.split()) or type(error).__name__


def settings_text(settings: AnyMapping, suffix: str) -> str:
    """Settings as the text of a file, which commands no terminal whatever names it holds.

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
        if str(path) in preset_names():
            msg = f"{path} is no file, but a preset; give from_preset({str(path)!r})."
        raise MoAConfigurationError(msg)
    return _FORMATS[path.suffix.lower()]


def _once(pairs: list[tuple[Hashable, object]]) -> dict[Hashable, object]:
    """A dict of pairs, none of whose keys stands there twice."""
    made: dict[Hashable, object] = {}
    for key, value in pairs:
        if key in made:
            msg = f"{key!r} stands there twice"
            raise ValueError(msg)
        made[key] = value
    return made


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML, without repeated keys, and of a size that follows from the file's."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, before anything is made of it."""
        node = super().get_single_node()
        if node is not None:
            _size_of(node, {})
        return node


def _size_of(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a part of a document is, each alias counted as what it stands for.

    Args:
        node: The part.
        sizes: What is known of others; 0 is a part that is being counted.
    """
    known = sizes.get(id(node))
    if known:
        return known
    if known == 0:
        raise _problem(node, "an alias stands within what it names")
    sizes[id(node)] = 0
    if isinstance(node, yaml.ScalarNode):
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise _problem(node, f"a number has more than {_LONGEST_NUMBER} characters")
        size = 1
    else:
        pairs = isinstance(node, yaml.MappingNode)
        parts = [part for pair in node.value for part in pair] if pairs else node.value
        size = 1 + sum(_size_of(part, sizes) for part in parts)
    if size > _MOST_VALUES:
        raise _problem(node, f"with its aliases it is more than {_MOST_VALUES:,} values")
    sizes[id(node)] = size
    return size


def _problem(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Hashable, object]:
    """A table; what it says itself goes over what `<<` merges into it (https://yaml.org/type/merge)."""
    try:
        own = [key for key, _ in node.value if key.tag != _MERGE]
        _once([(loader.construct_object(key, deep=True), None) for key in own])
        loader.flatten_mapping(node)
        made = {}
        for key, value in node.value:
            made[loader.construct_object(key, deep=True)] = loader.construct_object(
                value, deep=True
            )
    except ValueError as error:
        problem = str(error)
    except TypeError:
        problem = "a list or a table can't be a key"
    else:
        return made
    raise _problem(node, problem)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _toml(settings: AnyMapping) -> str:
    import tomli_w  # noqa: PLC0415 - most programs write no TOML

    return escaped(tomli_w.dumps(_without_null(settings)))


def _without_null(value: object) -> Any:
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


def _json(settings: AnyMapping) -> str:
    text = json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{escaped(text)}\n"


class _Dumper(yaml.SafeDumper):
    """Plain YAML whose texts are read as they were, whatever line breaks they hold."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML folds these as it folds its own line breaks, unless they are escaped
    style = '"' if _LINE_BREAKS.intersection(text) or needs_escapes(text) else None
    return dumper.represent_scalar(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, text, style)


_LINE_BREAKS: Final = frozenset("\x85\u2028\u2029")
_Dumper.add_representer(str, _text)


def _yaml(settings: AnyMapping) -> str:
    text = yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return escaped(text)  # what is to be escaped stands between double quotes


_YAML: Final = Format(lambda text: yaml.load(text, _StrictLoader), _yaml)  # noqa: S506 - is a SafeLoader

_FORMATS: Final = {
    ".toml": Format(tomllib.loads, _toml),
    ".yaml": _YAML,
    ".yml": _YAML,
    ".json": Format(lambda text: json.loads(text, object_pairs_hook=_once), _json),
}
