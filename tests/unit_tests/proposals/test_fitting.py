"""Estimates of tokens, and proposals cut to what a model can read."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.utils import count_tokens_approximately

from langchain_moa.proposals.fitting import (
    MARK,
    MEDIA_TOKENS,
    MESSAGE_TOKENS,
    estimated_tokens,
    input_tokens,
    shortened,
)

pieces = st.sampled_from(
    [
        "word ",
        "aB3xQ9",
        "a",
        "\n",
        "天",
        "é",
        "e\u0301",
        "\U0001f600",
        "👩‍👩‍👧",
        "👍🏽",
        "🇫🇷",
        "क्षि",
        "각",
        "\ud83d\ude00",
    ]
)
texts = st.text(max_size=60) | st.lists(pieces, max_size=40).map("".join)
many = st.lists(texts, max_size=6)
rooms = st.integers(0, 80)


def total(given: list[str]) -> int:
    return sum(map(estimated_tokens, given))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("天空", 4), ("\U0001f600", 3), ("\ud83d", 3)],
)
def test_estimates(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


def test_chinese_is_not_taken_for_english() -> None:
    text = "天空看起来是蓝色的" * 100
    assert estimated_tokens(text) > 5 * count_tokens_approximately([HumanMessage(text)])


@given(texts, texts)
def test_estimates_grow_with_the_text(first: str, second: str) -> None:
    both = estimated_tokens(f"{first} {second}")
    assert both >= max(estimated_tokens(first), estimated_tokens(second))
    assert both <= estimated_tokens(first) + estimated_tokens(second) + 1


@given(many, st.integers(-5, 80))
def test_fits_in_order_without_growing(given: list[str], room: int) -> None:
    short = shortened(given, room)
    assert len(short) == len(given)
    assert total(short) <= max(room, 0)
    for text, cut in zip(given, short, strict=True):
        assert estimated_tokens(cut) <= estimated_tokens(text)
        kept = cut.removesuffix(MARK)
        assert text.startswith(kept)
        assert cut in ("", text) or (kept.strip() and cut.endswith(MARK))


@given(many, rooms)
def test_once_is_enough(given: list[str], room: int) -> None:
    short = shortened(given, room)
    assert shortened(short, room) == short


@given(many)
def test_what_fits_is_the_same_object(given: list[str]) -> None:
    for text, same in zip(given, shortened(given, total(given)), strict=True):
        assert same is text


@given(many, rooms)
def test_the_longest_are_cut_to_one_length(given: list[str], room: int) -> None:
    pairs = list(zip(given, shortened(given, room), strict=True))
    whole = [estimated_tokens(text) for text, short in pairs if short is text]
    cut = [(estimated_tokens(t), estimated_tokens(short)) for t, short in pairs if short is not t]
    if cut:
        share = (room - sum(whole)) // len(cut)  # what is left by those that keep every word
        assert max(whole, default=0) <= share
        assert all(short <= share < size for size, short in cut)


@given(texts, rooms)
def test_no_character_is_torn_apart(text: str, room: int) -> None:
    (short,) = shortened([text], room)
    if short in ("", text):
        return
    kept = short.removesuffix(MARK)
    rest = text[len(kept) :]
    assert not unicodedata.category(rest[0]).startswith("M")
    assert rest[0] != "\u200d"
    assert kept[-1] != "\u200d"
    assert not "\udc00" <= rest[0] <= "\udfff"
    assert not "\U0001f3fb" <= rest[0] <= "\U0001f3ff"
    if not any("\ud800" <= char <= "\udfff" for char in text):
        short.encode()


@pytest.mark.parametrize(
    "text",
    [
        "ท้องฟ้าดูเป็นสีฟ้าเพราะโมเลกุลของอากาศกำลังกระเจิงแสงในน้ำทะเล" * 3,
        "ພາສາລາວກຳ" * 8,
        "क्षितिज के पास प्रकाश अधिक लंबा रास्ता तय करता है।" * 2,
        unicodedata.normalize("NFD", "하늘이 파랗게 보입니다." * 5),
        unicodedata.normalize("NFD", "Bầu trời có màu xanh." * 5),
        "👩‍👩‍👧🇫🇷🇩🇪👍🏽❤️🤷🏿‍♀️🏴󠁧󠁢󠁷󠁬󠁳󠁿" * 4,
    ],
    ids=["Thai", "Lao", "Hindi", "Korean", "Vietnamese", "emoji"],
)
def test_texts_are_cut_between_graphemes(text: str) -> None:
    ends = {match.end() for match in regex.finditer(r"\X", text)}
    whole = estimated_tokens(text)
    cut = [shortened([text], room)[0] for room in range(12, whole)]
    places = {len(short) - len(MARK) for short in cut if short.endswith(MARK)}
    assert len(places) > 5
    assert places <= ends


def test_short_texts_leave_their_room_to_long_ones() -> None:
    long = "word " * 200
    short = shortened(["Yes.", long, "No.", long], 102)
    assert short[0] == "Yes."
    assert short[2] == "No."
    assert short[1] == short[3]
    assert 45 <= estimated_tokens(short[1]) <= 50


@pytest.mark.parametrize("unit", ["word ", "天", "é", "\U0001f600"])
def test_little_of_the_room_is_wasted(unit: str) -> None:
    short = shortened([unit * 400, unit * 300, unit * 500], 300)
    assert all(85 <= estimated_tokens(text) <= 100 for text in short)


def test_cut_at_white_space_where_some_is_near() -> None:
    text = "The sky looks blue because molecules of air scatter blue light most strongly of all."
    (short,) = shortened([text], 18)
    kept = short.removesuffix(MARK)
    assert short.endswith(MARK)
    assert text[len(kept)] == " "
    assert kept == kept.rstrip()


def test_cut_inside_a_long_word_where_no_white_space_is_near() -> None:
    assert shortened(["Go " + "x" * 200], 18) == ["Go " + "x" * 33 + MARK]


@pytest.mark.parametrize("room", [-1, 0, 1, 11])
def test_a_room_too_small_for_mark_and_word_leaves_nothing(room: int) -> None:
    assert shortened(["long enough to be cut " * 3], room) == [""]


def test_the_smallest_room() -> None:
    text = "Several words are here in this text, and some more."
    assert shortened([text], 12) == ["Several words a" + MARK]
    assert shortened([], 0) == []
    assert shortened([""], 0) == [""]


def test_one_endless_combined_character_is_left_out() -> None:
    assert shortened(["e" + "\u0301" * 500], 50) == [""]


IMAGE = {"type": "image", "base64": "A" * 10_000, "mime_type": "image/png"}
CALL: dict[str, Any] = {"name": "look_up", "args": {"word": "x" * 400}, "id": "1"}
BLOCK_CALL = {"type": "tool_use", "name": "look_up", "input": {"word": "x" * 400}, "id": "1"}


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ("", 0),
        ("abc" * 10, 9),
        ([], 0),
        (["abc", {"type": "text", "text": "abc"}], 2),
        ([IMAGE], MEDIA_TOKENS),
        ([{"type": "image_url", "image_url": {"url": "data:" + "A" * 9999}}], MEDIA_TOKENS),
        ([{"type": "text", "text": "abc"}, IMAGE, IMAGE], 1 + 2 * MEDIA_TOKENS),
        ([{"type": "text-plain", "text": "abc"}], 1),
        ([{"type": "x", "y": 1}], estimated_tokens('{"type": "x", "y": 1}')),
        ([{"type": "tool_result", "content": [IMAGE, "abc"]}], 1 + MEDIA_TOKENS),
    ],
)
def test_content(content: Any, tokens: int) -> None:
    assert input_tokens([HumanMessage(content)]) == MESSAGE_TOKENS + tokens


def test_tool_calls_count_once() -> None:
    plain = AIMessage("", tool_calls=[CALL])
    in_blocks = AIMessage([BLOCK_CALL], tool_calls=[CALL])  # as some providers answer
    assert 110 < input_tokens([plain]) < 140
    assert input_tokens([in_blocks]) == input_tokens([plain])
    assert 110 < input_tokens([AIMessage([BLOCK_CALL])]) < 150


def test_invalid_tool_calls_count() -> None:
    call: Any = {"name": "f", "args": "x" * 400, "id": "1", "error": None}
    assert 110 < input_tokens([AIMessage("", invalid_tool_calls=[call])]) < 140


def test_arguments_need_not_be_json() -> None:
    odd: Any = {"name": "f", "args": {"when": object()}, "id": None}
    assert input_tokens([AIMessage("", tool_calls=[odd])]) > MESSAGE_TOKENS


messages = st.one_of(
    texts.map(HumanMessage),
    texts.map(SystemMessage),
    texts.map(AIMessage),
    texts.map(lambda text: ToolMessage(text, tool_call_id="1")),
    texts.map(lambda text: HumanMessage([{"type": "text", "text": text}, IMAGE])),
)


@given(st.lists(messages, max_size=4), st.lists(messages, max_size=4))
def test_parts_add_up(first: list[BaseMessage], second: list[BaseMessage]) -> None:
    assert input_tokens([*first, *second]) == input_tokens(first) + input_tokens(second)
