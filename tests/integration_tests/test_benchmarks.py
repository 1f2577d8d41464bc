"""The benchmarks run; their figures are nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(found: Path, *arguments: str) -> tuple[str, Any]:
    """What a run prints and what it keeps."""
    command = [sys.executable, "-m", "benchmarks", "--json", str(found), *arguments]
    done = subprocess.run(  # noqa: S603 - ours
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100
    )
    return done.stdout, json.loads(found.read_text(encoding="utf-8"))


def test_a_quick_run_gives_a_table_and_json(tmp_path: Path) -> None:
    scenarios = ("--scenario", "A", "--scenario", "C")
    shown, kept = run(tmp_path / "kept.json", "--quick", *scenarios)
    rows = kept["ratios"]
    assert {row[0] for row in rows} == {"A", "C"}
    assert all(row[2] > 0 for row in rows if "overhead" not in row[1])
    assert shown.count("| A |") == 2
    assert shown.count("| C |") == 4
    assert kept["machine"]["packages"] in shown


def test_tails_lose_no_call_to_a_member_that_hangs(tmp_path: Path) -> None:
    shown, kept = run(tmp_path / "kept.json", "--quick", "--scenario", "D")
    assert shown.count("| one hangs |") == 3
    assert shown.count("| D |") == 6
    assert len(kept["tails"]) == 9
    assert [tail["calls"] for tail in kept["tails"]] == [3] * 9
    assert [tail["lost"] for tail in kept["tails"]] == [0] * 9


def test_a_short_soak_loses_no_call(tmp_path: Path) -> None:
    shown, kept = run(tmp_path / "kept.json", "--scenario", "soak", "--calls", "40")
    soaked = kept["soak"]
    assert "| wrong accounts | 0 |" in shown
    assert soaked["calls"] == sum(soaked["ways"].values()) == 40
    assert soaked["answered"] + soaked["nobody"] + soaked["broken"] == 40
    for count in ("lost", "hung", "wrong_accounts", "tasks"):
        assert soaked[count] == 0, count
    assert soaked["known_tokens"] <= soaked["served_tokens"]
