"""Answers and errors in every form that servers send them in, with status 200, in all four ways.

What the scripted server cannot say is sent here byte by byte.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from langchain_core.exceptions import ModelAPIError, ModelConnectionError, ModelRateLimitError

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import LoopbackServer
from tests.dialects import CLIENTS
from tests.wire import AGGREGATOR, ALPHA, says

WAYS = ("invoke", "ainvoke", "stream", "astream")
SECOND = "acme/second"
LOOP = asyncio.new_event_loop()
"""Clients that keep their connections know one event loop only."""


class Wire:
    """A server whose models answer whole and streamed with the bytes that they are given."""

    def __init__(self) -> None:
        self.whole: dict[str, bytes] = {}
        self.events: dict[str, bytes] = {}
        self.asked: list[str] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                of_google, _, what = self.path.partition("models/")[2].partition(":")
                model, streamed = body.get("model", of_google), body.get("stream", "S" in what)
                wire.asked.append(model)
                said = (wire.events if streamed else wire.whole)[model]
                kind = "text/event-stream" if streamed else "application/json"
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.llm = self.mixture(AGGREGATOR)
        self.with_fallback = self.mixture(AGGREGATOR, SECOND)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def mixture(self, *aggregators: Any) -> MoAChatModel:
        return MoAChatModel(
            reference_models=[ALPHA],
            aggregator=list(aggregators),
            api_key="k",
            base_url=f"{self.url}/v1",
            max_retries=0,
        )

    def says(self, model: str, whole: object, *events: object) -> None:
        """Have a model say this; an event that is a text is sent as it is."""
        self.whole[model] = json.dumps(whole).encode()
        texts = (e if isinstance(e, str) else f"data: {json.dumps(e)}\n\n" for e in events)
        self.events[model] = "".join(texts).encode()


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    wire = Wire()
    Thread(target=wire.server.serve_forever, daemon=True).start()
    yield wire
    wire.server.shutdown()
    wire.server.server_close()


@pytest.fixture(autouse=True)
def _all_is_well(wire: Wire) -> None:
    for model in (ALPHA, AGGREGATOR, SECOND):
        message = {"role": "assistant", "content": f"{model} says Paris."}
        wire.says(model, *answer(message))
    wire.asked.clear()


DONE = "data: [DONE]\n\n"
UNREAD = (ModelAPIError, ModelConnectionError)
"""An answer that cannot be read, and a stream in which nothing came."""


def answer(message: Mapping[str, Any], **top: Any) -> tuple[Any, ...]:
    """An answer, whole and in events."""
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    piece = {"index": 0, "delta": message}
    whole = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [whole], **top}, {"choices": [piece], **top}, {"choices": [end]}, DONE


def called(llm: MoAChatModel, way: str) -> Any:
    if way == "invoke":
        return llm.invoke("Where?")
    if way == "ainvoke":
        return LOOP.run_until_complete(llm.ainvoke("Where?"))
    if way == "stream":
        first, *others = llm.stream("Where?")
    else:
        first, *others = LOOP.run_until_complete(streamed(llm))
    return sum(others, first)


async def streamed(llm: MoAChatModel) -> list[Any]:
    return [chunk async for chunk in llm.astream("Where?")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ({"error": "rate limit exceeded"}, ModelRateLimitError, "rate limit exceeded"),
        (
            {"object": "error", "message": "It is overloaded", "code": 503},
            ModelAPIError,
            "It is overloaded",
        ),
        ([{"error": {"code": 429, "message": "quota"}}], ModelRateLimitError, "quota"),
        ({"detail": "Too Many Requests"}, ModelRateLimitError, "Too Many Requests"),
        ({"success": False, "errors": [{"code": 429}]}, ModelRateLimitError, "429"),
        ({"statusCode": 503, "message": "Not now"}, ModelAPIError, "Not now"),
        ({"choices": []}, ModelConnectionError, "no choices"),
        ({}, ModelConnectionError, "no choices"),
        ({"choices": [None]}, ModelConnectionError, "no choices"),
        (None, UNREAD, "cannot be read: 'None'"),
        (5, UNREAD, "cannot be read: '5'"),
        ("Not now.", UNREAD, "cannot be read: 'Not now.'"),
        ([True], UNREAD, "cannot be read"),
    ],
)
def test_an_error_of_any_form_in_a_200(
    wire: Wire, way: str, said: object, kind: Any, text: str
) -> None:
    nothing = text == "no choices" or "cannot be read" in text
    wire.says(AGGREGATOR, said, said, DONE)
    with pytest.raises(AggregationError) as caught:
        called(wire.llm, way)
    assert isinstance(caught.value.__cause__, kind)
    assert getattr(caught.value.__cause__, "is_retryable", False)
    if not (nothing and "stream" in way):  # of those LangChain says it
        assert text in str(caught.value)
    assert len(caught.value.proposals) == 1
    assert called(wire.with_fallback, way).text == f"{SECOND} says Paris."


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        ("event: error\ndata: Service overloaded\n\n", ModelAPIError, "Service overloaded"),
        ('event: error\ndata: {"message": "slow", "code": 429}\n\n', ModelRateLimitError, "slow"),
        ('event: error\ndata: {"error": {"code": 503}}\n\n', ModelAPIError, "503"),
        ('data: {"error": "rate limit"}\n\n', ModelRateLimitError, "rate limit"),
        ('data: [{"error": {"code": 503, "message": "full"}}]\n\n', ModelAPIError, "full"),
    ],
)
def test_an_error_of_any_form_in_a_stream(
    wire: Wire, way: str, event: str, kind: type[Exception], text: str
) -> None:
    _, first, *_ = answer({"role": "assistant", "content": "It is"})
    for before in ([], [first]):
        wire.says(AGGREGATOR, None, *before, event)
        with pytest.raises(AggregationError, match=text) as caught:
            called(wire.llm, way)
        assert isinstance(caught.value.__cause__, kind)
        assert len(caught.value.proposals) == 1


BROKEN = [
    b"data: {not json\n\n",
    b'data: {"choices": [{"delta": {"content": "It\n\n',
    b'data: {"choices": "\xff\xfe"}\n\n',
    b"data: <html>\n\n",
]


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("event", BROKEN)
def test_an_event_that_cannot_be_read_breaks_the_stream(wire: Wire, way: str, event: bytes) -> None:
    """Before any text another may answer; after it the stream ends as one that was cut."""
    _, first, *_ = answer({"role": "assistant", "content": "It is"})
    for before in ([], [first]):
        wire.says(AGGREGATOR, None, *before)
        wire.events[AGGREGATOR] += event + DONE.encode()
        with pytest.raises(AggregationError, match="the answer cannot be read") as caught:
            called(wire.llm, way)
        assert isinstance(caught.value.__cause__, ModelAPIError)
        assert len(caught.value.proposals) == 1
        if not before:
            assert called(wire.with_fallback, way).text == f"{SECOND} says Paris."


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_an_event_without_data_keeps_a_stream_alive(wire: Wire, way: str) -> None:
    _, first, end, done = answer({"role": "assistant", "content": "It is 4"})
    wire.says(AGGREGATOR, None, "data:\n\n", first, "data: \n\n", ": wait\n\n", end, done)
    assert called(wire.llm, way).text == "It is 4"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_beside_the_content_is_kept(wire: Wire, way: str, name: str) -> None:
    """`ChatTogether` drops it, under the name of Together and under that of most others."""
    wire.says(AGGREGATOR, *answer({"role": "assistant", "content": "4", name: "Two and two."}))
    message = called(wire.llm, way)
    assert message.text == "4"
    assert message.additional_kwargs["reasoning_content"] == "Two and two."
    wire.says(AGGREGATOR, *answer({"role": "assistant", "content": None, name: "Two and two."}))
    with pytest.raises(AggregationError, match="holds only reasoning"):
        called(wire.llm, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "odd",
    [
        {"role": 5, "name": {"a": 1}, "annotations": "x", "audio": 7},
        {"role": None, "reasoning_content": [1], "refusal": {"a": 1}},
        {"role": "model"},
        {"function_call": 3},
        {"content": [{"type": "text", "text": "It is "}, None, {"type": "text", "text": None}, 4]},
        {"content": [{"type": "output_text", "text": "It is 4"}, {"text": 4, "type": [1]}]},
        {"content": {"text": "It is 4"}},
    ],
)
def test_a_message_of_any_form(wire: Wire, way: str, odd: Mapping[str, Any]) -> None:
    wire.says(AGGREGATOR, *answer({"role": "assistant", "content": "It is 4", **odd}))
    wire.says(ALPHA, *answer({"role": "assistant", "content": "It is 4", **odd}))
    message = called(wire.llm, way)
    assert message.text == "It is 4"
    assert [p["status"] for p in message.response_metadata["moa"]["proposals"]] == ["ok"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", ["q", [0], True, "0", None, ...])
def test_calls_with_an_index_of_any_type(wire: Wire, way: str, index: object) -> None:
    call = {"id": "1", "type": 7, "function": {"name": "look", "arguments": {"where": "here"}}}
    calls = [call if index is ... else {**call, "index": index}, 3, {"function": None}]
    wire.says(AGGREGATOR, *answer({"role": "assistant", "content": None, "tool_calls": calls}))
    (made,) = called(wire.llm, way).tool_calls
    assert (made["name"], made["args"]) == ("look", {"where": "here"})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["5", "null", "[]", '[{"a": 1}]', '"x"', "NaN", "no JSON"])
def test_calls_whose_arguments_are_no_object_are_invalid(wire: Wire, way: str, text: str) -> None:
    good, odd = (
        {"id": name, "index": index, "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate((("look", "{}"), ("odd", text)))
    )
    wire.says(
        AGGREGATOR, *answer({"role": "assistant", "content": None, "tool_calls": [odd, good]})
    )
    message = called(wire.llm, way)
    assert [call["name"] for call in message.tool_calls] == ["look"]
    assert [(c["name"], c["args"], c["id"]) for c in message.invalid_tool_calls] == [
        ("odd", text, "odd")
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text", ["\u200b\ufeff", "\u3164", " \u00a0\u2003\n", "<think>4</think>\u200d"]
)
def test_an_answer_that_cannot_be_seen_is_none(wire: Wire, way: str, text: str) -> None:
    wire.says(AGGREGATOR, *answer({"role": "assistant", "content": text}))
    assert called(wire.with_fallback, way).text == f"{SECOND} says Paris."
    assert wire.asked == [ALPHA, AGGREGATOR, SECOND]


ODD = {
    "none": None,
    "text": "a few",
    "list": [1, 2],
    "texts": {"prompt_tokens": "7", "completion_tokens": [2]},
    "parts of a token": {"prompt_tokens": 1.5, "completion_tokens": 2.5},
}
NAMES = {
    "prompt_tokens": ("prompt_tokens", "input_tokens", "promptTokenCount"),
    "completion_tokens": ("completion_tokens", "output_tokens", "candidatesTokenCount"),
}


def in_all_words(usage: Any) -> Any:
    """A usage under the names of all dialects."""
    if not isinstance(usage, dict):
        return usage
    return {name: value for key, value in usage.items() for name in NAMES[key]}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", ["anthropic", "gemini", "mistral"])
def test_foreign_data_in_other_dialects(client: str, way: str, loopback: LoopbackServer) -> None:
    """Unknown is unknown, and no answer is lost for it."""
    members = [CLIENTS[client](loopback, name) for name in (ALPHA, AGGREGATOR)]
    llm = MoAChatModel(reference_models=[members[0]], aggregator=members[1], max_retries=0)
    names = {"id": 7, "model": [1], "responseId": 7, "modelVersion": [1], "type": 5}
    for odd in ({"usage": in_all_words(usage)} for usage in ODD.values()):
        loopback.models = dict.fromkeys((ALPHA, AGGREGATOR), says("Paris.", **odd))
        message = called(llm, way)
        record = message.response_metadata["moa"]
        assert (message.text, record["proposals"][0]["status"]) == ("Paris.", "ok"), odd
        assert record["aggregator"]["usage"] is record["proposals"][0]["usage"] is None, odd
        assert sorted(record["usage"]["unknown"]) == [AGGREGATOR, ALPHA], odd
    loopback.models = dict.fromkeys((ALPHA, AGGREGATOR), says("Paris.", fields=names))
    message = called(llm, way)
    assert message.text == "Paris."
    assert message.response_metadata["moa"]["aggregator"]["usage"]["total_tokens"] > 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("client", ["anthropic", "gemini", "mistral"])
@pytest.mark.parametrize("place", ["answer", "event"])
def test_errors_in_a_200_of_other_dialects(
    client: str, way: str, place: str, loopback: LoopbackServer
) -> None:
    names = (ALPHA, AGGREGATOR, SECOND)
    members = [CLIENTS[client](loopback, name) for name in names]
    loopback.models = dict.fromkeys(names, says("Paris."))
    loopback.models[AGGREGATOR] = says("", status=429, error="slow down", error_in=place)
    for last in (members[1:], members[1:2]):
        llm = MoAChatModel(reference_models=[members[0]], aggregator=last, max_retries=0)
        if len(last) > 1:
            assert called(llm, way).text == "Paris."
            continue
        with pytest.raises(AggregationError, match="slow down") as caught:
            called(llm, way)
        assert isinstance(caught.value.__cause__, ModelRateLimitError)


def of_anthropic(*content: Any) -> tuple[Any, ...]:
    message = {"type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    whole = {**message, "content": content[0] if len(content) == 1 else list(content)}
    events: list[Any] = [{"type": "message_start", "message": {**message, "content": []}}]
    for place, block in enumerate(content):
        said = block.get("text") if isinstance(block, dict) else block
        delta = {"type": "text_delta", "text": said}
        events.append({"type": "content_block_start", "index": place, "content_block": block})
        events.append({"type": "content_block_delta", "index": place, "delta": delta})
    events.append({"type": "message_stop"})
    return whole, *(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events)


def of_gemini(content: object) -> tuple[Any, ...]:
    whole = {"candidates": [{"content": content, "finishReason": "STOP"}]}
    return whole, whole


def of_mistral(message: object) -> tuple[Any, ...]:
    whole: Any = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return whole, {"choices": [{**whole["choices"][0], "delta": message}]}, DONE


TEXT = {"type": "text", "text": ""}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_events_of_anthropics_without_names(wire: Wire, loopback: LoopbackServer, end: str) -> None:
    """Their types say what they are; its SDK skips events without names."""
    whole, *events = of_anthropic(TEXT, {"type": "text_delta", "text": "It is 4"})
    unnamed = (event.partition("\n")[2].replace("\n", end) for event in events)
    wire.says(AGGREGATOR, whole, f": a comment{end}{end}", *unnamed)
    member = CLIENTS["anthropic"](loopback, AGGREGATOR, base_url=wire.url)
    for way in ("stream", "astream"):
        assert called(wire.mixture(member), way).text == "It is 4"


def test_an_error_of_anthropics_without_a_name(wire: Wire, loopback: LoopbackServer) -> None:
    said = {"type": "error", "error": {"type": "overloaded_error", "message": "Not now"}}
    wire.says(AGGREGATOR, said, said)
    member = CLIENTS["anthropic"](loopback, AGGREGATOR, base_url=wire.url)
    for way in ("stream", "astream"):
        with pytest.raises(AggregationError, match="Not now"):
            called(wire.mixture(member), way)


@pytest.mark.parametrize(
    ("client", "said"),
    [
        *(("anthropic", of_anthropic(said)) for said in (None, 5, [None], ["It is 4"])),
        ("anthropic", of_anthropic({"type": "text", "text": 4}, TEXT)),
        *(("gemini", of_gemini(said)) for said in (5, {"parts": 5}, {"parts": [None]})),
        *(("gemini", of_gemini({"parts": [{"text": said}]})) for said in (None, 5)),
        *(("mistral", of_mistral(said)) for said in (None, 5)),
        ("mistral", ({"choices": [{"index": 0}]}, {"choices": [{"index": 0}]}, DONE)),
    ],
)
def test_a_message_of_another_dialect_that_cannot_be_read_is_its_providers_failure(
    wire: Wire, loopback: LoopbackServer, client: str, said: tuple[Any, ...]
) -> None:
    """What a client raises about an answer's types reaches no user, and another answers."""
    wire.says(AGGREGATOR, *said)
    member = CLIENTS[client](loopback, AGGREGATOR, base_url=wire.url)
    for way in WAYS:
        with pytest.raises(
            AggregationError, match=r"cannot be read|no text|No generation"
        ) as caught:
            called(wire.mixture(member), way)
        assert isinstance(caught.value.__cause__, ModelAPIError | ModelConnectionError | None)
        assert called(wire.mixture(member, SECOND), way).text == f"{SECOND} says Paris."


@pytest.mark.parametrize(
    "content",
    [
        "It is 4",
        {"parts": ["It is 4", {"functionCall": {"name": "f", "args": 5}}]},
        {"role": 5, "parts": [{"text": "It is 4", "thought": 5}]},
    ],
)
def test_what_can_be_read_of_a_message_of_googles_is_read(
    wire: Wire, loopback: LoopbackServer, content: object
) -> None:
    wire.says(AGGREGATOR, *of_gemini(content))
    member = CLIENTS["gemini"](loopback, AGGREGATOR, base_url=wire.url)
    for way in WAYS:
        assert called(wire.mixture(member), way).text == "It is 4"


@pytest.fixture(scope="module")
def loopback() -> Iterator[LoopbackServer]:
    with LoopbackServer({}) as server:
        yield server
