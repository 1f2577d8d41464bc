"""CONTRIBUTING.md describes the rooms and the release as they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from tests.rooms import PAGE, ROOT, levels, with_drawing

TEXT = PAGE.read_text("utf-8")
PACKAGE = ROOT / "langchain_moa"


def test_the_drawing_is_that_of_the_contracts() -> None:
    assert with_drawing(TEXT) == TEXT, "write it anew: make readme"


def test_each_room_has_a_row() -> None:
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    rooms = [room for level in levels() for room in level]
    assert [r for r in rooms if f"`{r}/`" not in rows and f"`{r}.py`" not in rows] == []


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", TEXT))
    assert len(named) > 20
    lost = [n for n in sorted(named) if not (PACKAGE / n).exists() and not (ROOT / n).exists()]
    assert lost == []


RELEASE = (ROOT / ".github/workflows/release.yml").read_text("utf-8")


def test_a_release_pins_its_actions_and_only_the_upload_has_an_identity() -> None:
    jobs = yaml.safe_load(RELEASE)["jobs"]
    used = re.findall(r"uses: (.*)", RELEASE)
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", use)] == []
    assert len(used) == sum("uses" in step for job in jobs.values() for step in job["steps"]) == 5
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert jobs["publish"]["environment"]["name"] == "pypi"
    for target in re.findall(r"^ +make (\w+)$", RELEASE, re.MULTILINE):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text("utf-8")


def test_a_release_is_of_the_version_that_tag_project_and_changelog_have(tmp_path: Path) -> None:
    steps = yaml.safe_load(RELEASE)["jobs"]["build"]["steps"]
    check = next(step["run"] for step in steps if step.get("shell") == "python")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    def ended(tag: str, heading: str) -> str:
        (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n", "utf-8")
        command = [sys.executable, "-I", "-c", check]
        environment = {**os.environ, "GITHUB_REF_NAME": tag}
        run = subprocess.run(  # noqa: S603 - our own Python
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return run.stderr.strip() if run.returncode else "passed"

    assert ended(f"v{version}", f"{version}, 2027-01-31") == "passed"
    assert "the tag is v9.9.9" in ended("v9.9.9", f"{version}, 2027-01-31")
    assert "CHANGELOG.md has no heading" in ended(f"v{version}", f"{version}, not released")
