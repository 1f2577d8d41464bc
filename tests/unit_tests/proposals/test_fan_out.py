"""The fan-out gate: which turns ask the reference models."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.proposals.fan_out import checked_fan_out, fans_out
from langchain_moa.testing import ScriptedChatModel


def after(tool_turns: int, *before: BaseMessage) -> list[BaseMessage]:
    """A conversation some tool turns after a user's message."""
    called = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
    turns = [called, ToolMessage("4", tool_call_id="1")] * tool_turns
    return [*before, HumanMessage("2 + 2?"), *turns]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("always", [True] * 5),
        ("never", [False] * 5),
        ("user_turns", [True, False, False, False, False]),
        ("every_1", [True] * 5),
        ("every_2", [True, False, True, False, True]),
        ("every_3", [True, False, False, True, False]),
        ("every_10", [True, False, False, False, False]),
    ],
)
@pytest.mark.parametrize("before", [[], [SystemMessage("s")], after(3)])
def test_each_setting(setting: str, expected: list[bool], before: list[BaseMessage]) -> None:
    assert [fans_out(setting, after(n, *before)) for n in range(5)] == expected


HANDOFF: list[BaseMessage] = [
    AIMessage("", tool_calls=[{"name": "transfer_to_bob", "args": {}, "id": "9"}]),
    ToolMessage("Transferred.", tool_call_id="9"),
]
BACK: list[BaseMessage] = [
    AIMessage("It is 4."),
    AIMessage("", tool_calls=[{"name": "transfer_back", "args": {}, "id": "8"}]),
    ToolMessage("Back.", tool_call_id="8"),
]
OWN = after(1)[1:]


@pytest.mark.parametrize(
    ("since_user", "tools", "expected"),
    [
        (HANDOFF, {"add"}, True),
        ([*HANDOFF, *OWN], {"add"}, False),
        ([*OWN, *HANDOFF], {"add"}, False),  # as far as it can tell, it is its own loop
        ([*HANDOFF, *BACK], {"transfer_to_bob"}, False),  # the supervisor goes on
        ([*HANDOFF, *BACK, *HANDOFF], {"add"}, True),
        (HANDOFF, (), True),
        (HANDOFF, None, False),
        (OWN, (), True),
        (OWN, {"add", "search"}, False),
    ],
)
@pytest.mark.parametrize("before", [[], after(2)])
def test_results_of_other_agents_tools_are_a_users_turn(
    since_user: list[BaseMessage], tools: Any, before: list[BaseMessage], *, expected: bool
) -> None:
    messages = [*before, HumanMessage("2 + 2?"), *since_user]
    assert fans_out("user_turns", messages, tools) is expected


def test_every_nth_of_its_own_steps() -> None:
    turn = [HumanMessage("2 + 2?"), *HANDOFF]
    steps = [[*turn, *OWN * n] for n in range(5)]
    assert [fans_out("every_2", step, {"add"}) for step in steps] == [True, False] * 2 + [True]
    assert [fans_out("every_2", step) for step in steps] == [False, True] * 2 + [False]


def test_a_call_that_could_not_be_read_is_one() -> None:
    broken: Any = {"name": "add", "args": "{", "id": "1", "error": "no JSON"}
    called = AIMessage("", invalid_tool_calls=[broken])
    messages = [HumanMessage("2 + 2?"), called, ToolMessage("no JSON", tool_call_id="1")]
    assert fans_out("user_turns", messages, {"add"}) is False
    assert fans_out("user_turns", messages, {"search"}) is True


@pytest.mark.parametrize(
    "messages",
    [[], [SystemMessage("s")], [AIMessage("a")], [ChatMessage(content="c", role="user")]],
)
def test_what_ends_on_no_tool_result_is_a_users_turn(messages: list[BaseMessage]) -> None:
    assert fans_out("user_turns", messages) is True


def test_parallel_results_are_one_turn() -> None:
    conversation = [*after(1), ToolMessage("5", tool_call_id="2")]
    assert fans_out("every_2", conversation) is False
    assert fans_out("user_turns", conversation) is False


def test_without_a_user_all_answers_count() -> None:
    assert fans_out("every_2", [SystemMessage("s")]) is True
    assert fans_out("every_2", [SystemMessage("s"), AIMessage("a")]) is False


def test_a_function_gets_its_own_list() -> None:
    conversation = after(1)

    def clears(messages: list[BaseMessage]) -> bool:
        messages.clear()
        return False

    assert fans_out(clears, conversation) is False
    assert conversation == after(1)
    truthy: Any = lambda _: "yes"  # noqa: E731 - callers without a type checker
    assert fans_out(truthy, conversation) is True


@pytest.mark.parametrize("setting", ["always", "user_turns", "never", "every_1", "every_12"])
def test_settings_that_there_are(setting: str) -> None:
    assert checked_fan_out(setting) == setting


async def _async(_: object) -> bool:
    return True


class _AsyncCall:
    async def __call__(self, _: object) -> bool:
        return False


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("every_0", "'every_0'"),
        ("every_", "'every_'"),
        ("every_-1", "'every_-1'"),
        ("every_n", "'every_n'"),
        ("every_2\n", "every_2"),
        ("Always", "'Always'"),
        (2, "2"),
        (None, "fan_out=None"),
        (["always"], "<list>"),
        (_async, "<function>"),
        (_AsyncCall(), "<_AsyncCall>"),
        (partial(_async), "<partial>"),
    ],
)
def test_settings_that_there_are_not(given: Any, shown: str) -> None:
    model = ScriptedChatModel.saying("a")
    with pytest.raises(MoAConfigurationError, match="fan_out=") as caught:
        MoAChatModel(reference_models=[model], aggregator=model, fan_out=given)
    assert shown in str(caught.value)
    assert "user_turns" in str(caught.value)
