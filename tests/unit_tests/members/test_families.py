"""Members of one vendor are told of, once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from langchain_moa import MoAChatModel
from langchain_moa.members.families import Provider
from langchain_moa.testing import ScriptedChatModel


def scripted(*names: str) -> list[ScriptedChatModel]:
    return [ScriptedChatModel.saying("4", model=name) for name in names]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["vendor-1/a", "vendor-1/b", "vendor-1/c"], 1),
        (["vendor-2/a", "vendor-3/b", "vendor-2/c"], 0),
        (["vendor-4/a", "vendor-4/b", "c"], 0),
        (["vendor-5/a", "vendor-5/a", "vendor-5/a"], 0),  # one model, sampled several times
        (["a", "b", "c"], 0),
        (["demo/a", "demo/b", "demo/c"], 0),  # scripted: nobody's
    ],
)
def test_a_mixture_of_one_family_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, names: list[str], told: int
) -> None:
    *proposers, aggregator = scripted(*names)
    with caplog.at_level(logging.WARNING, "langchain_moa.config.build"):
        for _ in range(2):
            MoAChatModel(reference_models=proposers, aggregator=aggregator)
    assert len([r for r in caplog.records if "one family, vendor-1" in r.getMessage()]) == told
    assert len(caplog.records) == told


def test_vendors_own_clients_are_families_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "langchain_moa.config.build"):
        given: Any = {"api_key": "x"}
        models = [{"model": f"anthropic:{name}", **given} for name in ("opus", "haiku")]
        MoAChatModel(reference_models=models, aggregator=models[0])
    assert "one family, anthropic" in caplog.text


def test_self_moa_is_meant(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "langchain_moa.config.build"):
        MoAChatModel.self_moa(scripted("vendor-6/a")[0], samples=2)
    assert caplog.records == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("other", [None, 3, ["together"], {"openai"}, b"together"])
def test_a_provider_equals_names_alone(other: object) -> None:
    """Whatever it is compared with: a message may say anything of its provider."""
    provider = Provider("together", ["openai"])
    assert provider == "openai"
    assert provider != other
    assert other != provider
