"""Whose key and which headers go where, over real HTTP: proposer and aggregator, sync and async."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from langchain_moa import (
    MissingExtraError,
    MoAChatModel,
    MoAConfigurationError,
    NotEnoughProposalsError,
)
from langchain_moa.testing import LoopbackServer
from tests.gateway import Gateway
from tests.wire import AGGREGATOR, ALPHA, says


def invoked(llm: MoAChatModel) -> str:
    return llm.invoke("Go").text


def ainvoked(llm: MoAChatModel) -> str:
    return asyncio.run(llm.ainvoke("Go")).text


def streamed(llm: MoAChatModel) -> str:
    return "".join(chunk.text for chunk in llm.stream("Go"))


def astreamed(llm: MoAChatModel) -> str:
    async def stream() -> str:
        return "".join([chunk.text async for chunk in llm.astream("Go")])

    return asyncio.run(stream())


Way = Callable[[MoAChatModel], str]
WAYS = [invoked, ainvoked, streamed, astreamed]
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


def keys_at(gateway: Gateway) -> set[tuple[str, str]]:
    return {(one.model, one.headers["authorization"]) for one in gateway.asked}


# --- a member's own key -------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("model", ["qwen-max", "together:qwen-max", "openai:qwen-max"])
@pytest.mark.parametrize("general", [None, "key-of-the-others"])
def test_a_members_own_key_is_used(
    gateway: Gateway, way: Way, model: str, general: str | None
) -> None:
    def own(key: str) -> dict[str, Any]:
        return {"model": model, "base_url": gateway.base_url, "api_key": key}

    llm = MoAChatModel(
        reference_models=[own("one"), own("two")], aggregator=own("three"), api_key=general
    )
    assert way(llm) == "fine"
    sent = [asked.headers["authorization"] for asked in gateway.asked]
    assert sorted(sent[:2]) == ["Bearer one", "Bearer two"]
    assert sent[2:] == ["Bearer three"]


@every_way
def test_members_with_and_without_keys_of_their_own(gateway: Gateway, way: Way) -> None:
    with Gateway() as other:
        own = {"model": "qwen-max", "base_url": other.base_url, "api_key": "own"}
        llm = MoAChatModel(
            reference_models=[ALPHA, own],
            aggregator=AGGREGATOR,
            base_url=gateway.base_url,
            api_key="general",
        )
        assert way(llm) == "fine"
        assert keys_at(other) == {("qwen-max", "Bearer own")}
    assert keys_at(gateway) == {(ALPHA, "Bearer general"), (AGGREGATOR, "Bearer general")}


@every_way
def test_a_file_names_the_variables_of_two_keys(
    gateway: Gateway, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "key-of-dashscope\r\n")
    monkeypatch.setenv("MOONSHOT_API_KEY", "key-of-moonshot")

    def at(model: str, variable: str) -> dict[str, str]:
        return {"model": model, "base_url": gateway.base_url, "api_key_env": variable}

    config = {
        "reference_models": [at("openai:qwen", "DASHSCOPE_API_KEY")],
        "aggregator": at("kimi", "MOONSHOT_API_KEY"),
    }
    llm = MoAChatModel.from_config(config)
    assert way(llm) == "fine"
    assert keys_at(gateway) == {
        ("qwen", "Bearer key-of-dashscope"),
        ("kimi", "Bearer key-of-moonshot"),
    }
    assert llm.to_config() == config


VARIABLES = {
    ALPHA: "TOGETHER_API_KEY",
    "openai:x": "OPENAI_API_KEY",
    "anthropic:x": "ANTHROPIC_API_KEY",
    "mistralai:x": "MISTRAL_API_KEY",
    "google_genai:x": "GOOGLE_API_KEY",
}


@pytest.mark.parametrize("there", [None, "", " \n"])
@pytest.mark.parametrize("model", VARIABLES)
def test_a_model_without_a_key_is_refused_before_anything_is_asked(
    model: str, there: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (*VARIABLES.values(), "GEMINI_API_KEY", "LANGSMITH_GATEWAY"):
        monkeypatch.delenv(variable, raising=False)
    if there is not None:
        monkeypatch.setenv(VARIABLES[model], there)
    with pytest.raises(MoAConfigurationError, match=f"aggregator='{model}'.*{VARIABLES[model]}"):
        MoAChatModel(reference_models=[THERE], aggregator=model)


@pytest.mark.parametrize("own", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"])
def test_openais_key_is_not_for_azure(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    member = {"model": "azure_openai:x", "azure_endpoint": "http://127.0.0.1:9", "api_version": "1"}
    with pytest.raises(MoAConfigurationError, match=r"no key; set .* AZURE_OPENAI_API_KEY"):
        MoAChatModel(reference_models=[THERE], aggregator=member)
    for given in ({"api_key": "key-of-openai"}, {"azure_ad_token": "x"}):
        MoAChatModel(reference_models=[THERE], aggregator={**member, **given})
    monkeypatch.setenv(own, "own")
    MoAChatModel(reference_models=[THERE], aggregator=member)


def test_what_a_member_sends_in_place_of_a_key_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    member = {"model": "anthropic:x", "default_headers": {"Authorization": "Bearer mine"}}
    MoAChatModel(reference_models=[THERE], aggregator=member)


@pytest.mark.parametrize("name", ["NOT_SET_API_KEY", "", 3])
@pytest.mark.parametrize("model", ["qwen", "openai:qwen"])
def test_a_variable_that_is_not_set(name: Any, model: str) -> None:
    with pytest.raises(MoAConfigurationError, match=r"^aggregator\.api_key_env=.* no environment"):
        MoAChatModel(
            reference_models=[ALPHA], aggregator={"model": model, "api_key_env": name}, api_key="x"
        )


def test_a_key_and_a_variable_contradict_each_other() -> None:
    member = {"model": ALPHA, "api_key": "secret-key", "api_key_env": "X"}
    with pytest.raises(MoAConfigurationError, match=r"^aggregator has a key and api_key_env='X'"):
        MoAChatModel(reference_models=[ALPHA], aggregator=member, api_key="x")


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("dashscope:qwen-max", "DASHSCOPE_API_KEY"),
        ("qwen:qwen-max", "DASHSCOPE_API_KEY"),
        ("moonshot:kimi-k2", "MOONSHOT_API_KEY"),
        ("zhipuai:glm-5", "ZHIPUAI_API_KEY"),
        ("siliconflow:x/y", "SILICONFLOW_API_KEY"),
        ("volcengine:doubao-seed-1-8", "ARK_API_KEY"),
        ("minimax:MiniMax-M2.5", "MINIMAX_API_KEY"),
    ],
)
def test_compatible_providers_are_shown_as_a_member(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        MoAChatModel(reference_models=[name], aggregator=ALPHA, api_key="x")
    member = "{" + str(caught.value).partition("{")[2].rpartition("}")[0] + "}"
    assert f"'openai:{name.partition(':')[2]}'" in member
    # what it shows works as it stands, without any host to be trusted
    monkeypatch.setenv(variable, "some-key")
    shown: dict[str, Any] = eval(member)  # noqa: S307 - our own error, which shows Python
    config = {"reference_models": [shown], "aggregator": shown}
    assert MoAChatModel.from_config(config).to_config() == config


# --- what the environment says of accounts ------------------------------------------------------

ACCOUNT = {
    "OPENAI_ORG_ID": "org-private",
    "OPENAI_PROJECT_ID": "proj-private",
    "OPENAI_CUSTOM_HEADERS": "x-gateway-token: token-private\nX-Other: other-private",
    "OPENAI_API_KEY": "sk-private",
}


def private(gateway: Gateway) -> list[str]:
    sent = [*gateway.asked]
    assert sent
    return sorted({n for one in sent for n, value in one.headers.items() if "private" in value})


@every_way
def test_one_providers_account_never_goes_to_another(
    gateway: Gateway, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    elsewhere = {"model": "openai:qwen", "base_url": gateway.base_url, "api_key": "own"}
    llm = MoAChatModel(
        reference_models=[ALPHA, elsewhere],
        aggregator=AGGREGATOR,
        base_url=gateway.base_url,
        api_key="general",
    )
    assert way(llm) == "fine"
    assert len(gateway.asked) == 3
    assert private(gateway) == []


@every_way
def test_it_goes_to_the_gateway_that_the_environment_names(
    gateway: Gateway, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**ACCOUNT, "OPENAI_BASE_URL": gateway.base_url}.items():
        monkeypatch.setenv(name, value)
    assert way(MoAChatModel(reference_models=["openai:a"], aggregator="openai:b")) == "fine"
    assert private(gateway) == [
        "authorization",
        "openai-organization",
        "openai-project",
        "x-gateway-token",
        "x-other",
    ]


@every_way
def test_headers_that_a_member_is_given_stay(
    gateway: Gateway, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    for model in (ALPHA, "openai:qwen"):
        own = {
            "model": model,
            "base_url": gateway.base_url,
            "api_key": "own",
            "default_headers": {
                "X-Gateway-Token": "meant-private",
                "openai-project": "private-too",
            },
        }
        gateway.asked.clear()
        assert way(MoAChatModel(reference_models=[own], aggregator=own)) == "fine"
        assert private(gateway) == ["openai-project", "x-gateway-token"]
        assert {one.headers["x-gateway-token"] for one in gateway.asked} == {"meant-private"}


@every_way
@pytest.mark.parametrize("provider", ["anthropic", "fireworks"])
def test_headers_of_an_account_stay_with_its_provider(
    way: Way, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{provider.upper()}_API_KEY", "loopback-key")
    monkeypatch.setenv(f"{provider.upper()}_CUSTOM_HEADERS", "x-corp: private")
    named = f"{provider}:claude"
    models = {"claude": says("fine")}
    with LoopbackServer(models) as server:
        away = {"model": named, "base_url": server.url}
        assert way(MoAChatModel(reference_models=[away], aggregator=away)) == "fine"
        assert [r.headers.get("x-corp") for r in server.requests] == [None, None]
        server.requests.clear()
        monkeypatch.setenv(f"{provider.upper()}_BASE_URL", server.url)
        assert way(MoAChatModel(reference_models=[named], aggregator=named)) == "fine"
        assert [r.headers.get("x-corp") for r in server.requests] == ["private", "private"]


@every_way
def test_a_key_of_its_own_is_sent_alone(
    gateway: Gateway, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_OPENAI_AD_TOKEN", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "private")
    own = {"api_key": "its-own", "api_version": "1"}
    azure = {"model": "azure_openai:a", "azure_endpoint": gateway.base_url, **own}
    with LoopbackServer({"claude": says("fine")}, api_key="its-own") as server:
        claude = {"model": "anthropic:claude", "base_url": server.url, "api_key": "its-own"}
        llm = MoAChatModel(reference_models=[azure], aggregator=claude)
        assert way(llm) == "fine"
        sent = [*(one.headers for one in gateway.asked), *(one.headers for one in server.requests)]
    assert len(sent) == 2
    assert "private" not in str(sent)
    assert sent[0]["api-key"] == "its-own"
    token = {**azure, "azure_ad_token": "meant"}
    assert way(MoAChatModel(reference_models=[azure], aggregator=token)) == "fine"
    assert gateway.asked[-1].headers["authorization"] == "Bearer meant"


def test_the_proxy_of_openai_is_not_that_of_together(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_PROXY", "http://127.0.0.1:9")
    llm = MoAChatModel(
        reference_models=[ALPHA], aggregator=ALPHA, base_url=gateway.base_url, api_key="x"
    )
    assert invoked(llm) == ainvoked(llm) == "fine"


# --- keys and addresses as files and people write them ------------------------------------------

AROUND = ["{}\n", "\r\n{}\r\n", " {} ", "\ufeff{}", "{}\u3000", "\t{}\u00a0"]


@every_way
@pytest.mark.parametrize("around", AROUND)
def test_white_space_around_a_key_or_an_address(
    gateway: Gateway, way: Way, around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, address = around.format("the-key"), around.format(gateway.base_url)
    by_argument: dict[str, Any] = {"reference_models": [ALPHA], "base_url": address, "api_key": key}
    member = {"model": "openai:b", "base_url": address, "api_key": key}
    assert way(MoAChatModel(**by_argument, aggregator=member)) == "fine"
    for provider, variable in (("TOGETHER", "API_BASE"), ("OPENAI", "BASE_URL")):
        monkeypatch.setenv(f"{provider}_API_KEY", key)
        monkeypatch.setenv(f"{provider}_{variable}", address)
    assert way(MoAChatModel(reference_models=[ALPHA], aggregator="openai:b")) == "fine"
    assert {one.headers["authorization"] for one in gateway.asked} == {"Bearer the-key"}
    assert len(gateway.asked) == 4


THERE: dict[str, Any] = {"model": ALPHA, "base_url": "http://127.0.0.1:9/v1", "api_key": "its-own"}

NO_KEYS = {
    "你的密钥": "U+4F60 ",
    "“sk-quoted”": "U+201C (LEFT DOUBLE QUOTATION MARK) at place 1",
    "sk-zero\u200b": "U+200B (ZERO WIDTH SPACE) at place 8",
    "sk\uff0dwide": "U+FF0D (FULLWIDTH HYPHEN-MINUS) at place 3",
    "sk-line\nbreak": "U+000A ",
    "sk two": "U+0020 (SPACE) at place 3",
    "sk-nul\x00": "U+0000 (a control character) at place 7",
}


@pytest.mark.parametrize("key", NO_KEYS)
@pytest.mark.parametrize("model", [ALPHA, "openai:x", "anthropic:x"])
def test_what_no_header_can_hold_is_no_key(
    key: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, dict[str, Any]]] = [
        ("aggregator.api_key", {"aggregator": {"model": model, "api_key": key}}),
        ("api_key", {"api_key": key}),
    ]
    if "\x00" not in key:  # no environment holds it
        provider = {ALPHA: "TOGETHER", "openai:x": "OPENAI", "anthropic:x": "ANTHROPIC"}[model]
        monkeypatch.setenv(f"{provider}_API_KEY", key)
        given.append((f"{provider}_API_KEY", {"aggregator": model, "api_key": None}))
    for source, arguments in given:
        with pytest.raises(MoAConfigurationError) as caught:
            MoAChatModel(
                **{"reference_models": [THERE], "aggregator": THERE, "api_key": "x", **arguments}
            )
        assert source in str(caught.value)
        assert NO_KEYS[key] in str(caught.value)
        assert key not in str(caught.value)


NO_ADDRESSES = {
    "127.0.0.1:8000/v1": "has no scheme",
    "localhost:8000": "has no scheme",
    "ftp://host/v1": "has no scheme",
    "http://": "names no host",
    "http://[::1": "Invalid IPv6 URL",
    "http://::1/v1": "'http://[::1]:8000/v1' of an IPv6 host",
    "http://host:port/v1": "is no address",
    "http://host:99999/v1": "is no address",
    "http\uff1a//host/v1": "U+FF1A (FULLWIDTH COLON)",
    "http://host/v1\u200b": "U+200B (ZERO WIDTH SPACE)",
    "http://ho\rst/v1": "U+000D ",
    "“http://host/v1”": "U+201C ",
    "http://me:secret-word@": "names no host",
    "http://me:secret-word@[::1": "Invalid IPv6 URL",
}


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_BASE", address)
    away = {"model": "openai:x", "base_url": address, "api_key": "x"}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("base_url", {"base_url": address}),
        ("aggregator.base_url", {"aggregator": away}),
        ("TOGETHER_API_BASE", {"aggregator": ALPHA}),
    ]
    for source, arguments in cases:
        with pytest.raises(MoAConfigurationError) as caught:
            MoAChatModel(
                **{"reference_models": [THERE], "aggregator": THERE, "api_key": "x", **arguments}
            )
        assert f"{source}='" in str(caught.value)
        assert NO_ADDRESSES[address] in str(caught.value)
        assert "secret-word" not in str(caught.value)


@every_way
@pytest.mark.parametrize("model", [AGGREGATOR, "openai:x"])
def test_a_login_and_a_query_in_an_address(gateway: Gateway, way: Way, model: str) -> None:
    address = gateway.base_url.replace("//", "//m%40e:pass%3Aword@") + "?api-key=in-query&v=1"
    member = {"model": model, "base_url": address, "api_key": "own"}
    llm = MoAChatModel(
        reference_models=[ALPHA], aggregator=member, base_url=address, api_key="general"
    )
    assert way(llm) == "fine"
    login = "Basic " + base64.b64encode(b"m@e:pass:word").decode()
    assert [one.headers["authorization"] for one in gateway.asked] == [login, login]
    assert [one.query for one in gateway.asked] == [{"api-key": "in-query", "v": "1"}] * 2


@every_way
@pytest.mark.parametrize("size", [9_000, 60_000])
def test_large_headers_of_a_response(way: Way, size: int) -> None:
    with Gateway(headers={"content-security-policy": "x" * size}) as gateway:
        llm = MoAChatModel(
            reference_models=[ALPHA], aggregator=ALPHA, base_url=gateway.base_url, api_key="x"
        )
        assert way(llm) == "fine"


# --- what the environment says of connections ---------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/no/such.pem"),
        ("SSL_CERT_FILE", __file__),  # which holds no certificates
        ("HTTPS_PROXY", "foo://127.0.0.1:9"),
        ("https_proxy", "http://[::1"),
        ("HTTP_PROXY", "http://me:secret-word@127.0.0.1:9\n"),
        ("ALL_PROXY", "http://127.0.0.1:port"),
        ("ALL_PROXY", "socks5://me:secret-word@127.0.0.1:9"),
    ],
)
def test_an_environment_that_makes_no_connections(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises((MoAConfigurationError, MissingExtraError)) as caught:
        MoAChatModel(reference_models=[ALPHA], aggregator=ALPHA, api_key="x")
    assert f"{variable}='" in str(caught.value)
    assert "secret-word" not in str(caught.value)
    assert isinstance(caught.value, ImportError) == value.startswith("socks5")


@pytest.mark.parametrize("model", ["google_genai:x", "anthropic:x", "mistralai:x"])
def test_a_login_in_an_address_of_another_dialect(model: str) -> None:
    """It stays in the address, and is sent by each way to call alike."""
    with LoopbackServer({"*": says("fine")}) as server:
        paths = {"google_genai:x": server.gemini_url, "anthropic:x": server.anthropic_url}
        address = paths.get(model, server.mistral_url).replace("//", "//me:secret-word@")
        member = {"model": model, "base_url": address, "api_key": server.api_key}
        llm = MoAChatModel(reference_models=[member], aggregator=member)
        told = set()
        for way in WAYS:
            try:
                told.add(way(llm))
            except NotEnoughProposalsError as error:  # no key of the server's
                told.add(str(error))
    assert len(told) == 1
    assert "secret-word" not in str(told)
    assert "fine" in told or "the key was refused" in str(told)


@pytest.mark.filterwarnings("ignore:Parameters")
def test_a_members_options_stay_as_they_were_given() -> None:
    """Anthropic's class takes what is a field of its own out of `model_kwargs`."""
    member = {"model": "anthropic:x", "api_key": "k", "model_kwargs": {"metadata": {"a": "b"}}}
    for _ in range(2):
        MoAChatModel(reference_models=[THERE], aggregator=member)
        assert member["model_kwargs"] == {"metadata": {"a": "b"}}
