"""What members read costs no more than its length, however the conversation is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_mistralai import ChatMistralAI
from pydantic import SecretStr

from langchain_moa.messages.for_aggregator import history_for_aggregator
from langchain_moa.messages.for_proposers import history_for_proposers
from langchain_moa.messages.reasoning import strip_reasoning
from tests.growth import LINEAR, growth

KEY: Any = SecretStr("no-key")
READERS: dict[str, object] = {
    "anthropic": ChatAnthropic(model_name="claude", api_key=KEY, timeout=9, stop=None),
    "mistral": ChatMistralAI(model_name="mistral", api_key=KEY),
}


def call(number: int) -> dict[str, Any]:
    return {"name": f"f{number % 3}", "args": {"n": number}, "id": f"c{number}"}


def rounds(size: int) -> list[BaseMessage]:
    pairs = (
        (AIMessage("", tool_calls=[call(n)]), ToolMessage("r", tool_call_id=f"c{n}"))
        for n in range(size)
    )
    return [HumanMessage("go"), *(message for pair in pairs for message in pair)]


def conversations(size: int) -> dict[str, Sequence[BaseMessage]]:
    results = [ToolMessage("r", tool_call_id=f"c{n}") for n in range(size)]
    calls = [AIMessage("", tool_calls=[call(n)]) for n in range(size)]
    return {
        "tool rounds": rounds(size),
        "one round of many calls": [
            HumanMessage("go"),
            AIMessage("", tool_calls=[call(n) for n in range(size)]),
            *results,
        ],
        "calls without results": [HumanMessage("go"), *calls],
        "results without calls": [HumanMessage("go"), *results],
        "turns": [m for n in range(size) for m in (HumanMessage(f"q{n}"), AIMessage(f"a{n}"))],
        "users alone": [HumanMessage(f"q{n}") for n in range(size)],
        "answers alone": [AIMessage(f"a{n}") for n in range(size)],
        "systems": [SystemMessage(f"s{n}") for n in range(size)] + [HumanMessage("go")],
        "blocks": [HumanMessage([{"type": "text", "text": f"t{n}"} for n in range(size)])],
    }


@pytest.mark.parametrize("kind", conversations(0))
@pytest.mark.parametrize("reader", [*READERS, "proposers"])
def test_a_history_costs_no_more_than_its_length(reader: str, kind: str) -> None:
    def work(size: int) -> Callable[[], object]:
        messages = conversations(size)[kind]
        if reader == "proposers":
            return lambda: history_for_proposers(messages)
        return lambda: history_for_aggregator(messages, READERS[reader])

    assert growth(work, 120, tries=2) < LINEAR


def texts(size: int) -> dict[str, str]:
    return {
        "opened again and again": "<think>" * size,
        "closed again and again": "</think>" * size,
        "opened and closed": "<think>a</think>" * size,
        "almost opened": "<think" * size,
        "brackets": "<" * size,
        "spaces": " \n" * size,
        "long": "word " * size,
    }


@pytest.mark.parametrize("kind", texts(0))
def test_finding_reasoning_costs_no_more_than_the_text(kind: str) -> None:
    assert growth(lambda size: lambda: strip_reasoning(texts(size)[kind]), 5_000) < LINEAR
