"""A stream may be given up for another one until its first token, and ends in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.exceptions import ModelAPIError
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableGenerator
from pydantic import PrivateAttr

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import ScriptedChatModel
from tests.wire import LIMITS, until

LONG = 20.0
WAYS = ("stream", "astream")


class Stream(ScriptedChatModel):
    """Streams pieces: texts, errors to raise, numbers of seconds to hang, and what to wait for."""

    pieces: list[Any]
    free: Any

    _closed: list[str] = PrivateAttr(default_factory=list)

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        self._calls.append(([], {}))
        try:
            for piece in self.pieces:
                if isinstance(piece, float):
                    self.free.wait(piece)
                elif callable(piece):
                    while not piece():
                        self.free.wait(0.005)
                else:
                    yield chunk_of(piece)
        finally:
            self._closed.append(self.model)

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        self._calls.append(([], {}))
        try:
            for piece in self.pieces:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                elif callable(piece):
                    await until(piece)
                else:
                    yield chunk_of(piece)
        finally:
            self._closed.append(self.model)

    @property
    def closed(self) -> int:
        return len(self._closed)


def chunk_of(piece: Any) -> ChatGenerationChunk:
    if isinstance(piece, Exception):
        raise piece
    return ChatGenerationChunk(message=AIMessageChunk(content=piece))


@pytest.fixture
def free() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def mixture(*judges: Any, **options: Any) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[ScriptedChatModel.saying("4", model="first")],
        aggregator=list(judges),
        max_retries=0,
        **options,
    )


async def pieces_of(
    llm: MoAChatModel, way: str, pause: float = 0.0, texts: list[str] | None = None
) -> tuple[list[str], Any]:
    """The texts that came, and the record or the error that ended them."""
    texts = [] if texts is None else texts

    def read() -> Any:
        record = None
        for chunk in llm.stream("Go"):
            texts.append(chunk.text)
            record = chunk.response_metadata.get("moa")
            threading.Event().wait(pause)
        return record

    async def aread() -> Any:
        record = None
        async for chunk in llm.astream("Go"):
            texts.append(chunk.text)
            record = chunk.response_metadata.get("moa")
            await asyncio.sleep(pause)
        return record

    try:
        end = await (asyncio.to_thread(read) if way == "stream" else aread())
    except AggregationError as error:
        return [t for t in texts if t], error
    return [t for t in texts if t], end


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pieces", [[ModelAPIError("down")], [], [""], ["", ModelAPIError("x")]])
async def test_before_the_first_token_another_one_answers(
    way: str, pieces: list[Any], free: threading.Event
) -> None:
    judge = Stream(script=str, model="judge", pieces=pieces, free=free)
    spare = ScriptedChatModel.saying("one two", model="spare")
    texts, record = await pieces_of(mixture(judge, spare), way)
    assert texts == ["one", " two"]
    assert (record["aggregator"]["model"], record["aggregator"]["attempts"]) == ("spare", 2)
    assert record["aggregator"]["error"].startswith("judge: ")


@pytest.mark.parametrize("way", WAYS)
async def test_after_the_first_token_what_was_sent_stays(way: str, free: threading.Event) -> None:
    pieces = ["one", ModelAPIError("reset")]
    judge = Stream(script=str, model="judge", pieces=pieces, free=free)
    spare = ScriptedChatModel.saying("never", model="spare")
    texts, error = await pieces_of(mixture(judge, spare), way)
    assert texts == ["one"]
    assert isinstance(error, AggregationError)
    assert "ModelAPIError: reset" in str(error)
    assert [p.text for p in error.proposals] == ["4"]
    assert spare.calls == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_stream_that_stands_still_ends_in_time(way: str, free: threading.Event) -> None:
    judge = Stream(script=str, model="judge", pieces=["one", LONG, "two"], free=free)
    for seconds in LIMITS:
        texts, error = await pieces_of(mixture(judge, aggregator_timeout=seconds), way)
        if texts:
            break
    assert texts == ["one"]
    assert "the stream was not finished in time" in str(error)


@pytest.mark.parametrize("way", WAYS)
async def test_a_consumers_pauses_do_not_count(way: str, free: threading.Event) -> None:
    judge = Stream(script=str, model="judge", pieces=["one", "two", "three"], free=free)
    for seconds in LIMITS:
        llm = mixture(judge, aggregator_timeout=seconds)
        texts, record = await pieces_of(llm, way, pause=seconds / 2)
        if isinstance(record, dict):
            break
    assert texts == ["one", "two", "three"]
    assert record["aggregator"]["status"] == "ok"


@pytest.mark.parametrize("way", WAYS)
async def test_a_hedge_answers_for_a_stream_that_does_not_begin(
    way: str, free: threading.Event
) -> None:
    judge = Stream(script=str, model="judge", pieces=[LONG, "late"], free=free)
    spare = ScriptedChatModel.saying("one two", model="spare")
    texts, record = await pieces_of(mixture(judge, spare, hedge_after=0.05), way)
    assert texts == ["one", " two"]
    assert record["aggregator"]["model"] == "spare"
    assert record["usage"]["unknown"] == ["judge"]


@pytest.mark.parametrize("way", WAYS)
async def test_the_stream_that_came_second_is_closed(way: str, free: threading.Event) -> None:
    read, late = list[str](), list[str]()

    def is_late() -> bool:
        if "one" in read:
            late.append("now")
        return bool(late)

    def is_over() -> bool:
        return bool(late or judge.closed)  # a task is cancelled before

    judge = Stream(script=str, model="judge", pieces=[is_late, "late", LONG], free=free)
    spare = Stream(script=str, model="spare", pieces=["one", is_over, "two"], free=free)
    texts, _ = await pieces_of(mixture(judge, spare, hedge_after=0.05), way, texts=read)
    assert texts == ["one", "two"]
    await until(lambda: judge.closed)
    assert (judge.closed, spare.closed) == (1, 1)


@pytest.mark.parametrize("way", WAYS)
async def test_a_graph_answers_in_one_piece(way: str, free: threading.Event) -> None:
    inner = mixture(ScriptedChatModel.saying("From within.", model="inner"))
    judge = Stream(script=str, model="judge", pieces=[ModelAPIError("down")], free=free)
    texts, record = await pieces_of(mixture(judge, inner.graph), way)
    assert texts == ["From within."]
    assert record["aggregator"]["attempts"] == 2


@pytest.mark.parametrize("becomes", [ValueError, None])
async def test_a_deadline_leaves_its_task_no_cancellation(becomes: type[Exception] | None) -> None:
    """Nor does it where a client makes something else of the cancellation: timeouts count them."""

    async def pieces(_: Any) -> AsyncIterator[str]:
        yield "It is"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if becomes is not None:
                raise becomes from None
        yield " Paris."

    own = ScriptedChatModel.saying("Paris")
    aggregator: Any = RunnableGenerator(pieces)
    llm = MoAChatModel(reference_models=[own], aggregator=aggregator, aggregator_timeout=0.1)
    with suppress(AggregationError):
        async for _ in llm.astream("q"):
            pass
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
