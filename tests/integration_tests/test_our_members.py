"""Members given as strings: their own client answers and fails as `ChatTogether` does."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tracers.context import collect_runs
from langchain_together import ChatTogether
from pydantic import BaseModel, SecretStr

from langchain_moa.members.member import Member
from langchain_moa.providers.builder import ModelBuilder
from langchain_moa.providers.transport import clients_over, http
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, Stage, mixture, says, until

ADDRESS = "http://models.invalid/v1"
NAMES = {
    "text": Reply(text="Paris, ünïcode and all."),
    "calls": Reply(text=None, tool_calls=(ToolCall(name="f", arguments={"x": 1}),)),
    "cut short": Reply(text="Par", finish_reason="length"),
}
FAULTS = {
    "429": ModelBehavior(status=429, retry_after=7),
    "400": ModelBehavior(status=400, error_code="context_length_exceeded"),
    "401": ModelBehavior(status=401, error_code="invalid_api_key"),
    "500": ModelBehavior(status=500),
    "lost connection": ModelBehavior(drop=True),
    "broken JSON": ModelBehavior(malformed=True),
    "page": ModelBehavior(content_type="text/html"),
    "hang": ModelBehavior(hang=True),
}
STREAM_FAULTS = {
    "lost in between": ModelBehavior(reply="one two three four", drop_after=2),
    "429": ModelBehavior(status=429),
    "lost connection": ModelBehavior(drop=True),
}


class City(BaseModel):
    """A city."""

    name: str
    people: int


def ours(server: LoopbackServer, model: str = ALPHA, **options: Any) -> ChatTogether:
    given: dict[str, Any] = {"base_url": server.base_url, **options}
    built = ModelBuilder(api_key=SecretStr(server.api_key), **given).build(model, "aggregator")
    assert isinstance(built, ChatTogether)
    return built


def called(server: LoopbackServer) -> ChatTogether:
    """The model as a mixture calls it."""
    runnable = Member(ours(server)).counting
    assert isinstance(runnable, ChatTogether)
    return runnable


WAYS = {"as it is": ours, "as it is called": called}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, [ALPHA])


def told(message: AIMessage) -> dict[str, Any]:
    """What a message says to anybody who reads it."""
    metadata = message.response_metadata
    return {
        "content": message.content,
        "tool_calls": [{**call, "id": None} for call in message.tool_calls],
        "finish_reason": metadata["finish_reason"],
        "model_name": metadata["model_name"],
        "usage": message.usage_metadata,
        "refusal": message.additional_kwargs.get("refusal"),
    }


def shown(chunk: AIMessageChunk) -> dict[str, Any]:
    ids = {"id", "tool_calls", "tool_call_chunks"}
    calls = [{**call, "id": None} for call in chunk.tool_call_chunks]
    return {**chunk.model_dump(exclude=ids), "calls": calls}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
async def test_they_answer_as_chat_together_does(stage: Stage, name: str, way: str) -> None:
    server = stage.plays({ALPHA: ModelBehavior(reply=NAMES[name])})
    built = WAYS[way](server)
    expected = told(await stage.members[ALPHA].ainvoke("hi"))
    assert told(await built.ainvoke("hi")) == expected
    assert told(await asyncio.to_thread(built.invoke, "hi")) == expected
    chunks = [chunk async for chunk in built.astream("hi")]
    theirs = [chunk async for chunk in stage.members[ALPHA].astream("hi")]
    assert [shown(chunk) for chunk in chunks] == [shown(chunk) for chunk in theirs]
    sync = await asyncio.to_thread(lambda: list(built.stream("hi")))
    assert [chunk.content for chunk in sync] == [chunk.content for chunk in theirs]


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_is_seen(stage: Stage, way: str) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I must not."}
    server = stage.plays({ALPHA: says("no", choice_fields={"message": message})})
    answer = await WAYS[way](server).ainvoke("hi")
    assert answer.additional_kwargs["refusal"] == "I must not."


async def error_of(call: Any) -> tuple[str, str, bool]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - compared below
        await call
    retryable = bool(getattr(caught.value, "is_retryable", False))
    return type(caught.value).__name__, type(caught.value.__cause__).__name__, retryable


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAULTS)
async def test_they_fail_as_chat_together_does(stage: Stage, name: str, way: str) -> None:
    server = stage.plays({ALPHA: FAULTS[name]})
    arguments: dict[str, Any] = {"timeout": 0.3} if name == "hang" else {}
    theirs = await error_of(stage.members[ALPHA].ainvoke("hi", **arguments))
    assert await error_of(WAYS[way](server).ainvoke("hi", **arguments)) == theirs


class Threads(ThreadPoolExecutor):
    """The threads of an event loop, which count what they are given to do."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.given += 1
        return super().submit(*args, **kwargs)


