"""Without the extra, evaluation names it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.unit_tests.evals.runs import ALPHA, MIXTURE, ROLES, answer, judged, run_folder


@pytest.mark.parametrize(
    ("package", "words"),
    [("matplotlib", ()), ("numpy", ("--no-plots",)), ("scipy", ("--no-plots",))],
)
def test_reports_without_a_package(
    cli: Cli, tmp_path: Path, package: str, words: tuple[str, ...]
) -> None:
    roles = [*ROLES[:2], ("acme/beta", "member")]
    rows = [str(n) for n in range(3)]
    names = (MIXTURE, ALPHA, "acme/beta")
    answers = [answer(row, name) for row in rows for name in names]
    judgments = [
        judged(row, name, score=1.0, read="metric", judge="m") for row in rows for name in names
    ]
    folder = run_folder(tmp_path / "run", answers, judgments, models=roles, metric="m")
    loaded = [name for name in sys.modules if name.partition(".")[0] == package]
    for name in {package, *loaded}:
        cli.environment.setitem(sys.modules, name, None)  # as if it were not installed
    ran = cli("eval", "report", str(folder), "--out", str(tmp_path / "out"), *words)
    assert ran.code == 2
    assert f"evaluation needs {package}" in ran.err
    assert "pip install 'langchain-moa[evals]'" in ran.err
