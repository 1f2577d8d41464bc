"""Which branches of the package the tests take, measured by slipcover in each process of theirs.

A plugin of pytest: `pytest -p tests.cover`. It takes its probes out once they were passed, so that
measuring costs next to nothing; a tracer, which is called for each line of all libraries, too,
doubles the time of all tests.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from slipcover import (  # type: ignore[import-untyped]
    FileMatcher,
    ImportManager,
    Slipcover,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "langchain_moa"
FOUND = ROOT / ".coverage"
_MEASURING = Slipcover(branch=True, source=[str(PACKAGE)])
# before the package is imported, and for good
ImportManager(_MEASURING, FileMatcher(sources=[PACKAGE])).__enter__()


def pytest_configure(config: pytest.Config) -> None:
    """Forget what was found before, in the process that the others belong to."""
    if not hasattr(config, "workerinput"):
        FOUND.mkdir(exist_ok=True)
        for old in FOUND.glob("*.json"):
            old.unlink()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Write what this process has found; `tests/branch_coverage.py` puts all together.

    Not at the very end: a worker has no time there.
    """
    (FOUND / f"{os.getpid()}.json").write_text(json.dumps(_MEASURING.get_coverage()), "utf-8")
