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
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
PROPOSERS = (
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V4-Flash-0731",
)
AGGREGATOR = "deepseek-ai/DeepSeek-V4-Pro"


def test_python_blocks_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One after the other in one namespace, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    models = {name: ModelBehavior() for name in (*PROPOSERS, AGGREGATOR, "gpt-5-mini")}
    namespace: dict[str, Any] = {"__name__": "readme"}
    with LoopbackServer(models) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", server.api_key)
        monkeypatch.setenv("TOGETHER_API_BASE", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for number, block in enumerate(BLOCKS, start=1):
            code = compile(block, f"README.md, Python block {number}", "exec")
            exec(code, namespace)  # noqa: S102 - this is the point
        assert {request.model for request in server.requests} == set(models)
    assert len(BLOCKS) >= 8
    assert "answers: What are 3 fun things to do in SF?" in capsys.readouterr().out


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
