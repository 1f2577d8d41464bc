"""Members given as strings, and whose key they use."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import MissingExtraError, MoAChatModel, MoAConfigurationError, MoAError
from langchain_moa.providers.builder import ModelBuilder
from langchain_moa.testing import ScriptedChatModel

KEY = SecretStr("together-key-one")
OPENAI_KEY = "sk-openai-key-one"
AGGREGATOR = ScriptedChatModel.saying("done")


def together(builder: ModelBuilder, name: str) -> ChatTogether:
    model = builder.build(name, "aggregator")
    assert isinstance(model, ChatTogether)
    return model


def key_of(model: ChatTogether) -> str:
    return str(model.root_client.api_key)


@pytest.mark.parametrize(
    ("name", "model_name"),
    [
        ("Qwen3", "Qwen3"),
        ("acme/a", "acme/a"),
        ("acme/a:ft-2", "acme/a:ft-2"),
        ("together:acme/a", "acme/a"),
        ("together:Qwen3", "Qwen3"),
        ("together:acme/a:ft-2", "acme/a:ft-2"),
    ],
)
def test_ids_of_together(name: str, model_name: str) -> None:
    assert together(ModelBuilder(api_key=KEY), name).model_name == model_name


def test_options_reach_the_together_client() -> None:
    builder = ModelBuilder(api_key=KEY, base_url="http://127.0.0.1:1/v1", timeout=2.5)
    client = together(builder, "acme/a").root_client
    assert str(client.base_url) == "http://127.0.0.1:1/v1/"
    # requests bring their own timeout, and the mixture repeats them
    assert (client.timeout, client.max_retries, client.api_key) == (None, 0, "together-key-one")


def test_the_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_BASE", "http://127.0.0.1:2/v1")
    model = together(ModelBuilder(api_key=KEY), "acme/a")
    assert str(model.root_client.base_url) == "http://127.0.0.1:2/v1/"


def test_together_models_stream_their_usage() -> None:
    assert together(ModelBuilder(api_key=KEY), "acme/a").stream_usage is True


def test_together_models_share_their_clients() -> None:
    builder = ModelBuilder(api_key=KEY)
    one, two = together(builder, "acme/a"), together(builder, "together:acme/b")
    assert one.root_client is two.root_client
    assert one.root_async_client is two.root_async_client
    assert one.client is two.client
    assert (one.model_name, two.model_name) == ("acme/a", "acme/b")


def test_members_of_a_mixture_share_their_clients() -> None:
    llm = MoAChatModel(reference_models=["acme/a", "acme/b"], aggregator="acme/c", api_key=KEY)
    members = [*llm.reference_models, llm.aggregator]
    assert len({id(member.root_client) for member in members}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "environment", "used"),
    [
        (None, {"TOGETHER_API_KEY": "from-environment"}, "from-environment"),
        ("given", {}, "given"),
        ("given", {"TOGETHER_API_KEY": "from-environment"}, "given"),
        ("", {"TOGETHER_API_KEY": "from-environment"}, "from-environment"),
        (None, {"TOGETHER_API_KEY": "t", "OPENAI_API_KEY": OPENAI_KEY}, "t"),
    ],
)
def test_which_key_together_gets(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: dict[str, str], used: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    api_key = None if given is None else SecretStr(given)
    assert key_of(together(ModelBuilder(api_key=api_key), "acme/a")) == used


@pytest.mark.parametrize("name", ["acme/a", "together:acme/a"])
@pytest.mark.parametrize(
    "environment", [{}, {"TOGETHER_API_KEY": ""}, {"OPENAI_API_KEY": OPENAI_KEY}]
)
def test_a_missing_together_key_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, environment: dict[str, str]
) -> None:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(MoAConfigurationError) as caught:
        ModelBuilder().build(name, "reference_models[1]")
    assert str(caught.value).startswith("reference_models[1]='acme/a' ")
    assert "TOGETHER_API_KEY" in str(caught.value)
    assert OPENAI_KEY not in str(caught.value)


@pytest.mark.parametrize("wrap", ["plain", "bound", "chain", "fallback"])
def test_a_users_together_model_needs_a_together_key(
    monkeypatch: pytest.MonkeyPatch, wrap: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    model = ChatTogether(model="acme/a")
    members: dict[str, Any] = {
        "plain": model,
        "bound": model.bind(stop=["x"]).with_retry(),
        "chain": RunnableLambda(lambda messages: messages) | model,
        "fallback": AGGREGATOR.with_fallbacks([model]),
    }
    for given in (
        {"reference_models": [members[wrap]], "aggregator": AGGREGATOR},
        {"reference_models": [AGGREGATOR], "aggregator": members[wrap]},
    ):
        with pytest.raises(MoAConfigurationError) as caught:
            MoAChatModel(**given)
        for part in ("ChatTogether(model='acme/a')", "TOGETHER_API_KEY", "api_key=..."):
            assert part in str(caught.value)
        assert OPENAI_KEY not in str(caught.value)


def test_a_users_together_model_with_its_key_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    model = ChatTogether(model="acme/a", api_key=KEY)
    llm = MoAChatModel(reference_models=[model], aggregator=AGGREGATOR)
    assert llm.reference_models == [model]


@pytest.mark.parametrize("name", ["", "  ", ":", ":acme/a", "openai:", "together:", " : "])
def test_names_of_nothing(name: str) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        ModelBuilder(api_key=KEY).build(name, "aggregator")
    assert str(caught.value).startswith(f"aggregator={name!r} names no model; give ")


def test_a_time_limit_is_given_in_the_unit_of_the_class() -> None:
    builder = ModelBuilder(api_key=None, base_url=None, timeout=2.5)
    limits = {
        name: vars(builder.build(f"{name}:x", "aggregator", {"api_key": "k"}))["request_timeout"]
        for name in ("groq", "fireworks", "openrouter")
    }
    assert limits == {"groq": 2.5, "fireworks": 2.5, "openrouter": 2500}


def test_other_providers_get_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    builder = ModelBuilder(api_key=KEY, base_url="http://127.0.0.1:1", timeout=2.5)
    model = builder.build("openai:gpt-5-mini", "aggregator")
    assert isinstance(model, ChatOpenAI)
    assert not isinstance(model, ChatTogether)
    assert model.model_name == "gpt-5-mini"
    assert (model.request_timeout, model.max_retries) == (2.5, 0)
    # the key and the address are Together's
    assert model.root_client.api_key == OPENAI_KEY
    assert "127.0.0.1" not in str(model.root_client.base_url)


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("cohere:x", MissingExtraError, "langchain-cohere"),
        ("nobody:x", MoAConfigurationError, "nobody"),
        ("openai:gpt-5-mini", MoAConfigurationError, "OPENAI_API_KEY"),
    ],
)
def test_a_provider_that_cannot_be_used(name: str, kind: type[MoAError], told: str) -> None:
    with pytest.raises(kind) as caught:
        ModelBuilder(api_key=KEY).build(name, "aggregator")
    assert str(caught.value).startswith(f"aggregator={name!r}: ")
    assert told in str(caught.value)
    assert KEY.get_secret_value() not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_package_quotes_of_options_is_no_secret() -> None:
    login = ["me", "DISTINCTIVE-word"]
    with pytest.raises(MoAConfigurationError, match='Invalid "auth" argument') as caught:
        ModelBuilder().build("ollama:x", "aggregator", {"client_kwargs": {"auth": login}})
    assert "DISTINCTIVE" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_wrong_options_of_a_provider_show_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OPENAI_KEY)
    monkeypatch.setattr(
        "langchain.chat_models.init_chat_model",
        lambda name, **_: ChatOpenAI(model=name, max_retries=OPENAI_KEY),  # type: ignore[arg-type]
    )
    with pytest.raises(MoAConfigurationError) as caught:
        ModelBuilder().build("openai:gpt-5-mini", "aggregator")
    assert "aggregator='openai:gpt-5-mini': max_retries: " in str(caught.value)
    assert OPENAI_KEY not in str(caught.value)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-moa\[providers\]'"):
        ModelBuilder().build("openai:gpt-5-mini", "aggregator")


def test_together_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    model: BaseChatModel = ModelBuilder(api_key=KEY).build("together:acme/a", "aggregator")
    assert isinstance(model, ChatTogether)


def test_the_mixture_tells_which_member_is_wrong() -> None:
    with pytest.raises(MoAConfigurationError, match=r"^reference_models\[0\]\[1\]='acme/b' "):
        MoAChatModel(reference_models=[[AGGREGATOR, "acme/b"]], aggregator=AGGREGATOR)


@pytest.mark.parametrize("option", ["model_name", "modle"])
def test_a_member_with_options_names_its_model_once(option: str) -> None:
    member = {"model": "a/b", option: "c/d"}
    with pytest.raises(MoAConfigurationError, match=rf"aggregator\.{option} is not an argument"):
        MoAChatModel(reference_models=["a/b"], aggregator=member, api_key="x")


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_logs_of_older_sdks_show_no_header(sdk: str, caplog: pytest.LogCaptureFixture) -> None:
    """They write a request's options, and hide only the headers that they know to be secret."""
    MoAChatModel(reference_models=[AGGREGATOR], aggregator=AGGREGATOR)
    with caplog.at_level(logging.DEBUG):
        options = {"method": "post", "headers": {"X-Gateway": OPENAI_KEY}, "params": {"k": "word"}}
        logging.getLogger(f"{sdk}._base_client").debug("Request options: %s", options)
    assert (
        "'method': 'post', 'headers': {'X-Gateway': '***'}, 'params': {'k': '***'}" in caplog.text
    )
