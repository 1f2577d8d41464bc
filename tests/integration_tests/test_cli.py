"""The command line as a program of its own, against a loopback server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import MIXTURE, MODELS
from tests.conftest import Ran
from tests.wire import ALPHA, BETA, says

MODULE = (sys.executable, "-m", "langchain_moa")
HEAVY = ("langgraph", "langchain_core", "langchain_together", "openai", "pydantic")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(MODELS) as running:
        yield running


def at(server: LoopbackServer, **more: str) -> dict[str, str]:
    """An environment that names a server."""
    key = {"TOGETHER_API_BASE": server.base_url, "TOGETHER_API_KEY": server.api_key}
    return {**os.environ, **key, **more}


def started(
    *words: str, program: tuple[str, ...] = MODULE, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*program, *words], env=env, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603


def run(
    *words: str,
    stdin: str | bytes = "",
    program: tuple[str, ...] = MODULE,
    env: Mapping[str, str] | None = None,
) -> Ran:
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    with started(*words, program=program, env=env) as process:
        out, err = process.communicate(given, timeout=200)
    return Ran(process.returncode, out.decode(), err.decode())


def test_what_is_piped_in_comes_out_as_json(server: LoopbackServer) -> None:
    """As in a shell: `echo "2+2?" | langchain-moa ask - --json | python -m json.tool`."""
    server.models[BETA] = ModelBehavior(status=400, error="no such luck")
    ran = run("ask", "-", "--json", *MIXTURE, env=at(server), stdin="2+2?\n")
    tool = run(program=(sys.executable, "-m", "json.tool"), stdin=ran.out)
    assert (ran.code, tool.code) == (0, 0)
    told = json.loads(tool.out)
    assert (told["question"], told["answer"]) == ("2+2?", "The **answer**.")
    assert "no such luck" in told["record"]["proposals"][1]["error"]
    (line,) = ran.err.splitlines()
    assert line.startswith(f"layer 1, {BETA}: failed: ")
    assert "no such luck" in line


def test_the_script_is_the_module() -> None:
    script = shutil.which("langchain-moa", path=Path(sys.executable).parent)
    assert script is not None
    told = run("--version", program=(script,))
    assert (told.code, told) == (0, run("--version"))


@pytest.mark.parametrize(
    "words", [["--help"], ["chat", "--help"], ["ask", "-h"], ["presets"], ["--version"]]
)
def test_help_waits_for_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from langchain_moa.cli import main; code = main(sys.argv[1:]);"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    ran = run(*words, program=(sys.executable, "-c", code))
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "loaded: []")


def test_a_reader_that_leaves_is_no_error_to_tell(server: LoopbackServer) -> None:
    server.models["acme/aggregator"] = says("word " * 50_000)
    with started("ask", "Hi", *MIXTURE, env=at(server)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("command", ["ask", "chat"])
def test_ctrl_c_is_exit_code_130_and_ends_the_requests(
    command: str, server: LoopbackServer
) -> None:
    server.models[ALPHA] = ModelBehavior(hang=True)
    with started(command, *MIXTURE, env=at(server)) as process:
        assert process.stdin is not None
        process.stdin.write(b"Hi\nAgain?\n")
        process.stdin.flush()
        if command == "ask":
            process.stdin.close()
        _until(lambda: bool(server.requests_for(ALPHA)))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b""
        assert process.stderr.read().strip() == b""
    assert len(server.requests_for(ALPHA)) == 1


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen within a minute")


def test_without_a_key_it_says_so_and_shows_no_traceback() -> None:
    ran = run("ask", "Hi")
    assert (ran.code, ran.out) == (2, "")
    assert re.fullmatch(r"error: no key for Together: set TOGETHER_API_KEY, .*--demo.*\n", ran.err)
    assert "Traceback" in run("ask", "Hi", "--debug").err


def test_questions_and_answers_in_any_script(server: LoopbackServer) -> None:
    """Whatever the terminal's own encoding is said to be."""
    server.models["acme/aggregator"] = says("天は青い — 🌌")
    env = at(server, LC_ALL="C", PYTHONUTF8="1")
    ran = run("ask", "-", *MIXTURE, env=env, stdin="なぜ空は青い?")
    assert (ran.code, ran.out) == (0, "天は青い — 🌌\n")
    assert server.requests[0].body["messages"][0]["content"] == "なぜ空は青い?"


def test_stdin_that_is_no_text_is_refused(server: LoopbackServer) -> None:
    env = at(server, PYTHONIOENCODING="utf-8")
    ran = run("ask", "-", *MIXTURE, env=env, stdin=b"\xff\xfe")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: the question is in UTF-16; save it as UTF-8.")


def test_a_chat_in_a_pipe_is_plain_text(server: LoopbackServer) -> None:
    ran = run("chat", *MIXTURE, env=at(server, FORCE_COLOR=""), stdin="One?\nTwo?\n")
    assert (ran.code, ran.out, ran.err) == (0, "The **answer**.\n" * 2, "")


def test_the_demo_answers_without_a_key() -> None:
    ran = run("ask", "What are 3 fun things to do in SF?", "--demo")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Three things that make a good day in San Francisco:")
