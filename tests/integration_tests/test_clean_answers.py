"""What reaches the user has no tags of the call's fences, and nothing that cannot be written."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says, together

TAG = re.compile(r"<proposal-[0-9a-f]{16} number=\"\d+\">")
LOOKALIKE = '<proposal-0123456789abcdef number="1">'


def _shown(body: Any) -> str:
    """The fence of the first draft, as the model was shown it; none where it was shown none."""
    found = TAG.search("".join(_texts(body["messages"])))
    return found[0] if found else ""


def _texts(messages: Any) -> list[str]:
    contents = [message["content"] for message in messages]
    parts = [part for c in contents for part in (c if isinstance(c, list) else [c])]
    return [part["text"] if isinstance(part, dict) else str(part) for part in parts]


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def echo(body: Any) -> str:
    opening = _shown(body)
    closing = f"</{opening[1:].partition(' ')[0]}>" if opening else ""
    return f"{opening}\nYes, {LOOKALIKE} is none.\n{closing}"


READ = f"Yes, {LOOKALIKE} is none."


def invoked(llm: MoAChatModel) -> str:
    return llm.invoke("Well?").text


def ainvoked(llm: MoAChatModel) -> str:
    return asyncio.run(llm.ainvoke("Well?")).text


def streamed(llm: MoAChatModel) -> str:
    return "".join(chunk.text for chunk in llm.stream("Well?"))


def astreamed(llm: MoAChatModel) -> str:
    async def read() -> str:
        return "".join([chunk.text async for chunk in llm.astream("Well?")])

    return asyncio.run(read())


WAYS = [invoked, ainvoked, streamed, astreamed]


@pytest.mark.parametrize("ways", WAYS)
def test_an_aggregator_that_repeats_a_fence_does_not_show_it(
    ways: Callable[[MoAChatModel], str],
) -> None:
    models = {ALPHA: says("Yes."), BETA: says("No."), AGGREGATOR: ModelBehavior(reply=echo)}
    with LoopbackServer(models) as server:
        assert ways(mixture(server)) == READ
        assert TAG.search(json.dumps(bodies(server, AGGREGATOR)).replace('\\"', '"'))


@pytest.mark.parametrize("ways", WAYS)
def test_reference_models_that_repeat_a_fence_have_clean_proposals(
    ways: Callable[[MoAChatModel], str],
) -> None:
    """What the record holds, the next model reads and may be the answer are the same bytes."""
    models = {
        ALPHA: ModelBehavior(reply=echo),
        BETA: says("No."),
        AGGREGATOR: says("", status=500),
    }
    told: list[Any] = []
    with LoopbackServer(models) as server:
        llm = mixture(
            server,
            reference_models=[[ALPHA], [ALPHA], [ALPHA]],
            stream_proposals=True,
            on_progress=told.append,
            on_aggregator_failure="best_proposal",
        )
        assert ways(llm) == READ
        (body,) = bodies(server, AGGREGATOR)
    assert f"\n{READ.replace('<', '&lt;')}\n" in "".join(_texts(body["messages"]))
    tokens = [event["text"] for event in told if event["event"] == "token"]
    assert "".join(tokens).count(READ) == 3
    assert len(TAG.findall("".join(tokens))) == "".join(tokens).count(LOOKALIKE)


@pytest.mark.parametrize("ways", WAYS)
def test_garbled_fences_are_not_shown(ways: Callable[[MoAChatModel], str]) -> None:
    """As weak models write them: cut, with half of the key, or without it."""

    def garbled(body: Any) -> str:
        opening = _shown(body)
        half = opening[: len("<proposal-12345678")]
        closing = half.replace("<", "</")
        yes = f"Yes, {LOOKALIKE}\n</proposal-\nis none."
        return f"{half}>\n{yes}\n{closing}\n{opening[:-4]}"

    models = {ALPHA: says("Yes."), BETA: says("No."), AGGREGATOR: ModelBehavior(reply=garbled)}
    with LoopbackServer(models) as server:
        assert ways(mixture(server)) == f"Yes, {LOOKALIKE}\n\nis none.\n"


def test_the_public_graph_shows_no_fence_either() -> None:
    models = {ALPHA: says("Yes."), BETA: says("No."), AGGREGATOR: ModelBehavior(reply=echo)}
    with LoopbackServer(models) as server:
        state = mixture(server).graph.invoke({"messages": ["Well?"]})
    assert state["messages"][-1].text == READ


async def test_the_public_graphs_streams_show_no_fence() -> None:
    """There handlers hear the aggregator's own run: LangGraph's, and those of events."""
    models = {ALPHA: says("1"), BETA: says("2"), AGGREGATOR: ModelBehavior(reply=echo)}
    given: Any = {"messages": ["Well?"]}
    with LoopbackServer(models) as server:
        graph = mixture(server).graph
        read: list[list[Any]] = [
            [c for c, _ in graph.stream(given, stream_mode="messages", subgraphs=False)]
        ]
        read += [[c async for c, _ in graph.astream(given, stream_mode="messages")]]
        events = [event async for event in graph.astream_events(given, version="v2")]
        read += [[e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]]
        for chunks in read:
            assert len(chunks) > 1, "it came in pieces"
            assert "".join(chunk.text for chunk in chunks).strip() == READ


@pytest.mark.parametrize("calls", ["calls", ""])
async def test_the_public_graphs_streams_of_events_show_no_fence(calls: str) -> None:
    """LangGraph's third protocol: deltas of blocks, and blocks when they are whole."""

    def answer(body: Any) -> Reply:
        call = ToolCall(name="look_up", arguments={"word": echo(body)})
        return Reply(text=None, tool_calls=(call,)) if calls else Reply(text=f"{echo(body)}<pro")

    models = {ALPHA: says("1"), BETA: says("2"), AGGREGATOR: ModelBehavior(reply=answer)}
    given: Any = {"messages": ["Well?"]}
    with LoopbackServer(models) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 is in beta
        aggregator = together(server, AGGREGATOR).bind_tools([look_up])
        graph: Any = mixture(server, aggregator=aggregator).graph
        asynchronous = [event async for event in await graph.astream_events(given, version="v3")]
        for events in (asynchronous, list(graph.stream_events(given, version="v3"))):
            told = [e["params"]["data"][0] for e in events if e["method"] == "messages"]
            deltas = [e["delta"] for e in told if e["event"] == "content-block-delta"]
            (whole,) = [e["content"] for e in told if e["event"] == "content-block-finish"]
            assert len(deltas) > 2, "it came in pieces"
            if calls:
                read = "".join(delta["args"] for delta in deltas)
                assert json.loads(read)["word"].strip() == whole["args"]["word"].strip() == READ
            else:
                assert "".join(delta["text"] for delta in deltas) == f"{READ}<pro"
                assert whole["text"] == f"{READ}<pro"


