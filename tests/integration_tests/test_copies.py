"""Mixtures that are copied, pickled, forked and used in many event loops."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import StdOutCallbackHandler
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import CircuitBreaker, MoAChatModel, MoAConfigurationError, Proposal
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.wire import AGGREGATOR, ALPHA, BETA

KEY = "DISTINCTIVE-key"


def last_words(body: Any) -> str:
    """The words of a question that stand last, so that each question has its own answer."""
    return str(body["messages"]).rpartition("question-")[2].split("'")[0].split("\\")[0]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    # a field of each answer that OpenRouter's client demands
    anyone = ModelBehavior(reply=last_words, fields={"system_fingerprint": "f"})
    with LoopbackServer({"*": anyone}, api_key=KEY) as running:
        monkeypatch.setenv("TOGETHER_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("ACME_API_KEY", KEY)
        yield running


Make = Callable[[str], dict[str, Any]]
MIXTURES: dict[str, Make] = {
    "strings": lambda at: {
        "reference_models": [ALPHA, BETA],
        "aggregator": AGGREGATOR,
        "base_url": at,
    },
    "a key argument": lambda at: {
        "reference_models": [ALPHA],
        "aggregator": AGGREGATOR,
        "base_url": at,
        "api_key": KEY,
    },
    "dicts": lambda at: {
        "reference_models": [{"model": ALPHA, "base_url": at, "temperature": 0.3}],
        "aggregator": {"model": "openai:x", "base_url": at, "api_key_env": "ACME_API_KEY"},
    },
    "lists per layer": lambda at: {
        "reference_models": [[ALPHA], [BETA]],
        "aggregator": [AGGREGATOR, BETA],
        "fallbacks": {ALPHA: [BETA]},
        "base_url": at,
        "circuit_breaker": CircuitBreaker(),
        "timeout": None,
    },
    "chat models": lambda at: {
        "reference_models": [ChatTogether(model=ALPHA, base_url=at, api_key=SecretStr(KEY))],
        "aggregator": ChatOpenAI(model="x", base_url=at, api_key=SecretStr(KEY), temperature=0.5),
    },
    "a mixture inside": lambda at: {
        "reference_models": [
            MoAChatModel(reference_models=[ALPHA], aggregator=BETA, base_url=at, api_key=KEY)
        ],
        "aggregator": AGGREGATOR,
        "base_url": at,
    },
    "scripted": lambda at: {
        "reference_models": [ScriptedChatModel.saying("said")],
        "aggregator": AGGREGATOR,
        "base_url": at,
    },
}
every_mixture = pytest.mark.parametrize("make", MIXTURES.values(), ids=MIXTURES)


def pickled(llm: MoAChatModel) -> MoAChatModel:
    data = pickle.dumps(llm)
    assert KEY.encode() not in data
    again = pickle.loads(data)  # noqa: S301 - made one line above
    assert isinstance(again, MoAChatModel)
    return again


COPIES: list[Callable[[MoAChatModel], MoAChatModel]] = [
    pickled,
    copy.copy,
    copy.deepcopy,
    lambda llm: llm.model_copy(deep=True),
    lambda llm: MoAChatModel.from_config(llm.to_config()) if _is_writable(llm) else llm,
]


def _is_writable(llm: MoAChatModel) -> bool:
    try:
        llm.to_config()
    except MoAConfigurationError:
        return False
    return True


def holds_clients(llm: MoAChatModel) -> bool:
    return isinstance(llm.aggregator, ChatOpenAI) and llm.aggregator.max_retries is None


@every_mixture
@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_asks_and_answers_the_same(
    server: LoopbackServer, make: Make, copied: Callable[[MoAChatModel], MoAChatModel]
) -> None:
    llm = MoAChatModel(**make(server.base_url))
    again = copied(llm)
    assert again is not llm or not _is_writable(llm)
    if not holds_clients(llm):  # how often a client repeats is left to the mixture by a name
        assert again._get_llm_string() == llm._get_llm_string()
    assert again.invoke("question-one").text == "one"
    bodies = [(request.model, request.body) for request in server.requests]
    server.requests.clear()
    assert asyncio.run(again.ainvoke("question-one")).text == "one"
    server.requests.clear()
    assert llm.invoke("question-one").text == "one"
    assert sorted(map(str, bodies)) == sorted(str((r.model, r.body)) for r in server.requests)


def test_a_key_argument_travels_with_a_deep_copy_and_never_into_a_pickle(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = MoAChatModel(**MIXTURES["a key argument"](server.base_url))
    monkeypatch.delenv("TOGETHER_API_KEY")
    assert copy.deepcopy(llm).invoke("question-x").text == "x"
    data = pickle.dumps(llm)
    with pytest.raises(MoAConfigurationError, match="there is no key for Together"):
        pickle.loads(data)  # noqa: S301 - made one line above
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    assert pickle.loads(data).invoke("question-x").text == "x"  # noqa: S301 - the same


def test_a_deep_copy_is_a_mixture_of_its_own() -> None:
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("a")],
        aggregator=ScriptedChatModel.saying("b"),
        proposal_kwargs={"extra": {"a": [1]}},
    )
    again = copy.deepcopy(llm)
    again.proposal_kwargs["extra"]["a"].append(2)
    assert llm.proposal_kwargs == {"extra": {"a": [1]}}
    again.aggregator = ScriptedChatModel.saying("c")
    assert (llm.invoke("q").text, again.invoke("q").text) == ("b", "c")


OWN: dict[str, Any] = {"model": "x", "api_key": KEY}
HOOKS: dict[str, Any] = {"request": [print]}
ASYNC_CLIENT = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=3))
UNPICKLED: dict[str, tuple[dict[str, Any], str]] = {
    "a function": ({"fan_out": lambda _: True}, "fan_out=<function> can't be pickled"),
    "a chain of functions": (
        {"aggregator": RunnableLambda(lambda _: "4")},
        "aggregator=<RunnableLambda> can't be pickled",
    ),
    "a binding with a key": (
        {"aggregator": ChatTogether(model="x", api_key=SecretStr(KEY)).bind(stop=["a"])},
        "aggregator=<_ChatModelBinding> holds a key",
    ),
    "headers of a member": (
        {"aggregator": {"model": "x", "default_headers": {"a": "b"}}},
        "aggregator.default_headers may hold keys",
    ),
    "headers of a member's HTTP client": (
        {"aggregator": {"model": "ollama:x", "client_kwargs": {"headers": {"a": KEY}}}},
        "aggregator.client_kwargs.headers may hold keys",
    ),
    "Google's headers": (
        {"aggregator": ChatGoogleGenerativeAI(**OWN, additional_headers={"a": KEY})},
        "aggregator.additional_headers may hold keys",
    ),
    "headers of proposals": (
        {"proposal_kwargs": {"extra_headers": {"a": KEY}}},
        "proposal_kwargs.extra_headers may hold keys",
    ),
    "an HTTP client of a member": (
        {"aggregator": ChatOpenAI(model="x", api_key=SecretStr(KEY), http_client=httpx.Client())},
        "aggregator.http_client=<Client> can't be written",
    ),
    "what an HTTP client calls": (
        {"aggregator": ChatMistralAI(**OWN, client=httpx.Client(event_hooks=HOOKS))},
        "aggregator.client=<Client> can't be written",
    ),
    "a proxy of an HTTP client": (
        {"aggregator": ChatMistralAI(**OWN, client=httpx.Client(proxy="http://127.0.0.1:9"))},
        "aggregator.client=<Client> can't be written",
    ),
    "a transport of an HTTP client": (
        {"aggregator": ChatMistralAI(**OWN, async_client=ASYNC_CLIENT)},
        "aggregator.async_client=<AsyncClient> can't be written",
    ),
    "a rate limiter of a member": (
        {"aggregator": ChatAnthropic(**OWN, rate_limiter=InMemoryRateLimiter())},
        "aggregator.rate_limiter=<InMemoryRateLimiter> can't be written",
    ),
    "a cache of a member": (
        {"aggregator": ChatTogether(**OWN, cache=InMemoryCache())},
        "aggregator.cache=<InMemoryCache> can't be written",
    ),
    "callbacks of a member": (
        {"reference_models": [ChatOpenAI(**OWN, callbacks=[StdOutCallbackHandler()])]},
        "reference_models[0].callbacks[0]=<StdOutCallbackHandler> can't be written",
    ),
    "a login in the address": (
        {"base_url": "http://me:DISTINCTIVE-key@127.0.0.1:9/v1"},
        "base_url holds a user's name or password",
    ),
    "a lock": ({"on_progress": threading.Lock().acquire}, "on_progress=<builtin"),
    "inside a mixture": (
        {
            "aggregator": MoAChatModel(
                reference_models=[ScriptedChatModel.saying("x")],
                aggregator=ScriptedChatModel.saying("x"),
                fan_out=lambda _: True,
            )
        },
        "fan_out=<function> can't be pickled",
    ),
}


@pytest.mark.parametrize("what", UNPICKLED)
def test_what_cannot_be_pickled_is_told(what: str) -> None:
    arguments, told = UNPICKLED[what]
    members = {"reference_models": [ALPHA], "aggregator": BETA}
    llm = MoAChatModel(**{**members, "api_key": KEY, **arguments})
    with pytest.raises(MoAConfigurationError) as caught:
        pickle.dumps(llm)
    assert told in str(caught.value)
    assert KEY not in str(caught.value)


def test_what_else_a_members_own_fields_say_is_kept(server: LoopbackServer) -> None:
    own: dict[str, Any] = {
        "tags": ["mine"],
        "metadata": {"team": "a"},
        "profile": {"max_input_tokens": 9},
        "cache": False,
    }
    member = ChatOpenAI(model="x", base_url=server.base_url, api_key=SecretStr(KEY), **own)
    again = pickled(MoAChatModel(reference_models=[member], aggregator=member)).aggregator
    assert isinstance(again, ChatOpenAI)
    kept = {name: getattr(again, name) for name in own}
    assert {**kept, "metadata": {"team": again.metadata["team"]}} == own  # type: ignore[index]


def test_a_deep_copy_has_the_clients_of_its_members() -> None:
    http_client, limiter = httpx.Client(), InMemoryRateLimiter()
    member = ChatOpenAI(**OWN, http_client=http_client, rate_limiter=limiter)
    again = copy.deepcopy(MoAChatModel(reference_models=[member], aggregator=member)).aggregator
    assert isinstance(again, ChatOpenAI)
    assert again is not member
    assert (again.http_client, again.rate_limiter) == (http_client, limiter)


def test_what_cannot_be_copied_is_told() -> None:
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("a")],
        aggregator=ScriptedChatModel.saying("b"),
        proposal_kwargs={"lock": threading.Lock()},
    )
    with pytest.raises(MoAConfigurationError, match=r"^proposal_kwargs=<dict> can't be copied: "):
        copy.deepcopy(llm)


def ask(llm: MoAChatModel, question: str) -> str:
    return llm.invoke(f"question-{question}").text


def test_a_pool_of_processes(server: LoopbackServer) -> None:
    """Each process is a new interpreter, to which the mixture comes as a pickle."""
    llm = MoAChatModel(**MIXTURES["dicts"](server.base_url))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        questions = ["one", "two", "three"]
        assert list(pool.map(ask, [llm] * 3, questions)) == questions


ADDRESSES = {
    "together:v/": "base_url",
    "openai:": "base_url",
    "anthropic:": "anthropic_url",
    "google_genai:": "gemini_url",
    "mistralai:": "base_url",
    "groq:": "url",
    "fireworks:": "url",
    "openrouter:": "base_url",
}
PREFIXES = [each for each in ADDRESSES if each != "openrouter:"]  # whose client takes its time


def of_strings(prefix: str, server: LoopbackServer) -> MoAChatModel:
    at = {
        "base_url": getattr(server, ADDRESSES[prefix]),
        "api_key": server.api_key,
    }
    own = {"model": f"{prefix}b", **at, "temperature": 0.1}
    return MoAChatModel(reference_models=[{"model": f"{prefix}a", **at}, own], aggregator=own)


def wrong_answers(llm: MoAChatModel, who: str, way: str) -> int:
    """How many of some questions get no answer, or another one's."""
    wrong = 0
    for number in range(8):
        question = f"question-{who}x{number}"
        try:
            made = asyncio.run(llm.ainvoke(question)) if way == "async" else llm.invoke(question)
            wrong += made.text != f"{who}x{number}"
        except Exception:  # noqa: BLE001 - whatever it is, there is no answer
            wrong += 1
    return wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_after_a_fork_nobody_reads_anothers_answers(
    server: LoopbackServer, prefix: str, way: str
) -> None:
    llm = of_strings(prefix, server)
    assert wrong_answers(llm, "warm", way) == 0
    children = []
    for who in "ABC":
        child = os.fork()
        if child == 0:
            os._exit(wrong_answers(llm, who, way))
        children.append(child)
    assert wrong_answers(llm, "parent", way) == 0
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


