"""Files are read as UTF-8 and written whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.config.files import read_settings, settings_text
from langchain_moa.config.text_files import (
    checked_text,
    decoded,
    read_text,
    write_file,
    write_text,
)
from tests.growth import LINEAR, growth


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("Grüße".encode("utf-16"), "is in UTF-16; save it as UTF-8"),
        ("Grüße".encode("utf-16-be"), "no text|not text"),
        (b"\xfe\xff" + "Grüße".encode("utf-16-be"), "is in UTF-16; save it as UTF-8"),
        ("Grüße".encode("utf-32"), "is in UTF-32; save it as UTF-8"),
        ("Grüße".encode("latin-1"), r"is not text in UTF-8 \(byte 0xfc at 2\); save it as UTF-8"),
        ("你好".encode("gbk"), "is not text in UTF-8"),
        ("Hi".encode("utf-16-le"), "character 2 is a NUL"),
        (b"\x89PNG\r\n\x1a\n", "is not text in UTF-8"),
    ],
)
def test_what_is_not_utf_8_is_told_so(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MoAConfigurationError, match=f"^the question .*(?:{reason})"):
        decoded(data, "the question")
    path = tmp_path / "moa.toml"
    path.write_bytes(data)
    with pytest.raises(MoAConfigurationError, match=reason) as caught:
        MoAChatModel.from_config(path)
    assert str(caught.value).startswith(str(path))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert decoded(b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", "x") == "Grüße"
    path = tmp_path / "x"
    path.write_text("hello", "utf-8-sig")
    assert read_text(path) == "hello"


def test_halves_of_characters_are_no_text() -> None:
    assert checked_text("👩", "it") == "👩"
    with pytest.raises(MoAConfigurationError, match=r"^it is not text in UTF-8 \(character 3\)"):
        checked_text("ab\udcff", "it")


def test_a_failure_costs_nothing_of_what_was(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("hours of work")

    def fails(beside: Path) -> None:
        beside.write_text("a part")
        raise OSError(28, "No space left on device")

    with pytest.raises(MoAConfigurationError, match="No space left on device"):
        write_file(path, fails)
    with pytest.raises(MoAConfigurationError, match="surrogates not allowed"):
        write_text(path, "\ud800")
    assert path.read_text() == "hours of work"
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


posix = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")


@posix
def test_files_are_written_as_open_would(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = tmp_path / "x"
        write_text(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        write_text(path, "again")
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("again", 0o604)
        write_text(path, "mine", private=True)
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("mine", 0o600)
    finally:
        os.umask(before)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


@posix
def test_links_stay_and_devices_are_written_to(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "made")
    write_text(dangling, "made")
    assert (tmp_path / "made").read_text() == "made"
    write_text(Path(os.devnull), "gone")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("name", "reason"), [("no/x", "No such file"), ("a\0b", "null"), (".", "directory")]
)
def test_paths_where_nothing_can_be_written(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MoAConfigurationError, match=reason):
        write_text(tmp_path / name, "x")


HOSTILE = ("a\x9b2Jb", "a\x7fb", "a\u202eb", "a\u2066b", "a\x1b[2J", "a\x07", "a\x85b")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("suffix", [".toml", ".yaml", ".json"])
def test_settings_as_text_command_no_terminal(suffix: str, text: str, tmp_path: Path) -> None:
    settings = {"name": text, "table": {text: [text]}}
    written = settings_text(settings, suffix)
    assert not {c for c in written if c != "\n" and not c.isprintable()}
    path = tmp_path / f"x{suffix}"
    path.write_text(written, "utf-8")
    assert read_settings(path) == settings


def laughs(depth: int) -> str:
    lists = (f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth))
    return "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x,x]", *lists])


def merges(depth: int) -> str:
    tables = (f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, depth))
    return "\n".join(["a0: &a0 {x: 1}", *tables])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (laughs(10), "with its aliases it is more than 100,000 values"),
        (merges(10), "with its aliases it is more than 100,000 values"),
        ("a: &a [*a]", "an alias stands within what it names"),
        ("a: &a {b: *a}", "an alias stands within what it names"),
        ("a: 1" + ":1" * 400, "a number has more than 400 characters"),
        ("a: 0x" + "f" * 400, "a number has more than 400 characters"),
        ("[" * 5000, "nested too deeply"),
        ("a: 1\na: 2", "'a' stands there twice"),
        ("a: &b {x: 1}\nc: {<<: *b, y: 1, y: 2}", "'y' stands there twice"),
    ],
)
def test_a_file_costs_no_more_than_its_length(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(MoAConfigurationError, match=reason):
        read_settings(path)


def test_a_merged_value_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "base: &base {model: x/a, temperature: 0.7}\n"
        "more: &more {max_tokens: 5}\n"
        "one: {<<: *base, model: x/b}\n"
        "two: {model: x/c, <<: [*base, *more], temperature: 1.0}\n"
        "same: [*base, *base]\n"
    )
    settings = read_settings(path)
    assert settings["one"] == {"model": "x/b", "temperature": 0.7}
    assert settings["two"] == {"model": "x/c", "temperature": 1.0, "max_tokens": 5}
    assert settings["same"] == [settings["base"]] * 2


@pytest.mark.parametrize(
    ("kind", "size"),  # which take some 10 ms
    [("yaml", 400), ("json", 20_000), ("toml", 3000), ("yaml with a key twice", 400)],
)
def test_long_files_take_no_more_than_their_length(kind: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind.partition(' ')[0]}"

    def work(size: int) -> Callable[[], object]:
        lines = [(f"k{n}", n) for n in range(size)]
        if kind == "json":
            text = "{" + ", ".join(f'"{key}": {value}' for key, value in lines) + "}"
        else:
            sign = "=" if kind == "toml" else ":"
            text = "".join(f"{key} {sign} {value}\n" for key, value in lines)
        if kind.endswith("twice"):
            text += lines[-1][0] + ": 1\n"
        path.write_text(text)

        def reads() -> None:
            twice = kind.endswith("twice")
            with pytest.raises(MoAConfigurationError) if twice else nullcontext():
                read_settings(path)

        return reads

    assert growth(work, size) < LINEAR
