"""`langchain-moa chat` in a real terminal, against a loopback server."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from rich.cells import cell_len

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import MIXTURE, MODELS, asked, user_turns
from tests.wire import AGGREGATOR, ALPHA, BETA, says, served

if sys.platform == "win32":
    pytest.skip("Windows has no pty", allow_module_level=True)

from tests.pty import Terminal

PROMPT = ">>>"
CTRL_C, CTRL_D, UP, LEFT = "\x03", "\x04", "\x1b[A", "\x1b[D"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(MODELS) as running:
        yield running


Chat = Callable[..., Terminal]


@pytest.fixture
def chat(server: LoopbackServer) -> Iterator[Chat]:
    """Starts a chat with the server's models, and waits for its first prompt."""
    opened: list[Terminal] = []

    def start(*words: str, prompt: str = PROMPT, command: str = "chat", **more: Any) -> Terminal:
        key = {"TOGETHER_API_BASE": server.base_url, "TOGETHER_API_KEY": server.api_key}
        terminal = Terminal("-m", "langchain_moa", command, *words, **{**key, **more})
        opened.append(terminal)
        terminal.until(prompt)
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


def ask(terminal: Terminal, question: str) -> None:
    """Ask, and wait until the next question can be asked."""
    before = terminal.text.count(PROMPT)
    terminal.types(question)
    terminal.until(PROMPT, count=before + 1)


def test_a_conversation(chat: Chat, server: LoopbackServer, tmp_path: Path) -> None:
    """Three turns, one answer cancelled, proposals shown, saved, loaded, left."""
    path = tmp_path / "talk.json"
    terminal = chat(*MIXTURE, "--yes", "--show-proposals")
    terminal.until(f"{AGGREGATOR} answers. /help lists the commands; Ctrl-D leaves.")

    ask(terminal, "First question?")
    assert (
        f"layer 1 · {ALPHA}\nDraft of alpha.\n\nlayer 1 · {BETA}\nDraft of beta." in terminal.text
    )
    shown = terminal.text.partition("First question?")[2]
    rendered = "answer\nThe answer."
    assert shown.index("Draft of beta.") < shown.index(rendered)
    assert "\n\n\n" not in shown.partition(PROMPT)[0]
    assert "2 of 2 proposals · " in terminal.text

    ask(terminal, "Second question?")
    for model in (ALPHA, BETA):
        assert user_turns(server, model) == [
            "user: First question?",
            "assistant: The **answer**.",
            "user: Second question?",
        ]

    server.models[ALPHA] = server.models[BETA] = ModelBehavior(hang=True)
    asked_before = len(server.requests)
    terminal.types("Cancelled question?")
    terminal.until("asking")
    terminal.until(lambda: len(server.requests) == asked_before + 2)
    terminal.sends(CTRL_C)
    terminal.until("cancelled; /retry asks again.")
    terminal.until(PROMPT, count=4)
    assert {request.finished for request in server.requests[asked_before:]} == {False}
    left = terminal.text.partition("Cancelled question?")[2].split()
    assert left == ["cancelled;", "/retry", "asks", "again.", PROMPT]  # nothing else is there

    server.models.update(MODELS)
    ask(terminal, f"/save {path}")
    assert f"2 turns saved to {path}." in " ".join(terminal.text.split())
    ask(terminal, "/reset")
    ask(terminal, "/usage")
    assert "no tokens yet." in terminal.text
    ask(terminal, f"/load {path}")
    ask(terminal, "Third question?")
    assert [line for line in user_turns(server, ALPHA) if line.startswith("user")] == [
        *("user: First question?", "user: Second question?", "user: Third question?")
    ]
    terminal.sends(CTRL_D)
    assert terminal.ends() == 0
    assert max(map(len, terminal.text.splitlines())) <= terminal.columns
    assert server.api_key not in path.read_text() + terminal.text


