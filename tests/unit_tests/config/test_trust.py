"""A key goes only to the host that its owner meant."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from langchain_moa import MoAChatModel, MoAConfigurationError
from tests.wire import ALPHA, BETA

AWAY = "https://models.example.com/v1"
KEY = "sk-very-secret"
BARE: dict[str, Any] = {"reference_models": [ALPHA], "aggregator": BETA}


def made(config: Any, **arguments: Any) -> MoAChatModel:
    return MoAChatModel.from_config(config, **{"api_key": KEY, **arguments})


def refused(config: Any, **arguments: Any) -> str:
    with pytest.raises(MoAConfigurationError) as caught:
        made(config, **arguments)
    assert KEY not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOGETHER", "OPENAI", "ANTHROPIC", "DASHSCOPE", "ACME"):
        monkeypatch.setenv(f"{name}_API_KEY", f"key-of-{name.lower()}")


def member(address: str = AWAY, name: str = "base_url", **more: Any) -> dict[str, Any]:
    return {"model": ALPHA, name: address, **more}


PLACES: list[tuple[dict[str, Any], str]] = [
    ({**BARE, "base_url": AWAY}, "base_url"),
    ({**BARE, "reference_models": [member()]}, "reference_models[0].base_url"),
    ({**BARE, "reference_models": [[BETA], [member()]]}, "reference_models[1][0].base_url"),
    ({**BARE, "aggregator": member()}, "aggregator.base_url"),
    ({**BARE, "aggregator": [BETA, member()]}, "aggregator[1].base_url"),
    ({**BARE, "fallbacks": {ALPHA: member()}}, "fallbacks['acme/alpha'].base_url"),
    ({**BARE, "fallbacks": {ALPHA: [BETA, member()]}}, "fallbacks['acme/alpha'][1].base_url"),
    ({**BARE, "aggregator": {**BARE, "base_url": AWAY}}, "aggregator: base_url"),
    ({**BARE, "aggregator": {**BARE, "aggregator": member()}}, "aggregator: aggregator.base_url"),
    ({**BARE, "aggregator": member(name="together_api_base")}, "aggregator.together_api_base"),
    ({**BARE, "aggregator": member(model="openai:gpt-5-mini")}, "aggregator.base_url"),
    ({**BARE, "aggregator": member(model="anthropic:claude")}, "aggregator.base_url"),
    (
        {**BARE, "aggregator": member(name="anthropic_proxy", model="anthropic:claude")},
        "aggregator.anthropic_proxy",
    ),
    (
        {
            **BARE,
            "aggregator": {"model": "google_genai:g", "client_options": {"api_endpoint": AWAY}},
        },
        "aggregator.client_options.api_endpoint",
    ),
    ({**BARE, "aggregator": member(api_key_env="ACME_API_KEY")}, "aggregator.base_url"),
    # another provider's own host is no place for this one's key
    (
        {**BARE, "aggregator": member("https://api.openai.com/v1", model="anthropic:claude")},
        "aggregator.base_url",
    ),
    (
        {**BARE, "aggregator": member("https://api.together.xyz/v1", model="openai:gpt-5-mini")},
        "aggregator.base_url",
    ),
    # nobody on the way may read it
    ({**BARE, "base_url": "http://api.together.xyz/v1"}, "base_url"),
    # hosts that only look like another one
    ({**BARE, "base_url": "https://api.together.xyz.example.com/v1"}, "base_url"),
    ({**BARE, "base_url": "https://localhost.example.com/v1"}, "base_url"),
    ({**BARE, "base_url": "https://127.0.0.1.example.com/v1"}, "base_url"),
]


@pytest.mark.parametrize(("config", "field"), PLACES)
def test_an_address_in_a_configuration_gets_no_key(config: dict[str, Any], field: str) -> None:
    message = refused(config)
    assert message.startswith(f"{field}='http")
    assert "trusted_hosts=['" in message
    assert "--trust-host " in message


@pytest.mark.parametrize("suffix", [".json", ".toml", ".yaml"])
def test_the_same_holds_for_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moa{suffix}"
    made({**BARE, "base_url": AWAY}, trusted_hosts=["models.example.com"]).to_config(path)
    assert refused(path).startswith(f"{path}: base_url='{AWAY}' stands in the configuration")
    assert made(path, trusted_hosts=["models.example.com"]).base_url == AWAY


@pytest.mark.parametrize(
    "trusted",
    [["models.example.com"], {"Models.Example.Com "}, ("x.com", "https://models.example.com")],
)
def test_a_host_that_its_user_names_is_trusted(trusted: Any) -> None:
    for config, _ in PLACES[:10]:
        made(config, trusted_hosts=trusted)


@pytest.mark.parametrize("trusted", [["example.com"], ["models.example"], ["x.models.example.com"]])
def test_no_other_host_is_trusted_with_it(trusted: list[str]) -> None:
    refused({**BARE, "base_url": AWAY}, trusted_hosts=trusted)


@pytest.mark.parametrize("trusted", ["models.example.com", 3, ["*"], ["*.example.com"], [""], [3]])
def test_what_is_no_list_of_hosts(trusted: Any) -> None:
    assert refused(BARE, trusted_hosts=trusted).startswith("trusted_hosts")


@pytest.mark.parametrize(
    "config",
    [
        {**BARE, "base_url": "http://127.0.0.1:8000/v1"},
        {**BARE, "base_url": "http://[::1]:8000/v1"},
        {**BARE, "base_url": "http://localhost:8000/v1"},
        {**BARE, "base_url": "https://api.together.xyz/v1"},
        {**BARE, "aggregator": member("https://api.openai.com/v1", model="openai:gpt-5-mini")},
        {
            **BARE,
            "aggregator": member(
                "https://dashscope.aliyuncs.com/compatible-mode/v1",
                model="openai:qwen-max",
                api_key_env="DASHSCOPE_API_KEY",
            ),
        },
        # what is sent is not where it is sent to
        {**BARE, "aggregator": {"model": ALPHA, "metadata": {"site": AWAY}}},
    ],
)
def test_own_hosts_and_this_machine_need_no_trust(config: dict[str, Any]) -> None:
    made(config)


def test_a_host_that_the_environment_names_for_this_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOGETHER_API_BASE", f"{AWAY}/other\n")
    made({**BARE, "base_url": AWAY})
    refused({**BARE, "aggregator": member(model="openai:gpt-5-mini")})
    monkeypatch.setenv("OPENAI_BASE_URL", AWAY)
    made({**BARE, "aggregator": member(model="openai:gpt-5-mini")})


def test_an_address_given_in_code_is_meant() -> None:
    assert (
        made({**BARE, "base_url": "https://other.example.com/v1"}, base_url=AWAY).base_url == AWAY
    )
    config = {**BARE, "aggregator": BARE}
    assert made(config, base_url=AWAY).aggregator.base_url == AWAY  # type: ignore[union-attr]
    assert MoAChatModel(**BARE, base_url=AWAY, api_key=KEY).base_url == AWAY


def test_a_copy_means_what_the_original_meant() -> None:
    llm = made({**BARE, "base_url": AWAY}, trusted_hosts=["models.example.com"])
    assert copy.copy(llm).base_url == AWAY
    assert json.loads(json.dumps(llm.to_config())) == {**BARE, "base_url": AWAY}
