"""What a terminal is never made to do, and what never keeps it busy."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from langchain_moa.cli.board import THEME, Board, losses
from langchain_moa.cli.live import AnswerPrinter
from langchain_moa.cli.markdown import GrowingMarkdown, Paragraphs
from langchain_moa.cli.terminal import on_one_line, printable
from langchain_moa.tracing.progress import progress_event
from tests.growth import LINEAR, growth

ESC, CSI, OSC, DCS, ST, BEL = "\x1b", "\x9b", "\x9d", "\x90", "\x9c", "\x07"
HOSTILE = {
    "clear the screen": f"{ESC}[2J",
    "the same in C1": f"{CSI}2J",
    "clipboard": f"{ESC}]52;c;SEVJTA=={BEL}",
    "clipboard in C1": f"{OSC}52;c;SEVJTA=={ST}",
    "title": f"{ESC}]0;title{ESC}\\",
    "device string": f'{DCS}$q"p{ST}',
    "report": f"{ESC}[6n",
    "back": "a\x08\x08b\rc",
    "shift out": "\x0e\x0f",
    "null": "\x00\x7f",
    "override": "user\u202eresu",
    "isolates": "\u2066\u2067\u2068\u2069",
    "embeddings": "\u202a\u202b\u202d\u202c",
}
COMMANDS = set("".join(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)))) - set("\t\n")
COMMANDS |= set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_commands_a_terminal(name: str) -> None:
    text = f"before {HOSTILE[name]} after"
    assert not set(printable(text)) & COMMANDS
    assert not set(on_one_line(text)) & (COMMANDS | {"\n", "\t"})
    for line in (printable(text), on_one_line(text)):
        assert line.startswith("before ")
        assert line.endswith(" after")


def test_what_writing_needs_stays() -> None:
    for text in ("a\tb\nc", "\u200fمرحبا", "क्\u200dष", "👩\u200d🔬", "日本語\u3000", "ที่"):
        assert printable(text) == text
    assert on_one_line("a \n b\u200f\u200ec") == "a bc"


def test_a_line_of_any_length_is_short() -> None:
    assert on_one_line("word " * 100, 20) == "word word word word…"
    assert on_one_line(" " * 10_000 + "x", 20) == "…"
    assert on_one_line("short", 20) == "short"


def reasons(size: int) -> dict[str, str]:
    """Texts of errors on which expressions have choked."""
    return {
        "messages": "Error code: 400 - " + "{'error': {'message': '" * size,
        "quotes": "Error code: 400 - " + "'\"" * size,
        "braces": "Error code: 400 - " + "{" * size,
        "spaces": "ValueError: " + " \n" * size,
        "words": "W" * size + "Error: x",
        "controls": "\x1b[" * size,
        "digits": "Error code: " + "1" * size,
    }


@pytest.mark.parametrize("kind", reasons(0))
def test_the_text_of_an_error_costs_no_more_than_its_length(kind: str) -> None:
    def work(size: int) -> Callable[[], object]:
        text = reasons(size)[kind]
        record = {"proposals": [], "aggregator": {"error": text}}

        def draws() -> None:
            board = Board([["a"] * 5, ["b"]])
            for index in range(5):
                for event in ("member_retried", "member_failed"):
                    values = {"layer": 1, "index": index, "seconds": 0.1, "error": text}
                    board.on_event(progress_event(event, **values))
            console = Console(file=io.StringIO(), force_terminal=True, width=80, theme=THEME)
            for _ in range(5):
                console.print(board)
            losses(record)  # type: ignore[arg-type]

        return draws

    assert growth(work, 20_000) < LINEAR


def answers(size: int) -> dict[str, str]:
    """Long answers that Markdown takes for one paragraph."""
    lines = range(size)
    return {
        "code": "```python\n" + "".join(f"v_{n} = f({n})\n" for n in lines),
        "code with empty lines": "~~~\n" + "".join(f"v_{n}\n\n" for n in lines),
        "list": "".join(f"- item {n}\n" for n in lines),
        "items with paragraphs": "- a\n" + "".join(f"\n  more {n}\n" for n in lines),
        "numbers": "".join(f"{n}. item\n" for n in lines),
        "table": "| a | b |\n|---|---|\n" + "".join(f"| {n} | x |\n" for n in lines),
        "one line": "word " * (2 * size),
        "one word": "x" * (10 * size),
        "stars": "*" * (10 * size),
        "brackets": "[" * (5 * size),
        "backticks": "`a" * (5 * size),
        "quotes": "> " * (2 * size),
        "empty lines": "\n" * (10 * size),
    }


@pytest.mark.parametrize("kind", answers(0))
def test_a_long_answer_costs_no_more_than_its_length(kind: str) -> None:
    def work(size: int) -> Callable[[], object]:
        text = answers(size)[kind]

        def prints() -> None:
            console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
            printer = AnswerPrinter(console)
            for start in range(0, len(text), 4):
                printer.feed(text[start : start + 4])
                if start % 4000 == 0:
                    printer.refresh()
            printer.end(complete=True)

        return prints

    # a busy machine may spoil one measurement, and what grows faster spoils both
    assert growth(work, 600, tries=2) < LINEAR or growth(work, 900, tries=4) < LINEAR


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_long_block_of_code_is_shown_line_by_line(size: int) -> None:
    code = [f"line_{n}" if n % 5 else "" for n in range(1, 3000)]
    text = "\n".join(["```", *code, "```", "", "And that was it."])
    growing = GrowingMarkdown()
    parts = [p for at in range(0, len(text), size) for p in growing.feed(text[at : at + size])]
    assert len(parts) > 3
    assert max(len(part.text) for part in parts) < 5000
    lines = [
        line
        for part in parts
        for line in [*part.text.splitlines(), *[""] * part.gap]
        if not line.startswith("```")
    ]
    assert lines[: len(code)] == code
    assert growing.pending == "And that was it."


def test_a_long_table_keeps_its_head() -> None:
    rows = [f"| {n} | x |\n" for n in range(1000)]
    growing = GrowingMarkdown()
    parts = list(growing.feed("| left | right |\n|:---|---:|\n" + "".join(rows)))
    assert len(parts) > 1
    for part in [*[part.text for part in parts], growing.pending]:
        assert part.startswith("| left | right |\n|:---|---:|\n|")
    joined = "".join(f"{part.text}\n" for part in parts) + growing.pending
    assert [row for row in joined.splitlines(keepends=True) if "x" in row] == rows


EMPHASIS = {
    "是**“重点”**吗": "是“重点”吗",
    "**“重点”**是": "“重点”是",
    "中文**（括号）**后": "中文（括号）后",
    "这是**《红楼梦》**的": "这是《红楼梦》的",
    "これは**「重要」**です": "これは「重要」です",
    "**重要。**次": "重要。次",
    '그는 **"인용"**은 말': '그는 "인용"은 말',
    "ไทย**(หนา)**นี้": "ไทย(หนา)นี้",
    "API**（接口）**is": "API（接口）is",
    "~~（删）~~后": "（删）后",
    "价格*￥5*元": "价格￥5元",
    "plain **bold**, *it* and 3 * 4": "plain bold, it and 3 * 4",
    "`是**“重点”**吗`": "是**“重点”**吗",
    "5 * 3 = 15": "5 * 3 = 15",
}


@pytest.mark.parametrize("text", EMPHASIS)
def test_emphasis_shows_no_asterisks_beside_punctuation_of_any_script(text: str) -> None:
    console = Console(width=60, theme=THEME, no_color=True)
    with console.capture() as captured:
        console.print(Paragraphs(text))
    assert captured.get().strip() == EMPHASIS[text]


@pytest.mark.parametrize("name", HOSTILE)
def test_answers_and_the_board_command_no_terminal(name: str) -> None:
    text = HOSTILE[name]
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    with console.capture() as captured:
        printer = AnswerPrinter(console)
        for character in f"begin `{text}` {text}\n\n```{text}\n{text}\n```\n\nend":
            printer.feed(character)
        printer.end(complete=True)
        board = Board([[f"a{text}z"], ["b"]])
        board.on_event(
            progress_event("member_failed", layer=1, index=0, seconds=0.1, error=f"no{text}pe")
        )
        console.print(board)
    told = captured.get()
    for own in ("\x1b[?25l", "\x1b[?25h", "\r\x1b[2K", "\x1b[1A\x1b[2K"):  # the display's own
        told = told.replace(own, "")
    assert not set(told) & (COMMANDS - {"\r"})
    assert all(word in told for word in ("begin", "end", "no", "pe"))