def test_answers_are_read_where_they_are_awaited(stage: Stage) -> None:
    """LangChain reads them in a thread, which takes longer than to read them."""
    server = stage.plays({ALPHA: says("hi")})
    given = []
    for model in (ours(server), called(server)):
        with asyncio.Runner() as runner:
            threads = Threads()
            runner.get_loop().set_default_executor(threads)
            runner.run(model.ainvoke("hi"))  # which connects
            threads.given = 0
            assert runner.run(model.ainvoke("hi")).text == "hi"
            given.append(threads.given)
    assert (given[0] > 0, given[1]) == (True, 0)


async def test_a_schema_is_asked_for_as_ever(stage: Stage) -> None:
    server = stage.plays({ALPHA: ModelBehavior(reply='{"name": "Paris", "people": 2}')})
    for model in (ours(server), called(server)):
        found = await model.with_structured_output(City, method="json_schema").ainvoke("Where?")
        assert found == City(name="Paris", people=2)
    own, theirs = (request.body["response_format"] for request in server.requests)
    assert own == theirs


async def test_traces_know_it_by_the_name_that_the_user_sees(stage: Stage) -> None:
    server = stage.plays({ALPHA: says("hi")})
    seen = []
    for model in (ours(server), called(server)):
        with collect_runs() as collected:
            await model.ainvoke("hi")
        (run,) = collected.traced_runs
        serialized = {**(run.serialized or {}), "repr": ""}  # has addresses of objects in it
        seen.append((run.name, serialized, run.extra, run.tags))
    assert seen[0] == seen[1]
    assert seen[0][0] == "ChatTogether"


async def whole(model: ChatTogether) -> list[Any]:
    return [chunk async for chunk in model.astream("hi")]


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_their_streams_break_as_chat_togethers_do(stage: Stage, name: str) -> None:
    server = stage.plays({ALPHA: STREAM_FAULTS[name]})
    # what is behind the error differs: LangChain hands on some of the transport's as they are
    kind, _, retryable = await error_of(whole(stage.members[ALPHA]))
    own_kind, _, own_retryable = await error_of(whole(ours(server)))
    assert (own_kind, own_retryable) == (kind, retryable)


async def test_nobody_at_the_address(stage: Stage) -> None:
    closed = "http://127.0.0.1:9/v1"
    built = ours(stage.server, base_url=closed)
    plain = ChatTogether(model=ALPHA, api_key=SecretStr("k"), base_url=closed, max_retries=0)
    assert await error_of(built.ainvoke("hi")) == await error_of(plain.ainvoke("hi"))


async def test_what_the_sdk_does_not_know_is_refused(stage: Stage) -> None:
    built = ours(stage.plays({ALPHA: says("hi")}))
    with pytest.raises(TypeError, match="misspelt"):
        await built.ainvoke("hi", misspelt=1)
    with pytest.raises(TypeError, match="misspelt"):
        built.invoke("hi", misspelt=1)
    assert not stage.server.requests


async def test_extra_arguments_reach_the_provider(stage: Stage) -> None:
    server = stage.plays({ALPHA: says("hi")})
    extra: dict[str, Any] = {
        "extra_body": {"top_k": 5},
        "extra_headers": {"x-one": "1"},
        "temperature": 0.5,
    }
    await ours(server).ainvoke("hi", **extra)
    (request,) = server.requests
    assert (request.body["top_k"], request.body["temperature"]) == (5, 0.5)


