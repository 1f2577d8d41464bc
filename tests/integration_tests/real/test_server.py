"""The server's process: what it serves to whom, why it does not start, and that it always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from langchain_moa import MoAConfigurationError, MoAError
from langchain_moa.local import LocalServer, smollm2
from tests.integration_tests.real.asking import Real, runs, until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's"),
]

STARTED = """
import os, sys, time
from langchain_moa.local import LocalServer
server = LocalServer(slots=1, context=256)
def tell(*_):
    print(server.pid, flush=True)
"""
LOADING = f"{STARTED}server.start(tell)\ntime.sleep(600)"
SERVING = f"{STARTED}server.start()\ntell()\ntime.sleep(600)"
FORKED = f"{STARTED}server.start()\ntell() if os.fork() else None\ntime.sleep(600)"
CRASHES = f"{STARTED}server.start()\ntell()\nos.abort()"
FORGETS = f"{STARTED}server.start()\ntell()"


@contextmanager
def started(program: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A program of Python, and the number of the server's process that it prints."""
    parent = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        with parent.stdout:
            yield parent, int(parent.stdout.readline())
    finally:
        with suppress(ProcessLookupError):  # it may have ended, and have forked
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


@pytest.mark.parametrize(
    "program", [LOADING, SERVING, FORKED], ids=["loading", "serving", "forked"]
)
def test_a_killed_parent_leaves_no_process(program: str) -> None:
    """Also while the model loads, and where a fork of the parent, with its pipes, lives on."""
    with started(program) as (parent, server):
        assert runs(server)
        parent.kill()
        parent.wait()
        until(lambda: not runs(server), "the server ends")


@pytest.mark.parametrize("program", [CRASHES, FORGETS], ids=["crash", "exit"])
def test_a_parent_that_ends_leaves_no_process(program: str) -> None:
    with started(program) as (_, server):
        until(lambda: not runs(server), "the server ends")


def test_a_server_that_is_stopped_has_ended(real_models: None) -> None:
    del real_models
    server = LocalServer(slots=1, context=256)
    with server:
        pid = server.pid
        assert pid is not None
        assert runs(pid)
        with pytest.raises(MoAError, match="runs already"):
            server.start()
    assert not runs(pid)
    with pytest.raises(MoAError, match="does not run"):
        _ = server.url


@pytest.mark.parametrize("key", ["", "Bearer wrong"])
@pytest.mark.parametrize("path", ["slots", "props", "v1/chat/completions"])
def test_nobody_is_let_in_without_the_key(smol: Real, path: str, key: str) -> None:
    body = b"{}" if path.startswith("v1") else None
    request = Request(f"{smol.server.url}/{path}", body, {"Authorization": key})  # noqa: S310
    with pytest.raises(HTTPError, match="401") as caught:
        urlopen(request, timeout=60)  # noqa: S310
    caught.value.close()


def test_no_page_of_a_browser_may_read_an_answer(smol: Real) -> None:
    headers = {"Origin": "https://example.org"}
    request = Request(f"{smol.server.url}/health", headers=headers)  # noqa: S310
    with urlopen(request, timeout=60) as answer:  # noqa: S310
        assert not answer.headers.get("Access-Control-Allow-Origin")


def test_the_key_is_not_shown(smol: Real) -> None:
    key = smol.server.api_key.get_secret_value()
    assert key not in repr(smol.server)
    assert key not in repr(vars(smol.server))
    assert smol.server.pid is not None
    if sys.platform == "linux":  # neither in what `ps` shows
        for what in ("cmdline", "environ"):
            shown = Path(f"/proc/{smol.server.pid}/{what}").read_bytes()
            assert key.encode() not in shown


def broken(folder: Path, name: str) -> Path:
    """A file that is no model, of one of several kinds."""
    weights = smollm2()
    path = folder / "model.gguf"
    match name:
        case "no model":
            path.write_text("Once upon a time.")
        case "empty":
            path.write_bytes(b"")
        case "head":
            path.write_bytes(weights.read_bytes()[:100])
        case "cut":
            with weights.open("rb") as file:
                path.write_bytes(file.read(3_000_000))
        case "huge":
            path.write_bytes(weights.read_bytes()[:3_000_000])
            os.truncate(path, 1 << 43)
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "cannot be read: No such file"),
        ("no model", "is no GGUF file"),
        ("empty", "is no GGUF file"),
        ("head", "broken or cut off"),
        ("cut", "llama.cpp cannot load it: .*not within the file bounds"),
        ("huge", "needs about 8796.. GB of memory .* are free; give a smaller file"),
    ],
)
def test_why_a_file_is_not_served(tmp_path: Path, kind: str, told: str) -> None:
    with (
        pytest.raises(MoAConfigurationError, match=told) as caught,
        LocalServer(broken(tmp_path, kind), slots=1, context=256),
    ):
        pass
    assert "model.gguf" in str(caught.value)


def test_a_port_that_is_taken(smol: Real) -> None:
    port = int(smol.server.url.rpartition(":")[2])
    with pytest.raises(MoAConfigurationError, match=f"port={port} .* is taken"):
        LocalServer(port=port).start()


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", -1), ("slots", 0), ("context", 1.5), ("threads", "2"), ("threads", True)],
)
def test_numbers_that_are_none(real_models: None, name: str, value: object) -> None:
    del real_models
    wrong: dict[str, object] = {name: value}
    with pytest.raises(MoAConfigurationError, match=f"{name}=.* must be a whole number"):
        LocalServer(**wrong)  # type: ignore[arg-type]


def test_a_context_is_at_most_what_the_model_was_trained_for(real_models: None) -> None:
    del real_models
    assert LocalServer(context=1_000_000).context == 8192
