"""What members cannot take, and what they may not see: what really goes over the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool

import langchain_moa
from langchain_moa import (
    AggregationError,
    MoAConfigurationError,
    NotEnoughProposalsError,
    UnsupportedContentError,
)
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, bodies, mixture, says

MODELS = {ALPHA: says("A cat."), BETA: says("A dog."), AGGREGATOR: says("A cat, I think.")}
DATA = "c2VjcmV0IGJ5dGVz"
BLOCKS: dict[str, dict[str, Any]] = {
    "image": {"type": "image", "base64": DATA, "mime_type": "image/png"},
    "audio": {"type": "audio", "base64": DATA, "mime_type": "audio/wav"},
    "pdf": {
        "type": "file",
        "base64": DATA,
        "mime_type": "application/pdf",
        "filename": "a.pdf",
    },
}
TAKES_NOTHING: Any = {"image_inputs": False, "audio_inputs": False, "pdf_inputs": False}


def showing(*kinds: str) -> list[BaseMessage]:
    text = {"type": "text", "text": "What is this?"}
    return [HumanMessage([text, *(BLOCKS[kind] for kind in kinds)])]


def left_out(answer: AIMessage) -> list[list[str]]:
    record = answer.response_metadata["moa"]
    return [call["left_out"] for call in (*record["proposals"], record["aggregator"])]


@pytest.mark.parametrize("kind", BLOCKS)
def test_what_a_member_cannot_take_is_left_out_for_it_alone(kind: str) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, profiles={ALPHA: {f"{kind}_inputs": False}})
        answer = llm.invoke(showing(kind))
        assert left_out(answer) == [[kind], [], []]
        assert answer.response_metadata["moa"]["degraded"] is False
        (blind,) = bodies(server, ALPHA)
        note = f"[{kind} left out: this model cannot take it]"
        assert blind["messages"][0]["content"] == [
            {"type": "text", "text": "What is this?"},
            {"type": "text", "text": note},
        ]
        for name in (BETA, AGGREGATOR):
            (seeing,) = bodies(server, name)
            assert DATA in json.dumps(seeing)
            assert note not in json.dumps(seeing)


def test_all_kinds_at_once_and_the_aggregator_too() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, profiles=dict.fromkeys((ALPHA, AGGREGATOR), TAKES_NOTHING))
        answer = llm.invoke(showing("image", "audio", "pdf"))
        assert left_out(answer) == [["audio", "image", "pdf"], [], ["audio", "image", "pdf"]]
        for name in (ALPHA, AGGREGATOR):
            assert DATA not in json.dumps(bodies(server, name))


def test_a_stream_and_a_tools_picture() -> None:
    history = [
        HumanMessage("Look."),
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
        ToolMessage(
            [{"type": "text", "text": "seen"}, BLOCKS["image"]], tool_call_id="1", name="look"
        ),
    ]
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, fan_out="always", profiles={ALPHA: TAKES_NOTHING})
        *_, last = llm.stream(history)
        assert left_out(last) == [["image"], [], []]
        assert DATA not in json.dumps(bodies(server, ALPHA))
        assert DATA in json.dumps(bodies(server, BETA))


def test_what_is_not_said_is_sent() -> None:
    with LoopbackServer(MODELS) as server:
        answer = mixture(server, profiles={ALPHA: {"max_input_tokens": 9000}}).invoke(
            showing("image")
        )
        assert left_out(answer) == [[], [], []]
        assert DATA in json.dumps(bodies(server, ALPHA))


def test_a_member_is_skipped() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, profiles={ALPHA: TAKES_NOTHING}, on_unsupported="skip_member")
        record = llm.invoke(showing("image")).response_metadata["moa"]
        skipped, asked = record["proposals"]
        assert (skipped["status"], skipped["attempts"]) == ("skipped", 0)
        assert "takes no image" in skipped["error"]
        assert asked["status"] == "ok"
        assert record["degraded"] is True
        assert record["usage"]["unknown"] == []
        assert bodies(server, ALPHA) == []
        assert llm.invoke("What is a cat?").response_metadata["moa"]["degraded"] is False


def test_a_fallback_that_can_is_asked_instead() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            reference_models=[ALPHA],
            fallbacks={ALPHA: BETA},
            profiles={ALPHA: TAKES_NOTHING},
            on_unsupported="skip_member",
        )
        (proposal,) = llm.invoke(showing("image")).response_metadata["moa"]["proposals"]
        assert (proposal["model"], proposal["status"]) == (BETA, "ok")
        assert bodies(server, ALPHA) == []


def test_no_member_can() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            profiles=dict.fromkeys((ALPHA, BETA), TAKES_NOTHING),
            on_unsupported="skip_member",
        )
        with pytest.raises(NotEnoughProposalsError, match="takes no image"):
            llm.invoke(showing("image"))
        assert server.requests == []


def test_an_aggregator_that_cannot_is_skipped_for_the_next() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            reference_models=[ALPHA],
            aggregator=[AGGREGATOR, BETA],
            profiles={AGGREGATOR: TAKES_NOTHING},
            on_unsupported="skip_member",
        )
        answer = llm.invoke(showing("image"))
        assert answer.response_metadata["moa"]["aggregator"]["model"] == BETA
        assert bodies(server, AGGREGATOR) == []


@pytest.mark.parametrize("how", ["invoke", "stream", "graph", "without layers"])
def test_with_no_aggregator_left_nothing_is_paid(how: str) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            reference_models=[ALPHA],
            aggregator=[AGGREGATOR, BETA],
            profiles=dict.fromkeys((AGGREGATOR, BETA), TAKES_NOTHING),
            on_unsupported="skip_member",
            fan_out="never" if how == "without layers" else "always",
        )
        asked: Any = showing("image")
        calls: dict[str, Callable[[], object]] = {
            "stream": lambda: list(llm.stream(asked)),
            "graph": lambda: llm.graph.invoke({"messages": asked}),
        }
        with pytest.raises(UnsupportedContentError, match=r"aggregator.*takes no image"):
            calls.get(how, lambda: llm.invoke(asked))()
        assert server.requests == []
        assert llm.invoke("What is a cat?").text == "A cat, I think."


def test_a_proposal_may_be_the_answer_where_no_aggregator_is_left() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            profiles={AGGREGATOR: TAKES_NOTHING},
            on_unsupported="skip_member",
            on_aggregator_failure="best_proposal",
        )
        answer = llm.invoke(showing("image"))
        assert answer.text in ("A cat.", "A dog.")
        assert bodies(server, AGGREGATOR) == []


LOOKED: list[BaseMessage] = [
    HumanMessage("Look."),
    AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
    ToolMessage([{"type": "text", "text": "seen"}, BLOCKS["image"]], tool_call_id="1", name="look"),
]


@tool
def look() -> str:
    """Look at it."""
    return ""


@pytest.mark.parametrize("fan_out", ["user_turns", "never"])
def test_who_is_not_asked_need_not_take_it(fan_out: str) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            fan_out=fan_out,
            fallbacks={BETA: ALPHA},
            profiles=dict.fromkeys((ALPHA, BETA), TAKES_NOTHING),
            on_unsupported="raise",
        )
        answer = llm.bind_tools([look]).invoke(LOOKED)
        assert answer.response_metadata["moa"]["fan_out"] == "alone"
        assert DATA in json.dumps(bodies(server, AGGREGATOR))


def test_a_fallback_that_is_not_needed_need_not_take_it() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            reference_models=[BETA],
            fallbacks={BETA: ALPHA},
            aggregator=[AGGREGATOR, ALPHA],
            profiles={ALPHA: TAKES_NOTHING},
            on_unsupported="raise",
        )
        assert llm.invoke(showing("image")).text == "A cat, I think."
        server.models = {**MODELS, BETA: says("", status=400)}
        with pytest.raises(UnsupportedContentError, match="takes no image"):
            llm.invoke(showing("image"))
        assert bodies(server, ALPHA) == []


@pytest.mark.parametrize("how", ["invoke", "stream"])
@pytest.mark.parametrize("blind", [ALPHA, AGGREGATOR])
def test_raising(blind: str, how: str) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, profiles={blind: TAKES_NOTHING}, on_unsupported="raise")
        with pytest.raises(UnsupportedContentError, match=r"takes no image.*on_unsupported"):
            list(llm.stream(showing("image"))) if how == "stream" else llm.invoke(showing("image"))
        assert server.requests == []
        with pytest.raises(UnsupportedContentError, match="takes no image"):
            llm.graph.invoke({"messages": showing("image")})
        assert server.requests == []
        assert llm.invoke("What is a cat?").text == "A cat, I think."


def test_the_error_is_exported() -> None:
    assert "UnsupportedContentError" in langchain_moa.__all__


# --- context filters ---

HIDDEN = "the patient's name is Mallory"
HISTORY = [
    SystemMessage("You are the ward's assistant; house code 4711."),
    HumanMessage("Who is in bed 3?"),
    AIMessage("", tool_calls=[{"name": "beds", "args": {"bed": 3}, "id": "1"}]),
    ToolMessage(HIDDEN, tool_call_id="1", name="beds"),
    AIMessage("A patient."),
    HumanMessage("How are they?"),
]


def without_tool_results(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [m for m in messages if not isinstance(m, ToolMessage)]


def without_system(messages: list[BaseMessage]) -> list[BaseMessage]:
    return [m for m in messages if not isinstance(m, SystemMessage)]


def proposers_only(name: str, messages: list[BaseMessage]) -> Sequence[BaseMessage]:
    return messages if name == AGGREGATOR else without_tool_results(messages)


@pytest.mark.parametrize(
    "given", [proposers_only, dict.fromkeys((ALPHA, BETA), without_tool_results)]
)
@pytest.mark.parametrize("placement", ["user", "system"])
def test_tool_results_are_hidden_from_proposers(given: Any, placement: str) -> None:
    with LoopbackServer(MODELS) as server:
        mixture(server, context_filter=given, placement=placement).invoke(HISTORY)
        for name in (ALPHA, BETA):
            assert "Mallory" not in json.dumps(bodies(server, name))
            (body,) = bodies(server, name)
            assert body["messages"][-1]["content"] == "How are they?"
        assert "Mallory" in json.dumps(bodies(server, AGGREGATOR))


def test_tool_results_are_hidden_in_the_midst_of_a_loop() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, context_filter=proposers_only, fan_out="always")
        llm.invoke(HISTORY[:4])
        for name in (ALPHA, BETA):
            (body,) = bodies(server, name)
            assert "Mallory" not in json.dumps(body)
            assert body["messages"][-1]["role"] == "user"  # as every provider wants it


def test_the_system_prompt_is_hidden_from_one() -> None:
    with LoopbackServer(MODELS) as server:
        mixture(server, context_filter={ALPHA: without_system}).invoke(HISTORY)
        assert "4711" not in json.dumps(bodies(server, ALPHA))
        assert "4711" in json.dumps(bodies(server, BETA))
        assert "4711" in json.dumps(bodies(server, AGGREGATOR))


def test_tools_are_told_to_those_who_see_no_system_prompt() -> None:
    """The list of tools is ours, and not the hidden prompt's."""

    @tool
    def beds(bed: int) -> str:
        """Who is in a bed."""
        return f"{bed}"

    with LoopbackServer(MODELS) as server:
        llm = mixture(server, context_filter={ALPHA: without_system})
        llm.bind_tools([beds]).invoke(HISTORY)
        sent = json.dumps(bodies(server, ALPHA))
        assert "4711" not in sent
        assert "- beds(bed): Who is in a bed." in sent


