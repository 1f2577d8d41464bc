"""The loopback server itself, asked by real clients."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import httpx
import openai
import pytest
from langchain_core.exceptions import ContextOverflowError, ModelError
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, SecretStr

from langchain_moa import MoAConfigurationError
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.wire import ALPHA, BETA, LIMITS, asked_for, together, until


def post(server: LoopbackServer, **body: Any) -> httpx.Response:
    body = {"model": ALPHA, "messages": [{"role": "user", "content": "Hi"}], **body}
    headers = {"Authorization": f"Bearer {server.api_key}"}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, headers=headers)


def test_models_are_listed_and_keys_checked() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(), BETA: ModelBehavior()}) as server:
        client = together(server, ALPHA).root_client
        assert [model.id for model in client.models.list()] == [ALPHA, BETA]
        for path in ("/models", "/chat/completions"):
            method = "GET" if path == "/models" else "POST"
            answer = httpx.request(method, server.base_url + path, json={})
            assert answer.status_code == 401
        assert not server.requests
        assert post(server, model="acme/unknown").status_code == 404


def test_a_text_in_place_of_a_behavior_is_refused_at_once() -> None:
    models: Any = {ALPHA: "Hi"}
    with pytest.raises(MoAConfigurationError, match=r"='Hi': give ModelBehavior\(reply="):
        LoopbackServer(models)


def test_several_choices_and_usage() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(reply="one two three")}) as server:
        answer = post(server, n=2).json()
        assert [c["message"]["content"] for c in answer["choices"]] == ["one two three"] * 2
        assert answer["usage"]["completion_tokens"] == 6
        assert server.requests[0].finished
        result = together(server, ALPHA, n=2).generate([[HumanMessage("Hi")]])
        assert len(result.generations[0]) == 2


def test_events_with_and_without_usage() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(reply="one two")}) as server:
        for options, expected in (({}, 0), ({"stream_options": {"include_usage": True}}, 1)):
            lines = post(server, stream=True, **options).text.split("\n\n")
            assert lines[-2] == "data: [DONE]"
            events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
            text = [e["choices"][0]["delta"].get("content") for e in events if e["choices"]]
            assert text == ["", "one", " two", None]
            assert sum("usage" in event for event in events) == expected


def test_tool_calls_whole_and_streamed() -> None:
    call = ToolCall(name="weather", arguments={"city": "Köln"})
    broken = ToolCall(name="weather", arguments='{"city": ')
    models = {
        ALPHA: ModelBehavior(reply=Reply(text=None, tool_calls=(call, call))),
        BETA: ModelBehavior(reply=Reply(text=None, tool_calls=(broken,))),
    }
    with LoopbackServer(models) as server:
        model = together(server, ALPHA)
        chunks = list(model.stream("Hi"))
        whole = sum(chunks[1:], chunks[0])
        for message in (model.invoke("Hi"), whole):
            assert [c["args"] for c in message.tool_calls] == [{"city": "Köln"}] * 2
            assert message.response_metadata["finish_reason"] == "tool_calls"
        assert together(server, BETA).invoke("Hi").invalid_tool_calls[0]["args"] == '{"city": '


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int
    sunny: bool
    how: str | None = None
    stops: list[str] = []


def test_the_obedient_assistant_answers_in_a_schema() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        model = together(server, ALPHA)
        for method in ("function_calling", "json_schema"):
            structured = model.with_structured_output(Trip, method=method)
            trip = structured.invoke("5 days in 'Rome'")
            assert isinstance(trip, Trip)
            assert (trip.city, trip.days, trip.sunny) == ("Rome", 5, True)
        choice = model.bind_tools([Trip], tool_choice="none")
        assert not choice.invoke("Hi").tool_calls


class Address(BaseModel):
    """An address."""

    street: str


class Person(BaseModel):
    """A person with nested and optional parts."""

    home: Address
    others: list[Address] = []
    age: int | None = None


def test_nested_schemas() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        for method in ("function_calling", "json_schema"):
            structured = together(server, ALPHA).with_structured_output(Person, method=method)
            person = structured.invoke("'Main street', 7 years")
            assert isinstance(person, Person)
            assert (person.home.street, person.age) == ("Main street", 7)


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}
ASKING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "x"}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "role must be one of"),
        ({"messages": [{"role": "user", "content": None}]}, "content must be a string"),
        ({"messages": [{"role": "user", "content": ["bare"]}]}, "object with a type"),
        ({"messages": [USER, RESULT]}, "no call waits"),
        ({"messages": [USER, ASKING]}, "have no result"),
        ({"messages": [USER, ASKING, USER]}, "need a result first"),
        ({"model": 3}, "model must be a string"),
        (
            {"tools": [], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "not among the tools",
        ),
    ],
)
def test_requests_that_a_provider_would_refuse(body: dict[str, Any], complaint: str) -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        answer = post(server, **body)
        assert answer.status_code == 400
        assert complaint in answer.json()["error"]["message"]
        assert not server.requests
        assert post(server, messages=[USER, ASKING, RESULT]).status_code == 200
        headers = {"Authorization": f"Bearer {server.api_key}"}
        url = f"{server.base_url}/chat/completions"
        assert httpx.post(url, content=b"{", headers=headers).status_code == 400


def test_required_tools_are_called_one_after_the_other() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
        body = {"tools": tools, "tool_choice": "required"}
        for messages, name in (([USER], "f"), ([USER, ASKING, RESULT], "g")):
            choice = post(server, messages=messages, **body).json()["choices"][0]
            assert choice["message"]["tool_calls"][0]["function"]["name"] == name


def test_errors_for_the_first_requests_only() -> None:
    behavior = ModelBehavior(reply="ok", status=429, retry_after=0.5, fail_first=2)
    with LoopbackServer({ALPHA: behavior}) as server:
        first = post(server)
        assert (first.status_code, first.headers["retry-after"]) == (429, "0.5")
        assert [post(server).status_code for _ in range(2)] == [429, 200]


def test_latency_and_token_delays() -> None:
    behavior = ModelBehavior(reply="a b", latency=0.1, first_token_delay=0.1, token_delay=0.1)
    with LoopbackServer({ALPHA: behavior}) as server:
        started = monotonic()
        post(server, stream=True)
        assert monotonic() - started >= 0.3


def test_truncated_stream_and_dropped_connection() -> None:
    models = {
        ALPHA: ModelBehavior(reply="a b c", truncate_after=2),
        BETA: ModelBehavior(drop=True),
    }
    with LoopbackServer(models) as server:
        body = post(server, stream=True).text
        assert " b" in body
        assert " c" not in body
        assert "[DONE]" not in body
        with pytest.raises(httpx.RemoteProtocolError):
            post(server, model=BETA)


FULL = "Input tokens exceed the configured limit of 8192 tokens."
ERRORS: dict[str, tuple[ModelBehavior, type[Exception]]] = {
    "rate limit": (ModelBehavior(status=429, retry_after=1), openai.RateLimitError),
    "server error": (ModelBehavior(status=500), openai.InternalServerError),
    "dropped connection": (ModelBehavior(drop=True), openai.APIConnectionError),
    "malformed JSON": (ModelBehavior(malformed=True), json.JSONDecodeError),
    "page of a proxy": (ModelBehavior(content_type="text/html"), ValueError),
    "page with a status": (
        ModelBehavior(content_type="text/html", status=502),
        openai.InternalServerError,
    ),
    "context overflow": (
        ModelBehavior(status=400, error=FULL, error_code="context_length_exceeded"),
        ContextOverflowError,
    ),
    "invalid key": (
        ModelBehavior(status=401, error_code="invalid_api_key"),
        openai.AuthenticationError,
    ),
    "hang": (ModelBehavior(hang=True), openai.APITimeoutError),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", ERRORS)
def test_a_fault_is_the_error_that_a_client_makes_of_it(fault: str, *, streamed: bool) -> None:
    behavior, expected = ERRORS[fault]
    with LoopbackServer({ALPHA: behavior}) as server:
        model = together(server, ALPHA, timeout=0.2 if behavior.hang else 60)
        with pytest.raises(expected) as caught:
            _ = list(model.stream("Hi")) if streamed else model.invoke("Hi")
        if behavior.error_code is not None:
            assert isinstance(caught.value, ModelError)
            assert getattr(caught.value, "code", None) == behavior.error_code


def test_pages_stand_in_for_the_answer_or_for_the_error() -> None:
    page = ModelBehavior(reply="ok", content_type="text/html; charset=utf-8")
    gateway = ModelBehavior(reply="ok", content_type="text/html", status=502, fail_first=1)
    with LoopbackServer({ALPHA: page, BETA: gateway}) as server:
        answers = [post(server, model=model) for model in (ALPHA, ALPHA, BETA, BETA)]
        assert [answer.status_code for answer in answers] == [200, 200, 502, 200]
        assert ["<h1>" in answer.text for answer in answers] == [True, True, True, False]
        assert answers[0].headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_filtered_answer_says_so(*, streamed: bool) -> None:
    filtered = ModelBehavior(reply=Reply(text=None, finish_reason="content_filter"))
    with LoopbackServer({ALPHA: filtered}) as server:
        model = together(server, ALPHA)
        chunks = list(model.stream("Hi")) if streamed else []
        message = sum(chunks[1:], chunks[0]) if chunks else model.invoke("Hi")
        assert message.text == ""
        assert message.response_metadata["finish_reason"] == "content_filter"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_dripping_answer_outlasts_a_limit_on_reads(*, streamed: bool) -> None:
    with LoopbackServer({}) as server:
        for limit in LIMITS:
            server.models[ALPHA] = ModelBehavior(reply="Köln", drip=limit / 150)
            model, started = together(server, ALPHA, timeout=httpx.Timeout(limit)), monotonic()
            with suppress(openai.APITimeoutError):  # where the machine stands still for a moment
                whole = list(model.stream("Hi")) if streamed else [model.invoke("Hi")]
                break
        assert "".join(piece.text for piece in whole) == "Köln"
        assert monotonic() - started > limit
        assert server.requests[-1].finished


def test_a_model_may_behave_differently_each_time() -> None:
    def behave(body: Mapping[str, Any], earlier: int) -> ModelBehavior:
        if "fail" in body["messages"][-1]["content"]:
            return ModelBehavior(status=500)
        return ModelBehavior(reply=f"after {earlier}")

    with LoopbackServer({ALPHA: behave, BETA: ModelBehavior(reply="same")}) as server:
        model = together(server, ALPHA)
        assert model.invoke("Hi").text == "after 0"
        assert together(server, BETA).invoke("Hi").text == "same"
        with pytest.raises(openai.InternalServerError):
            model.invoke("Please fail")
        assert model.invoke("Hi").text == "after 2"


async def test_hanging_model_is_let_go_with_its_client() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(hang=True)}) as server:
        call = asyncio.ensure_future(together(server, ALPHA).ainvoke("Hi"))
        await until(lambda: server.requests)
        call.cancel()
        await until(lambda: not server.open_requests)
        assert not server.requests[0].finished


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_waits_for_its_moment(*, streamed: bool) -> None:
    with LoopbackServer({BETA: ModelBehavior(reply="meanwhile")}) as server:
        server.models[ALPHA] = ModelBehavior(reply="at last", once=asked_for(server, BETA))
        first = asyncio.ensure_future(asyncio.to_thread(post, server, stream=streamed))
        await until(lambda: server.requests)
        assert (await together(server, BETA).ainvoke("Hi")).text == "meanwhile"
        assert "last" in (await first).text
        assert [request.model for request in server.requests] == [ALPHA, BETA]


def test_the_rest_of_a_stream_waits_for_its_moment() -> None:
    free = threading.Event()
    behavior = ModelBehavior(reply="one two three", once=free.is_set, once_after=2)
    with LoopbackServer({ALPHA: behavior}) as server:
        texts = []
        for chunk in together(server, ALPHA).stream("Hi"):
            texts.append(chunk.text)
            if chunk.text == " two":
                assert not server.requests[0].finished
                free.set()
        assert "".join(texts) == "one two three"


async def test_who_leaves_before_that_moment_is_let_go() -> None:
    with LoopbackServer({ALPHA: ModelBehavior(once=threading.Event().is_set)}) as server:
        call = asyncio.ensure_future(together(server, ALPHA).ainvoke("Hi"))
        await until(lambda: server.requests)
        call.cancel()
        await until(lambda: not server.open_requests)
        assert not server.requests[0].finished


def test_connections_are_kept_alive() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        model = together(server, ALPHA)
        for _ in range(3):
            model.invoke("Hi")
        assert server.open_connections == 1


def test_pictures_are_accepted() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        text = {"type": "text", "text": "What is this?"}
        assert (
            "What is this?" in together(server, ALPHA).invoke([HumanMessage([text, picture])]).text
        )


def test_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "langchain_moa.testing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        address, key = process.stdout.readline().split()
        names = process.stdout.readline().split()[1:]
        models = httpx.get(
            f"{address.removeprefix('base_url=')}/models",
            headers={"Authorization": f"Bearer {key.removeprefix('api_key=')}"},
        )
        assert [model["id"] for model in models.json()["data"]] == names
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Else each answer on a connection that has just been used would come 40 ms late."""
    with LoopbackServer({ALPHA: ModelBehavior()}) as server, httpx.Client() as client:
        headers, seconds = {"Authorization": f"Bearer {server.api_key}"}, math.inf
        started = monotonic()
        while seconds > 0.03 and monotonic() - started < 60:
            before = monotonic()
            for _ in range(3):
                client.get(f"{server.base_url}/models", headers=headers)
            seconds = (monotonic() - before) / 3
    assert seconds <= 0.03


def test_a_port_that_is_taken() -> None:
    with LoopbackServer({}) as server:
        port = int(server.base_url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="in use"):
            LoopbackServer({}, port=port)


def test_wrong_key_reaches_the_user_as_an_error() -> None:
    with LoopbackServer({ALPHA: ModelBehavior()}) as server:
        model = together(server, ALPHA)
        stranger = type(model)(model=ALPHA, api_key=SecretStr("no"), base_url=server.base_url)
        with pytest.raises(Exception, match="401"):
            stranger.invoke("Hi")
