"""The streamed answer: pieces as they come, in every form that LangChain streams in."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk

from langchain_moa import MoAChatModel
from langchain_moa.testing import (
    LoopbackServer,
    ModelBehavior,
    Reply,
    ScriptedChatModel,
    ToolCall,
)
from tests.wire import AGGREGATOR, ALPHA, BETA, mixture, says, until

MODELS = {ALPHA: says("Paris."), BETA: says("It is Paris."), AGGREGATOR: says("x1 x2 x3")}


@pytest.mark.parametrize("token", [1, 2])
def test_pieces_come_while_the_aggregator_still_writes(token: int) -> None:
    free = threading.Event()
    held = says("x1 x2 x3 x4", once=free.is_set, once_after=token + 1)  # one is sent with the next
    with LoopbackServer({**MODELS, AGGREGATOR: held}) as server:
        texts = []
        for chunk in mixture(server).stream("Go."):
            texts += [chunk.text] if chunk.text else []
            if len(texts) == token:
                assert not server.requests_for(AGGREGATOR)[0].finished
                free.set()
        assert texts == ["x1", " x2", " x3", " x4"]


async def test_a_stream_that_is_left_early_closes_its_request() -> None:
    held = says("x1 x2 x3", once=lambda: False, once_after=2)
    with LoopbackServer({**MODELS, AGGREGATOR: held}) as server:
        stream = mixture(server).astream("Go.")
        async for chunk in stream:
            if chunk.text:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        await until(lambda: not server.open_requests)
        assert not server.requests_for(AGGREGATOR)[0].finished
        sync = mixture(server).stream("Go.")
        while not next(sync).text:
            pass
        sync.close()  # type: ignore[attr-defined]
        await until(lambda: not server.open_requests)


def test_tool_calls_stream_piece_by_piece() -> None:
    calls = tuple(ToolCall(name="weather", arguments={"city": city}) for city in ("Köln", "Rom"))
    models = {**MODELS, AGGREGATOR: ModelBehavior(reply=Reply(text=None, tool_calls=calls))}
    with LoopbackServer(models) as server:
        chunks = list(mixture(server).stream("Go."))
        pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
        assert len(pieces) > 4
        assert [p["name"] for p in pieces if p["name"]] == ["weather", "weather"]
        whole = sum(chunks[1:], chunks[0])
        assert [call["args"] for call in whole.tool_calls] == [{"city": "Köln"}, {"city": "Rom"}]
        assert whole.response_metadata["moa"]["degraded"] is False


def test_content_blocks_of_version_one() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, output_version="v1")
        chunks = list(llm.stream("Go."))
        assert {type(chunk.content) for chunk in chunks} == {list}
        whole = sum(chunks[1:], chunks[0])
        assert [block["type"] for block in whole.content_blocks] == ["text"]
        assert whole.text == llm.invoke("Go.").text == "x1 x2 x3"
        assert chunks[-1].chunk_position == "last"
        assert whole.usage_metadata is not None


class Thinking(ScriptedChatModel):
    """Thinks in reasoning blocks before it answers."""

    def pieces(self) -> Iterator[ChatGenerationChunk]:
        for part in ("hm, ", "easy"):
            block = {"type": "reasoning", "reasoning": part, "index": 0}
            yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))
        for part in ("It is ", "4."):
            block = {"type": "text", "text": part, "index": 1}
            yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield from self.pieces()

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self.pieces():
            yield piece


async def test_reasoning_blocks_of_the_aggregator_stream() -> None:
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("4")], aggregator=Thinking(script=lambda _: "")
    )
    for chunks in (list(llm.stream("2+2?")), [chunk async for chunk in llm.astream("2+2?")]):
        whole = sum(chunks[1:], chunks[0])
        assert whole.content_blocks[0]["type"] == "reasoning"
        assert whole.content_blocks[0]["reasoning"] == "hm, easy"
        assert whole.text == "It is 4."


async def test_v3_events_of_the_model() -> None:
    with LoopbackServer(MODELS) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 is in beta
        stream = await mixture(server).astream_events("Go.", version="v3")
        assert [piece async for piece in stream.text] == ["x1", " x2", " x3"]
        message = await stream.output
        assert message.response_metadata["moa"]["aggregator"]["usage"]["output_tokens"] == 3
        sync = mixture(server).stream_events("Go.", version="v3")
        assert list(sync.text) == ["x1", " x2", " x3"]


async def test_summarization_sees_the_aggregators_context_and_not_the_sum() -> None:
    """The middleware reads `usage_metadata` as the size of the context."""
    with LoopbackServer({**MODELS, AGGREGATOR: says("word " * 20)}) as server:
        llm = mixture(server, layers=4)
        answer = llm.invoke([HumanMessage("Go. " * 40)])
        record = answer.response_metadata["moa"]
        assert answer.usage_metadata is not None
        own, total = answer.usage_metadata["total_tokens"], record["usage"]["total_tokens"]
        assert total > 3 * own
        middleware = SummarizationMiddleware(
            model=llm,
            trigger=("tokens", (own + total) // 2),
            keep=("messages", 1),
            token_counter=count_tokens_approximately,
        )
        agent: Any = create_agent(llm, tools=[], middleware=[middleware])
        history = [HumanMessage("Go. " * 40), answer, HumanMessage("Again.")]
        server.requests.clear()
        state = await agent.ainvoke({"messages": history})
        assert [type(m) for m in state["messages"][:2]] == [HumanMessage, AIMessage]
        assert len(server.requests_for(AGGREGATOR)) == 1  # none for a summary


async def test_many_streams_at_once() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)

        async def ask(number: int) -> str:
            return "".join([chunk.text async for chunk in llm.astream(f"Go {number}.")])

        texts = await asyncio.gather(*(ask(number) for number in range(20)))
        assert texts == ["x1 x2 x3"] * 20
