"""Without the extra, evaluation names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit_tests.evals.runs import ALPHA, MIXTURE, ROLES, answer, judged, run_folder

WITHOUT = (
    "import sys\n"
    "for name in ({names}):\n"
    "    sys.modules[name] = None\n"
    "from langchain_moa.cli import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.parametrize(
    ("package", "words"),
    [("matplotlib", ()), ("numpy", ("--no-plots",)), ("scipy", ("--no-plots",))],
)
def test_reports_without_a_package(tmp_path: Path, package: str, words: tuple[str, ...]) -> None:
    roles = [*ROLES[:2], ("acme/beta", "member")]
    rows = [str(n) for n in range(3)]
    names = (MIXTURE, ALPHA, "acme/beta")
    answers = [answer(row, name) for row in rows for name in names]
    judgments = [
        judged(row, name, score=1.0, read="metric", judge="m") for row in rows for name in names
    ]
    folder = run_folder(tmp_path / "run", answers, judgments, models=roles, metric="m")
    code = WITHOUT.format(names=f"{package!r},")
    command = ["eval", "report", str(folder), "--out", str(tmp_path / "out"), *words]
    ran = subprocess.run(  # noqa: S603 - ours
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert f"evaluation needs {package}" in ran.stderr
    assert "pip install 'langchain-moa[evals]'" in ran.stderr
