"""No test looks into the user's own cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_moa.evals.data import CACHE_VARIABLE, DATA_VARIABLE


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no data folder."""
    cache = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return cache
