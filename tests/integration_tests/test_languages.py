"""Characters of any script, whole or in halves, from any member, in every way to call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGenerationChunk

from langchain_moa import MoAChatModel
from langchain_moa.cli.conversation import Conversation
from langchain_moa.messages.characters import whole_characters
from langchain_moa.proposals.cleaning import CleanStream
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.growth import LINEAR, growth
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, Stage, bodies, says

PAIR = "\ud83d\udc4d"
"""The two halves of 👍 as Python joins them: to no character."""


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a \ud83d", "\udc4d b"], "a 👍 b"),
        (["\ud83d", "", "\udc4d"], "👍"),
        ([f"{PAIR}{PAIR}"], "👍👍"),
        (["\ud83d", "x"], "\ufffdx"),
        (["x", "\udc4d"], "x\ufffd"),
        (["\ud83d", "\ud83d", "\udc4d"], "\ufffd👍"),
        (["a", "\ud83d"], "a\ufffd"),
        (["👍", " plain"], "👍 plain"),
    ],
)
def test_halves_of_characters_are_joined(pieces: list[str], text: str) -> None:
    assert whole_characters("".join(pieces)) == text
    for blocks in (False, True):
        stream = CleanStream(None)
        out: list[str] = []
        for place, piece in enumerate(pieces):
            content: Any = [{"type": "text", "text": piece, "index": 0}] if blocks else piece
            chunk = AIMessageChunk(content=content)
            if place + 1 == len(pieces):
                chunk.chunk_position = "last"
            passed = stream.take(chunk)
            out.append(passed.text)
            passed.text.encode()  # each piece by itself is text
        assert "".join(out) == text
        assert stream.rest() is None


@pytest.mark.parametrize(
    ("json_text", "values"),
    [
        (r'{"a": "x \ud83d\udc4d y"}', {"a": "x 👍 y"}),
        (r'{"a": "x \ud83d", "b": "\udc4d"}', {"a": "x \ufffd", "b": "\ufffd"}),
        (r'{"a": "\ud83d\n\uD83D\uDC4D\u00e9"}', {"a": "\ufffd\n👍é"}),
        (r'{"a": "\\ud83d \\\ud83d \\"}', {"a": "\\ud83d \\\ufffd \\"}),
    ],
)
def test_escaped_halves_in_a_calls_arguments_are_joined(json_text: str, values: Any) -> None:
    for place in range(len(json_text) + 1):
        stream = CleanStream(None)
        whole = AIMessageChunk(content="")
        for piece in (json_text[:place], json_text[place:]):
            call: Any = {"name": None, "args": piece, "id": None, "index": 0}
            whole += stream.take(AIMessageChunk(content="", tool_call_chunks=[call]))
        assert stream.rest() is None
        assert json.loads(whole.tool_call_chunks[0]["args"] or "") == values


def test_what_has_no_halves_is_passed_on_as_it_is() -> None:
    stream = CleanStream(None)
    for content in ("plain", "Grüße 👍", [{"type": "text", "text": "né"}], ""):
        chunk = AIMessageChunk(content=content)  # type: ignore[arg-type]
        assert stream.take(chunk) is chunk


def test_joining_halves_costs_no_more_than_the_text() -> None:
    def work(size: int) -> Callable[[], object]:
        pieces = [AIMessageChunk(content=half) for _ in range(size) for half in PAIR]
        stream = CleanStream(None)
        return lambda: [stream.take(piece) for piece in pieces]

    assert growth(work, 500) < LINEAR


class Halves(ScriptedChatModel):
    """A model whose stream cuts each character beyond U+FFFF in halves."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(*args, **kwargs):
            units = chunk.text.encode("utf-16-be", "surrogatepass")
            for at in range(0, len(units), 2):
                half = units[at : at + 2].decode("utf-16-be", "surrogatepass")
                yield ChatGenerationChunk(message=AIMessageChunk(content=half))
            rest = chunk.message.model_copy(update={"content": ""})
            yield ChatGenerationChunk(message=rest)


ANSWER = "Grüße 👍, 世界 🌍; ไทย; مرحبا; क्षि 𠮷"


async def all_ways(llm: MoAChatModel, asked: Any = "Hi") -> dict[str, tuple[str, Any]]:
    """The text and the record of an answer, in each way to call."""
    found: dict[str, tuple[str, Any]] = {}
    for way, message in (("invoke", llm.invoke(asked)), ("ainvoke", await llm.ainvoke(asked))):
        found[way] = (message.text, message.response_metadata["moa"])
    chunks = {
        "stream": list(llm.stream(asked)),
        "astream": [chunk async for chunk in llm.astream(asked)],
    }
    for way, pieces in chunks.items():
        for piece in pieces:
            piece.text.encode()
        whole = pieces[0] + pieces[1:]
        found[way] = (whole.text, whole.response_metadata["moa"])
    return found


