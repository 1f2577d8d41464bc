"""What a provider has cached of a conversation is sent byte by byte as without proposals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_moa.testing import LoopbackServer
from tests.dialects import CLIENTS
from tests.wire import ALPHA, BETA, mixture, says

MARKED = {"type": "text", "text": "A long document. " * 50, "cache_control": {"type": "ephemeral"}}
QUESTION = {"type": "text", "text": "What does it say?"}
READER = "reader"


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer({ALPHA: says("One."), BETA: says("Two."), READER: says("Yes.")}) as running:
        yield running


def sent(server: LoopbackServer, client: str, messages: list[BaseMessage]) -> tuple[Any, Any]:
    """What a plain model sends of a conversation, and what a mixture that it aggregates."""
    model = CLIENTS[client](server, READER)
    model.invoke(messages)
    mixture(server, aggregator=model).invoke(messages)
    plain, mixed = [request.body for request in server.requests_for(READER)][-2:]
    return plain, mixed


def parts(message: Any) -> list[Any]:
    """A message's content as blocks, which providers take a bare text for."""
    content = message.get("content", message.get("parts"))
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@pytest.mark.parametrize("content", ["blocks", "a text"])
def test_anthropic_gets_each_block_as_it_was(server: LoopbackServer, content: str) -> None:
    """Its cache is looked up block by block, up to the one that is marked."""
    asked = HumanMessage([MARKED, QUESTION] if content == "blocks" else "What does it say?")
    messages: list[BaseMessage] = [SystemMessage([MARKED]), asked]
    plain, mixed = sent(server, "anthropic", messages)
    assert mixed["system"] == plain["system"]
    (before,), (after,) = plain["messages"], mixed["messages"]
    *same, proposals = parts(after)
    assert json.dumps(same) == json.dumps(parts(before))
    assert "<proposal-" in proposals["text"]
    assert "cache_control" not in proposals


@pytest.mark.parametrize("client", ["openai", "together", "mistral"])
@pytest.mark.parametrize("content", ["blocks", "a text"])
def test_others_read_the_same_beginning(server: LoopbackServer, client: str, content: str) -> None:
    """They cache the beginning of a prompt without being told, token by token."""
    blocks: list[Any] = [{"type": "text", "text": MARKED["text"]}, QUESTION]
    asked = HumanMessage(blocks if content == "blocks" else "What does it say?")
    plain, mixed = sent(server, client, [SystemMessage("Be brief."), asked])
    assert mixed["messages"][:-1] == plain["messages"][:-1]
    before, after = parts(plain["messages"][-1]), parts(mixed["messages"][-1])
    if content == "blocks":
        assert after[:-1] == before
        assert "<proposal-" in after[-1]["text"]
    else:
        assert after[0]["text"].startswith(f"{before[0]['text']}\n\n")
        assert "<proposal-" in after[0]["text"]


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_said_before_is_the_same_for_everybody(
    server: LoopbackServer, client: str
) -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("What is the capital of France?"),
        AIMessage("Paris."),
        HumanMessage("And of Spain?"),
    ]
    plain, mixed = sent(server, client, messages)
    place = "contents" if client == "gemini" else "messages"
    assert json.dumps(mixed[place][:-1]) == json.dumps(plain[place][:-1])
    assert mixed.get("system") == plain.get("system")
    assert mixed.get("systemInstruction") == plain.get("systemInstruction")
