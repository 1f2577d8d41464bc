"""LangGraph's `RemoteGraph` as a member, over real HTTP: its messages come as dicts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from langgraph.pregel.remote import RemoteGraph

from langchain_moa import MoAChatModel
from langchain_moa.testing import ScriptedChatModel

ANSWER: Final = "The remote graph's answer."


class Served(BaseHTTPRequestHandler):
    """What a LangGraph server sends of a run: its state after each step, as server-sent events."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = asked["input"]["messages"]
        answer: dict[str, Any] = {
            "type": "ai",
            "content": ANSWER,
            "id": "7",
            "tool_calls": [],
            "name": None,
        }
        states = [{"messages": question}, {"messages": [*question, answer]}]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event, data in [("metadata", {"run_id": "1"}), *(("values", s) for s in states)]:
            self.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteGraph]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield RemoteGraph("expert", url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


async def answered(llm: MoAChatModel, way: str) -> Any:
    match way:
        case "invoke":
            return llm.invoke("q")
        case "ainvoke":
            return await llm.ainvoke("q")
        case "stream":
            pieces = list(llm.stream("q"))
        case _:
            pieces = [piece async for piece in llm.astream("q")]
    return sum(pieces[1:], pieces[0])


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_as_a_member_and_as_the_aggregator(remote: RemoteGraph, way: str) -> None:
    own = ScriptedChatModel.saying("Mine.")
    answer = await answered(MoAChatModel(reference_models=[remote, own], aggregator=own), way)
    first, second = answer.response_metadata["moa"]["proposals"]
    assert (first["status"], second["status"]) == ("ok", "ok")
    llm = MoAChatModel(reference_models=[remote], aggregator=remote, include_proposals=True)
    answer = await answered(llm, way)
    assert answer.text == ANSWER
    assert answer.response_metadata["moa"]["proposals"][0]["text"] == ANSWER
