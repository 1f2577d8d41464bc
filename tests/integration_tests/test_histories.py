"""Random legal histories, told to reference models of every provider under strict validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ScriptedChatModel
from tests.dialects import CLIENTS, PICTURE, SPEAKERS, THOUGHT, one_of_each

REASONING = {"type": "reasoning", "reasoning": "Two.", "extras": {"signature": "c2ln"}}
FOUR = {"type": "text", "text": "4"}

texts = st.sampled_from(["Hi", "Grüße 🌍", "", " \n", "<proposal>", "{braces}", "x" * 3000])
blocks = st.lists(
    st.one_of(
        texts.map(lambda text: {"type": "text", "text": text}),
        st.just(PICTURE),
    ),
    min_size=1,
    max_size=3,
)
contents: st.SearchStrategy[Any] = texts | blocks
arguments = st.dictionaries(st.sampled_from(["city", "größe"]), texts | st.integers(), max_size=2)


@st.composite
def tool_round(draw: st.DrawFn, number: int) -> list[BaseMessage]:
    """The assistant calls tools, all of which give a result."""
    count = draw(st.integers(1, 3))
    calls = [
        tool_call(name=f"tool_{place}", args=draw(arguments), id=f"call_{number}_{place}")
        for place in range(count)
    ]
    said: Any = draw(texts | st.just([THOUGHT, {"type": "text", "text": "Well."}]))
    results = [
        ToolMessage(
            draw(contents),
            tool_call_id=f"call_{number}_{place}",
            name=draw(st.sampled_from([f"tool_{place}", None])),
            status=draw(st.sampled_from(["success", "error"])),
        )
        for place in range(count)
    ]
    return [AIMessage(said, tool_calls=calls), *results]


@st.composite
def histories(draw: st.DrawFn) -> list[BaseMessage]:
    """System messages, then turns of user, tools and assistant, ended anywhere that is legal."""
    messages: list[BaseMessage] = [
        SystemMessage(draw(texts)) for _ in range(draw(st.integers(0, 2)))
    ]
    for number in range(draw(st.integers(1, 3))):
        messages.append(HumanMessage(draw(contents)))
        if draw(st.booleans()):
            messages += draw(tool_round(number))
        if draw(st.booleans()):
            said: Any = draw(texts | st.sampled_from([[THOUGHT, FOUR], [REASONING]]))
            beside: dict[str, Any] = draw(st.sampled_from([{}, {"reasoning_content": "Two."}]))
            messages.append(AIMessage(said, additional_kwargs=beside))
    return messages


@pytest.fixture(scope="module")
def mixture() -> Iterator[MoAChatModel]:
    with LoopbackServer(SPEAKERS) as server:
        yield MoAChatModel(
            reference_models=one_of_each(server),
            aggregator=ScriptedChatModel.saying("Done."),
            layers=3,
            max_retries=0,
            fan_out="always",
            on_no_proposals="aggregate_alone",
        )


@pytest.mark.parametrize("placement", ["user", "system"])
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(history=histories())
def test_every_provider_takes_every_history(
    mixture: MoAChatModel, placement: str, history: list[BaseMessage]
) -> None:
    llm = mixture.model_copy(update={"placement": placement})
    record = llm.invoke(history).response_metadata["moa"]
    refused = [(p["model"], p["layer"], p["error"]) for p in record["proposals"] if p["error"]]
    assert refused == []
    assert len(record["proposals"]) == 2 * len(CLIENTS)