def test_the_callers_messages_are_the_ones_that_a_filter_gets() -> None:
    seen: dict[str, list[list[str]]] = {}

    def look(name: str, messages: list[BaseMessage]) -> list[BaseMessage]:
        seen.setdefault(name, []).append([m.type for m in messages])
        return messages

    with LoopbackServer(MODELS) as server:
        mixture(server, context_filter=look).invoke(HISTORY)
        assert seen.keys() == {ALPHA, BETA, AGGREGATOR}
        types = ["system", "human", "ai", "tool", "ai", "human"]
        assert all(kinds == types for calls in seen.values() for kinds in calls)


def test_a_filter_that_raises_sends_nothing() -> None:
    def broken(_: list[BaseMessage]) -> list[BaseMessage]:
        message = "no idea"
        raise ZeroDivisionError(message)

    with LoopbackServer(MODELS) as server:
        answer = mixture(server, context_filter={ALPHA: broken}).invoke(HISTORY)
        first, second = answer.response_metadata["moa"]["proposals"]
        assert (first["status"], second["status"]) == ("failed", "ok")
        assert "ZeroDivisionError: no idea" in first["error"]
        assert (first["attempts"], bodies(server, ALPHA)) == (0, [])
        assert answer.text == "A cat, I think."


async def test_a_filter_that_raises_for_the_aggregator() -> None:
    def broken(_: list[BaseMessage]) -> list[BaseMessage]:
        raise ZeroDivisionError

    with LoopbackServer(MODELS) as server:
        llm = mixture(server, context_filter={AGGREGATOR: broken})
        with pytest.raises(AggregationError, match="ZeroDivisionError"):
            llm.invoke(HISTORY)
        with pytest.raises(AggregationError, match="ZeroDivisionError"):
            await llm.ainvoke(HISTORY)
        assert bodies(server, AGGREGATOR) == []


