"""What real servers do besides answering honestly, shown by the loopback server."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import anthropic
import httpx
import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.dialects import CLIENTS, PICTURE, clock, weather
from tests.wire import ALPHA, BETA, says, together

MODEL = "demo-model"
PATHS = {
    "openai": "/v1/chat/completions",
    "llama.cpp": "/llama.cpp/v1/chat/completions",
    "mistral": "/mistral/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": f"/v1beta/models/{MODEL}:generateContent",
}


def post(server: LoopbackServer, dialect: str, **body: Any) -> httpx.Response:
    """A request as the dialect's provider takes it, streamed where the body says so."""
    path, key = PATHS[dialect], server.api_key
    headers = {"Authorization": f"Bearer {key}", "x-api-key": key, "x-goog-api-key": key}
    if dialect == "gemini":
        if body.pop("stream", False):
            path = path.replace("generateContent", "streamGenerateContent")
        asked: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    else:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
        asked |= {"max_tokens": 9} if dialect == "anthropic" else {}
    return httpx.post(server.url + path, json={**asked, **body}, headers=headers)


def events(response: httpx.Response) -> list[Any]:
    """The data of a stream's events, without the end mark."""
    lines = [line.removeprefix("data: ") for line in response.text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def llama(server: LoopbackServer, **fields: Any) -> BaseChatModel:
    return ChatOpenAI(
        model=MODEL,
        api_key=SecretStr(server.api_key),
        base_url=server.llama_cpp_url,
        stream_usage=True,
        **{"max_retries": 0, **fields},
    )


def test_llama_cpp_begins_with_null_and_tells_timings() -> None:
    with LoopbackServer({MODEL: says("one two")}) as server:
        whole = post(server, "llama.cpp").json()
        assert whole["timings"]["predicted_n"] == whole["usage"]["completion_tokens"] == 2
        for options, place in (({}, -1), ({"stream_options": {"include_usage": True}}, -1)):
            chunks = events(post(server, "llama.cpp", stream=True, **options))
            assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
            assert ["timings" in chunk for chunk in chunks].index(True) == len(chunks) + place
        assert [chunk.text for chunk in llama(server).stream("Hi") if chunk.text] == ["one", " two"]
        assert server.requests[0].dialect == "llama.cpp"


def test_llama_cpp_loads_its_model() -> None:
    loading = says("ok", status=503, error="Loading model", fail_first=1)
    with LoopbackServer({MODEL: loading}) as server:
        first = post(server, "llama.cpp")
        assert (first.status_code, "retry-after" in first.headers) == (503, False)
        error = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
        assert first.json() == {"error": error}
        assert llama(server).invoke("Hi").text == "ok"


def test_llama_cpp_ignores_a_choice_that_names_a_tool() -> None:
    with LoopbackServer({MODEL: ModelBehavior()}) as server:
        model = llama(server)
        assert isinstance(model, ChatOpenAI)
        forced = model.bind_tools([weather, clock], tool_choice="clock")
        (call,) = forced.invoke("Time in 'Rome'?").tool_calls
        assert call["name"] == "weather"


def test_a_model_that_does_not_obey_tool_choices() -> None:
    with LoopbackServer({MODEL: ModelBehavior(obeys_tool_choice=False)}) as server:
        for name, client in CLIENTS.items():
            forced = client(server, MODEL).bind_tools([weather, clock], tool_choice="clock")
            (call,) = forced.invoke("Time in 'Rome'?").tool_calls
            assert call["name"] == "weather", name


def test_pictures_are_refused_as_each_provider_does() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": "What?"}, picture]
    with LoopbackServer({MODEL: ModelBehavior(pictures=False)}) as server:
        for dialect, status in (("openai", 400), ("mistral", 400), ("llama.cpp", 500)):
            answer = post(server, dialect, messages=[{"role": "user", "content": content}])
            assert answer.status_code == status
            assert post(server, dialect).status_code == 200
        asked = [HumanMessage([{"type": "text", "text": "What?"}, PICTURE])]
        with pytest.raises(openai.InternalServerError, match="mmproj"):
            llama(server).invoke(asked)
        for client in CLIENTS.values():
            with pytest.raises(Exception, match=r"400|nput"):
                client(server, MODEL).invoke(asked)


def test_a_window_is_told_in_the_providers_words() -> None:
    with LoopbackServer({MODEL: ModelBehavior(window=100)}) as server:
        words = {"anthropic": "too long: 2.. tokens > 100", "gemini": r"2..\) exceeds the maximum"}
        for name, client in CLIENTS.items():
            model = client(server, MODEL)
            assert model.invoke("Hi").text
            # clients know only some of the words with which a provider says it
            known = ContextOverflowError if name in words else Exception
            with pytest.raises(known, match=words.get(name, "maximum context length is 100")):
                model.invoke("word " * 200)
        error = post(server, "llama.cpp", messages=[{"role": "user", "content": "x" * 999}])
        said = error.json()["error"]
        assert (error.status_code, said["code"], said["n_ctx"]) == (400, 400, 100)
        assert said["type"] == "exceed_context_size_error"
        assert said["n_prompt_tokens"] > 200


def test_errors_with_codes_types_and_fields_of_their_own() -> None:
    failing = ModelBehavior(
        status=429,
        error_code=1302,
        error_type="limit",
        error_fields={"n": [1]},
        headers={"X-A": "b"},
    )
    with LoopbackServer({MODEL: failing}) as server:
        answers = {dialect: post(server, dialect) for dialect in PATHS}
        for dialect, answer in answers.items():
            body = answer.json()
            error = body.get("error", body)
            assert error["n"] == [1]
            assert "limit" in (error.get("type"), error.get("status"))
            assert answer.headers["x-a"] == "b"
            if dialect != "anthropic":
                assert error["code"] == 1302


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_in_place_of_the_answer(dialect: str, *, streamed: bool) -> None:
    failing = ModelBehavior(status=429, error="slow down", error_in="answer", fail_first=1)
    with LoopbackServer({MODEL: failing}) as server:
        answer = post(server, dialect, stream=streamed)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert "slow down" in answer.json().get("error", answer.json())["message"]
        assert "slow down" not in post(server, dialect, stream=streamed).text
        assert [request.finished for request in server.requests] == [False, True]


@pytest.mark.parametrize("dialect", PATHS)
def test_an_error_as_an_event(dialect: str) -> None:
    failing = says("a b zzz", status=502, error="upstream lost", error_in="event", error_after=2)
    with LoopbackServer({MODEL: failing}) as server:
        body = post(server, dialect, stream=True).text
        assert " b" in body
        assert "zzz" not in body
        assert "upstream lost" in str(events(post(server, dialect, stream=True))[-1])
        assert "[DONE]" not in body
        assert "upstream lost" in post(server, dialect).text
        assert not server.requests[0].finished


def test_an_error_event_is_the_clients_error() -> None:
    failing = says("a b c", status=502, error="upstream lost", error_in="event", error_after=1)
    expected: dict[str, type[Exception]] = {
        "together": openai.APIError,
        "openai": openai.APIError,
        "anthropic": anthropic.APIStatusError,
    }
    with LoopbackServer({MODEL: failing}) as server:
        for name, error in expected.items():
            texts: list[str] = []
            with pytest.raises(error, match="upstream lost"):  # noqa: PT012 - what came first counts
                for chunk in CLIENTS[name](server, MODEL).stream("Hi"):
                    texts.append(chunk.text)  # noqa: PERF401
            assert "".join(texts) == "a"


def test_an_error_in_the_choice() -> None:
    failing = says("a b c", status=502, error="upstream lost", error_in="choice", error_after=2)
    with LoopbackServer({MODEL: failing}) as server:
        for dialect in ("openai", "llama.cpp", "mistral"):
            (choice,) = post(server, dialect).json()["choices"]
            assert choice["message"]["content"] == "a b"
            assert choice["finish_reason"] == "error"
            assert choice["error"]["message"] == "upstream lost"
            chunks = [e["choices"][0] for e in events(post(server, dialect, stream=True))]
            assert "".join(c["delta"].get("content") or "" for c in chunks) == "a b"
            (last,) = [c for c in chunks if "error" in c]
            assert last["finish_reason"] == "error"
        assert post(server, "gemini").json()["candidates"][0]["finishReason"] == "error"
        assert post(server, "anthropic").json()["stop_reason"] == "error"


@pytest.mark.parametrize("usage", [None, "many", 7, 1.5, [], {"prompt_tokens": "12"}, math.nan])
def test_usage_of_any_type(usage: Any) -> None:
    with LoopbackServer({MODEL: says("ok", usage=usage)}) as server:
        for dialect in PATHS:
            body = post(server, dialect).json()
            told = body["usageMetadata" if dialect == "gemini" else "usage"]
            assert told == usage or (told != told and usage != usage)  # noqa: PLR0124 - NaN
            assert (server.requests[-1].usage or {})["completion_tokens"] == 1
        options = {"stream_options": {"include_usage": True}}
        for dialect in ("openai", "llama.cpp"):
            assert '"usage": ' in post(server, dialect, stream=True, **options).text


def test_fields_of_answers_and_choices() -> None:
    odd = says(
        "ok", fields={"model": 7, "system_fingerprint": []}, choice_fields={"logprobs": "no"}
    )
    with LoopbackServer({MODEL: odd}) as server:
        for dialect in ("openai", "llama.cpp", "mistral"):
            for body in (
                post(server, dialect).json(),
                events(post(server, dialect, stream=True))[0],
            ):
                assert (body["model"], body["system_fingerprint"]) == (7, [])
                assert body["choices"][0]["logprobs"] == "no"
        assert post(server, "anthropic").json()["model"] == 7
        gemini = post(server, "gemini").json()
        assert (gemini["model"], gemini["candidates"][0]["logprobs"]) == (7, "no")


@pytest.mark.parametrize("streamed", [False, True])
def test_an_end_without_a_reason(*, streamed: bool) -> None:
    with LoopbackServer({MODEL: says("one two", no_finish_reason=True)}) as server:
        for name, client in CLIENTS.items():
            model = client(server, MODEL)
            chunks = list(model.stream("Hi")) if streamed else []
            message = sum(chunks[1:], chunks[0]) if chunks else model.invoke("Hi")
            assert message.text == "one two", name
            assert server.requests[-1].finished
            metadata = message.response_metadata
            reason = metadata.get("finish_reason") or metadata.get("stop_reason")
            assert reason in (None, "None", "FINISH_REASON_UNSPECIFIED"), name
        assert "[DONE]" in post(server, "openai", stream=True).text


@pytest.mark.parametrize("streamed", [False, True])
def test_not_a_single_byte(*, streamed: bool) -> None:
    with LoopbackServer({MODEL: ModelBehavior(silent=True)}) as server:
        for dialect in PATHS:
            answer = post(server, dialect, stream=streamed)
            assert (answer.status_code, answer.content) == (200, b"")


def test_reasoning_stands_where_the_dialect_has_a_place_for_it() -> None:
    thinking = ModelBehavior(reply=Reply(text="Four.", reasoning="Two and two"))
    with LoopbackServer({MODEL: thinking}) as server:
        for name, client in CLIENTS.items():
            model = client(server, MODEL)
            chunks = list(model.stream("Hi"))
            for message in (model.invoke("Hi"), sum(chunks[1:], chunks[0])):
                assert message.text == "Four.", name
                if name in ("anthropic", "mistral"):
                    assert "Two and two" in str(message.content_blocks), name
        assert post(server, "openai").json()["choices"][0]["message"] == {
            "role": "assistant",
            "content": "Four.",
            "reasoning_content": "Two and two",
        }
        assert post(server, "gemini").json()["candidates"][0]["content"]["parts"] == [
            {"text": "Two and two", "thought": True},
            {"text": "Four."},
        ]
        assert (server.requests[0].usage or {})["completion_tokens"] == 4


@pytest.mark.parametrize("dialect", PATHS)
def test_a_huge_answer_is_whole(dialect: str) -> None:
    times = 400_000
    with LoopbackServer({MODEL: says('"wörd" ', repeat=times)}) as server:
        body = post(server, dialect).json()
        assert json.dumps(body, ensure_ascii=False).count("wörd") == times
        assert (server.requests[0].usage or {})["completion_tokens"] == 2 * times
        streamed = "".join(json.dumps(e, ensure_ascii=False) for e in events_of(server, dialect))
        assert streamed.count("wörd") == times


def events_of(server: LoopbackServer, dialect: str) -> list[Any]:
    return events(post(server, dialect, stream=True))


def test_a_huge_answer_that_is_small_on_the_wire() -> None:
    times = 20_000_000
    with LoopbackServer({MODEL: says("x", repeat=times, gzip=True)}) as server:
        headers = {"Authorization": f"Bearer {server.api_key}"}
        url, asked = f"{server.base_url}/chat/completions", {"model": MODEL}
        body = {**asked, "messages": [{"role": "user", "content": "Hi"}]}
        with httpx.stream("POST", url, json=body, headers=headers) as answer:
            sent = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert len(sent) < times / 500
        content = json.loads(gzip.decompress(sent))["choices"][0]["message"]["content"]
        assert (len(content), set(content)) == (times, {"x"})
        assert together(server, MODEL).invoke("Hi").text == content
        assert "".join(c.text for c in together(server, MODEL).stream("Hi")) == content


def test_one_model_answers_for_every_name() -> None:
    models = {"*": says("loaded", answers_as="qwen.gguf"), BETA: says("own")}
    with LoopbackServer(models) as server:
        for name in (ALPHA, "acme/unknown"):
            answer = together(server, name).invoke("Hi")
            assert answer.text == "loaded"
            assert answer.response_metadata["model_name"] == "qwen.gguf"
        assert together(server, BETA).invoke("Hi").text == "own"
        assert [model.id for model in together(server, BETA).root_client.models.list()] == [BETA]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_gemini_under_both_paths(version: str) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    with LoopbackServer({MODEL: says("Hello.")}) as server:
        for method in ("generateContent", "streamGenerateContent?alt=sse"):
            answer = httpx.post(
                f"{server.gemini_url}/{version}/models/{MODEL}:{method}",
                json=body,
                headers={"x-goog-api-key": server.api_key},
            )
            assert answer.status_code == 200
            assert "Hello." in answer.text
