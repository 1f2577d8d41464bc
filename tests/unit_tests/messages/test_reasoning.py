"""Reasoning is found in the tags of every family of models, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from langchain_moa.messages.reasoning import ReasoningAhead, strip_reasoning, tagged_reasoning
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says

PAIRS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<ifm|think_fast>", "</ifm|think_fast>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<|think:start|>", "<|think:end|>"),
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    ("[unused16]", "[unused17]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<thought>", "</thought>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
]


K3_END = "<|close|>response<|sep|><|close|>message<|sep|>"


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_reasoning_in_any_tags_is_cut(opening: str, closing: str) -> None:
    assert strip_reasoning(f"{opening}想\nmore{closing}答") == "答"
    assert strip_reasoning(f"a{opening}想{closing}b{opening}想{closing}c") == "abc"
    if closing != "<|end|>":  # with which other models' answers end
        assert strip_reasoning(f"the opening was in the prompt{closing}答") == "答"
    assert strip_reasoning(f"答\n{opening}and then") == "答"
    assert strip_reasoning(f"{opening}only this") == ""
    assert strip_reasoning(f"It writes `{opening}` then.") == f"It writes `{opening}` then."


@pytest.mark.parametrize(
    "text",
    [
        "<think>想</think><answer>答</answer>",
        "<think>\n想\n</think>\n<answer>\n答\n</answer>",
        "<think>想</think><answer>答",
        "<|START_THINKING|>想<|END_THINKING|><|START_RESPONSE|>答<|END_RESPONSE|>",
        "<|channel|>analysis<|message|>想<|end|><|start|>assistant<|channel|>final<|message|>答",
        "<think>想</think>\n\n<response>\n答\n</response>\n",
        "<reasoning>想</reasoning>\n<answer>答</answer>",
        "<Thought>想</Thought><Output>答</Output>",
        "<|begin_of_thought|>想<|end_of_thought|><|begin_of_solution|>答<|end_of_solution|>",
        "想<|close|>think<|sep|><|open|>response<|sep|>答<|close|>response<|sep|>",
        f"想<|close|>think<|sep|><|open|>response<|sep|>答{K3_END}",
        "Here are my reasoning steps:\n想\n[BEGIN FINAL RESPONSE]\n答\n[END FINAL RESPONSE]",
        "想\n[BEGIN FINAL RESPONSE]\n答",
        "Here is my thought process: 想 Here is my response: 答",
        "Here's my thought process: 想\nHere's my response:\n答",
    ],
)
def test_tags_around_the_answer_go_with_the_reasoning(text: str) -> None:
    assert strip_reasoning(text) == "答"


@pytest.mark.parametrize(
    "text",
    [
        "I had a thought: think!",
        "<answer>42</answer>",
        "[thinking] <thoughts> <|end|",
        "x <think",
        "A list: [THINKING], ◁, ▷",
        "Paris.<|end|>",
        "Here is my response: Paris.",
        "Here is my thought process: first the capital, then the river.",
        "As you asked. Here is my thought process: 1. Here is my response: Paris.",
        "<response>42</response>",
    ],
)
def test_what_is_no_reasoning_stays(text: str) -> None:
    assert strip_reasoning(text) == text


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_reasoning_that_comes_in_pieces_is_not_yet_an_answer(opening: str, closing: str) -> None:
    text = f"{opening}想{closing}答"
    assert tagged_reasoning(text) == "想"
    ahead = ReasoningAhead()
    assert [ahead.is_past(character) for character in text] == [*[False] * (len(text) - 1), True]


def test_the_aggregator_reads_no_reasoning() -> None:
    replies = {f"me/{place}": f"{a}hidden{b}Blue." for place, (a, b) in enumerate(PAIRS)}
    models = {name: says(text) for name, text in replies.items()}
    with LoopbackServer({**models, AGGREGATOR: says("Blue.")}) as server:
        mixture(server, reference_models=list(replies)).invoke("Which colour?")
        (body,) = bodies(server, AGGREGATOR)
    read = str(body["messages"])
    assert read.count("Blue.") == len(PAIRS)
    assert "hidden" not in read


def test_reasoning_that_never_ends_is_no_proposal() -> None:
    models = {ALPHA: says("<mm:think>only"), BETA: says("Blue."), AGGREGATOR: says("Blue.")}
    with LoopbackServer(models) as server:
        answer = mixture(server).invoke("Which colour?")
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses == ["reasoning_only", "ok"]