@pytest.mark.parametrize("policy", ["raise", "skip_member"])
def test_a_filter_that_raises_is_its_members_failure(policy: str) -> None:
    """Whatever else is checked with it beforehand."""

    def broken(_: list[BaseMessage]) -> list[BaseMessage]:
        raise ZeroDivisionError

    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server, context_filter=dict.fromkeys((ALPHA, AGGREGATOR), broken), on_unsupported=policy
        )
        with pytest.raises(AggregationError, match="ZeroDivisionError") as caught:
            llm.invoke(HISTORY)
        assert [p.status for p in caught.value.proposals] == ["failed", "ok"]


def only_for_alpha(name: str, messages: list[BaseMessage]) -> Sequence[BaseMessage]:
    return without_system(messages) if name == ALPHA else messages


def only_for_the_aggregator(name: str, messages: list[BaseMessage]) -> Sequence[BaseMessage]:
    return without_system(messages) if name == AGGREGATOR else messages


@pytest.mark.parametrize("given", [{ALPHA: without_system}, only_for_alpha])
def test_a_fallback_sees_no_more_than_the_member_that_it_stands_in_for(given: Any) -> None:
    with LoopbackServer({**MODELS, ALPHA: says("", status=400)}) as server:
        llm = mixture(
            server, reference_models=[ALPHA, GAMMA], fallbacks={ALPHA: BETA}, context_filter=given
        )
        server.models[GAMMA] = says("Fine.")
        llm.invoke(HISTORY)
        assert "4711" not in json.dumps([*bodies(server, ALPHA), *bodies(server, BETA)])
        assert "4711" in json.dumps(bodies(server, GAMMA))
        assert len(bodies(server, BETA)) == 1


