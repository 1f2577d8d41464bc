"""What the head of a GGUF file tells, and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, strategies

from langchain_moa import MoAConfigurationError
from langchain_moa.local.gguf import read_gguf


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def written(value: object) -> bytes:
    """A value with its type before it."""
    match value:
        case str():
            return struct.pack("<I", 8) + text(value)
        case list():
            items = b"".join(struct.pack("<I", item) for item in value)
            return struct.pack("<IIQ", 9, 4, len(value)) + items
        case float():
            return struct.pack("<If", 6, value)
        case _:
            return struct.pack("<II", 4, value)


def head(**fields: object) -> bytes:
    body = b"".join(text(name) + written(value) for name, value in fields.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields)) + body


MODEL: dict[str, object] = {
    "general.architecture": "llama",
    "general.rope": 0.5,
    "llama.context_length": 8192,
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
}


@pytest.mark.parametrize(
    ("changed", "per_token"),
    [
        ({}, 30 * 3 * 128 * 2),
        ({"llama.attention.key_length": 128}, 30 * 3 * (128 + 64) * 2),
        ({"llama.attention.head_count_kv": [3] * 10 + [0] * 20}, 10 * 3 * 128 * 2),
        ({"llama.block_count": 0}, 0),
        ({"tokenizer.ggml.tokens": 1, "llama.block_count": 30}, 30 * 3 * 128 * 2),
    ],
)
def test_memory(tmp_path: Path, changed: dict[str, object], per_token: int) -> None:
    path = tmp_path / "a.model.gguf"
    data = head(**{**MODEL, **changed})
    path.write_bytes(data)
    found = read_gguf(path)
    assert (found.name, found.trained_context) == ("a.model", 8192)
    assert found.memory(100) == len(data) + 100 * per_token


def test_what_is_not_told_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(head(**{"general.architecture": "new"}))
    found = read_gguf(path)
    assert (found.name, found.trained_context, found.memory(100)) == ("model", None, found.size)


@given(strategies.binary(max_size=200))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(b"GGUF" + data)
    try:
        assert read_gguf(path).size == len(data) + 4
    except MoAConfigurationError as error:
        assert "broken or cut off" in str(error)  # noqa: PT017
