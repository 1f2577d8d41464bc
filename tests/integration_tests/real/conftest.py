"""A real server with a real, tiny model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langchain_moa.local import LocalServer
from tests.integration_tests.real.asking import Real, need_real_models


@pytest.fixture(scope="session", autouse=True)
def real_models() -> None:
    """Skip the suite, with a reason, where there are no real models."""
    need_real_models()


@pytest.fixture(scope="session")
def smol(real_models: None) -> Iterator[Real]:
    """The one server of the session (of each worker, where there are several)."""
    del real_models
    with LocalServer(slots=3, context=768) as server:
        yield Real(server)