def test_a_parents_stream_of_messages_shows_no_fence() -> None:
    models = {ALPHA: says("Yes."), BETA: says("No."), AGGREGATOR: ModelBehavior(reply=echo)}
    with LoopbackServer(models) as server:
        agent: Any = create_agent(mixture(server), [])
        parts = agent.stream({"messages": ["Well?"]}, stream_mode="messages")
        text = "".join(message.text for message, _ in parts)
    assert text == READ


class Verdict(BaseModel):
    """A verdict."""

    why: str


def test_calls_and_structured_answers_show_no_fence() -> None:
    def calls(body: Any) -> Reply:
        name = body["tools"][0]["function"]["name"]
        key = "word" if name == "look_up" else "why"
        return Reply(text=None, tool_calls=(ToolCall(name=name, arguments={key: echo(body)}),))

    models = {ALPHA: says("Yes."), BETA: says("No."), AGGREGATOR: ModelBehavior(reply=calls)}
    with LoopbackServer(models) as server:
        llm = mixture(server)
        (call,) = llm.bind_tools([look_up]).invoke("Well?").tool_calls
        streamed = list(llm.bind_tools([look_up]).stream("Well?"))
        verdict = llm.with_structured_output(Verdict, method="function_calling").invoke("Well?")
    assert call["args"]["word"].strip() == READ
    chunks = [chunk for chunk in streamed if isinstance(chunk, AIMessageChunk)]
    arguments = "".join(c["args"] or "" for chunk in chunks for c in chunk.tool_call_chunks)
    assert json.loads(arguments)["word"].strip() == READ
    assert isinstance(verdict, Verdict)
    assert verdict.why.strip() == READ


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize(
    ("written", "read"),
    [("a \ud83d\ude00 b", "a 😀 b"), ("\ud83d\ude00", "😀"), ("half \ud83d", "half \ufffd")],
)
def test_halves_of_characters_are_joined_or_replaced(
    written: str, read: str, ways: Callable[[MoAChatModel], str]
) -> None:
    models = dict.fromkeys([ALPHA, BETA, AGGREGATOR], says(written))
    with LoopbackServer(models) as server:
        llm = mixture(server, include_proposals=True)
        assert ways(llm) == read
        answer = llm.invoke("Well?")
        llm.invoke([("user", "Well?"), answer, ("user", "And?")])
        record = answer.response_metadata["moa"]
    assert [proposal["text"] for proposal in record["proposals"]] == [read, read]
    json.dumps(record, ensure_ascii=False).encode()


def test_the_language_of_the_answer_is_the_last_thing_that_is_asked_for() -> None:
    line = "Write in the language of the user's latest message"
    models = {ALPHA: says("Ja."), BETA: says("Nein."), AGGREGATOR: says("Ja.")}

    with LoopbackServer(models) as server:
        mixture(server).bind_tools([look_up]).invoke("Ist der Himmel blau?")
        (read,) = bodies(server, AGGREGATOR)
        (proposer,) = bodies(server, ALPHA)
    last = _texts(read["messages"])[-1].splitlines()[-1]
    assert last.startswith(line)
    assert line in _texts(proposer["messages"])[0]
