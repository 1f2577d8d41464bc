"""What the head of a GGUF file tells: whether it is one, and how much memory its model takes.

The format is llama.cpp's (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from langchain_moa.errors import MoAConfigurationError

_MAGIC: Final = b"GGUF"
_NUMBERS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT: Final = 8
_ARRAY: Final = 9
_LONGEST: Final = 1 << 20
"""Bytes of a text, or items of an array, that are read; no field that is needed has more."""
_TOKENIZER: Final = "tokenizer."
"""Fields whose names begin so hold the whole vocabulary; what is needed stands before them."""
_CACHED_BYTES: Final = 2
"""Bytes of a number in the cache of keys and values (16-bit floats)."""

Value = str | int | float | list["Value"]


@dataclass(frozen=True, kw_only=True)
class GGUF:
    """A file of weights.

    Attributes:
        path: The file.
        size: Its bytes.
        trained_context: Tokens that the model was trained to read at once; `None` if not told.
        bytes_per_token: Memory that each token of the context takes, 0 if it is not told.
    """

    path: Path
    size: int
    trained_context: int | None
    bytes_per_token: int

    @property
    def name(self) -> str:
        """The model's name: the file's, without its suffix."""
        return self.path.name.removesuffix(".gguf")

    def memory(self, tokens: int) -> int:
        """Bytes that the weights and a context of so many tokens take."""
        return self.size + tokens * self.bytes_per_token


def read_gguf(path: Path) -> GGUF:
    """Read the head of a file.

    Raises:
        MoAConfigurationError: It cannot be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                msg = f"{path} is no GGUF file; give a model's file for llama.cpp."
                raise MoAConfigurationError(msg)
            fields = _fields(file)
        size = path.stat().st_size
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise MoAConfigurationError(msg) from None
    except (struct.error, UnicodeDecodeError, MemoryError, ValueError) as error:
        if isinstance(error, MoAConfigurationError):
            raise
        msg = f"{path} is no GGUF file that can be read: its head is broken or cut off."
        raise MoAConfigurationError(msg) from None
    kind = fields.get("general.architecture")
    ours = {
        name.removeprefix(f"{kind}."): value
        for name, value in fields.items()
        if name.startswith(f"{kind}.")
    }
    context = ours.get("context_length")
    return GGUF(
        path=path,
        size=size,
        trained_context=context if isinstance(context, int) and context > 0 else None,
        bytes_per_token=_bytes_per_token(ours),
    )


def _bytes_per_token(fields: Mapping[str, Value]) -> int:
    """Keys and values of all layers: heads times the numbers of each."""
    layers, heads = _number(fields, "block_count"), _number(fields, "attention.head_count")
    if not layers or not heads:
        return 0
    each = _number(fields, "embedding_length") // heads
    numbers = sum(_number(fields, f"attention.{name}_length") or each for name in ("key", "value"))
    heads_of_layers = _numbers(fields.get("attention.head_count_kv", heads))
    if len(heads_of_layers) == 1:  # all layers alike
        heads_of_layers *= layers
    return sum(heads_of_layers) * numbers * _CACHED_BYTES


def _number(fields: Mapping[str, Value], name: str) -> int:
    """A whole number; of a list the largest; 0 where it is not told."""
    return max(_numbers(fields.get(name)), default=0)


def _numbers(value: Value | None) -> list[int]:
    """The whole numbers of a field."""
    values = value if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int)]


def _fields(file: BinaryIO) -> dict[str, Value]:
    """The fields that stand before the vocabulary."""
    _version, _tensors, count = struct.unpack("<IQQ", file.read(20))
    fields: dict[str, Value] = {}
    for _ in range(min(count, _LONGEST)):
        name = _text(file)
        if name.startswith(_TOKENIZER):
            break
        fields[name] = _value(file, _number_of(file, "<I"))
    return fields


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _TEXT:
        return _text(file)
    if kind != _ARRAY:
        if kind not in _NUMBERS:
            msg = f"there is no type {kind}"
            raise ValueError(msg)
        return _number_of(file, _NUMBERS[kind])
    inner, count = struct.unpack("<IQ", file.read(12))
    if count > _LONGEST or inner == _ARRAY:
        msg = "an array is too long"
        raise ValueError(msg)
    return [_value(file, inner) for _ in range(count)]


def _number_of(file: BinaryIO, form: str) -> int:
    number: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return number


def _text(file: BinaryIO) -> str:
    length = _number_of(file, "<Q")
    if length > _LONGEST:
        msg = "a text is too long"
        raise ValueError(msg)
    data = file.read(length)
    if len(data) < length:
        msg = "the file ends"
        raise ValueError(msg)
    return data.decode()
