"""Fixtures of all tests: a hermetic environment and a model server on 127.0.0.1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior

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


@pytest.fixture(scope="session", autouse=True)
def hermetic_environment() -> Iterator[None]:
    """A key or a tracing switch in the developer's shell must not change a result.

    It holds for the session, so that fixtures of whole modules have it too.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name in os.environ:
            if name.startswith(KEY_PREFIXES):
                environment.delenv(name)
        yield


PROPOSERS = ("acme/alpha", "acme/beta", "acme/gamma")
AGGREGATOR = "acme/aggregator"


@pytest.fixture(scope="session")
def loopback() -> Iterator[LoopbackServer]:
    """A server with obedient models, shared by tests that do not look at its requests."""
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, "acme/other")}
    with LoopbackServer(models) as server:
        yield server
