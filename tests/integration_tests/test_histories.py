"""Random legal histories, told to members of every provider under strict validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.runnables import Runnable

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.dialects import CLIENTS, PICTURE, THOUGHT
from tests.wire import bodies, says

SETTINGS: Final[dict[str, Any]] = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
REASONING = {"type": "reasoning", "reasoning": "Two.", "extras": {"signature": "c2ln"}}
FOUR = {"type": "text", "text": "4"}
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}

MADE: dict[str, list[list[dict[str, Any]]]] = {
    "anthropic": [
        [THOUGHT, FOUR],
        [{"type": "redacted_thinking", "data": "c2VjcmV0"}, FOUR],
        [{**FOUR, "citations": None}],
        [SEARCH, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, FOUR],
    ],
    "bedrock_converse": [
        [{"type": "reasoning_content", "reasoning_content": {"text": "Two."}}, FOUR]
    ],
    "google_genai": [
        [{"type": "thinking", "thinking": "Two."}, {**FOUR, "extras": {"signature": "c2ln"}}],
        [REASONING, FOUR],
    ],
    "mistralai": [[{"type": "thinking", "thinking": [{"type": "text", "text": "Two."}]}, FOUR]],
    "openai": [
        [{"type": "reasoning", "id": "rs_1", "summary": []}, {**FOUR, "annotations": []}],
        [{"type": "refusal", "refusal": "No."}],
        [{"type": "reasoning", "id": "rs_1", "reasoning": "Two."}, FOUR],
    ],
}
"""What each provider's clients put into an answer."""

words = st.sampled_from(["Hi", "Grüße 🌍", "<proposal>", "{braces}", "x" * 3000])
texts = words | st.sampled_from(["", " \n"])
arguments = st.dictionaries(st.sampled_from(["city", "größe"]), texts | st.integers(), max_size=2)


