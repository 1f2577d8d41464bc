"""Presets of model servers on one's own machine: which models they have is asked over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from langchain_moa import MoAChatModel, MoAConfigurationError, MoAError
from langchain_moa.local import settings_of
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import asked_models
from tests.conftest import Cli
from tests.wire import says

QUESTION = "When was the bridge built?"
OLLAMA = {
    "llama3.2:1b": says("In 1916."),
    "qwen3:8b": says("In 1919."),
    "nomic-embed-text:latest": ModelBehavior(status=400),
}
SERVERS = ["ollama", "vllm", "lmstudio", "llamacpp"]


@pytest.fixture
def ollama() -> Iterator[LoopbackServer]:
    """Ollama lets everybody in; who asks sends a key that is none."""
    sizes = {"llama3.2:1b": 1_321_098_329, "qwen3:8b": 5_225_388_164}
    with LoopbackServer(OLLAMA, api_key="no-key", sizes=sizes) as server:
        yield server


def test_ollamas_chat_models_are_the_mixture_and_the_largest_one_answers(
    cli: Cli, ollama: LoopbackServer
) -> None:
    ran = cli("ask", "--preset", "ollama", "--base-url", ollama.base_url, QUESTION)
    assert (ran.code, ran.out) == (0, "In 1919.\n")
    *proposers, last = asked_models(ollama)
    assert (sorted(proposers), last) == (["llama3.2:1b", "qwen3:8b"], "qwen3:8b")
    assert "ollama: llama3.2:1b, qwen3:8b; qwen3:8b writes the answer." in ran.err
    assert all(request.body.get("stream") for request in ollama.requests)


def test_chat_asks_no_questions_before(cli: Cli, ollama: LoopbackServer) -> None:
    words = ("--preset", "ollama", "--base-url", ollama.base_url)
    ran = cli("chat", *words, stdin=f"{QUESTION}\n")
    assert (ran.code, ran.out) == (0, "In 1919.\n")


def test_models_can_be_chosen(cli: Cli, ollama: LoopbackServer) -> None:
    chosen = ("--reference-models", "together:llama3.2:1b", "--model", "together:llama3.2:1b")
    ran = cli("ask", "--preset", "ollama", "--base-url", ollama.base_url, *chosen, QUESTION)
    assert ran.code == 0, ran.err
    assert set(asked_models(ollama)) == {"llama3.2:1b"}


@pytest.mark.parametrize("preset", SERVERS)
def test_one_model_proposes_three_times(preset: str) -> None:
    models = {"qwen/qwen3-4b": says("In 1919."), "text-embedding-nomic-v1.5": ModelBehavior()}
    with LoopbackServer(models, api_key="no-key") as server:
        llm = MoAChatModel(**settings_of(preset, base_url=server.base_url))
        assert llm.invoke(QUESTION).text == "In 1919."
        assert asked_models(server) == ["qwen/qwen3-4b"] * 4


def test_in_a_running_event_loop(ollama: LoopbackServer) -> None:
    """As in Jupyter."""

    async def made() -> MoAChatModel:
        return MoAChatModel(**settings_of("ollama", base_url=ollama.base_url))

    assert asyncio.run(made()).num_layers == 2


@pytest.mark.parametrize("preset", ["vllm", "lmstudio", "llamacpp"])
def test_a_servers_own_key_and_no_other_is_sent(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"vllm": "VLLM_API_KEY", "lmstudio": "LM_API_TOKEN", "llamacpp": "LLAMA_API_KEY"}
    monkeypatch.setenv("TOGETHER_API_KEY", "together-key")
    with LoopbackServer({"a-model": says("Yes.")}, api_key="own-key") as server:
        with pytest.raises(MoAError, match=f"401.*set {variables[preset]} to the server's key"):
            settings_of(preset, base_url=server.base_url)
        monkeypatch.setenv(variables[preset], "own-key")
        llm = MoAChatModel(**settings_of(preset, base_url=server.base_url))
        assert llm.invoke(QUESTION).text == "Yes."


@pytest.mark.parametrize("preset", SERVERS)
def test_a_server_that_does_not_run_is_named(cli: Cli, preset: str) -> None:
    ran = cli("ask", "--preset", preset, "--base-url", "http://127.0.0.1:9/v1", QUESTION)
    assert ran.code == 3
    assert "no server answers at http://127.0.0.1:9/" in ran.err


def test_a_server_without_chat_models() -> None:
    with (
        LoopbackServer({"nomic-embed-text": ModelBehavior()}, api_key="no-key") as server,
        pytest.raises(MoAError, match="lists no chat model; load one"),
    ):
        settings_of("ollama", base_url=server.base_url)


def test_a_preset_that_names_its_models_asks_nobody() -> None:
    with pytest.raises(MoAConfigurationError, match="'default' names its models"):
        settings_of("default")
