"""Fixtures of all tests: a hermetic environment and a model server on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior

KEY_PREFIXES = ("LANGSMITH_", "LANGCHAIN_", "OPENAI_", "TOGETHER_", "ANTHROPIC_")


@pytest.fixture(autouse=True)
def hermetic_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or a tracing switch in the developer's shell must not change a result."""
    for name in os.environ:
        if name.startswith(KEY_PREFIXES):
            monkeypatch.delenv(name)


PROPOSERS = ("acme/alpha", "acme/beta", "acme/gamma")
AGGREGATOR = "acme/aggregator"


@pytest.fixture(scope="session")
def loopback() -> Iterator[LoopbackServer]:
    """A server with obedient models, shared by tests that do not look at its requests."""
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, "acme/other")}
    with LoopbackServer(models) as server:
        yield server
