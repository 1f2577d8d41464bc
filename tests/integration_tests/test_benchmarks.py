"""The benchmarks run; their figures are nobody's business here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.crew import Crew
from benchmarks.growth import exponent
from benchmarks.roster import ROSTER, Entry
from benchmarks.table import ratios_table

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.timeout(900)  # seconds: the machine may be busy with other tests
LIMIT = 880
LIGHT = (
    "given members",
    "our members",
    "plain LangChain",
    "Together SDK",
    "bare httpx",
    "bare httpx2",
    "bare aiohttp",
)
HEAVY = ("optillm", "LlamaIndex", "swarms")


def run(folder: Path, *arguments: str) -> tuple[str, Any]:
    """What a run prints and what it keeps."""
    command = [sys.executable, "-m", "benchmarks", "--out", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603 - ours
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "bench.md").read_text(encoding="utf-8").split() == done.stdout.split()
    return done.stdout, json.loads((folder / "bench.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """A quick run of all scenarios but the soak, and where its plots are."""
    folder = tmp_path_factory.mktemp("quick")
    return *run(folder, "--quick"), folder


@pytest.mark.soak
def test_a_quick_run_touches_all_scenarios(quick: tuple[str, Any, Path]) -> None:
    shown, kept, _ = quick
    scenarios = Counter(row[0] for row in kept["ratios"])
    assert scenarios == {"A": 14, "B": 4, "C": 10, "D": 9, "E": 2, "F": 8, "G": 4, "H": 1, "I": 2}
    for name, rows in scenarios.items():
        assert shown.count(f"\n| {name} |") == rows
    assert kept["machine"]["packages"] in shown
    assert {math.isfinite(row[2]) for row in kept["ratios"]} == {True}


@pytest.mark.soak
def test_everybody_makes_the_same_requests(quick: tuple[str, Any, Path]) -> None:
    shown, kept, _ = quick
    for layers, requests in ((2, 5), (4, 13)):
        there = {
            it["contestant"]: it["requests"] for it in kept["overhead"] if it["layers"] == layers
        }
        assert {name: there[name] for name in LIGHT} == dict.fromkeys(LIGHT, requests)
    heard = {it["contestant"]: it["requests"] for it in kept["heard"]}
    assert heard == {"given members": 5, "our members": 5, "plain LangChain": 5}
    strategies = {it["contestant"]: it["requests"] for it in kept["strategies"]}
    for who in ("our members", "plain LangChain"):
        assert (strategies[f"{who}, compare"], strategies[f"{who}, select"]) == (6, 5)
    assert {it["failed"] for it in kept["load"]} == {0}
    for name in HEAVY:
        assert name in kept["absent"] or name in shown


@pytest.mark.soak
def test_everybody_moves_about_the_same_bytes(quick: tuple[str, Any, Path]) -> None:
    _, kept, _ = quick
    for it in kept["growth"]:
        plain = next(
            other["bytes"]
            for other in kept["growth"]
            if other["what"] == it["what"] and other["contestant"] == "plain LangChain"
        )
        assert it["bytes"] == pytest.approx(plain, rel=0.1), (it["what"], it["contestant"])
        assert it["bytes"][0] < it["bytes"][-1]


@pytest.mark.soak
def test_plots_are_drawn(quick: tuple[str, Any, Path]) -> None:
    *_, folder = quick
    drawn = {path.stem for path in folder.glob("*.png") if path.stat().st_size > 10_000}
    assert drawn == {"overhead", "load", "tails", "memory", "growth"}


@pytest.mark.soak
def test_tails_lose_no_call_to_a_member_that_hangs(quick: tuple[str, Any, Path]) -> None:
    shown, kept, _ = quick
    assert shown.count("| one hangs |") == 3
    assert [tail["calls"] for tail in kept["tails"]] == [3] * 9
    assert [tail["lost"] for tail in kept["tails"]] == [0] * 9


def test_a_peer_that_is_not_installed_is_told() -> None:
    crew = Crew()
    known = Entry("benchmarks.peers:together_sdk", ("no_such_package",))
    with pytest.MonkeyPatch.context() as patch, crew:
        patch.setitem(ROSTER, "stranger", known)
        assert not crew.start(["stranger"])
    assert crew.absent["stranger"] == "stranger: not installed (pip install no_such_package)"


def test_what_misses_its_goal_is_bold() -> None:
    rows = [
        ("A", "met", 1.204, "<= 1.2"),
        ("A", "missed", 1.206, "<= 1.2"),
        ("A", "not ahead", 1.0, "< 1"),
        ("A", "for comparison", 9.0, ""),
    ]
    shown = [line.split("|")[3].strip() for line in ratios_table(rows).splitlines()[2:]]
    assert shown == ["1.20", "**1.21**", "**1.00**", "9.00"]


def test_exponents() -> None:
    assert exponent([1, 10, 100], [2.0, 20.0, 200.0]) == pytest.approx(1)
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


@pytest.mark.soak
def test_a_short_soak_loses_no_call(tmp_path: Path) -> None:
    shown, kept = run(tmp_path, "--scenario", "soak", "--calls", "40")
    soaked = kept["soak"]
    assert "| wrong accounts | 0 |" in shown
    assert soaked["calls"] == sum(soaked["ways"].values()) == 40
    assert soaked["answered"] + soaked["nobody"] + soaked["broken"] == 40
    for count in ("lost", "wrong_accounts", "tasks"):  # "hung" tells of a busy machine, too
        assert soaked[count] == 0, count
    assert soaked["known_tokens"] <= soaked["served_tokens"]
