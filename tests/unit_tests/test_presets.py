"""Mixtures by name: what the paper and the reference code used, and no id anywhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.presets import DEFAULT_PRESET, get_preset, preset_names

ROOT = Path(__file__).parents[2]
PAPERS_SIX = [
    "microsoft/WizardLM-2-8x22B",
    "Qwen/Qwen1.5-110B-Chat",
    "Qwen/Qwen1.5-72B-Chat",
    "meta-llama/Llama-3-70b-chat-hf",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "databricks/dbrx-instruct",
]
PAPERS_SAMPLING = {
    "placement": "system",
    "shuffle": False,
    "temperature": 0.7,
    "max_tokens": 2048,
    "proposal_temperature": 0.7,
    "proposal_max_tokens": 2048,
}
QUICKSTARTS_THREE = [
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "Qwen/Qwen2.5-72B-Instruct-Turbo",
    "Qwen/Qwen2.5-Coder-32B-Instruct",
]
QUICKSTARTS_SAMPLING = {
    "placement": "system",
    "shuffle": False,
    "proposal_temperature": 0.7,
    "proposal_max_tokens": 512,
}


SERVERS = ["ollama", "vllm", "lmstudio", "llamacpp"]
NAMING = [name for name in preset_names() if name not in SERVERS]


def ids_of(name: str) -> set[str]:
    settings = get_preset(name).settings
    members = [*settings.get("reference_models", ()), settings.get("aggregator")]
    return {m["model"] if isinstance(m, dict) else m for m in members} - {None}


@pytest.mark.parametrize("name", SERVERS)
def test_those_of_servers_on_ones_own_machine_name_no_models(name: str) -> None:
    preset = get_preset(name)
    assert ids_of(name) == set()
    assert preset.lists in {"/api/tags", "/v1/models"}
    assert preset.settings["base_url"].startswith("http://127.0.0.1:")
    llm = MoAChatModel.from_config(
        preset.settings, reference_models=["a/b"], aggregator="a/b", api_key="x"
    )
    assert llm.stream_requests


@pytest.mark.parametrize("name", NAMING)
def test_each_builds_and_is_written_as_it_stands(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    preset = get_preset(name)
    llm = MoAChatModel.from_config(preset.settings, api_key="x")
    assert llm.num_layers == preset.settings.get("layers", 2)
    written = {"layers": llm.num_layers, **llm.to_config()}
    assert written == {"layers": llm.num_layers, **preset.settings}
    assert preset.title
    assert re.search(r"20\d\d", preset.source)  # when its ids were taken


@pytest.mark.parametrize(
    ("name", "layers", "aggregator"),
    [
        ("moa", 3, "Qwen/Qwen1.5-110B-Chat"),
        ("moa-lite", 2, "Qwen/Qwen1.5-72B-Chat"),
        ("moa-gpt-4o", 3, "openai:gpt-4o-2024-05-13"),
    ],
)
def test_the_papers(name: str, layers: int, aggregator: str) -> None:
    preset = get_preset(name)
    assert preset.settings == {
        "reference_models": PAPERS_SIX,
        "aggregator": aggregator,
        "layers": layers,
        **PAPERS_SAMPLING,
    }
    assert preset.retired
    assert "2406.04692" in preset.source


@pytest.mark.parametrize(
    ("name", "layers", "fourth", "aggregator"),
    [
        ("quickstart", 2, "microsoft/WizardLM-2-8x22B", "Qwen/Qwen2.5-72B-Instruct-Turbo"),
        ("quickstart-advanced", 3, "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3"),
    ],
)
def test_the_reference_codes(name: str, layers: int, fourth: str, aggregator: str) -> None:
    assert get_preset(name).settings == {
        "reference_models": [*QUICKSTARTS_THREE, fourth],
        "aggregator": aggregator,
        "layers": layers,
        **QUICKSTARTS_SAMPLING,
    }


def test_self_moa_samples_one_model() -> None:
    settings = get_preset("self-moa").settings
    assert settings["reference_models"] == [settings["aggregator"]] * 6
    assert settings["proposal_temperature"] == 0.7
    assert settings["aggregator"] in ids_of(DEFAULT_PRESET)


def test_the_default_is_the_first_and_mixes_vendors() -> None:
    assert preset_names()[0] == DEFAULT_PRESET
    preset = get_preset(DEFAULT_PRESET)
    vendors = [name.partition("/")[0] for name in preset.settings["reference_models"]]
    assert len(set(vendors)) == len(vendors) >= 3
    assert not preset.retired


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(MoAConfigurationError, match=r"'nope' is unknown.*default.*moa-lite"):
        get_preset("nope")


def test_a_preset_that_was_changed_leaves_the_next_one_alone() -> None:
    settings: Any = get_preset("moa").settings
    settings["reference_models"].clear()
    assert get_preset("moa").settings["reference_models"] == PAPERS_SIX


def test_no_code_names_a_model_of_a_preset() -> None:
    """Ids are data: they stand in presets.toml, and in documentation."""
    ids = {name for preset in preset_names() for name in ids_of(preset)}
    for path in (ROOT / "langchain_moa").rglob("*.py"):
        found = ids & set(_texts_in_code(ast.parse(path.read_text("utf-8"))))
        assert not found, f"{path} names {found}"


def _texts_in_code(tree: ast.AST) -> Iterator[str]:
    """The string constants, of which a docstring is never a whole id."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_readme_and_the_notebook_name_models_of_the_default_only() -> None:
    known = {owner.partition("/")[0] for preset in preset_names() for owner in ids_of(preset)}
    owners = "|".join(sorted(known - {"openai:gpt-4o-2024-05-13"}))
    for path in (ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")):
        named = set(re.findall(rf"(?:{owners})/[\w.-]+", path.read_text("utf-8")))
        assert named <= ids_of(DEFAULT_PRESET), path
    assert len(ids_of(DEFAULT_PRESET) & named_in_readme()) >= 3


def named_in_readme() -> set[str]:
    text = (ROOT / "README.md").read_text("utf-8")
    return {name for name in ids_of(DEFAULT_PRESET) if name in text}


def test_quality_thinks_long_and_compares_and_budget_thinks_little_and_selects() -> None:
    for name, effort, strategy in (("quality", "high", "compare"), ("budget", "low", "select")):
        settings = get_preset(name).settings
        efforts = [
            m["reasoning_effort"] for m in settings["reference_models"] if isinstance(m, dict)
        ]
        assert (efforts, settings["strategy"]) == ([effort], strategy)
        assert len({model.partition("/")[0] for model in ids_of(name)}) > 2