def contents(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    written = text.map(lambda given: {"type": "text", "text": given})
    return text | st.lists(written | st.just(PICTURE), min_size=1, max_size=3)


@st.composite
def tool_round(draw: st.DrawFn, number: int, text: st.SearchStrategy[str]) -> list[BaseMessage]:
    """The assistant calls tools, all of which give a result."""
    count = draw(st.integers(1, 3))
    calls = [
        tool_call(name=f"tool_{place}", args=draw(arguments), id=f"call_{number}_{place}")
        for place in range(count)
    ]
    said: Any = draw(text | st.just([THOUGHT, {"type": "text", "text": "Well."}]))
    blocks = [
        {"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["args"]} for c in calls
    ]
    made: dict[str, Any] = {}
    if isinstance(said, list) and draw(st.booleans()):  # as Anthropic's client leaves them
        said, made = [*said, *blocks], {"model_provider": "anthropic"}
    results = [
        ToolMessage(
            draw(contents(text)),
            tool_call_id=f"call_{number}_{place}",
            name=draw(st.sampled_from([f"tool_{place}", None])),
            status=draw(st.sampled_from(["success", "error"])),
        )
        for place in range(count)
    ]
    return [AIMessage(said, tool_calls=calls, response_metadata=made), *results]


@st.composite
def answers(draw: st.DrawFn) -> AIMessage:
    """An answer of any provider, or of one that is not known."""
    if draw(st.booleans()):
        said: Any = draw(texts | st.sampled_from([[THOUGHT, FOUR], [REASONING], [THOUGHT]]))
        beside: dict[str, Any] = draw(st.sampled_from([{}, {"reasoning_content": "Two."}]))
        return AIMessage(said, additional_kwargs=beside)
    maker = draw(st.sampled_from(sorted(MADE)))
    blocks: Any = draw(st.sampled_from(MADE[maker]))
    known: dict[str, Any] = draw(st.sampled_from([{}, {"model_provider": maker}]))
    return AIMessage(blocks, response_metadata=known)


@st.composite
def broken_rounds(draw: st.DrawFn, number: int) -> list[BaseMessage]:
    """What is left of calls that could not be parsed, or of a history that was trimmed."""
    call = invalid_tool_call(name="tool_0", args="{", id=f"broken_{number}", error=None)
    unanswered = tool_call(name="tool_0", args={}, id=f"lost_{number}")
    result = ToolMessage("Fine.", tool_call_id=f"orphan_{number}", name="tool_0")
    return draw(
        st.sampled_from(
            [
                [AIMessage("", invalid_tool_calls=[call])],
                [AIMessage("Hm.", tool_calls=[unanswered])],
                [result],
            ]
        )
    )


@st.composite
def histories(draw: st.DrawFn) -> list[BaseMessage]:
    """System messages, then turns of user, tools and assistant, ended anywhere that is legal."""
    messages: list[BaseMessage] = [
        SystemMessage(draw(texts)) for _ in range(draw(st.integers(0, 2)))
    ]
    for number in range(draw(st.integers(1, 3))):
        messages.append(HumanMessage(draw(contents(texts))))
        if draw(st.booleans()):
            messages += draw(tool_round(number, texts))
        if draw(st.booleans()):
            messages.append(draw(answers()))
    return messages


@st.composite
def edited_histories(draw: st.DrawFn) -> list[BaseMessage]:
    """The same after trimming, failed calls or middleware, and with somebody to be answered."""
    messages = draw(histories())
    if draw(st.booleans()):
        messages += draw(broken_rounds(9))
    if draw(st.booleans()):
        messages.append(SystemMessage("Be brief."))
    return [*messages, HumanMessage("And now?")] if draw(st.booleans()) else messages


@st.composite
def own_histories(draw: st.DrawFn, maker: str) -> list[BaseMessage]:
    """A conversation with one provider alone, without blank texts."""
    messages: list[BaseMessage] = [SystemMessage("Be brief.")] * draw(st.integers(0, 1))
    for number in range(draw(st.integers(1, 3))):
        messages.append(HumanMessage(draw(contents(words))))
        if draw(st.booleans()):
            called, *results = draw(tool_round(number, words))
            text = called.model_copy(update={"content": "", "response_metadata": {}})
            messages += [called if maker == "anthropic" else text, *results]
        if draw(st.booleans()):
            said: Any = draw(words | st.sampled_from(MADE[maker]))
            messages.append(AIMessage(said, response_metadata={"model_provider": maker}))
    if isinstance(messages[-1], AIMessage):
        messages.append(HumanMessage("And now?"))
    return messages


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    models = {name: says(f"Thus says {name}.") for name in AGGREGATORS}
    with LoopbackServer({**models, REFUSES: ModelBehavior(status=400)}) as started:
        yield started


def thinking(server: LoopbackServer, model: str) -> BaseChatModel:
    budget = {"type": "enabled", "budget_tokens": 1024}
    return CLIENTS["anthropic"](server, model, thinking=budget, max_tokens=2048)


AGGREGATORS = {**CLIENTS, "anthropic that thinks": thinking}
MAKERS = {"together": "openai", "gemini": "google_genai", "mistral": "mistralai"}
REFUSES = "refuses"
TOOLS = {"none": 0, "one of them": 1, "all": 3}


def tool_named(name: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"name": name, "description": "A tool.", "parameters": schema}


def with_tools(llm: BaseChatModel, number: int) -> Runnable[Any, Any]:
    return llm.bind_tools([tool_named(f"tool_{n}") for n in range(number)]) if number else llm


def moa(aggregator: Any, **fields: Any) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[ScriptedChatModel.saying("A proposal.")],
        aggregator=aggregator,
        max_retries=0,
        **{"fan_out": "always", **fields},
    )


@pytest.fixture(scope="module")
def mixture(server: LoopbackServer) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[client(server, name) for name, client in CLIENTS.items()],
        aggregator=ScriptedChatModel.saying("Done."),
        layers=3,
        max_retries=0,
        fan_out="always",
        on_no_proposals="aggregate_alone",
    )