def test_one_mixture_in_several_event_loops(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """Also one after the other, which breaks a `ChatTogether`; each loop leaves nothing open."""
    models = {ALPHA: says("a"), BETA: says("b"), AGGREGATOR: says("It is Paris.")}
    gc.collect()  # what other tests have left
    recwarn.clear()
    with LoopbackServer(models) as server, caplog.at_level(logging.ERROR):
        llm = mixture(server)
        for _ in range(4):
            answer = asyncio.run(llm.ainvoke("Capital of France?"))
            assert answer.content == "It is Paris."
            assert not answer.response_metadata["moa"]["degraded"]
            wait_until(lambda: not server.open_connections)
        gc.collect()
        port = f", {urlsplit(server.base_url).port})"
    assert not caplog.records
    left = [text for w in recwarn if "nclosed" in (text := str(w.message))]
    assert not [text for text in left if port in text or "aiohttp" in text]


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_mixture_in_two_event_loops_at_a_time() -> None:
    models = {ALPHA: says("a", latency=0.05), BETA: says("b"), AGGREGATOR: says("Paris.")}
    answers: list[str] = []
    with LoopbackServer(models) as server:
        llm = mixture(server)

        async def several() -> None:
            for _ in range(3):
                answers.extend(a.text for a in await llm.abatch(["hi"] * 4))

        threads = [threading.Thread(target=asyncio.run, args=(several(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == ["Paris."] * 24


def test_a_loop_that_was_closed_without_a_shutdown_is_forgotten() -> None:
    with LoopbackServer({ALPHA: says("a")}) as server:
        member = ours(server)
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(member.ainvoke("hi")).content == "a"
            loop.close()
        assert asyncio.run(member.ainvoke("hi")).content == "a"
    gc.collect()


async def test_mixtures_share_connections() -> None:
    with LoopbackServer({ALPHA: says("a")}) as server:
        for _ in range(3):
            await ours(server).ainvoke("hi")
        assert server.open_connections == 1


@pytest.mark.parametrize("streams", [False, True])
async def test_a_cancelled_request_lets_go_of_its_connection(*, streams: bool) -> None:
    behavior = says("one two three", token_delay=30) if streams else ModelBehavior(hang=True)
    with LoopbackServer({ALPHA: behavior}) as server:
        member, texts = ours(server), list[str]()

        async def read() -> None:
            async for piece in member.astream("hi"):
                texts.append(piece.text)

        call = asyncio.ensure_future(read() if streams else member.ainvoke("hi"))
        # not while the first pieces come: langchain-openai waits for each by `asyncio.wait_for`,
        # which on Python 3.11 loses a cancellation that comes together with one
        await until(lambda: "one" in "".join(texts) if streams else server.open_requests == 1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await until(lambda: not server.open_requests and not server.open_connections)


@asynccontextmanager
async def proxy(seen: list[str]) -> AsyncIterator[str]:
    """A proxy that answers by itself, and notes what it is asked for; gives its address."""
    body = b'{"choices": [{"message": {"role": "assistant", "content": "by the proxy"}}]}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append(head.partition("\r\n")[0])
        length = b"content-length: %d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + length)
        writer.write(b"\r\nconnection: close\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_the_proxy_of_the_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    server, seen = stage.plays({ALPHA: says("straight")}), list[str]()
    async with proxy(seen) as address:
        monkeypatch.setenv(variable, address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await ours(server, base_url=ADDRESS).ainvoke("hi")).content == "by the proxy"
        assert (await ours(server).ainvoke("hi")).content == "straight"
    assert seen == [f"POST {ADDRESS}/chat/completions HTTP/1.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_asked_without_a_proxy(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Sync and async; the environment's proxy could not reach it."""
    server = stage.plays({ALPHA: says("straight")})
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    member = ours(server, base_url=server.base_url.replace("127.0.0.1", host))
    assert (await member.ainvoke("hi")).content == "straight"
    assert (await asyncio.to_thread(member.invoke, "hi")).content == "straight"


def test_a_members_own_http_client_is_used(stage: Stage) -> None:
    server = stage.plays({ALPHA: says("Yes.")})
    builder = ModelBuilder(api_key=SecretStr(server.api_key), base_url=server.base_url)
    with clients_over(http)[0](headers={"x-own": "client"}) as own:
        assert builder.build(ALPHA, "aggregator", {"http_client": own}).invoke("hi").text == "Yes."
        assert builder.build(ALPHA, "aggregator").invoke("hi").text == "Yes."
    assert [request.headers.get("x-own") for request in server.requests] == ["client", None]


LEFT_OPEN = """
import asyncio, sys
from langchain_moa import MoAChatModel
llm = MoAChatModel(
    reference_models=["me/a"], aggregator="me/a", base_url=sys.argv[1], api_key=sys.argv[2]
)
print(asyncio.new_event_loop().run_until_complete(llm.ainvoke("Hi")).text)
"""


def test_a_loop_that_is_never_shut_down_leaves_no_complaint() -> None:
    with LoopbackServer({"me/a": says("Hello.")}) as server:
        ended = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", LEFT_OPEN, server.base_url, server.api_key],
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
    assert ended.stdout == "Hello.\n"
    assert "nclosed" not in ended.stderr
