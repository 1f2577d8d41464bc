"""The command line's streams: closed ones, other encodings, hostile texts, files that are there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_moa.testing import LoopbackServer
from tests.commands import MIXTURE, MODELS
from tests.integration_tests.test_cli import MODULE, at, run
from tests.wire import AGGREGATOR, says

posix = pytest.mark.skipif(sys.platform == "win32", reason="streams, signals and modes of POSIX")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(MODELS) as running:
        yield running


def without(closed: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command whose streams a supervisor has closed, as `command <&- >&-`."""
    command = f'exec "$@" {closed}'
    return subprocess.run(  # noqa: S603 - ours
        ["/bin/sh", "-c", command, "sh", *MODULE, *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@posix
def test_closed_streams(server: LoopbackServer) -> None:
    env = at(server)
    asked = without("<&-", "ask", "Why?", *MIXTURE, env=env)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "The **answer**.\n", "")
    assert without("<&- >&- 2>&-", "ask", "Why?", *MIXTURE, env=env).returncode == 0
    assert [request.model for request in server.requests].count(AGGREGATOR) == 2


@posix
def test_what_programs_read_is_utf_8_whatever_the_terminal_takes(server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = says("Grüße, 世界 🌍")
    ran = run("ask", "Wofür?", "--json", *MIXTURE, env=at(server, PYTHONIOENCODING="ascii"))
    assert (ran.code, json.loads(ran.out)["answer"]) == (0, "Grüße, 世界 🌍")


if sys.platform != "win32":
    import termios

    import pexpect  # type: ignore[import-untyped]

    def echoes(process: Any) -> bool:
        return bool(termios.tcgetattr(process.child_fd)[3] & termios.ECHO)

    def test_sigterm_leaves_the_terminal_as_it_was(server: LoopbackServer) -> None:
        server.models[AGGREGATOR] = says("word " * 50, token_delay=0.5)
        words = [*MODULE[1:], "chat", "--yes", *MIXTURE]
        env = {**at(server), "TERM": "xterm"}
        spawn: Any = pexpect.spawn
        process = spawn(MODULE[0], words, env=env, timeout=100, encoding="utf-8")
        process.expect(">>> ")
        process.send("Why?\r")
        process.expect("word word")
        assert not echoes(process)
        process.kill(signal.SIGTERM)
        process.expect(pexpect.EOF)
        shown = process.before
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is back
        process.wait()
        assert process.exitstatus == 128 + signal.SIGTERM
        assert "Traceback" not in shown
