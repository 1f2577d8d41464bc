"""Proposals of a user's turn are remembered for its tool turns, and for nothing else."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_moa import MoAChatModel, Proposal
from langchain_moa.proposals.memory import _MOST, ProposalMemory
from langchain_moa.testing import ScriptedChatModel
from langchain_moa.types import ProposalStatus

USAGE = {"m": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}
USER = HumanMessage("2 + 2?")
CALLED = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 2}, "id": "1"}])
RESULT = ToolMessage("4", tool_call_id="1")


def proposal(status: ProposalStatus = "ok", text: str = "4") -> Proposal:
    return Proposal(
        layer=1,
        index=0,
        model="m",
        status=status,
        seconds=1.5,
        attempts=2,
        usage_by_model=USAGE,  # type: ignore[arg-type]
        unknown=["m"],
        left_out=["image"],
        text=text,
    )


def kept(*messages: BaseMessage) -> ProposalMemory:
    memory = ProposalMemory()
    memory.keep("a", messages, [proposal()])
    return memory


def test_later_turns_find_them_and_pay_nothing() -> None:
    (known,) = kept(USER).recall("a", [USER, CALLED, RESULT])
    assert (known.status, known.text, known.usable) == ("reused", "4", True)
    assert (known.attempts, known.seconds, known.usage_by_model, known.unknown) == (0, 0, {}, [])
    assert known.left_out == ["image"]


@pytest.mark.parametrize("status", ["failed", "cut", "outlier", "over_budget"])
def test_what_was_not_usable_still_is_not(status: ProposalStatus) -> None:
    memory = ProposalMemory()
    memory.keep("a", [USER], [proposal(status), proposal()])
    known, _ = memory.recall("a", [USER])
    assert (known.status, known.usable, known.usage_by_model) == (status, False, {})


def test_where_none_was_usable_nothing_is_found() -> None:
    memory = ProposalMemory()
    memory.keep("a", [USER], [proposal("failed"), proposal("cut")])
    assert memory.recall("a", [USER]) == []


NOON, LATER = SystemMessage("It is noon."), SystemMessage("It is one o'clock.")


def test_in_a_thread_the_system_prompt_may_change() -> None:
    memory = ProposalMemory()
    memory.keep("a", [NOON, USER], [proposal()], ("1",))
    assert memory.recall("a", [LATER, USER, CALLED, RESULT], ("1",))
    assert memory.recall("a", [USER, CALLED, RESULT], ("1",))


def test_in_a_thread_agents_at_work_at_once_find_their_own() -> None:
    """Each is asked the same, has a system prompt of its own, and is a tool of one agent."""
    memory, prompts = ProposalMemory(), [SystemMessage("You find."), SystemMessage("You write.")]
    for prompt in prompts:
        memory.keep("a", [prompt, USER], [proposal(text=prompt.text)], ("1", "tools"))
    found = [
        memory.recall("a", [prompt, USER, CALLED, RESULT], ("1", "tools")) for prompt in prompts
    ]
    assert [[one.text for one in known] for known in found] == [["You find."], ["You write."]]


@pytest.mark.parametrize("thread", [(), ("2",), ("1", "bob")])
def test_another_thread_finds_none(thread: tuple[str, ...]) -> None:
    memory = ProposalMemory()
    memory.keep("a", [USER], [proposal()], ("1",))
    assert memory.recall("a", [USER], thread) == []


def test_without_a_thread_the_system_prompt_tells_conversations_apart() -> None:
    memory = kept(NOON, USER)
    assert memory.recall("a", [NOON, USER])
    assert memory.recall("a", [LATER, USER]) == []


def test_in_a_thread_all_else_still_counts() -> None:
    memory = ProposalMemory()
    memory.keep("a", [NOON, USER], [proposal()], ("1",))
    assert memory.recall("a", [NOON, USER, CALLED, RESULT, USER], ("1",)) == []
    assert memory.recall("b", [NOON, USER], ("1",)) == []
    assert memory.recall("a", [NOON], ("1",)) == []


def test_a_cached_one_is_reused() -> None:
    memory = ProposalMemory()
    memory.keep("a", [USER], [proposal("cached")])
    assert memory.recall("a", [USER])[0].status == "reused"


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("3 + 3?")],
        [SystemMessage("s"), USER],
        [USER, CALLED, RESULT, HumanMessage("And?")],
        [USER, AIMessage("4"), USER],
        [],
    ],
)
def test_another_conversation_finds_none(messages: list[BaseMessage]) -> None:
    assert kept(USER).recall("a", messages) == []


def test_another_mixture_finds_none() -> None:
    assert kept(USER).recall("b", [USER]) == []


def test_calls_and_results_of_earlier_turns_count() -> None:
    memory = kept(USER, CALLED, RESULT, HumanMessage("And?"))
    other = AIMessage("", tool_calls=[{"name": "add", "args": {"a": 3}, "id": "1"}])
    assert memory.recall("a", [USER, CALLED, RESULT, HumanMessage("And?")])
    assert not memory.recall("a", [USER, other, RESULT, HumanMessage("And?")])
    wrong = ToolMessage("5", tool_call_id="1")
    assert not memory.recall("a", [USER, CALLED, wrong, HumanMessage("And?")])


def test_ids_of_messages_do_not_count() -> None:
    assert kept(HumanMessage("2 + 2?", id="x")).recall("a", [HumanMessage("2 + 2?", id="y")])


def test_conversations_without_a_user_are_told_apart() -> None:
    memory = kept(SystemMessage("You serve Alice."))
    assert memory.recall("a", [SystemMessage("You serve Bob."), CALLED, RESULT]) == []


def test_the_oldest_are_forgotten() -> None:
    memory = kept(HumanMessage("first"))
    for number in range(_MOST):
        memory.keep("a", [HumanMessage(f"{number}")], [proposal()])
    assert memory.recall("a", [HumanMessage("first")]) == []
    assert all(memory.recall("a", [HumanMessage(f"{number}")]) for number in range(_MOST))


def test_a_long_loop_keeps_its_proposals_while_others_come_and_go() -> None:
    memory = kept(USER)
    for number in range(2 * _MOST):
        memory.keep("a", [HumanMessage(f"{number}")], [proposal()])
        assert memory.recall("a", [USER]), number


def test_asked_again_the_newest_count() -> None:
    memory = kept(USER)
    memory.keep("a", [USER], [proposal(text="new")])
    assert [p.text for p in memory.recall("a", [USER])] == ["new"]


def test_what_was_kept_is_not_changed_by_its_owner() -> None:
    memory, own = ProposalMemory(), [proposal()]
    memory.keep("a", [USER], own)
    own.clear()
    assert len(memory.recall("a", [USER])) == 1


def test_many_threads() -> None:
    memory = ProposalMemory()

    def use(number: int) -> int:
        messages = [HumanMessage(f"{number % 32}")]
        memory.keep("a", messages, [proposal(text=f"{number % 32}")])
        return sum(p.text == f"{number % 32}" for p in memory.recall("a", messages))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(2000))) == {1}


def _echo(messages: list[BaseMessage]) -> str:
    return messages[-1].text


def test_a_mixture_can_still_be_copied_and_pickled() -> None:
    model = ScriptedChatModel(script=_echo)
    llm = MoAChatModel(reference_models=[model], aggregator=model)
    assert copy.deepcopy(model).invoke("a").text == "a"
    assert copy.deepcopy(llm).invoke("a").text
    assert pickle.loads(pickle.dumps(llm)).invoke("a").text  # noqa: S301 - our own bytes
