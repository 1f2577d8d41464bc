"""Every block of the README: Python runs against a loopback server, the picture is the graph's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.cli_help import with_help

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
PROPOSERS = (
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V4-Flash-0731",
)
AGGREGATOR = "deepseek-ai/DeepSeek-V4-Pro"


def run_blocks(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str | None]:
    """Run a document's Python one block after the other in one namespace, as a reader types it.

    Returns:
        The models that were asked.
    """
    monkeypatch.chdir(tmp_path)
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, "gpt-5-mini")}
    namespace: dict[str, Any] = {"__name__": "document"}
    blocks = re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    with LoopbackServer(models) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", server.api_key)
        monkeypatch.setenv("TOGETHER_API_BASE", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for number, block in enumerate(blocks, start=1):
            code = compile(block, f"{path.name}, Python block {number}", "exec", dont_inherit=True)
            exec(code, namespace)  # noqa: S102 - this is the point
        return {request.model for request in server.requests}


def test_python_blocks_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_blocks(README, monkeypatch, tmp_path) == {*PROPOSERS, AGGREGATOR, "gpt-5-mini"}
    assert "answers: What are 3 fun things to do in SF?" in capsys.readouterr().out


def test_python_blocks_about_explanations_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = run_blocks(README.parent / "docs/explain-and-cost.md", monkeypatch, tmp_path)
    assert asked == {*PROPOSERS[1:], AGGREGATOR}
    assert "### Influence" in capsys.readouterr().out
    assert (tmp_path / "sky.html").exists()


def test_python_blocks_about_agents_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = run_blocks(README.parent / "docs/agents.md", monkeypatch, tmp_path)
    assert asked == {*PROPOSERS[1:], AGGREGATOR, "gpt-5-mini"}
    shown = capsys.readouterr().out
    assert shown.startswith("layers\nreused\n")
    assert "('openai/gpt-oss-20b', ['image'])" in shown
    assert "'ballots': 2" in shown


def test_picture_is_the_graphs_own() -> None:
    llm = MoAChatModel(reference_models=PROPOSERS, aggregator=AGGREGATOR, layers=3, api_key="x")
    (picture,) = re.findall(r"^```mermaid\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert picture.strip() == llm.graph.get_graph(xray=1).draw_mermaid().strip()


def test_help_is_what_the_command_line_says() -> None:
    assert with_help(TEXT) == TEXT, "run `make readme`"


def test_make_targets_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make (\w+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
