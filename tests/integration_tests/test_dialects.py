"""The dialects of the loopback server, spoken by each provider's real client."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

import anthropic
import httpx
import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from pydantic import BaseModel

from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.dialects import CLIENTS, clock, weather
from tests.wire import counted, says, served

MODEL = "demo-model"
TEXT = "Grüße aus Köln 🌍, sagt das Modell."
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()

pytestmark = pytest.mark.parametrize("name", CLIENTS)


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    return sum(chunks[1:], chunks[0])


async def all_ways(name: str, server: LoopbackServer, **bound: Any) -> list[AIMessage]:
    """The answer invoked and streamed, in threads and in an event loop."""
    client = CLIENTS[name](server, MODEL)
    model = client.bind_tools(**bound) if bound else client
    return [
        model.invoke("Hi"),
        await model.ainvoke("Hi"),
        joined(cast("list[AIMessageChunk]", list(model.stream("Hi")))),
        joined(cast("list[AIMessageChunk]", [chunk async for chunk in model.astream("Hi")])),
    ]


async def test_text_usage_and_model_arrive_whichever_way_it_is_called(name: str) -> None:
    with LoopbackServer({MODEL: says(TEXT)}) as server:
        answers = await all_ways(name, server)
        assert [answer.text for answer in answers] == [TEXT] * 4
        for answer, request in zip(answers, server.requests, strict=True):
            assert answer.usage_metadata is not None
            assert counted(answer.usage_metadata) == {
                "input_tokens": (request.usage or {})["prompt_tokens"],
                "output_tokens": 7,
                "total_tokens": (request.usage or {})["total_tokens"],
            }
            assert request.finished
            assert request.dialect == ("openai" if name == "together" else name)
            assert MODEL in (
                answer.response_metadata.get("model_name"),
                answer.response_metadata.get("model"),
            )


async def test_streams_come_token_by_token(name: str) -> None:
    with LoopbackServer({MODEL: says(TEXT)}) as server:
        chunks = [chunk.text for chunk in CLIENTS[name](server, MODEL).stream("Hi")]
        assert [text for text in chunks if text] == [
            "Grüße",
            " aus",
            " Köln",
            " 🌍,",
            " sagt",
            " das",
            " Modell.",
        ]
        assert counted(served(server)[MODEL])["output_tokens"] == 7


async def test_parallel_calls_with_unicode_arguments(name: str) -> None:
    calls = (
        ToolCall(name="weather", arguments={"city": "Köln"}),
        ToolCall(name="clock", arguments={"city": "東京 🗼"}),
    )
    with LoopbackServer(
        {MODEL: ModelBehavior(reply=Reply(text="So:", tool_calls=calls))}
    ) as server:
        for answer in await all_ways(name, server, tools=[weather, clock]):
            assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
                ("weather", {"city": "Köln"}),
                ("clock", {"city": "東京 🗼"}),
            ]
            assert len({call["id"] for call in answer.tool_calls}) == 2
            assert answer.text == "So:"


def test_a_tool_loop_to_its_end(name: str) -> None:
    with LoopbackServer({MODEL: ModelBehavior()}) as server:
        model = CLIENTS[name](server, MODEL).bind_tools([weather, clock])
        messages: list[Any] = [HumanMessage("Weather in 'Köln'?")]
        for place in range(3):
            answer = model.invoke(messages)
            messages.append(answer)
            if place == 1:
                messages.append(HumanMessage("And now?"))
            for call in answer.tool_calls:
                chosen = {"weather": weather, "clock": clock}[call["name"]]
                messages.append(chosen.invoke(call))
        assert [type(message) for message in messages] == [
            HumanMessage,
            AIMessage,
            ToolMessage,
            AIMessage,
            HumanMessage,
            AIMessage,
            ToolMessage,
        ]
        assert messages[2].content == "sunny in Köln"
        assert "Weather in 'Köln'?" in messages[3].text


def test_a_tool_can_be_forced(name: str) -> None:
    with LoopbackServer({MODEL: ModelBehavior()}) as server:
        client = CLIENTS[name](server, MODEL)
        for choice, called in (("clock", "clock"), ("any", "weather")):
            model = client.bind_tools([weather, clock], tool_choice=choice)
            answer = model.invoke("Time in 'Rome'?")
            assert [(c["name"], c["args"]) for c in answer.tool_calls] == [
                (called, {"city": "Rome"})
            ]


class Trip(BaseModel):
    """A trip."""

    city: str
    days: int


def test_structured_output(name: str) -> None:
    with LoopbackServer({MODEL: ModelBehavior()}) as server:
        model = CLIENTS[name](server, MODEL)
        assert model.with_structured_output(Trip).invoke("5 days in 'Rome'") == Trip(
            city="Rome", days=5
        )


def test_pictures_and_systems_reach_functions_that_reply(name: str) -> None:
    seen: list[Mapping[str, Any]] = []

    def reply(body: Mapping[str, Any]) -> str:
        seen.append(body)
        return "ok"

    with LoopbackServer({MODEL: ModelBehavior(reply=reply)}) as server:
        url = f"data:image/png;base64,{PICTURE}"
        parts: list[str | dict[str, Any]] = [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        CLIENTS[name](server, MODEL).invoke([("system", "Be brief."), HumanMessage(parts)])
    system, user = seen[0]["messages"]
    assert seen[0]["model"] == MODEL
    assert system["role"] == "system"
    assert "Be brief." in str(system["content"])
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    sent = user["content"][1]["image_url"]
    assert (sent if isinstance(sent, str) else sent["url"]) == url


def test_the_wrong_key_and_an_unknown_model(name: str) -> None:
    with LoopbackServer({MODEL: ModelBehavior()}) as server:
        with pytest.raises(Exception, match="404"):
            CLIENTS[name](server, "unknown").invoke("Hi")
        model = CLIENTS[name](server, MODEL)
        server.requests.clear()
        server.api_key = "another"
        with pytest.raises(Exception, match="401"):
            model.invoke("Hi")
        assert not server.requests


STATUSES: dict[str, dict[int, type[Exception]]] = {
    "together": {429: openai.RateLimitError, 500: openai.InternalServerError},
    "openai": {429: openai.RateLimitError, 500: openai.InternalServerError},
    "anthropic": {
        400: anthropic.BadRequestError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
        529: anthropic.APIStatusError,
    },
    "gemini": {
        400: ChatGoogleGenerativeAIError,
        429: ChatGoogleGenerativeAIError,
        503: Exception,
    },
    "mistral": {429: httpx.HTTPStatusError, 500: httpx.HTTPStatusError},
}


@pytest.mark.parametrize("streamed", [False, True])
def test_statuses_are_the_clients_errors(name: str, *, streamed: bool) -> None:
    for status, expected in STATUSES[name].items():
        behavior = ModelBehavior(status=status, error="the model is tired")
        with LoopbackServer({MODEL: behavior}) as server:
            model = CLIENTS[name](server, MODEL)
            with pytest.raises(expected, match="the model is tired") as caught:
                _ = list(model.stream("Hi")) if streamed else model.invoke("Hi")
            assert str(status) in str(caught.value)


def test_a_full_context_is_told_apart(name: str) -> None:
    texts = {
        "anthropic": "prompt is too long: 9 tokens > 8 maximum",
        "gemini": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
    }
    text = texts.get(name, "Input tokens exceed the configured limit of 8 tokens.")
    code = None if name in texts else "context_length_exceeded"
    behavior = ModelBehavior(status=400, error=text, error_code=code)
    # langchain-mistralai tells no error from another
    expected = httpx.HTTPStatusError if name == "mistral" else ContextOverflowError
    with LoopbackServer({MODEL: behavior}) as server, pytest.raises(expected):
        CLIENTS[name](server, MODEL).invoke("Hi")


FAULTS = {
    "hang": ModelBehavior(hang=True),
    "dropped connection": ModelBehavior(drop=True),
    "malformed": ModelBehavior(malformed=True),
    "page of a proxy": ModelBehavior(content_type="text/html", status=502),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_errors(name: str, fault: str, *, streamed: bool) -> None:
    with LoopbackServer({MODEL: FAULTS[fault]}) as server:
        model = CLIENTS[name](server, MODEL, timeout=1 if fault == "hang" else 60)
        with pytest.raises(Exception):  # noqa: B017, PT011 - each client has its own, or none
            _ = list(model.stream("Hi")) if streamed else model.invoke("Hi")


def test_a_stream_that_breaks_off_has_no_end_mark(name: str) -> None:
    cut = {"together", "openai", "anthropic", "gemini", "mistral"}
    assert name in cut
    with LoopbackServer({MODEL: says("one two three", truncate_after=2)}) as server:
        chunks: list[Any] = []
        try:
            chunks += CLIENTS[name](server, MODEL).stream("Hi")
        except (httpx.HTTPError, ValueError, anthropic.AnthropicError):
            chunks += []
        assert "three" not in "".join(chunk.text for chunk in chunks)
        assert not server.requests[0].finished
        assert not any(
            chunk.response_metadata.get(word)
            for chunk in chunks
            for word in ("finish_reason", "stop_reason")
        )


def test_a_dropped_stream(name: str) -> None:
    with LoopbackServer({MODEL: says("one two three", drop_after=2)}) as server:
        texts: list[str] = []
        with pytest.raises(Exception):  # noqa: B017, PT011, PT012 - each client has its own
            for chunk in CLIENTS[name](server, MODEL).stream("Hi"):
                texts.append(chunk.text)  # noqa: PERF401 - what came before the error counts
        assert "".join(texts) in ("one two", "one", "")


async def test_finish_reasons(name: str) -> None:
    with LoopbackServer(
        {MODEL: ModelBehavior(reply=Reply(text="cut", finish_reason="length"))}
    ) as s:
        for answer in await all_ways(name, s):
            told = {**answer.response_metadata}
            reason = told.get("finish_reason") or told.get("stop_reason")
            assert reason in ("length", "max_tokens", "MAX_TOKENS")