@pytest.mark.parametrize("placement", ["user", "system"])
@settings(max_examples=25, **SETTINGS)
@given(history=histories() | edited_histories())
def test_every_provider_takes_every_history(
    mixture: MoAChatModel, placement: str, history: list[BaseMessage]
) -> None:
    llm = mixture.model_copy(update={"placement": placement})
    record = llm.invoke(history).response_metadata["moa"]
    refused = [(p["model"], p["layer"], p["error"]) for p in record["proposals"] if p["error"]]
    assert refused == []
    assert len(record["proposals"]) == 2 * len(CLIENTS)


@pytest.mark.parametrize("tools", TOOLS)
@pytest.mark.parametrize("name", AGGREGATORS)
@settings(max_examples=15, **SETTINGS)
@given(
    history=histories() | edited_histories(),
    given_as=st.sampled_from(["user", "system", "fallback"]),
)
def test_every_aggregator_takes_every_history(
    server: LoopbackServer,
    name: str,
    tools: str,
    history: list[BaseMessage],
    given_as: str,
) -> None:
    """Alone with the proposals in either place, and last in a list after one that refuses."""
    own = AGGREGATORS[name](server, name)
    other = CLIENTS["mistral" if name == "anthropic" else "anthropic"](server, REFUSES)
    llm = moa([other, own]) if given_as == "fallback" else moa(own, placement=given_as)
    answer = with_tools(llm, TOOLS[tools]).invoke(history)
    assert answer.text == f"Thus says {name}."


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(max_examples=20, **SETTINGS)
@given(history=histories() | edited_histories())
def test_every_aggregator_takes_every_history_without_proposals(
    server: LoopbackServer, name: str, history: list[BaseMessage]
) -> None:
    """Nobody is asked beside it, so that nothing is added at the end either."""
    assume(isinstance(history[-1], HumanMessage | ToolMessage))
    llm = moa(AGGREGATORS[name](server, name), fan_out="never")
    assert llm.invoke(history).text == f"Thus says {name}."


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(max_examples=25, **SETTINGS)
@given(data=st.data())
def test_what_a_provider_takes_reaches_it_unchanged(
    server: LoopbackServer, name: str, data: st.DataObject
) -> None:
    """The request is that of the plain model, but for the proposals in the system message."""
    maker = MAKERS.get(name, name.partition(" ")[0])
    history = data.draw(own_histories(maker))
    client = AGGREGATORS[name](server, name)
    server.requests.clear()
    try:
        with_tools(client, 3).invoke(history)
    except Exception:  # noqa: BLE001 - the plain model is refused
        assume(False)  # noqa: FBT003
    # an equal mixture of another test may have asked the reference models in the same user's turn
    alone = moa(client, fan_out="never", reuse_proposals=False)
    with_tools(alone, 3).invoke(history)
    with_tools(moa(client, placement="system"), 3).invoke(history)
    plain, unadvised, proposed = bodies(server, name)
    assert unadvised == plain
    assert without_system(proposed) == without_system(plain)
    assert "A proposal." in str(proposed)


@pytest.mark.parametrize("name", CLIENTS)
def test_the_answer_names_its_maker(server: LoopbackServer, name: str) -> None:
    """By which the next turn's aggregator knows what is its own."""
    refusing = CLIENTS["openai"](server, REFUSES)
    llm = moa([refusing, CLIENTS[name](server, name)])
    answer = llm.invoke("Hi")
    streamed = [chunk.response_metadata.get("model_provider") for chunk in llm.stream("Hi")]
    assert answer.response_metadata["model_provider"] == MAKERS.get(name, name)
    assert set(filter(None, streamed)) == {MAKERS.get(name, name)}


def without_system(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in body.items() if k not in ("system", "systemInstruction")}
    spoken = [message for message in body.get("messages", ()) if message["role"] != "system"]
    return {**kept, "messages": spoken}