async def test_halves_that_come_in_two_deltas_are_one_character() -> None:
    heard: list[str] = []

    def listen(event: Any) -> None:
        if event["event"] == "token":
            heard.append(event["text"])

    member = Halves.saying(ANSWER)
    llm = MoAChatModel(
        reference_models=[member, member],
        aggregator=member,
        stream_proposals=True,
        include_proposals=True,
        on_progress=listen,
    )
    for way, (text, record) in (await all_ways(llm)).items():
        assert text == ANSWER, way
        assert [proposal["text"] for proposal in record["proposals"]] == [ANSWER] * 2
    assert "👍," in "".join(heard)
    assert json.dumps(heard, ensure_ascii=False).encode()


async def test_halves_that_stay_alone_break_nothing_that_comes_after(tmp_path: Path) -> None:
    models = {
        ALPHA: says("It is \ud800 blue."),
        BETA: ModelBehavior(status=400, error="half \ud83d of it"),
        AGGREGATOR: says("So \udc4d it is."),
    }
    with LoopbackServer(models) as server:
        llm = Stage(server, models).mixture(include_proposals=True)
        for way, (text, record) in (await all_ways(llm)).items():
            assert text == "So \ufffd it is.", way
            assert record["proposals"][0]["text"] == "It is \ufffd blue."
            json.dumps(record, ensure_ascii=False).encode()
        sent = json.dumps(bodies(server, AGGREGATOR), ensure_ascii=False)
        assert "It is \ufffd blue." in sent
        conversation = Conversation()
        llm.invoke(conversation.with_question(HumanMessage("One?")))
        answer = llm.invoke("One?")
        assert isinstance(answer, AIMessage)
        conversation.answered(answer)
        conversation.save(tmp_path / "talk.json")
        again = Conversation()
        again.load(tmp_path / "talk.json")
        assert llm.invoke(again.with_question(HumanMessage("Two?"))).text == "So \ufffd it is."


HISTORIES: dict[str, list[BaseMessage]] = {
    "the user's": [HumanMessage(f"{PAIR} or \ud83d?")],
    "another model's": [HumanMessage("?"), AIMessage(f"{PAIR} or \ud83d"), HumanMessage("So?")],
    "the system's": [SystemMessage(f"{PAIR} or \udc4d"), HumanMessage("?")],
    "a block's": [HumanMessage([{"type": "text", "text": f"{PAIR} or \ud83d"}])],
    "a tool's": [
        HumanMessage("?"),
        AIMessage("", tool_calls=[{"name": "see", "args": {"what": f"{PAIR} \ud83d"}, "id": "1"}]),
        ToolMessage(f"{PAIR} or \ud83d", tool_call_id="1"),
    ],
}


@pytest.mark.parametrize("whose", HISTORIES)
async def test_halves_in_a_history_end_no_call(whose: str) -> None:
    messages = HISTORIES[whose]
    before = [message.model_dump() for message in messages]
    with LoopbackServer({ALPHA: says("Seen."), AGGREGATOR: says("So it is.")}) as server:
        llm = Stage(server, [ALPHA, AGGREGATOR]).mixture([ALPHA])
        for way, (text, _) in (await all_ways(llm, messages)).items():
            assert text == "So it is.", way
        assert llm.graph.invoke({"messages": messages})["messages"][-1].text == "So it is."
        for name in (ALPHA, AGGREGATOR):
            sent = [json.dumps(body, ensure_ascii=False) for body in bodies(server, name)]
            assert len(sent) == 5
            assert all("👍" in body and "\ufffd" in body for body in sent)
    assert [message.model_dump() for message in messages] == before


def test_one_model_under_every_name_is_told(caplog: pytest.LogCaptureFixture) -> None:
    models = {"*": says("loaded", answers_as="qwen.gguf")}
    names = (ALPHA, BETA, GAMMA)
    with LoopbackServer(models) as server:
        stage = Stage(server, [*names, AGGREGATOR])
        record = stage.mixture(names).invoke("Hi").response_metadata["moa"]
        told = [(p["model"], p["model_name"]) for p in record["proposals"]]
        assert told == [(name, "qwen.gguf") for name in names]
        assert record["aggregator"]["model_name"] == "qwen.gguf"
        assert f"3 reference models ({', '.join(names)}) were answered by one model" in caplog.text
        caplog.clear()
        stage.mixture(names[:2]).invoke("Hi")
        assert "answered by one model" not in caplog.text
