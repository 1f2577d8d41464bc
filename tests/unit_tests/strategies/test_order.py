"""The order in which readers see proposals."""

from __future__ import annotations

from collections import Counter

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_moa import MoAChatModel
from langchain_moa.strategies.order import shuffled
from langchain_moa.testing import ScriptedChatModel
from langchain_moa.types import Proposal
from tests.strategies import shown_to

DRAFTS = [Proposal(layer=1, index=place, model="m", text=text) for place, text in enumerate("abcd")]


def order(*messages: BaseMessage) -> list[int]:
    return [p.index for p in shuffled(DRAFTS, messages)]


def test_no_place_is_anybodys() -> None:
    first = Counter(order(HumanMessage(f"Question {number}?"))[0] for number in range(400))
    assert sorted(first) == [0, 1, 2, 3]
    assert min(first.values()) > 60  # 100 of each are to be expected


def test_equal_calls_have_one_order_and_so_have_the_steps_of_a_loop() -> None:
    asked = HumanMessage([{"type": "text", "text": "Which?"}])
    call = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
    assert order(asked) == order(asked) == order(SystemMessage("Be brief."), asked, call)
    assert sorted(order(asked)) == [0, 1, 2, 3]


def test_all_readers_of_a_layer_see_one_order_and_the_record_keeps_places() -> None:
    members = [ScriptedChatModel.saying(text, model=text) for text in "abcd"]
    aggregator = ScriptedChatModel.saying("Done.")
    llm = MoAChatModel(reference_models=members, aggregator=aggregator, layers=3)
    record = llm.invoke("Which?").response_metadata["moa"]
    assert [p["model"] for p in record["proposals"]] == [*"abcd", *"abcd"]
    read = {
        tuple(shown_to({"messages": [{"content": messages[-1].text}]}).values())
        for model in members
        for messages, _ in model.calls[-1:]
    }
    assert len(read) == 1
    plain = llm.replace(shuffle=False)
    plain.invoke("Which?")
    messages, _ = aggregator.calls[-1]
    assert "".join(shown_to({"messages": [{"content": messages[-1].text}]}).values()) == "abcd"