@pytest.mark.parametrize("given", [{AGGREGATOR: without_system}, only_for_the_aggregator])
def test_nor_does_the_next_aggregator(given: Any) -> None:
    with LoopbackServer({**MODELS, AGGREGATOR: says("", status=400)}) as server:
        llm = mixture(
            server, reference_models=[ALPHA], aggregator=[AGGREGATOR, BETA], context_filter=given
        )
        assert llm.invoke(HISTORY).text == "A dog."
        assert "4711" not in json.dumps([*bodies(server, AGGREGATOR), *bodies(server, BETA)])


def test_a_fallbacks_own_filter_counts_too() -> None:
    filters = {ALPHA: without_system, BETA: without_tool_results}
    with LoopbackServer({**MODELS, ALPHA: says("", status=400)}) as server:
        llm = mixture(
            server, reference_models=[ALPHA], fallbacks={ALPHA: BETA}, context_filter=filters
        )
        llm.invoke(HISTORY)
        (body,) = bodies(server, BETA)
        assert "4711" not in json.dumps(body)
        assert "Mallory" not in json.dumps(body)


def test_a_filter_may_change_what_it_is_given() -> None:
    def redacting(messages: list[BaseMessage]) -> list[BaseMessage]:
        for message in messages:
            if isinstance(message.content, list):
                message.content[0]["text"] = "(redacted)"  # type: ignore[index]
            else:
                message.content = "(redacted)"
            if isinstance(message, AIMessage) and message.tool_calls:
                message.tool_calls[0]["args"]["bed"] = 0
        return messages

    lock = threading.Lock()  # what a tool keeps for the program can't always be copied
    history = [
        *HISTORY[:2],
        AIMessage("", tool_calls=[{"name": "beds", "args": {"bed": 3}, "id": "1"}]),
        ToolMessage(HIDDEN, tool_call_id="1", name="beds", artifact=lock),
        HumanMessage([{"type": "text", "text": "How are they?"}]),
    ]
    before = [message.model_dump(exclude={"artifact"}) for message in history]
    with LoopbackServer(MODELS) as server:
        mixture(server, context_filter={ALPHA: redacting}).invoke(history)
        assert [message.model_dump(exclude={"artifact"}) for message in history] == before
        assert "Mallory" not in json.dumps(bodies(server, ALPHA))
        for name in (BETA, AGGREGATOR):
            assert "Mallory" in json.dumps(bodies(server, name))
            assert "How are they?" in json.dumps(bodies(server, name))