def test_how_an_answer_came_about(chat: Chat, tmp_path: Path) -> None:
    terminal = chat(*MIXTURE, "--yes", "--explain", rows=60)
    ask(terminal, "/record")
    assert "no answer yet." in terminal.text
    ask(terminal, "One?")
    assert terminal.text.count("timeline") == 1
    ask(terminal, "/record")
    lines = [line.split() for line in terminal.text.splitlines()]
    rows = [line for line in lines if line[3:4] == ["ok"]]
    assert [row[2] for row in rows] == [ALPHA, BETA] * 2
    assert terminal.text.count("2 of 2 proposals · 3 requests · ") == 2
    assert terminal.text.count("nearest to") == 4
    assert max(map(len, terminal.text.splitlines())) <= terminal.columns
    for name in ("it.html", "it.md", "it.json"):
        ask(terminal, f"/record {tmp_path / name}")
        assert AGGREGATOR in (tmp_path / name).read_text("utf-8")
    ask(terminal, "/record it.txt")
    assert "give a file that ends with .html or .md or .json" in " ".join(terminal.text.split())


def test_a_chat_remembers_lines_and_turns(
    chat: Chat, server: LoopbackServer, tmp_path: Path
) -> None:
    log = str(tmp_path / "log.db")
    terminal = chat(*MIXTURE, "--yes", LANGCHAIN_MOA_LOG=log)
    ask(terminal, "First question?")
    ask(terminal, "/usage")
    terminal.sends(CTRL_D)
    assert terminal.ends() == 0
    again = chat(*MIXTURE, "--yes", "--continue", LANGCHAIN_MOA_LOG=log)
    again.until("going on after 1 turn.")
    again.sends("/mod\t")
    again.until("other aggregator")
    again.sends("\x15" + UP + UP)
    again.until("First question?")
    ask(again, "")
    assert user_turns(server, ALPHA) == [
        "user: First question?",
        "assistant: The **answer**.",
        "user: First question?",
    ]
    assert "so far " in again.text


def test_retry_and_usage(chat: Chat, server: LoopbackServer) -> None:
    terminal = chat(*MIXTURE, "--yes")
    ask(terminal, "One?")
    ask(terminal, "/retry")
    assert user_turns(server, ALPHA) == ["user: One?"]  # its first answer is gone
    ask(terminal, "/usage")
    lines = [line.replace(",", "").split() for line in terminal.text.splitlines()]
    told = {line[0]: (int(line[1]), int(line[2])) for line in lines if line[1:2] and is_row(line)}
    counts = served(server)
    assert {name: told[name] for name in counts} == {
        name: (usage["input_tokens"], usage["output_tokens"]) for name, usage in counts.items()
    }
    assert told["all"] == (
        sum(usage["input_tokens"] for usage in counts.values()),
        sum(usage["output_tokens"] for usage in counts.values()),
    )
    assert len(server.requests) == 6


def is_row(line: list[str]) -> bool:
    return len(line) == 3 and line[1].isdigit() and line[2].isdigit()


