"""How proposals get into a conversation, and how tool turns are told as text."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call
from langchain_core.prompts import PromptTemplate

from langchain_moa import MoAConfigurationError
from langchain_moa.messages.for_proposers import history_for_proposers, without_tool_turns
from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.proposals.fences import Beside, fence, fence_key, without_tags
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT, parse_prompt, with_proposals
from langchain_moa.types import Placement

TEMPLATE = parse_prompt("Drafts:\n{proposals}")
FENCED = re.compile(
    r'<proposal-(?P<key>[0-9a-f]+) number="(?P<number>\d+)">\n(?P<text>.*?)\n</proposal-(?P=key)>',
    re.DOTALL,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("4", "4"),
        ("  4\n", "4"),
        ("", ""),
        ("<think>easy</think>4", "4"),
        ("<thinking>easy</thinking>\n\n4", "4"),
        ("<THINK>easy</Think>4", "4"),
        ("<think>two\nlines</think>4", "4"),
        ("<think>a</think>4<think>b</think>2", "42"),
        ("4\n<think>and then", "4"),
        ("4\n<THINK>and then", "4"),
        ("Use the <think> tag", "Use the <think> tag"),
        ("I write `</think>` here", "I write `</think>` here"),
        ("<think>only this", ""),
        ("the opening tag was in the prompt</think>4", "4"),
        ("the opening tag was in the prompt</THINKING>4", "4"),
        ("I think so", "I think so"),
    ],
)
def test_reasoning_is_cut(text: str, answer: str) -> None:
    assert strip_reasoning(text) == answer


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("no variable", ["'no variable'", "none"]),
        ("{{proposals}}", ["'{{proposals}}'", "none"]),
        ("{draft}", ["'{draft}'", "draft"]),
        ("{proposals} for {user}", ["proposals, user"]),
        ("{proposals", ["'{proposals'", "is not a template"]),
        ("{proposals} }", ["is not a template"]),
        ("{proposals.__class__}", ["is not a template"]),
        (PromptTemplate.from_template("{question}"), ["question"]),
        (7, ["is a int"]),
        (None, ["is a NoneType"]),
    ],
)
def test_a_wrong_prompt_is_named_with_its_mend(prompt: Any, told: list[str]) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        parse_prompt(prompt)
    for part in ["aggregator_prompt", *told, "write {proposals} exactly where"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Read {proposals}!", "Read X!"),
        ("{{json}} {proposals}", "{json} X"),
        (PromptTemplate.from_template("{proposals}."), "X."),
        (PromptTemplate.from_template("{who}: {proposals}").partial(who="me"), "me: X"),
    ],
)
def test_prompts_are_filled(prompt: Any, text: str) -> None:
    assert parse_prompt(prompt).format(proposals="X") == text


def test_the_default_prompt_ends_on_the_language_of_the_answer() -> None:
    before, after = parse_prompt(AGGREGATOR_PROMPT).format(proposals="\n\nX\n\n").split("X")
    assert before.endswith("\n\n")
    assert after.strip().startswith("Write in the language of the user's latest message, unless")


ANY_TEXT = st.text() | st.lists(
    st.sampled_from(
        ["<", "/", ">", " ", "\n", "proposal", "PROPOSAL-", 'number="1"', "</proposal", "{x}", "é"]
    )
).map("".join)


@given(st.lists(ANY_TEXT.filter(bool), min_size=1, max_size=6))
def test_no_text_closes_or_forges_a_fence(texts: list[str]) -> None:
    fenced = fence(texts)
    key = re.match(r"<proposal-([0-9a-f]+) ", fenced)
    assert key is not None
    assert fenced.count(key.group(1)) == 2 * len(texts)
    assert len(re.findall(r"<\s*/?\s*proposal", fenced, re.IGNORECASE)) == 2 * len(texts)
    found = list(FENCED.finditer(fenced))
    assert [int(match["number"]) for match in found] == list(range(1, len(texts) + 1))
    read = [match["text"].replace("&lt;", "<") for match in found]
    assert read == [text.replace("&lt;", "<") for text in texts]


def test_what_stands_beside_is_fenced_apart_and_numbers_stay() -> None:
    beside = Beside("## consensus\n- </proposal-", ["because", "", "for"])
    fenced = fence(["one", "", "three"], beside)
    key = fence_key(["one", "", "three"], beside)
    tags = re.findall(rf"<proposal-{key} ([^>]+)>", fenced)
    assert tags == ['number="1"', 'number="3"', 'reasoning="1"', 'reasoning="3"', "analysis"]
    assert "- &lt;/proposal-\n</proposal-" in fenced
    assert key != fence_key(["one", "", "three"])
    assert without_tags(fenced, key).count("proposal-") == 1  # what only looked like a tag


def test_a_copied_fence_closes_nothing() -> None:
    stolen = fence(["one", "two"])
    assert len(FENCED.findall(fence([stolen, "two"]))) == 2


def test_ordinary_markup_is_left_alone() -> None:
    assert "<b>bold</b> 1 < 2" in fence(["<b>bold</b> 1 < 2"])


def test_equal_proposals_make_equal_requests() -> None:
    assert fence(["a", "b"]) == fence(["a", "b"])
    assert fence(["a", "b"]) != fence(["b", "a"])


TEXT = TEMPLATE.format(proposals=fence(["one", "two"]))
GO_ON = ("human", "Write the next message of this conversation.")
BLOCK = {"type": "text", "text": TEXT}
IMAGE = {"type": "image", "url": "https://example.org/a.png"}
CALL = ToolCall(name="look_up", args={"word": "naïve", "n": 2}, id="1", type="tool_call")
OTHER_CALL = ToolCall(name="add", args={}, id="2", type="tool_call")
RESULT = ToolMessage("found", tool_call_id="1", name="look_up")
CALLING = AIMessage("", tool_calls=[CALL])
BAD_CALL: dict[str, Any] = {
    "type": "invalid_tool_call",
    "name": "look_up",
    "args": '{"word": ',
    "id": "1",
    "error": "malformed",
}

Turns = list[BaseMessage]
Shape = list[tuple[str, Any]]


def shape(messages: Turns) -> Shape:
    return [(message.type, message.content) for message in messages]


@pytest.mark.parametrize(
    ("placement", "messages", "expected"),
    [
        ("user", [HumanMessage("hi")], [("human", f"hi\n\n{TEXT}")]),
        ("user", [HumanMessage("")], [("human", TEXT)]),
        ("user", [HumanMessage([IMAGE])], [("human", [IMAGE, BLOCK])]),
        (
            "user",
            [HumanMessage("a"), AIMessage("b"), HumanMessage("c")],
            [("human", "a"), ("ai", "b"), ("human", f"c\n\n{TEXT}")],
        ),
        (
            "user",
            [HumanMessage("a"), AIMessage("b")],
            [("human", "a"), ("ai", "b"), ("human", TEXT)],
        ),
        (
            "user",
            [HumanMessage("a"), CALLING, RESULT],
            [("human", f"a\n\n{TEXT}"), ("ai", ""), ("tool", "found")],
        ),
        (
            "user",
            [CALLING, RESULT],
            [("ai", ""), ("tool", "found"), ("human", TEXT)],
        ),
        ("user", [SystemMessage("s")], [("system", "s"), ("human", TEXT)]),
        ("user", [], [("human", TEXT)]),
        ("system", [HumanMessage("hi")], [("system", TEXT), ("human", "hi")]),
        (
            "system",
            [SystemMessage("s"), HumanMessage("hi")],
            [("system", f"s\n\n{TEXT}"), ("human", "hi")],
        ),
        (
            "system",
            [SystemMessage([{"type": "text", "text": "s"}]), HumanMessage("hi")],
            [("system", [{"type": "text", "text": "s"}, BLOCK]), ("human", "hi")],
        ),
        (
            "system",
            [HumanMessage("a"), CALLING, RESULT],
            [("system", TEXT), ("human", "a"), ("ai", ""), ("tool", "found")],
        ),
        ("system", [SystemMessage("s")], [("system", f"s\n\n{TEXT}"), GO_ON]),
        ("system", [], [("system", TEXT), GO_ON]),
    ],
)
def test_where_proposals_go(placement: Placement, messages: Turns, expected: Shape) -> None:
    before = deepcopy(messages)
    placed = with_proposals(messages, ["one", "two"], TEMPLATE, placement)
    assert shape(placed) == expected
    assert messages == before


@pytest.mark.parametrize("placement", ["user", "system"])
def test_without_proposals_the_conversation_stays(placement: Placement) -> None:
    messages: Turns = [SystemMessage("s"), HumanMessage("hi")]
    placed = with_proposals(messages, [], TEMPLATE, placement)
    assert placed == messages
    assert placed is not messages


def test_what_else_a_message_holds_is_kept() -> None:
    message = HumanMessage("hi", id="7", name="ann", additional_kwargs={"cache": True})
    (placed,) = with_proposals([message], ["one"], TEMPLATE, "user")
    assert (placed.id, placed.name, placed.additional_kwargs) == ("7", "ann", {"cache": True})


TOLD_CALL = '[called look_up with {"word": "naïve", "n": 2}]'


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([CALLING], [("ai", TOLD_CALL)]),
        ([AIMessage("wait", tool_calls=[CALL])], [("ai", f"wait\n{TOLD_CALL}")]),
        (
            [AIMessage("", tool_calls=[CALL, OTHER_CALL])],
            [("ai", f"{TOLD_CALL}\n[called add with {{}}]")],
        ),
        (
            [AIMessage("", invalid_tool_calls=[BAD_CALL])],
            [("ai", '[called look_up with {"word": ]')],
        ),
        ([RESULT], [("human", "[look_up returned]\nfound")]),
        ([ToolMessage("found", tool_call_id="1")], [("human", "[tool returned]\nfound")]),
        (
            [ToolMessage("no net", tool_call_id="1", name="look_up", status="error")],
            [("human", "[look_up failed]\nno net")],
        ),
        (
            [ToolMessage([{"type": "text", "text": "日本"}], tool_call_id="1", name="t")],
            [("human", "[t returned]\n日本")],
        ),
        (
            [
                SystemMessage("s"),
                HumanMessage("q"),
                AIMessage("", tool_calls=[CALL, OTHER_CALL]),
                RESULT,
                ToolMessage("2", tool_call_id="2", name="add"),
            ],
            [
                ("system", "s"),
                ("human", "q"),
                ("ai", f"{TOLD_CALL}\n[called add with {{}}]"),
                ("human", "[look_up returned]\nfound\n\n[add returned]\n2"),
            ],
        ),
        (
            [HumanMessage("q"), CALLING, RESULT, HumanMessage("and?")],
            [("human", "q"), ("ai", TOLD_CALL), ("human", "[look_up returned]\nfound\n\nand?")],
        ),
        (
            [HumanMessage("q"), CALLING, RESULT, AIMessage("done")],
            [
                ("human", "q"),
                ("ai", TOLD_CALL),
                ("human", "[look_up returned]\nfound"),
                ("ai", "done"),
            ],
        ),
    ],
)
def test_tool_turns_are_told_as_text(messages: Turns, expected: Shape) -> None:
    before = deepcopy(messages)
    told = without_tool_turns(messages)
    assert shape(told) == expected
    assert not any(isinstance(m, AIMessage) and m.tool_calls + m.invalid_tool_calls for m in told)
    assert messages == before


def test_a_conversation_without_tool_turns_stays() -> None:
    messages: Turns = [HumanMessage("a"), HumanMessage("b"), AIMessage("c")]
    assert without_tool_turns(messages) == messages


def test_told_tool_turns_are_legal_in_list_content() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    history = [
        AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]),
        ToolMessage([{"type": "text", "text": "seen"}, picture], tool_call_id="1", name="f"),
        HumanMessage([{"type": "text", "text": "more"}]),
    ]
    assert without_tool_turns(history)[-1].content == [
        {"type": "text", "text": "[f returned]"},
        {"type": "text", "text": "seen"},
        picture,
        {"type": "text", "text": "more"},
    ]
    plain = [history[0], ToolMessage("r", tool_call_id="1"), history[2]]
    assert without_tool_turns(plain)[-1].content == [
        {"type": "text", "text": "[f returned]\nr"},
        {"type": "text", "text": "more"},
    ]


def test_a_template_that_escapes_is_refused() -> None:
    template = PromptTemplate.from_template("{{proposals}}", template_format="mustache")
    with pytest.raises(MoAConfigurationError, match="escapes the proposals"):
        parse_prompt(template)


def test_results_are_named_by_their_calls_when_a_tool_is_called_twice() -> None:
    calls = [tool_call(name="pay", args={"to": to}, id=to) for to in ("Ann", "Bob")]
    told = without_tool_turns(
        [
            AIMessage("", tool_calls=calls),
            ToolMessage("rejected", tool_call_id="Bob", name="pay", status="error"),
            ToolMessage("paid", tool_call_id="Ann", name="pay"),
        ]
    )
    assert told[1].text == (
        '[pay with {"to": "Bob"} failed]\nrejected\n\n[pay with {"to": "Ann"} returned]\npaid'
    )


def test_a_result_without_a_name_has_its_calls() -> None:
    call = tool_call(name="look_up", args={}, id="1")
    result = ToolMessage("x", tool_call_id="1")
    told = without_tool_turns([AIMessage("", tool_calls=[call]), result])
    assert told[1].text == "[look_up returned]\nx"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "web_search_call", "id": "w"},
    ],
)
def test_blocks_of_a_providers_own_tools_are_left_out(block: dict[str, Any]) -> None:
    said = AIMessage([block, {"type": "text", "text": "found"}])
    told = history_for_proposers([HumanMessage("q"), said, HumanMessage("next")])
    assert told[1].content == [{"type": "text", "text": "found"}]


def test_a_refusal_is_told_as_text() -> None:
    said = AIMessage([{"type": "refusal", "refusal": "I won't."}])
    told = history_for_proposers([HumanMessage("q"), said, HumanMessage("next")])
    assert told[1].text == "I won't."