def test_a_hidden_picture_is_not_left_out() -> None:
    """What a member may not see anyway is no reason to skip it."""

    def texts(messages: list[BaseMessage]) -> list[BaseMessage]:
        return [HumanMessage(message.text) for message in messages]

    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            context_filter={ALPHA: texts},
            profiles={ALPHA: TAKES_NOTHING},
            on_unsupported="skip_member",
        )
        answer = llm.invoke(showing("image"))
        assert left_out(answer) == [[], [], []]
        assert bodies(server, ALPHA)[0]["messages"][0]["content"] == "What is this?"


def test_what_is_hidden_takes_no_room() -> None:
    """The record must not speak of shortened proposals where none was."""
    long = [HumanMessage("word " * 3000), AIMessage("Yes?"), HumanMessage("Go.")]
    with LoopbackServer(MODELS) as server:
        llm = mixture(
            server,
            context_filter={AGGREGATOR: lambda messages: messages[-1:]},
            max_input_tokens={AGGREGATOR: 2000},
        )
        answer = llm.invoke(long)
        assert "A dog." in json.dumps(bodies(server, AGGREGATOR))
        assert left_out(answer)[-1] == []


async def slowly(_: str, messages: list[BaseMessage]) -> list[BaseMessage]:
    return messages


# --- the profile ---


def test_profile_leaves_room_for_proposals() -> None:
    known: Any = {
        ALPHA: {"max_input_tokens": 8000},
        BETA: {"max_input_tokens": 32000},
        AGGREGATOR: {
            "max_input_tokens": 6000,
            "max_output_tokens": 4000,
            "tool_calling": True,
            "image_inputs": True,
        },
    }
    with LoopbackServer(MODELS) as server:
        profile = mixture(server, profiles=known).profile
        assert profile is not None
        assert 3000 < profile["max_input_tokens"] < 6000 * 0.9 - 2 * 1000
        assert (profile["max_output_tokens"], profile["tool_calling"]) == (4000, True)
        limited = mixture(server, profiles=known, proposal_max_tokens=500, max_tokens=99).profile
        assert limited is not None
        assert limited["max_input_tokens"] == profile["max_input_tokens"] + 2 * 500
        assert limited["max_output_tokens"] == 99
        assert not mixture(server).profile


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"on_unsupported": "ignore"}, "on_unsupported='ignore' is unknown"),
        ({"context_filter": 3}, "context_filter=3 is no filter"),
        ({"context_filter": slowly}, "context_filter=<function> is no filter.*not an async one"),
        ({"context_filter": {ALPHA: slowly}}, "context_filter=<dict> is no filter"),
        ({"context_filter": {ALPHA: partial(slowly, "")}}, "context_filter=<dict> is no filter"),
        ({"context_filter": {"acme/nobody": without_system}}, "acme/nobody"),
        ({"profiles": {"acme/nobody": {}}}, "acme/nobody"),
        ({"profiles": {ALPHA: 3}}, "profiles="),
        (
            {"profiles": {ALPHA: {"images_input": False}}},
            f"profiles\\['{ALPHA}'\\]: 'images_input' is not known.*mean image_inputs",
        ),
        ({"profiles": {ALPHA: {"qux": 1}}}, "'qux' is not known.*some of: .*max_input_tokens"),
        ({"profiles": {ALPHA: {1: 1}}}, "1 is not known"),
    ],
)
def test_wrong_settings(fields: dict[str, Any], named: str) -> None:
    with LoopbackServer(MODELS) as server, pytest.raises(MoAConfigurationError, match=named):
        mixture(server, **fields)
