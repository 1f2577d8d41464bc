"""The notebooks run from top to bottom in a real kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration_tests.real.asking import need_real_models

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def _param(path: Path) -> Any:
    is_real = "langchain_moa.local" in path.read_text(encoding="utf-8")
    return pytest.param(path, id=path.stem, marks=[pytest.mark.real] if is_real else [])


@pytest.fixture
def what_it_needs(request: pytest.FixtureRequest) -> None:
    """Real models, for those that ask some."""
    if request.node.get_closest_marker("real"):
        need_real_models()


@pytest.mark.parametrize("path", [_param(path) for path in NOTEBOOKS])
@pytest.mark.usefixtures("what_it_needs")
def test_notebook_runs(path: Path) -> None:
    notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "degraded: False" in printed
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
