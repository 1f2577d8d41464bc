"""The benchmarks run; their figures are nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_quick_run_gives_a_table_and_json(tmp_path: Path) -> None:
    found = tmp_path / "ratios.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(found)]
    run = subprocess.run(  # noqa: S603 - ours
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100
    )
    rows = json.loads(found.read_text(encoding="utf-8"))
    assert {row[0] for row in rows} == {"A", "C"}
    assert all(row[2] > 0 for row in rows if "overhead" not in row[1])
    assert run.stdout.count("| A |") == 2
    assert run.stdout.count("| C |") == 4
