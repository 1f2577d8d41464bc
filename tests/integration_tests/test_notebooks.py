"""The notebooks run from top to bottom in real kernels, without a network and without a key."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.documents import ROOT
from tests.integration_tests.real.asking import need_real_models
from tests.notebooks import NOTEBOOKS, execute, read

REAL = [path for path in NOTEBOOKS if "langchain_moa.local" in path.read_text(encoding="utf-8")]
SCRIPTED = [path for path in NOTEBOOKS if path not in REAL]


def outputs_of(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def ran_well(path: Path, notebook: Any) -> None:
    outputs = outputs_of(notebook)
    printed = "".join(output.get("text", "") for output in outputs)
    pages = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert "degraded: False" in printed or "8 of 8 proposals" in pages, path
    told = [output for output in outputs if output.get("name") == "stderr"]
    assert not told, (path, told)


@pytest.mark.timeout(600)  # for all of them together
def test_notebooks_run_side_by_side() -> None:
    for path, notebook in asyncio.run(execute(SCRIPTED)).items():
        ran_well(path, notebook)


@pytest.mark.real
def test_the_notebook_of_real_models_runs() -> None:
    need_real_models()
    assert REAL
    for path, notebook in asyncio.run(execute(REAL)).items():
        ran_well(path, notebook)


def test_outputs_are_committed_and_pages_link_to_each() -> None:
    index = (ROOT / "docs/notebooks.md").read_text("utf-8")
    assert len(NOTEBOOKS) >= 8
    for path in NOTEBOOKS:
        notebook = read(path)
        assert outputs_of(notebook), path
        assert "except ImportError" in notebook.cells[1].source, path
        assert f"/notebooks/{path.name})" in index
    evaluation = (ROOT / "notebooks/evaluation.ipynb").read_text("utf-8")
    assert "alpaca" not in evaluation.lower()


def test_kernels_reach_nothing_but_this_machine() -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    offline = str(ROOT / "tests/offline")
    environment = {**os.environ, "PYTHONPATH": offline}
    ran = subprocess.run(  # noqa: S603 - our own Python
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "no network" in ran.stderr