def test_what_a_cancelled_answer_cost_is_counted(chat: Chat, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = ModelBehavior(hang=True)
    terminal = chat(*MIXTURE, "--yes")
    terminal.types("One?")
    terminal.until(lambda: bool(server.requests_for(AGGREGATOR)))
    terminal.sends(CTRL_C)
    terminal.until("cancelled;")
    terminal.until(PROMPT, count=2)
    ask(terminal, "/usage")
    used = served(server)[ALPHA]
    assert f"{ALPHA} {used['input_tokens']} {used['output_tokens']}" in " ".join(
        terminal.text.split()
    )


def test_pasted_lines_are_one_question(chat: Chat, server: LoopbackServer) -> None:
    terminal = chat(*MIXTURE, "--yes")
    terminal.sends("\x1b[200~Look at\r\n  this:\nthat\x1b[201~")
    terminal.until("that")
    assert not server.requests
    ask(terminal, "")
    assert user_turns(server, ALPHA) == ["user: Look at\n  this:\nthat"]


def test_lines_can_be_edited_and_come_back(chat: Chat, server: LoopbackServer) -> None:
    terminal = chat(*MIXTURE, "--yes")
    ask(terminal, f"One!{LEFT}?\x1b[3~")
    assert user_turns(server, ALPHA) == ["user: One?"]
    terminal.sends(UP)
    terminal.until("One?", count=2)
    ask(terminal, "")
    assert user_turns(server, ALPHA)[-1] == "user: One?"
    assert len(server.requests) == 6
    terminal.sends(f"half a line{CTRL_C}")
    terminal.until(PROMPT, count=4)
    terminal.types("/quit")
    assert terminal.ends() == 0
    assert len(server.requests) == 6


def test_the_display_follows_each_member(chat: Chat, server: LoopbackServer) -> None:
    names = [f"acme/{name}" for name in ("done", "failed", "asking", "streaming")]
    done, failed, slow, streaming = names
    server.models[done] = says("A draft.")
    server.models[failed] = ModelBehavior(status=400, error="no such luck")
    server.models[slow] = ModelBehavior(hang=True)
    server.models[streaming] = says("word " * 2000, token_delay=0.02)
    terminal = chat("--reference-models", ",".join(names), "--model", AGGREGATOR, "--yes")
    terminal.types("Well?")

    def shows(name: str, *words: str) -> bool:
        lines = [line for line in terminal.screen.splitlines() if name in line]
        return any(all(word in line for word in words) for line in lines)

    terminal.until(lambda: shows(done, "layer 1", " done ", " s ", "tokens"))
    terminal.until(lambda: shows(failed, " failed ", "no such luck"))
    terminal.until(lambda: shows(slow, " asking ", " s"))
    terminal.until(lambda: shows(streaming, " streaming ", " s"))
    terminal.until(lambda: shows(AGGREGATOR, "aggregator ", "waiting"))
    assert max(map(len, terminal.text.splitlines())) <= terminal.columns
    terminal.sends(CTRL_C)
    terminal.until("cancelled;")
    assert " waiting" not in terminal.text


def test_members_that_are_cut_are_told(chat: Chat, server: LoopbackServer) -> None:
    seen = threading.Event()
    server.models[BETA] = ModelBehavior(hang=True)
    server.models[AGGREGATOR] = says("The answer.", once=seen.is_set)
    terminal = chat(*MIXTURE, "--yes", "--quorum", "1")
    terminal.types("Well?")
    terminal.until(" cut ")
    seen.set()
    terminal.until("The answer.")
    terminal.until(PROMPT, count=2)
    assert f"layer 1, {BETA}: cut" in terminal.text


def test_an_answer_streams_and_can_be_cancelled(chat: Chat, server: LoopbackServer) -> None:
    text = "# Title\n\nFirst **part**.\n\n" + "more " * 50
    server.models[AGGREGATOR] = says(text, once=lambda: False, once_after=40)
    terminal = chat(*MIXTURE, "--yes")
    terminal.types("Well?")
    terminal.until("more more")
    assert "First part." in terminal.text
    terminal.sends(CTRL_C)
    terminal.until("cancelled;")
    terminal.until(PROMPT, count=2)
    assert not server.requests_for(AGGREGATOR)[0].finished
    assert terminal.text.count("First part.") == 1
    server.models[AGGREGATOR] = MODELS[AGGREGATOR]
    ask(terminal, "/retry")
    assert user_turns(server, AGGREGATOR)[0].startswith("user: Well?")
    assert "The answer." in terminal.text


def test_what_streams_stands_there_once(chat: Chat, server: LoopbackServer) -> None:
    """While it is drawn anew again and again, paragraph by paragraph."""
    parts = [f"Part {n}.\n\n| a | b |\n|---|---|\n| {n} | x |" for n in range(20)]
    server.models[AGGREGATOR] = says("\n\n".join(parts), token_delay=0.005)
    terminal = chat(*MIXTURE, "--yes")
    ask(terminal, "Well?")
    lines = [line.strip() for line in terminal.text.splitlines() if line.strip()]
    start = lines.index("Part 0.")
    expected = [line for n in range(20) for line in (f"Part {n}.", "a   b", "─", f"{n}  x")]
    shown = ["─" if set(line) == {"─"} else line for line in lines[start : start + 80]]
    assert [line.split() for line in shown] == [line.split() for line in expected]


def test_warnings_stand_above_the_display(chat: Chat, server: LoopbackServer) -> None:
    server.models[ALPHA] = ModelBehavior(status=400, error="no such luck")
    seen = threading.Event()
    server.models[BETA] = says("A draft.", once=seen.is_set)
    terminal = chat(*MIXTURE, "--yes", "--verbose")
    terminal.types("Well?")
    terminal.until("WARNING layer 1, index 0 (acme/alpha)")
    terminal.until(lambda: "400: no such luck" in terminal.screen)
    assert terminal.text.count("layer 1    acme/alpha") == 1
    seen.set()
    terminal.until(PROMPT, count=2)
    assert "waiting" not in terminal.text
    assert terminal.text.count("WARNING layer 1") == 1


def test_a_long_answer_scrolls_and_is_whole(chat: Chat, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = says("\n".join(f"{n}. item" for n in range(1, 60)))
    terminal = chat(*MIXTURE, "--yes")
    ask(terminal, "Well?")
    numbers = [
        int(line.split()[0]) for line in terminal.text.splitlines() if line.endswith(" item")
    ]
    assert numbers == list(range(1, 60))


def test_what_goes_wrong_ends_no_conversation(chat: Chat, server: LoopbackServer) -> None:
    """Nor does it make leaving a failure: all was seen."""
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="no such luck " * 10)
    terminal = chat(*MIXTURE, "--yes")
    ask(terminal, "Well?")
    assert "no such luck no such luck" in " ".join(terminal.text.split())
    ask(terminal, "/load none.json")
    assert "error: none.json: No such file or directory." in terminal.text
    server.models[AGGREGATOR] = MODELS[AGGREGATOR]
    ask(terminal, "/retry")
    assert "The answer." in terminal.text
    terminal.sends(CTRL_D)
    assert terminal.ends() == 0
    assert max(map(len, terminal.text.splitlines())) <= terminal.columns


# --- the reference demo's questions -----------------------------------------------------------


def test_the_reference_demos_questions(chat: Chat, server: LoopbackServer) -> None:
    terminal = chat("--reference-models", f"{ALPHA},{BETA}", prompt="Main model [")
    terminal.types(AGGREGATOR)
    terminal.until("Temperature [0.7]:")
    terminal.types("warm")
    terminal.until("'warm' won't do; give something like 0.7.")
    terminal.until("Temperature [0.7]:", count=2)
    terminal.types("0.3")
    terminal.until("Max tokens [2048]:")
    terminal.types("")
    terminal.until(PROMPT)
    ask(terminal, "Well?")
    assert asked(server, "temperature") == [0.3] * 3
    assert asked(server, "max_tokens") == [2048] * 3
    assert server.requests[-1].model == AGGREGATOR


def test_only_what_is_left_open_is_asked(chat: Chat, server: LoopbackServer) -> None:
    terminal = chat(*MIXTURE, "--temperature", "0.1", prompt="Max tokens [2048]:")
    assert "Main model" not in terminal.text
    assert "Temperature" not in terminal.text
    terminal.types("99")
    terminal.until(PROMPT)
    ask(terminal, "Well?")
    assert asked(server, "max_tokens") == [99] * 3


def test_enter_asks_what_the_demo_knows_best(chat: Chat) -> None:
    terminal = chat("--demo", "--yes", TOGETHER_API_KEY="", TOGETHER_API_BASE="")
    assert "Enter asks: What are 3 fun things to do in SF?" in terminal.text
    ask(terminal, "")
    assert "Three things that make a good day in San Francisco:" in terminal.text
    ask(terminal, "")  # only at first is it offered
    assert terminal.text.count(" of 8 proposals") == 1


def test_ctrl_d_at_a_question_leaves(chat: Chat) -> None:
    terminal = chat(prompt="Main model [")
    terminal.sends(CTRL_D)
    assert terminal.ends() == 0


_ENDS: Final = """
import sys
from langchain_moa.cli import main
code = main(sys.argv[1:])
print("it ended with", int(code), sorted({"langchain_core", "langgraph", "rich"} & {*sys.modules}))
"""


@pytest.mark.parametrize("words", [(), ("--preset", "budget"), ("--model", ALPHA, "--yes")])
def test_a_missing_key_is_told_before_anything_is_asked_or_imported(words: tuple[str, ...]) -> None:
    terminal = Terminal("-c", _ENDS, "chat", *words, TOGETHER_API_KEY="", TOGETHER_API_BASE="")
    terminal.ends()
    assert "error: no key for Together: set TOGETHER_API_KEY, or give" in terminal.text
    assert "it ended with 2 []" in terminal.text
    assert "Main model" not in terminal.text


def test_long_names_fit_a_narrow_terminal(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "columns", 40)
    names = ["meta-llama/Llama-3.3-70B-Instruct-Turbo", "x" * 90]
    terminal = chat("--reference-models", ",".join(names), "-m", names[0], "--yes")
    ask(terminal, "/models")
    assert max(map(len, terminal.text.splitlines())) <= terminal.columns
    whole = "".join(terminal.text.split())
    assert [whole.count(name) for name in names] == [5, 2]  # it answers, too


# --- colours, pipes, ask ----------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_colours(environment: dict[str, str], chat: Chat) -> None:
    terminal = chat(*MIXTURE, "--yes", **environment)
    ask(terminal, "Well?")
    ask(terminal, "/help")
    ask(terminal, "/usage")
    assert bool(terminal.codes) is not bool(environment)
    # none sets a background, or a colour that is not of the terminal's own palette
    assert not [code for code in terminal.codes if b"48;" in code or b"38;2" in code]


def test_a_terminal_that_moves_no_cursor(chat: Chat) -> None:
    terminal = chat(*MIXTURE, "--yes", TERM="dumb")
    ask(terminal, "Well?")
    assert "The answer." in terminal.text
    terminal.sends(CTRL_C)
    terminal.until(PROMPT, count=3)
    terminal.sends(CTRL_D)
    assert terminal.ends() == 0
    assert b"\x1b" not in terminal.received


def test_ask_shows_members_and_then_the_answer(chat: Chat, server: LoopbackServer) -> None:
    server.models[BETA] = says("A draft.", latency=1.0)
    terminal = chat("Well?", *MIXTURE, command="ask", prompt="asking")
    assert terminal.ends() == 0
    assert terminal.text.split() == ["The", "answer."]  # the display is gone


SCRIPTS = {
    "Chinese": ("是**“重点”**吗？", "是“重点”吗？", "这是一段很长的中文文本，在窄终端里换行。" * 3),
    "Arabic": (
        "ابدأ من **الجسر** ثم",
        "ابدأ من الجسر ثم",
        "هذا نص عربي طويل ينكسر فيه السطر " * 2,
    ),
    "Thai": ("ไทย**(หนา)**นี้", "ไทย(หนา)นี้", "นี่คือข้อความภาษาไทยที่ยาวพอ " * 5),
}


@pytest.mark.parametrize("columns", [40, 80])
def test_every_script_fits_the_terminal_and_is_whole(
    columns: int, chat: Chat, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Terminal, "columns", columns)
    paragraphs = (
        f"{said}\n\n{long}\n\n- {long}\n\n| a | b |\n|---|---|\n| x | {long} |"
        for said, _, long in SCRIPTS.values()
    )
    server.models[AGGREGATOR] = says("\n\n".join(paragraphs))
    terminal = chat("Well?", *MIXTURE, command="ask", prompt="", rows=60)
    assert terminal.ends() == 0
    lines = [line.strip() for line in terminal.text.splitlines()]
    assert "*" not in terminal.text
    assert max(map(cell_len, lines)) <= columns
    together = "".join(lines).replace(" ", "")
    for _, shown, long in SCRIPTS.values():
        assert shown in lines
        assert together.count(long.replace(" ", "")) == 3  # no line break loses any of it


def test_ask_can_be_cancelled(chat: Chat, server: LoopbackServer) -> None:
    server.models[BETA] = ModelBehavior(hang=True)
    terminal = chat("Well?", *MIXTURE, command="ask", prompt="asking")
    terminal.sends(CTRL_C)
    assert terminal.ends() == 130
    assert terminal.text.strip() == ""


def test_a_saved_conversation_is_json(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "with a space.json"
    terminal = chat(*MIXTURE, "--yes", "--system", "Be brief.")
    ask(terminal, "Well?")
    ask(terminal, f"/save {path}")
    kept = json.loads(path.read_text())
    assert [message["type"] for message in kept["messages"]] == ["system", "human", "ai"]
