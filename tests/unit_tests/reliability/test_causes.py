"""Errors tell the cause and the address, once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError
from langchain_moa.cli.exits import Exit, code_of
from langchain_moa.reliability.causes import reason_of
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, says

NOBODY = "http://127.0.0.1:9/v1"
NOWHERE = "http://nowhere.invalid/v1"


def addresses(server: LoopbackServer) -> dict[str, tuple[str, str]]:
    """Wrong addresses, and what is told of each."""
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    return {
        "no scheme": (f"{host}/v1", f"cannot connect to {host}: the address has no scheme"),
        "nobody listens": (NOBODY, "cannot connect to http://127.0.0.1:9: Connection refused"),
        "no such host": (NOWHERE, "cannot connect to http://nowhere.invalid: there is no such"),
        "TLS to a plain port": (
            f"https://{host}/v1",
            f"cannot connect to https://{host}: TLS failed",
        ),
        "without /v1": (
            f"http://{host}",
            f"no model '{ALPHA}' at http://{host}/chat/completions; is the address right",
        ),
    }


def ways(llm: MoAChatModel) -> dict[str, Callable[[], Any]]:
    async def streamed() -> list[Any]:
        return [chunk async for chunk in llm.astream("Hi")]

    return {
        "invoke": lambda: llm.invoke("Hi"),
        "ainvoke": lambda: asyncio.run(llm.ainvoke("Hi")),
        "stream": lambda: list(llm.stream("Hi")),
        "astream": lambda: asyncio.run(streamed()),
    }


@pytest.fixture(scope="module")
def listening() -> Any:
    with LoopbackServer({AGGREGATOR: says("ok"), ALPHA: says("a")}) as server:
        yield server


@pytest.mark.parametrize("kind", [*addresses(LoopbackServer({}))][1:])
def test_the_cause_and_the_address_are_told_once(kind: str, listening: LoopbackServer) -> None:
    address, told = addresses(listening)[kind]
    llm = MoAChatModel(
        reference_models=[ALPHA] * 4,
        aggregator=AGGREGATOR,
        base_url=address,
        api_key="k" * 8,
        max_retries=0,
    )
    for way, call in ways(llm).items():
        with pytest.raises(NotEnoughProposalsError) as caught:
            call()
        text = str(caught.value)
        assert text.count(told) == 1, (way, text)
        assert "(all 4 members)" in text
        assert all(told in (proposal.error or "") for proposal in caught.value.proposals)


@pytest.mark.parametrize("kind", ["no scheme", "nobody listens", "no such host", "without /v1"])
def test_the_aggregators_cause_is_told_in_the_same_way(
    kind: str, listening: LoopbackServer
) -> None:
    address, told = addresses(listening)[kind]
    for way in ("invoke", "stream", "astream"):  # the client works in one loop only
        writer = ChatOpenAI(model=ALPHA, base_url=address, api_key=SecretStr("k"), max_retries=0)
        llm = MoAChatModel(
            reference_models=[ALPHA],
            aggregator=writer,
            base_url=listening.base_url,
            api_key=listening.api_key,
            max_retries=0,
        )
        with pytest.raises(AggregationError) as caught:
            ways(llm)[way]()
        assert told in str(caught.value), way
        assert [proposal.text for proposal in caught.value.proposals] == ["a"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "API key not valid. Please pass a valid API key."),
        (400, "Incorrect API key provided: tg***ab."),
        (403, "Invalid API Key"),
    ],
)
def test_a_key_is_refused_in_any_providers_words(
    status: int, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "loopback-key")
    with LoopbackServer({ALPHA: says("", status=status, error=error)}) as server:
        llm = MoAChatModel(reference_models=[ALPHA], aggregator=ALPHA, base_url=server.base_url)
        with pytest.raises(NotEnoughProposalsError) as caught:
            llm.invoke("Hi")
    assert "the key was refused" in str(caught.value)
    assert re.search(rf"set TOGETHER_API_KEY anew \(.*{re.escape(error)}", str(caught.value))
    assert code_of(caught.value) is Exit.USAGE


def test_a_refused_login_is_not_taken_for_the_key() -> None:
    with LoopbackServer({ALPHA: says("ok")}) as server:
        address = server.base_url.replace("://", "://me:s3cret@")
        llm = MoAChatModel(
            reference_models=[ALPHA], aggregator=ALPHA, base_url=address, api_key=SecretStr("k")
        )
        with pytest.raises(NotEnoughProposalsError) as caught:
            llm.invoke("Hi")
    assert "; set the user's name and password in the address anew (" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_refused_key_names_its_variable() -> None:
    with LoopbackServer({ALPHA: says("ok")}) as server:
        members = {
            "OPENAI_API_KEY": ChatOpenAI(
                model=ALPHA, base_url=server.base_url, api_key=SecretStr("no"), max_retries=0
            ),
            "ANTHROPIC_API_KEY": ChatAnthropic(
                model_name=ALPHA,
                base_url=server.anthropic_url,
                api_key=SecretStr("no"),
                max_retries=0,
                timeout=9,
                stop=None,
            ),
        }
        for variable, member in members.items():
            llm = MoAChatModel(reference_models=[member], aggregator=member)
            with pytest.raises(NotEnoughProposalsError) as caught:
                llm.invoke("Hi")
            assert f"the key was refused at {server.url}/v1/" in str(caught.value)
            assert f"; set {variable} anew (" in str(caught.value)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"api_key_env": "ACME_API_KEY"}, "set ACME_API_KEY anew"),
        ({"api_key": "wrong-key"}, "set reference_models[0].api_key anew"),
        ({}, "set TOGETHER_API_KEY anew"),
    ],
)
@pytest.mark.parametrize("provider", ["together:", "openai:"])
def test_a_refused_key_names_where_it_comes_from(
    own: dict[str, str], told: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACME_API_KEY", "TOGETHER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"wrong-{name}")
    if provider == "openai:":
        told = told.replace("TOGETHER", "OPENAI")
    with LoopbackServer({ALPHA: says("ok")}, api_key="right-key") as server:
        address = server.base_url
        member = {"model": f"{provider}{ALPHA}", "base_url": address, **own}
        llm = MoAChatModel(reference_models=[member], aggregator=[{**member}])
        with pytest.raises(NotEnoughProposalsError) as caught:
            llm.invoke("Hi")
        alone = llm.replace(on_no_proposals="aggregate_alone")
        with pytest.raises(AggregationError) as ended:
            alone.invoke("Hi")
    assert f"the key was refused at {address}/" in str(caught.value)
    assert f"; {told} (" in str(caught.value)
    assert f"; {told.replace('reference_models[0]', 'aggregator[0]')} (" in str(ended.value)
    assert "wrong-" not in str(caught.value) + str(ended.value)


def test_a_lost_connection_is_told_as_lost() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(drop=True)}) as server:
        member = ChatOpenAI(
            model=ALPHA,
            base_url=server.base_url,
            api_key=SecretStr(server.api_key),
            max_retries=0,
        )
        llm = MoAChatModel(reference_models=[member], aggregator=member, max_retries=0)
        with pytest.raises(NotEnoughProposalsError, match=f"Connection error.*{server.url}"):
            llm.invoke("Hi")


def test_errors_of_any_shape_are_told() -> None:
    class OddError(Exception):
        status_code = "many"

        @property
        def request(self) -> Any:
            raise RuntimeError

    looped = ValueError("one")
    other = KeyError("two")
    looped.__cause__, other.__cause__ = other, looped
    for error in (OddError("x"), looped, ExceptionGroup("several", [OSError("x")])):
        assert reason_of(error, model="a").startswith(f"{type(error).__name__}: ")
    refused = ConnectionRefusedError(111, "Connection refused")
    assert reason_of(refused, model="a") == "cannot connect: Connection refused"


def test_the_command_line_tells_keys_addresses_and_models(cli: Cli) -> None:
    words = ("ask", "Why?", "--reference-models", f"{ALPHA},{BETA}", "--aggregator", AGGREGATOR)
    models = {ALPHA: says("a"), BETA: says("b"), AGGREGATOR: says("ok")}
    with LoopbackServer(models) as server:
        cli.environment.setenv("TOGETHER_API_BASE", server.base_url)
        cli.environment.setenv("TOGETHER_API_KEY", "wrong-key")
        ran = cli(*words)
        assert (ran.code, ran.out) == (2, "")
        assert "the key was refused" in ran.err
        assert "set TOGETHER_API_KEY" in ran.err
        assert ran.err.count("401") == 1
        cli.environment.setenv("TOGETHER_API_KEY", server.api_key)
        ran = cli(*words[:-1], GAMMA)
        assert (ran.code, ran.out) == (3, "")
        assert f"no model '{GAMMA}' at {server.base_url}/chat/completions" in ran.err
        ran = cli(*words, "--base-url", NOBODY)
        assert (ran.code, ran.out) == (3, "")
        told = "cannot connect to http://127.0.0.1:9: Connection refused (all 2 members)"
        assert ran.err.count(told) == 1
        server.models[AGGREGATOR] = ModelBehavior(status=401, error="no")
        ran = cli(*words, "--json")
        assert ran.code == 2
        assert "set TOGETHER_API_KEY" in json.loads(ran.out)["error"]["message"]
        server.models[AGGREGATOR] = says("ok")
        server.models[ALPHA] = ModelBehavior(status=401, error="no")
        ran = cli(*words)  # others answered
        assert (ran.code, ran.out) == (0, "ok\n")
        assert f"layer 1, {ALPHA}: failed: the key was refused" in ran.err
        server.models[BETA] = ModelBehavior(status=400, error="no")
        assert cli(*words).code == 3  # not for the key alone
    assert "2 usage or a key that is refused" in " ".join(cli("--help").out.split())