@pytest.mark.parametrize("prefix", ADDRESSES)
def test_requests_made_together_in_a_new_loop_need_no_second_try(
    server: LoopbackServer, prefix: str
) -> None:
    """They share connections that are opened while those of a closed loop are given up."""
    llm = of_strings(prefix, server).replace(max_retries=0)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        record = loop.run_until_complete(llm.ainvoke("question-same")).response_metadata["moa"]
        loop.close()
        calls = [*record["proposals"], record["aggregator"]]
        assert [(call["status"], call["attempts"]) for call in calls] == [("ok", 1)] * len(calls)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_closed_and_many_event_loops_lose_nothing(server: LoopbackServer, prefix: str) -> None:
    llm = of_strings(prefix, server)
    seen: Counter[str] = Counter()

    def work() -> None:
        for _ in range(6):
            loop = asyncio.new_event_loop()
            try:
                seen[loop.run_until_complete(llm.ainvoke("question-same")).text] += 1
            except Exception as error:  # noqa: BLE001 - it is counted
                seen[repr(error)] += 1
            loop.close()  # as many programs do, without shutting asynchronous generators down

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"same": 48}


@pytest.mark.parametrize("way", ["pickled", "deep copied", "pickled, replaced"])
def test_a_copy_has_the_proposals_that_are_to_be_reused(way: str, server: LoopbackServer) -> None:
    fields = MIXTURES["strings"](server.base_url)
    known = Proposal(layer=1, index=0, model=ALPHA, text="Blue.")
    llm = MoAChatModel(**fields, include_proposals=True).reusing([known])
    data = pickle.dumps(llm)
    made = copy.deepcopy(llm) if way == "deep copied" else pickle.loads(data)  # noqa: S301 - the same
    if "replaced" in way:
        made = made.replace(quorum=2)
    assert made.estimate("question-4").calls == 2
    record = made.invoke("question-4").response_metadata["moa"]
    assert sorted(request.model for request in server.requests) == [AGGREGATOR, BETA]
    told = [(proposal["status"], proposal["text"]) for proposal in record["proposals"]]
    assert told == [("reused", "Blue."), ("ok", "4")]
