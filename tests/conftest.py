"""Fixtures of all tests: a hermetic environment and a model server on 127.0.0.1."""

from __future__ import annotations

import gc
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import certifi
import pytest
from hypothesis import settings

from langchain_moa.cli import main
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import KEY, MODELS

# what builds the site needs MkDocs, which tests are installed without
collect_ignore = ["site_examples.py", "site_hooks.py"]

settings.register_profile("busy", deadline=None)  # how long an example takes is no verdict
settings.load_profile("busy")

KEY_PREFIXES = (
    "LANGSMITH_",
    "LANGCHAIN_",
    "OPENAI_",
    "TOGETHER_",
    "ANTHROPIC_",
    "GOOGLE_",
    "GEMINI_",
    "MISTRAL_",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let HTTP clients read one certificate instead of certifi's 150, from the first import on.

    That takes 0.15 seconds of each client's construction, and no test speaks TLS.
    """
    folder = TemporaryDirectory()
    certificate = Path(folder.name) / "one.pem"
    end = "-----END CERTIFICATE-----\n"
    bundle = Path(certifi.where()).read_text(encoding="utf-8")
    certificate.write_text(bundle.partition(end)[0] + end, encoding="utf-8")
    environment = pytest.MonkeyPatch()
    environment.setenv("SSL_CERT_FILE", str(certificate))
    config.add_cleanup(environment.undo)
    config.add_cleanup(folder.cleanup)


def pytest_collection_finish() -> None:
    """Let the garbage collector look less often: most of what it sees was imported, and stays."""
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def hermetic_environment() -> Iterator[None]:
    """A key or a tracing switch in the developer's shell must not change a result.

    It holds for the session, so that fixtures of whole modules have it too.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name in os.environ:
            if name.startswith(KEY_PREFIXES):
                environment.delenv(name)
        environment.setenv("LANGCHAIN_MOA_LOG", "0")
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More workers than cores: tests wait for a good part of their time."""
    cores = os.cpu_count() or 1
    return cores + max(1, cores // 2)


PROPOSERS = ("acme/alpha", "acme/beta", "acme/gamma")
AGGREGATOR = "acme/aggregator"


@pytest.fixture(scope="session")
def loopback() -> Iterator[LoopbackServer]:
    """A server with obedient models, shared by tests that do not look at its requests."""
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, "acme/other")}
    with LoopbackServer(models) as server:
        yield server


@dataclass(frozen=True)
class Ran:
    """What a command of the command line ended with."""

    code: int
    out: str
    err: str


class Cli:
    """The command line inside this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], environment: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self.environment = environment

    def __call__(self, *words: str, stdin: str | bytes = "", encoding: str = "utf-8") -> Ran:
        self._capsys.readouterr()
        given = stdin.encode() if isinstance(stdin, str) else stdin
        stream = io.TextIOWrapper(io.BytesIO(given), encoding, errors="surrogateescape")
        self.environment.setattr("sys.stdin", stream)
        code = main(words)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)

    def asks(self, server: LoopbackServer) -> None:
        """Let the environment name a server."""
        self.environment.setenv("TOGETHER_API_BASE", server.base_url)
        self.environment.setenv("TOGETHER_API_KEY", server.api_key)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """The command line; the level that it gives the log does not outlast the test."""
    logger = logging.getLogger("langchain_moa")
    level = logger.level
    yield Cli(capsys, monkeypatch)
    logger.setLevel(level)


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    """The endpoint of the command line's tests; other modules have servers of their own."""
    with LoopbackServer(MODELS, api_key=KEY) as running:
        yield running


@pytest.fixture
def fresh(server: LoopbackServer, cli: Cli) -> None:
    """That endpoint as if it had just been started, as the one that commands ask."""
    server.models = dict(MODELS)
    server.requests.clear()
    cli.asks(server)
