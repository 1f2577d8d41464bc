"""What the command line takes and gives: no text, hostile text, files that are there."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import click
import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import MIXTURE, user_turns
from tests.conftest import Cli
from tests.wire import ALPHA, BETA

pytestmark = pytest.mark.usefixtures("fresh")

NOT_TEXT = {
    "UTF-16": ("Grüße\n".encode("utf-16"), "the question is in UTF-16; save it as UTF-8."),
    "Latin-1": ("Grüße\n".encode("latin-1"), "the question is not text in UTF-8 (byte 0xfc at 2)"),
    "a picture": (b"\x89PNG\x0d\x0a", "the question is not text in UTF-8 (byte 0x89 at 0)"),
    "NULs": (b"a\x00b\n", "character 2 is a NUL"),
}


@pytest.mark.parametrize("kind", NOT_TEXT)
def test_what_is_no_text_is_refused_with_its_reason(
    kind: str, cli: Cli, server: LoopbackServer
) -> None:
    data, reason = NOT_TEXT[kind]
    for command in ("ask", "chat"):
        ran = cli(command, *MIXTURE, stdin=data)
        assert (ran.code, ran.out) == (2, ""), command
        assert reason in ran.err
        assert "Traceback" not in ran.err
    assert not server.requests


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "Wh\udce4t?"),
        ("ask", "Why?", "--reference-models", "a/b,c/\udcff"),
        ("ask", "Why?", "--aggregator=a/\udcff"),
        ("ask", "Why?", "--base-url", "http://127.0.0.1:9/\udcff"),
        ("ask", "Why?", "--system", "\udcff"),
        ("chat", "--trust-host", "h\udcff"),
        ("chat", "--analyst", "\udcff"),
        ("models", "--layers", "\udcff"),
        ("config", "--preset", "\udcff"),
        ("presets", "\udcff"),
        ("eval", "run", "mt-bench", "--single", "a/\udcff"),
        ("eval", "judge", "mt-bench", "--judge", "a/\udcff", "--out", "x"),
        ("eval", "score", "\udcff", "x"),
    ],
)
def test_bytes_on_the_command_line_that_are_no_text_are_refused(
    words: tuple[str, ...], cli: Cli, server: LoopbackServer
) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) == 1
    assert not server.requests


def test_a_path_may_hold_any_bytes(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "\udcff.toml"
    assert cli("config", *MIXTURE, "--write", str(path)).code == 0
    assert cli("config", "--config", str(path)).code == 0
    assert cli("ask", "Why?", "--config", str(path), "--output", str(path), "--force").code == 0


def test_one_bad_line_is_one_error(cli: Cli) -> None:
    ran = cli("chat", *MIXTURE, stdin=b"one?\n\xff\xfe?\n/save ~nobody-of-us/x\ntwo?\n")
    assert (ran.code, ran.out) == (2, "The **answer**.\n" * 2)
    assert ran.err.count("error: ") == 2
    assert "there is no such user here" in ran.err


def test_text_in_the_encoding_of_the_system_is_read(cli: Cli, server: LoopbackServer) -> None:
    assert cli("ask", *MIXTURE, stdin="你好？".encode("gbk"), encoding="gbk").code == 0
    assert user_turns(server, ALPHA) == ["user: 你好？"]
    assert cli("ask", *MIXTURE, stdin=b"\xef\xbb\xbf" + "Grüße".encode()).code == 0
    assert user_turns(server, ALPHA) == ["user: Grüße"]


HOSTILE = "evil\x1b]52;c;SEVJTA==\x07\x9b2J\x9d0;x\x9c\u202ekcab\u2066"
FORBIDDEN = {*map(chr, (*range(0x20), *range(0x7F, 0xA0))), "\u202e", "\u2066"} - {"\n", "\t"}


def safe(text: str) -> bool:
    return not set(text) & FORBIDDEN


def test_no_command_lets_a_text_command_the_terminal(
    cli: Cli, server: LoopbackServer, tmp_path: Path
) -> None:
    """In a pipe, too, whose end is often a terminal; `--json` escapes, and so loses nothing."""
    name, writer = f"acme/{HOSTILE}", f"acme/writer{HOSTILE}"
    server.models[name] = ModelBehavior(reply=f"Draft {HOSTILE}")
    server.models[writer] = ModelBehavior(reply=f"Answer {HOSTILE}")
    server.models[BETA] = ModelBehavior(status=400, error=f"refused {HOSTILE}")
    path = tmp_path / "moa.json"
    path.write_text(json.dumps({"reference_models": [name, BETA], "aggregator": writer}))
    config = ("--config", str(path))
    for words in (
        ("ask", "Why?", *config),
        ("ask", "Why?", "--show-proposals", "--verbose", *config),
        ("ask", "Why?", "--json", *config),
        ("models", *config),
        ("graph", *config),
        ("graph", "--mermaid", *config),
        ("config", *config),
        ("config", "--format", "yaml", *config),
        ("config", "--format", "json", *config),
    ):
        ran = cli(*words)
        assert ran.code == 0, ran.err
        assert "evil" in ran.out, words
        assert safe(ran.out), words
        assert safe(ran.err), words
    ran = cli(
        "chat", "--show-proposals", *config, stdin=f"Why?\n/models\n/load {HOSTILE}\n".encode()
    )
    assert ran.out.count("evil") > 1
    assert safe(ran.out)
    assert safe(ran.err)
    server.models[writer] = ModelBehavior(status=400, error=f"refused {HOSTILE}")
    for more in ((), ("--debug",), ("--verbose",)):
        ran = cli("ask", "Why?", *more, *config)
        assert (ran.code, ran.out) == (3, "")
        assert "refused evil" in ran.err
        assert safe(ran.err), more


def test_nothing_is_written_over_without_leave(cli: Cli, tmp_path: Path) -> None:
    for words in (
        ("config", *MIXTURE, "--write", str(tmp_path / "moa.toml")),
        ("graph", *MIXTURE, "--png", str(tmp_path / "moa.png")),
    ):
        path = Path(words[-1])
        path.write_text("precious")
        ran = cli(*words)
        assert ran.code == 2
        assert ran.err == f"error: {path} exists; give --force to write over it.\n"
        assert path.read_text() == "precious"
        assert cli(*words, "--force").code == 0
        assert path.read_bytes() != b"precious"
    talk = tmp_path / "talk.json"
    talk.write_text("precious")
    ran = cli("chat", *MIXTURE, stdin=f"one?\n/save {talk}\n")
    assert ran.code == 2
    assert f"error: {talk} exists; /save --force FILE is the way to write over it." in ran.err
    assert talk.read_text() == "precious"
    assert cli("chat", *MIXTURE, stdin=f"one?\n/save --force {talk}\n").code == 0
    assert json.loads(talk.read_text())["messages"]
    if os.name == "posix":
        assert stat.S_IMODE(talk.stat().st_mode) == 0o600


def test_a_person_is_asked_before_a_file_is_written_over(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "moa.toml"
    cli("config", *MIXTURE)  # imports the commands
    inputs = sys.modules["langchain_moa.cli.inputs"]
    cli.environment.setattr(inputs, "somebody_answers", lambda: True)
    for leave in (False, True):
        cli.environment.setattr(click, "confirm", lambda *_, leave=leave, **__: leave)
        path.write_text("precious")
        ran = cli("config", *MIXTURE, "--write", str(path))
        assert ran.code == (0 if leave else 2)
        assert (path.read_text() != "precious") is leave
