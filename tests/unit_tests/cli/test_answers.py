"""What a terminal shows of an answer, and what a chat keeps of a conversation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from rich.console import Console, RenderableType
from rich.text import Text

from langchain_moa import MoAConfigurationError
from langchain_moa.cli.board import THEME, Board, usage_table
from langchain_moa.cli.conversation import Conversation
from langchain_moa.cli.live import AnswerPrinter
from langchain_moa.cli.markdown import GrowingMarkdown
from langchain_moa.cli.terminal import printable
from langchain_moa.tracing.progress import progress_event
from langchain_moa.types import EventName


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("one", ""),
        ("one\n\n", ""),  # the next line may belong to it
        ("one\n\ntwo", "one"),
        ("one\n\ntwo\n\nthree", "one\n\ntwo"),
        ("```\na\n\nb", ""),
        ("```\na\n\nb\n```\n\nc", "```\na\n\nb\n```"),
        ("````\n```\n\nb", ""),  # shorter fences inside are text
        ("```\n~~~\n```python\n\nb", ""),
        ("````\n```\n\nb\n````\n\nc", "````\n```\n\nb\n````"),
        ("- a\n\n  more of a", ""),
        ("- a\n\n  more of a\n\nb", "- a\n\n  more of a"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_finished_paragraphs_cannot_change_any_more(text: str, finished: str, size: int) -> None:
    growing = GrowingMarkdown()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    parts = [part for piece in pieces for part in growing.feed(piece)]
    done, rest = "\n\n".join(part.text for part in parts), growing.pending
    assert done == finished
    assert text.startswith(done)
    assert text.endswith(rest)
    assert len(done) + len(rest) + 2 >= len(text)  # nothing but empty lines is lost
    assert all(part.gap == 1 for part in parts)


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "\x9b31mred", "a\x07\x08b\rc\x00"])
def test_models_cannot_command_the_terminal(text: str) -> None:
    assert not set(printable(text)) & set("\x1b\x9b\x07\x08\r\x00")
    console = Console(force_terminal=True, width=40, theme=THEME, no_color=True)
    with console.capture() as captured:
        printer = AnswerPrinter(console)
        printer.feed(f"Well: {text}")
        printer.end(complete=True)
    assert text not in captured.get()


def test_a_long_answer_shows_its_end_as_it_grows() -> None:
    console = Console(force_terminal=True, width=40, height=10, theme=THEME)
    with console.capture() as captured:
        printer = AnswerPrinter(console)
        printer.feed("\n".join(f"- item {n}" for n in range(50)))
        printer.refresh()
    growing = captured.get()
    assert "item 49" in growing
    assert "item 30" not in growing
    with console.capture() as captured:
        printer.end(complete=True)
    assert "item 0" in captured.get()


def shown(board: Board) -> str:
    console = Console(width=80, theme=THEME, no_color=True)
    with console.capture() as captured:
        console.print(board)
    return captured.get()


def test_the_board_takes_names_and_reasons_as_they_are() -> None:
    """They may look like markup, or hold control characters."""
    board = Board([["acme/[bold]x[/]", "acme/b"], ["acme/c"]])
    values: dict[str, Any] = {"layer": 1, "index": 1, "seconds": 0.5, "model": "acme/b"}
    board.on_event(progress_event("member_failed", **values, error="[/nope]\x1b[2J"))
    text = shown(board)
    assert "acme/[bold]x[/]" in text
    assert "[/nope][2J" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_board_follows_each_member() -> None:
    board = Board([["acme/a", "acme/b", "acme/c", "acme/d"], ["acme/e"]])
    states = [("member_started",), ("member_started", "token"), ("member_cut",), ("member_failed",)]
    for index, events in enumerate(states):
        for event in events:
            error = "no such luck" if event == "member_failed" else None
            values: dict[str, Any] = {"layer": 1, "index": index, "seconds": 1.0, "error": error}
            board.on_event(progress_event(event, **values))  # type: ignore[arg-type]
    lines = shown(board).splitlines()
    words = ["asking", "streaming", "cut", "failed", "waiting"]
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 5
    assert lines[3].rstrip().endswith("no such luck")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("failed: ValueError: no such luck", "no such luck"),
        ("failed: APIError: Error code: 503 - no such luck", "503: no such luck"),
        (
            "failed: APIError: Error code: 400 - {'error': {'message': 'no such luck', 'code': 1}}",
            "400: no such luck",
        ),
        ("failed: APIError: Error code: 500 - {'detail': 1}", "Error code: 500"),
        ("no such luck", "no such luck"),
    ],
)
def test_the_board_tells_what_matters_of_an_error(error: str, told: str) -> None:
    board = Board([["acme/a"], ["acme/b"]])
    board.on_event(progress_event("member_failed", layer=1, index=0, seconds=1.0, error=error))
    assert f"1.0 s   {told}" in shown(board)


def answer(text: str, tokens: int = 5) -> AIMessage:
    usage = {"input_tokens": 1, "output_tokens": tokens - 1, "total_tokens": tokens}
    record = {"usage": {"by_model": {"acme/a": usage}, "unknown": []}, "proposals": []}
    return AIMessage(text, response_metadata={"moa": record})


def total(conversation: Conversation) -> int:
    totals, _ = conversation.usage()
    return totals["acme/a"]["total_tokens"] if totals else 0


def event(tokens: int) -> Any:
    usage = {"input_tokens": 1, "output_tokens": tokens - 1, "total_tokens": tokens}
    return progress_event("member_finished", model="acme/a", usage=usage)


def test_what_lost_answers_cost_is_counted() -> None:
    conversation = Conversation()
    conversation.with_question(HumanMessage("one"))
    conversation.on_event(event(3))
    conversation.answered(answer("1", tokens=5))  # the record holds the 3
    assert total(conversation) == 5
    assert conversation.to_retry()[0] == HumanMessage("one")
    assert total(conversation) == 5
    conversation.with_question(HumanMessage("one"))
    conversation.on_event(event(7))  # and is then cancelled
    assert total(conversation) == 12
    conversation.with_question(HumanMessage("two"))
    conversation.answered(answer("2", tokens=1))
    assert total(conversation) == 13
    conversation.reset()
    assert total(conversation) == 0


def test_a_conversation_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    conversation = Conversation("Be brief.")
    conversation.with_question(HumanMessage("one"))
    conversation.answered(answer("1"))
    conversation.save(path)
    again = Conversation()
    again.with_question(HumanMessage("another"))
    again.load(path)
    assert (len(again), total(again), again.last_record) == (1, 5, conversation.last_record)
    asked = again.with_question(HumanMessage("two"))
    assert [message.text for message in asked] == ["Be brief.", "one", "1", "two"]


@pytest.mark.parametrize(
    "kept",
    [
        "no JSON",
        "[]",
        "{}",
        '{"format": "langchain-moa conversation 1", "messages": 1}',
        '{"format": "of another program", "messages": []}',
        "[" * 100_000,
        json.dumps(
            {
                "format": "langchain-moa conversation 1",
                "messages": [
                    {"type": "human", "data": {"content": "Hi"}},
                    {"type": "ai", "data": {"content": "no record"}},
                ],
            }
        ),
        json.dumps(
            {
                "format": "langchain-moa conversation 1",
                "messages": [{"type": "human", "data": {"content": "no answer"}}],
            }
        ),
    ],
)
def test_other_files_are_refused_and_change_nothing(kept: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(kept)
    conversation = Conversation()
    conversation.with_question(HumanMessage("one"))
    conversation.answered(answer("1"))
    with pytest.raises(MoAConfigurationError, match=r"is no conversation that /save wrote\."):
        conversation.load(path)
    assert len(conversation) == 1


@pytest.mark.parametrize("proposals", [None, [1], [{"layer": 1}], [{"layer": "1", "model": "a"}]])
def test_records_that_cannot_be_shown_are_refused(proposals: Any, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    conversation = Conversation()
    conversation.with_question(HumanMessage("one"))
    said = answer("1")
    said.response_metadata["moa"]["proposals"] = proposals
    conversation.answered(said)
    conversation.save(path)
    with pytest.raises(MoAConfigurationError, match=r"is no conversation that /save wrote\."):
        Conversation().load(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    conversation = Conversation()
    with pytest.raises(MoAConfigurationError, match="No such file"):
        conversation.load(tmp_path / "none.json")
    with pytest.raises(MoAConfigurationError, match="No such file"):
        conversation.save(tmp_path / "no" / "talk.json")


def drawn(shown: RenderableType, width: int, height: int = 24) -> str:
    console = Console(force_terminal=True, width=width, height=height, theme=THEME, no_color=True)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_long_names_leave_the_numbers_their_room() -> None:
    usage = {"input_tokens": 1234, "output_tokens": 56, "total_tokens": 1290}
    text = drawn(usage_table({"vendor/" + "long-" * 30: usage, "b": usage}, ["b"]), 60)
    assert text.count("1,234") == 2
    assert "2,468" in text
    assert re.search(r"^b .*56 +\*", text, re.MULTILINE)


def test_models_that_told_nothing_have_a_row() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    text = drawn(usage_table({"a": usage}, ["silent"]), 80)
    assert re.search(r"^silent +\*", text, re.MULTILINE)


def test_a_failure_leaves_the_names_half_of_a_narrow_terminal() -> None:
    board = Board([["vendor/some-model", "vendor/other"], ["aggregator"]])
    failed = progress_event("member_failed", layer=1, index=1, error="refused because of " * 5)
    board.on_event(failed)
    assert "some-model" in drawn(board, 60)  # owners give way first
    assert "vendor/some-model" in drawn(board, 100)


def test_links_show_where_they_lead() -> None:
    console = Console(force_terminal=True, width=60, theme=THEME, no_color=True)
    with console.capture() as captured:
        printer = AnswerPrinter(console)
        printer.feed("See [this](https://example.org/x).")
        printer.end(complete=True)
    assert "https://example.org/x" in captured.get()
    assert "\x1b]8" not in captured.get()


def test_who_works_is_seen_among_many_members() -> None:
    board = Board([["a"] * 10, ["b"] * 10, ["c"] * 10, ["the-aggregator"]])
    for index in range(10):
        kind: EventName = "member_failed" if index == 3 else "member_finished"
        board.on_event(progress_event(kind, layer=1, index=index, seconds=1.5))
        board.on_event(progress_event("member_started", layer=2, index=index))
    text = drawn(board, 80, 24)
    assert text.count("asking") == 10
    assert "10 members" in text
    assert "9 done, 1 failed" in text
    assert "the-aggregator" in text
    assert len(text.splitlines()) < 24


def test_a_saved_answer_may_hold_half_of_a_character(tmp_path: Path) -> None:
    conversation = Conversation()
    conversation.with_question(HumanMessage("Hi"))
    conversation.answered(answer("bad \ud800 text"))
    conversation.save(tmp_path / "saved.json")
    loaded = Conversation()
    loaded.load(tmp_path / "saved.json")
    assert loaded.with_question(HumanMessage("And?"))[1].text == "bad \ud800 text"


NAMES = [["owner/some-model-with-a-long-name", "other/gpt"], ["owner/writer"]]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_board_at_any_width(width: int) -> None:
    board = Board(NAMES)
    for index in (0, 1):
        values: dict[str, Any] = {"layer": 1, "index": index, "role": "proposer"}
        board.on_event(progress_event("member_started", **values))
        board.on_event(progress_event("token", **values, text="First line.\n\nSecond li"))
        board.on_event(progress_event("token", **values, text="ne"))
    lines = [line.rstrip() for line in Text.from_ansi(drawn(board, width)).plain.splitlines()]
    assert max(map(len, lines)) <= min(width, 100)
    assert [line.startswith(("layer 1", "aggregator")) for line in lines] == [True, False, True]
    assert ("owner/" in lines[0]) is (width > 100)
    assert ("Second" in lines[0]) is (width >= 80)
