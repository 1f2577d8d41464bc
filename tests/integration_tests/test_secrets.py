"""No secret leaves the process: not in runs, records, logs, errors, tracebacks, dumps or files."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.langchain import LangChainTracer
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import MoAChatModel, MoAError
from tests.gateway import Gateway
from tests.ingest import IngestServer
from tests.wire import ALPHA, BETA

KEY = "tgp-DISTINCTIVE-key"
OTHER = "sk-DISTINCTIVE-other"
WORD = "DISTINCTIVE-pass-word"
HEADER = "DISTINCTIVE header value"
QUERY = "DISTINCTIVE-in-query"
SECRETS = (KEY, OTHER, WORD, HEADER, QUERY, "DISTINCTIVE")


@dataclass
class SetUp:
    """How a mixture comes by its secrets.

    Attributes:
        arguments: The mixture's, from the address of the endpoint.
        environment: Variables that are set.
        bound: Arguments that are bound to the mixture.
    """

    arguments: Callable[[str], dict[str, Any]]
    environment: dict[str, str] = field(default_factory=dict)
    bound: dict[str, Any] = field(default_factory=dict)


def everywhere(member: Any, **more: Any) -> dict[str, Any]:
    return {"reference_models": [member, member], "aggregator": member, **more}


def login(address: str) -> str:
    return address.replace("//", f"//me:{WORD}@")


def own(address: str, **options: Any) -> dict[str, Any]:
    return {"model": ALPHA, "base_url": address, "api_key": KEY, **options}


def given(address: str, **options: Any) -> ChatTogether:
    return ChatTogether(
        model=ALPHA, base_url=address, api_key=SecretStr(KEY), max_retries=0, **options
    )


HEADERS = {"X-Gateway": HEADER, "X-Login": f"Bearer {OTHER}"}
SET_UPS: dict[str, SetUp] = {
    "a key argument": SetUp(lambda at: everywhere(ALPHA, base_url=at, api_key=KEY)),
    "a key of the environment": SetUp(
        lambda at: everywhere(ALPHA, base_url=at), {"TOGETHER_API_KEY": f"{KEY}\n"}
    ),
    "a member's own key": SetUp(lambda at: everywhere(own(at))),
    "a variable that a member names": SetUp(
        lambda at: everywhere({"model": "openai:a", "base_url": at, "api_key_env": "ACME_KEY"}),
        {"ACME_KEY": KEY},
    ),
    "another provider's key": SetUp(
        lambda _: everywhere("openai:a"), {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "{address}"}
    ),
    "a login in the address": SetUp(lambda at: everywhere(ALPHA, base_url=login(at), api_key=KEY)),
    "a login in a member's address": SetUp(
        lambda at: everywhere({"model": "openai:a", "base_url": login(at), "api_key": KEY})
    ),
    "a key in the address": SetUp(
        lambda at: everywhere(ALPHA, base_url=f"{at}?api-key={QUERY}&v=1", api_key=KEY)
    ),
    "headers of a member": SetUp(lambda at: everywhere(own(at, default_headers=HEADERS))),
    "the query of a member": SetUp(lambda at: everywhere(own(at, default_query={"code": QUERY}))),
    "headers of another provider's member": SetUp(
        lambda at: everywhere(own(at, default_headers=HEADERS) | {"model": "openai:a"})
    ),
    "a login in the address of a member at Groq": SetUp(
        lambda at: everywhere(
            {"model": "groq:a", "base_url": login(at.removesuffix("/v1")), "api_key": KEY}
        )
    ),
    "arguments of a call to a member at Fireworks": SetUp(
        lambda at: everywhere(
            {"model": "fireworks:a", "base_url": at.removesuffix("/v1"), "api_key": KEY}
        ),
        bound={"extra_headers": HEADERS},
    ),
    "headers and a login of a member at OpenRouter": SetUp(
        lambda at: everywhere(
            own(login(at), default_headers=HEADERS) | {"model": "openrouter:a"},
        )
    ),
    "a chat model": SetUp(lambda at: everywhere(given(at, default_headers=HEADERS))),
    "a chat model with a login in its address": SetUp(
        lambda at: everywhere(
            ChatOpenAI(model="a", base_url=login(at), api_key=SecretStr(KEY), max_retries=0)
        )
    ),
    "a binding": SetUp(lambda at: everywhere(given(at).bind(extra_headers=HEADERS))),
    "a chain": SetUp(
        lambda at: {
            "reference_models": [
                ChatPromptTemplate.from_messages(["placeholder", "{messages}"])
                | given(at, default_headers=HEADERS)
            ],
            "aggregator": given(at),
        }
    ),
    "a mixture inside": SetUp(
        lambda at: {
            "reference_models": [MoAChatModel(**everywhere(own(at, default_headers=HEADERS)))],
            "aggregator": own(at),
        }
    ),
    "arguments of proposals": SetUp(
        lambda at: everywhere(own(at), proposal_kwargs={"extra_headers": HEADERS})
    ),
    "arguments of a call": SetUp(lambda at: everywhere(own(at)), bound={"extra_headers": HEADERS}),
}


def invoked(llm: Any, config: Any) -> Any:
    return llm.invoke("Go", config)


def ainvoked(llm: Any, config: Any) -> Any:
    return asyncio.run(llm.ainvoke("Go", config))


def streamed(llm: Any, config: Any) -> Any:
    return list(llm.stream("Go", config))


def astreamed(llm: Any, config: Any) -> Any:
    async def stream() -> Any:
        return [chunk async for chunk in llm.astream("Go", config)]

    return asyncio.run(stream())


def through_the_graph(llm: Any, config: Any) -> Any:
    return getattr(llm, "bound", llm).graph.invoke({"messages": ["Go"]}, config)


WAYS = [invoked, ainvoked, streamed, astreamed, through_the_graph]


@pytest.fixture(scope="module")
def ingest() -> Iterator[IngestServer]:
    with IngestServer() as running:
        yield running


def leaks(text: str) -> list[str]:
    """What stands around each secret in a text."""
    return [
        text[max(0, text.find(secret) - 200) : text.find(secret) + 60]
        for secret in SECRETS
        if secret in text
    ]


def all_of(error: BaseException, *others: str) -> Iterator[str]:
    """Everything that programs write of an error, the values of variables in tracebacks too.

    Left out are those of this test, and of other files whose names are given.
    """
    yield from (str(error), repr(error))
    told: traceback.TracebackException | None
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    while told is not None:
        told.stack[:] = [
            frame
            for frame in told.stack
            if frame.filename != __file__ and not any(name in frame.filename for name in others)
        ]
        yield "".join(told.format(chain=False))
        told = told.__cause__ or told.__context__
    for cause in getattr(error, "causes", {}).values():
        yield from (str(cause), repr(cause), repr(vars(cause)))
    yield repr(pickle.dumps(error))


@pytest.fixture(params=[200, 401])
def status(request: pytest.FixtureRequest) -> int:
    """What the endpoint answers with."""
    return int(request.param)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SET_UPS)
def test_no_secret_leaves_the_process(
    name: str,
    status: int,
    way: Callable[[Any, Any], Any],
    ingest: IngestServer,
    request: pytest.FixtureRequest,
) -> None:
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    caplog.set_level(logging.DEBUG)
    ingest.raw.clear()
    events: list[Any] = []
    with Gateway(status=status) as gateway:
        set_up = SET_UPS[name]
        for variable, value in set_up.environment.items():
            monkeypatch.setenv(variable, value.format(address=gateway.base_url))
        llm: Any = MoAChatModel(
            **set_up.arguments(gateway.base_url),
            on_no_proposals="aggregate_alone",
            max_retries=0,
            on_progress=events.append,
        )
        called = llm.bind(**set_up.bound) if set_up.bound else llm
        client = ingest.client()
        config = {"callbacks": [LangChainTracer(client=client)]}
        written = [repr(llm), str(llm.model_dump())]
        try:
            answer = way(called, config)
        except MoAError as error:
            assert status == 401
            # what LangChain's binding around a mixture holds is not the mixture's
            written += all_of(error, *(["langchain_core"] if set_up.bound else []))
        else:
            assert status == 200
            written.append(str(answer))
        client.flush()
        assert gateway.asked
    assert ingest.raw
    posted = b"".join(ingest.raw).decode(errors="replace")
    assert "ls_provider" in posted  # members' runs are there
    assert leaks(posted) == []
    assert [found for text in written for found in leaks(text)] == []
    assert leaks(str(events)) == []
    assert events
    assert leaks("\n".join(record.getMessage() for record in caplog.records)) == []


@pytest.mark.parametrize("name", SET_UPS)
def test_no_secret_is_in_an_error_of_construction_or_in_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://127.0.0.1:9/v1"
    set_up = SET_UPS[name]
    for variable, value in set_up.environment.items():
        monkeypatch.setenv(variable, value.format(address=address))
    for wrong in ({"timeout": -1}, {"nonsense": 1}, {"fallbacks": {"x/y": ALPHA}}):
        with pytest.raises(MoAError) as caught:
            MoAChatModel(**{**set_up.arguments(address), **wrong})
        assert [found for text in all_of(caught.value) for found in leaks(text)] == []
    llm = MoAChatModel(**set_up.arguments(address))
    try:
        written = json.dumps(llm.to_config())
    except MoAError as error:
        written = "".join(all_of(error))
    assert leaks(written) == []


def test_a_member_of_a_file_that_has_its_key_is_refused_without_it() -> None:
    config = {"reference_models": [own("http://127.0.0.1:9/v1")], "aggregator": BETA}
    with pytest.raises(MoAError) as caught:
        MoAChatModel.from_config(config, api_key=OTHER)
    message = str(caught.value)
    assert "reference_models[0].api_key does not belong into a configuration" in message
    assert leaks(message) == []
