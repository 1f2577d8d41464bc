"""An address that sends a question to another one: what follows, and with what."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from langchain_moa import AggregationError, MoAChatModel, RedirectedError
from langchain_moa.testing import LoopbackServer, ScriptedChatModel
from langchain_moa.testing.serving import ServerThread

KEY = "DISTINCTIVE-key"


class Redirecting(ServerThread):
    """Sends whoever asks somewhere else, but for who comes to `/new`."""

    def __init__(self) -> None:
        self.status, self.target = 307, ""
        self.paths: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            answer = await self._answer(Request(scope, receive))
            await answer(scope, receive, send)

        super().__init__(app)

    async def _answer(self, request: Request) -> Response:
        self.paths.append(request.url.path)
        if not request.url.path.startswith("/new"):
            return RedirectResponse(self.target + request.url.path, self.status)
        message = {"role": "assistant", "content": (await request.json())["model"]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "1", "object": "chat.completion", "choices": [choice]})


@pytest.fixture
def first() -> Iterator[Redirecting]:
    with Redirecting() as running:
        yield running


def member(model: str, at: str, **options: Any) -> dict[str, Any]:
    address = "azure_endpoint" if model.startswith("azure") else "base_url"
    return {"model": model, address: at, "api_key": KEY, **options}


MEMBERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "together": lambda at: member("acme/x", f"{at}/v1"),
    "openai": lambda at: member("openai:x", f"{at}/v1", default_headers={"X-Gateway": KEY}),
    "a proxy": lambda at: member("openai:x", "http://a.test/v1", openai_proxy=at),
    "azure": lambda at: member("azure_openai:x", at, api_version="1"),
    "anthropic": lambda at: member("anthropic:x", at, default_headers={"X-Gateway": KEY}),
    "google": lambda at: member("google_genai:x", at),
    "google's clients": lambda at: member("google_genai:x", at, client_args={"timeout": 9}),
    "mistral": lambda at: member("mistralai:x", f"{at}/v1"),
    "groq": lambda at: member("groq:x", at),
    "fireworks": lambda at: member("fireworks:x", at),
    "openrouter": lambda at: member("openrouter:x", at, default_headers={"X-Gateway": KEY}),
    "ollama": lambda at: {"model": "ollama:x", "base_url": at},
    "ollama's clients": lambda at: {**MEMBERS["ollama"](at), "client_kwargs": {"timeout": 9}},
}


def of(aggregator: Any) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[ScriptedChatModel.saying("draft")], aggregator=aggregator, max_retries=0
    )


async def astreamed(llm: MoAChatModel) -> None:
    _ = [chunk async for chunk in llm.astream("Go")]


WAYS: dict[str, Callable[[MoAChatModel], object]] = {
    "invoke": lambda llm: llm.invoke("Go"),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Go")),
    "stream": lambda llm: list(llm.stream("Go")),
    "astream": lambda llm: asyncio.run(astreamed(llm)),
}


@pytest.mark.parametrize("who", MEMBERS)
def test_nothing_is_sent_to_a_host_that_nobody_named(first: Redirecting, who: str) -> None:
    with LoopbackServer({}) as other:
        first.target = other.url.replace("127.0.0.1", "localhost")
        llm = of(MEMBERS[who](first.url))
        for first.status in (301, 302, 307, 308):
            for way in WAYS.values():
                with pytest.raises(AggregationError) as raised:
                    way(llm)
                cause = raised.value.causes["aggregator"]
                assert isinstance(cause, RedirectedError)
                assert cause.location.startswith(first.target)
                assert f"{cause.address} redirects to {cause.location}" in str(raised.value)
                assert KEY not in str(raised.value)
        assert other.requests == []
    assert len(first.paths) == 4 * len(WAYS)


@pytest.mark.parametrize("who", ["together", "openai", "mistral"])
def test_a_redirect_on_the_same_host_is_followed(first: Redirecting, who: str) -> None:
    first.target = "/new"
    llm, name = of(MEMBERS[who](first.url)), "acme/x" if who == "together" else "x"
    assert llm.invoke("Go").text == asyncio.run(llm.ainvoke("Go")).text == name
    assert first.paths == ["/v1/chat/completions", "/new/v1/chat/completions"] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_question_that_would_become_a_page_is_not_asked(first: Redirecting, status: int) -> None:
    first.target, first.status = "/new", status
    with pytest.raises(AggregationError, match="redirects to http://127"):
        of(MEMBERS["together"](first.url)).invoke("Go")
    assert first.paths == ["/v1/chat/completions"]


def test_the_error_is_whole_after_a_pickle() -> None:
    error = RedirectedError("http://a/v1", "http://b/v1")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(again), again.address, again.location) == (str(error), "http://a/v1", "http://b/v1")
