"""A command line that remembers: the log, conversations, and what a failed call has paid for."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.cli.log import Entry, Log, new_conversation
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import KEY, MIXTURE, MODELS, asked, asked_models, user_turns
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, says

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture
def log(cli: Cli, tmp_path: Path) -> Path:
    """The log of the test, in a folder that is not there yet."""
    path = tmp_path / "state" / "log.db"
    cli.environment.setenv("LANGCHAIN_MOA_LOG", str(path))
    return path


def logged(cli: Cli, *words: str) -> list[dict[str, Any]]:
    ran = cli("logs", "--json", *words)
    assert ran.code == 0
    rows: list[dict[str, Any]] = json.loads(ran.out)
    return rows


def test_calls_are_logged_the_newest_first(cli: Cli, log: Path) -> None:
    cli("ask", "One?", *MIXTURE, "-s", "Be brief.")
    cli("chat", *MIXTURE, stdin="Two?\nThree?\n")
    rows = logged(cli)
    assert [row["question"] for row in rows] == ["Three?", "Two?", "One?"]
    assert [row["answer"] for row in rows] == ["The **answer**."] * 3
    assert [row["command"] for row in rows] == ["chat", "chat", "ask"]
    assert rows[0]["conversation"] == rows[1]["conversation"] != rows[2]["conversation"]
    assert rows[2]["system"] == "Be brief."
    assert [p["text"] for p in rows[0]["record"]["proposals"]] == [
        "Draft of alpha.",
        "Draft of beta.",
    ]
    assert [row["question"] for row in logged(cli, "-n", "1")] == ["Three?"]
    told = cli("logs", "-n", "2").out
    assert told.index("> Three?") < told.index("> Two?")
    assert KEY.encode() not in log.read_bytes()
    if sys.platform != "win32":
        assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("way", ["option", "variable", "demo"])
def test_what_is_not_to_be_logged_is_not(
    way: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LANGCHAIN_MOA_LOG", "0" if way == "variable" else "1")
    words = ["--demo"] if way == "demo" else [*MIXTURE]
    more = ["--no-log"] if way == "option" else []
    assert cli("ask", "Hi", *words, *more).code == 0
    assert cli("chat", *words, *more, stdin="Hi\n").code == 0
    assert not (tmp_path / "state").exists()
    assert logged(cli) == []
    assert "Nothing is logged in " in cli("logs").err


def test_a_failed_call_is_logged_with_what_was_paid_for(
    cli: Cli, log: Path, server: LoopbackServer
) -> None:
    assert not log.exists()
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="no such luck")
    assert cli("ask", "One?", *MIXTURE).code == 3
    assert cli("chat", *MIXTURE, stdin="Two?\n").code == 3
    for row in logged(cli):
        assert row["answer"] is None
        assert "no such luck" in row["error"]
        assert [p["text"] for p in row["record"]["proposals"]] == [
            "Draft of alpha.",
            "Draft of beta.",
        ]


def test_a_log_that_cannot_be_written_costs_no_answer(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_text("this is no database, and it is long enough to be seen to be none" * 20)
    cli.environment.setenv("LANGCHAIN_MOA_LOG", str(path))
    ran = cli("chat", *MIXTURE, stdin="One?\nTwo?\n")
    assert (ran.code, ran.out) == (0, "The **answer**.\nThe **answer**.\n")
    assert ran.err.count("cannot be written") == 1
    assert cli("logs").code != 0


def test_a_conversation_goes_on(cli: Cli, log: Path, server: LoopbackServer) -> None:
    assert "no conversation is logged" in cli("chat", "-c", *MIXTURE, stdin="Hi\n").err
    cli("chat", *MIXTURE, "-s", "Be brief.", stdin="One?\n/retry\nTwo?\n")
    assert cli("ask", "Meanwhile?", *MIXTURE).code == 0
    cli("chat", "--continue", *MIXTURE, stdin="Three?\n/cost\n")
    turns = [turn for turn in user_turns(server, ALPHA) if not turn.startswith("assistant")]
    assert turns == ["system: Be brief.", "user: One?", "user: Two?", "user: Three?"]
    cli("chat", "-c", *MIXTURE, stdin="Four?\n")  # with what was said after it was gone on with
    assert user_turns(server, ALPHA)[-1] == "user: Four?"
    assert "user: Three?" in user_turns(server, ALPHA)
    assert log.exists()


def test_a_log_of_ten_thousand_calls(cli: Cli, log: Path) -> None:
    kept = Log(log)
    kept.add(Entry(command="ask", conversation=new_conversation(), question="0", answer="0"))
    with closing(sqlite3.connect(log)) as file, file:
        file.executemany(
            "INSERT INTO calls (at, command, conversation, question, answer, record) "
            "VALUES ('2026-01-01T00:00:00', 'chat', 'x', ?, 'y', '{}')",
            ((str(number),) for number in range(1, 10_000)),
        )
    rows = logged(cli, "-n", "3")
    assert [row["question"] for row in rows] == ["9999", "9998", "9997"]


def test_what_was_paid_for_is_not_paid_again(cli: Cli, server: LoopbackServer) -> None:
    """The aggregator and one member fail; then only these are asked."""
    server.models[BETA] = ModelBehavior(status=400, error="no such luck")
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="not now")

    def lines() -> Iterator[str]:
        yield "One?"
        server.models.update(MODELS)
        yield "/retry"
        yield "/record"

    cli.environment.setattr("langchain_moa.cli.chat.lines_of_stdin", lines)
    ran = cli("chat", *MIXTURE)
    assert ran.out.startswith("The **answer**.\n")
    assert "1 proposal is kept: /proposals shows, /best takes one" in ran.err
    assert asked_models(server).count(ALPHA) == 1
    assert (asked_models(server).count(BETA), asked_models(server).count(AGGREGATOR)) == (2, 2)
    assert "reused" in ran.out


def test_a_proposal_of_a_failed_call_is_taken_as_the_answer(
    cli: Cli, server: LoopbackServer
) -> None:
    server.models[GAMMA] = says("Draft of alpha!")
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="no such luck")
    words = ("--reference-models", f"{ALPHA},{BETA},{GAMMA}", "-m", AGGREGATOR)
    given = "One?\n/proposals 2\n/best 9\n/best\n/best\n/record\n/usage\n/model acme/gamma\nTwo?\n"
    ran = cli("chat", *words, stdin=given)
    assert ran.out.startswith("layer 1 · acme/beta\nDraft of beta.\n\nDraft of alpha.\n")
    assert "there is no proposal 9; give a number from 1 to 3." in ran.err
    assert "/best is for a question that got no answer" in ran.err
    assert "acme/gamma answers." in ran.err
    assert user_turns(server, BETA) == [
        "user: One?",
        "assistant: Draft of alpha.",
        "user: Two?",
    ]


def test_the_mixture_can_be_changed_as_one_talks(cli: Cli, server: LoopbackServer) -> None:
    given = (
        "/system Be brief.\n/temperature 0.25\n/model acme/gamma\nOne?\n/strategy nope\n"
        "/temperature warm\n/strategy\n/temperature -1\n/proposals x\n"
    )
    ran = cli("chat", *MIXTURE, stdin=given)
    assert asked_models(server)[-1] == GAMMA
    assert asked(server, "temperature") == [0.25] * 3
    assert user_turns(server, GAMMA)[0] == "system: Be brief."
    assert "strategy='nope' is unknown; give" in ran.err
    assert "temperature='warm' is no number" in ran.err
    assert "strategy synthesize." in ran.err
    assert "'x' is no number of a proposal" in ran.err
    assert ran.code == 2


@pytest.mark.parametrize("word", ["help", "?", "HELP", "/help"])
def test_who_asks_for_help_gets_it(word: str, cli: Cli, server: LoopbackServer) -> None:
    assert "/quit" in cli("chat", *MIXTURE, stdin=f"{word}\n").out
    assert not server.requests


def test_files_beside_a_question(cli: Cli, server: LoopbackServer, tmp_path: Path) -> None:
    picture, paper = tmp_path / "x.bin", tmp_path / "x.pdf"
    picture.write_bytes(b"\x89PNG\r\n\x1a\nxyz")
    paper.write_bytes(b"%PDF-1.7 xyz")
    assert cli("ask", "What is it?", *MIXTURE, "-a", str(picture)).code == 0
    content = server.requests_for(ALPHA)[-1].body["messages"][-1]["content"]
    assert content[0] == {"type": "text", "text": "What is it?"}
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert cli("ask", "What is it?", *MIXTURE, "-a", str(paper)).code == 0
    assert "x.pdf" in str(server.requests_for(ALPHA)[-1].body["messages"][-1]["content"])
    text = tmp_path / "x.txt"
    text.write_text("Hello")
    ran = cli("ask", "What is it?", *MIXTURE, "-a", str(text))
    assert (ran.code, "give a picture (PNG, JPEG, GIF, WebP) or a PDF" in ran.err) == (2, True)
    assert "No such file" in cli("ask", "?", *MIXTURE, "-a", "none.png").err


def test_files_beside_the_questions_of_a_chat(
    cli: Cli, server: LoopbackServer, log: Path, tmp_path: Path
) -> None:
    """They go with one question, are asked again with it, and are still there when it goes on."""
    names = {"a.png": b"\x89PNG\r\n\x1a\nxyz", "b c.gif": b"GIF89a", "d.pdf": b"%PDF-1.7"}
    for name, data in names.items():
        (tmp_path / name).write_bytes(data)
    first, spaced, paper = (tmp_path / name for name in names)

    def content() -> list[Any]:
        """What the last request says for the user, question by question."""
        messages = server.requests_for(ALPHA)[-1].body["messages"]
        return [message["content"] for message in messages if message["role"] == "user"]

    def kinds(said: Any) -> list[str]:
        return [part["type"] for part in said] if isinstance(said, list) else ["alone"]

    with_one, with_two = ["text", "image_url"], ["text", "image_url", "file"]
    server.models[AGGREGATOR] = ModelBehavior(status=400, error="no such luck")

    def lines() -> Iterator[str]:
        yield "/attach"
        yield "One?"
        assert list(map(kinds, content())) == [with_one]
        server.models.update(MODELS)
        server.models[ALPHA] = ModelBehavior(reply="Draft of alpha.")
        yield "/retry"
        yield f"/attach '{spaced}'"
        yield f"/attach {paper}"
        yield f"/attach {tmp_path / 'none.png'}"
        yield "Two?"
        assert list(map(kinds, content())) == [with_one, with_two]
        yield "Three?"
        assert list(map(kinds, content())) == [with_one, with_two, ["alone"]]

    cli.environment.setattr("langchain_moa.cli.chat.lines_of_stdin", lines)
    ran = cli("chat", *MIXTURE, "-a", str(first))
    assert ran.out == "The **answer**.\n" * 3
    assert "a.png: sent with the next question." in ran.err
    assert "b c.gif, d.pdf: sent with the next question." in ran.err
    assert "none.png cannot be attached: No such file or directory." in ran.err
    assert asked_models(server).count(ALPHA) == 3  # its proposal was kept for the retry
    told = cli("logs").out
    assert (told.count("1 file"), told.count("2 files")) == (2, 1)

    cli.environment.setattr("langchain_moa.cli.chat.lines_of_stdin", lambda: iter(["Four?"]))
    assert cli("chat", "-c", *MIXTURE).code == 0
    assert list(map(kinds, content())) == [with_one, with_two, ["alone"], ["alone"]]
    assert log.exists()


def test_a_log_of_an_earlier_version_is_gone_on_with(cli: Cli, log: Path) -> None:
    cli("chat", *MIXTURE, stdin="One?\n")
    with closing(sqlite3.connect(log)) as file, file:
        file.execute("ALTER TABLE calls DROP COLUMN files")
        file.execute("PRAGMA user_version = 1")
    assert cli("chat", "-c", *MIXTURE, stdin="Two?\n").err == ""
    assert [row["question"] for row in logged(cli)] == ["Two?", "One?"]


def test_an_answer_goes_to_a_file(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "answer.md"
    ran = cli("ask", "Hi", *MIXTURE, "-o", str(path))
    assert (ran.code, ran.out, path.read_text()) == (0, "", "The **answer**.\n")
    assert "exists; give --force" in cli("ask", "Hi", *MIXTURE, "-o", str(path)).err
    assert cli("ask", "Hi", *MIXTURE, "-o", str(path), "--force", "--json").code == 0
    assert json.loads(path.read_text())["answer"] == "The **answer**."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_answer_whose_file_cannot_be_written_is_not_lost(cli: Cli, form: list[str]) -> None:
    ran = cli("ask", "Hi", *MIXTURE, "-o", "/dev/full", *form)
    assert (ran.code, ran.err) == (2, "error: /dev/full: No space left on device.\n")
    answer = json.loads(ran.out)["answer"] if form else ran.out.strip()
    assert answer == cli("ask", "Hi", *MIXTURE).out.strip() != ""


def test_lists_are_json_where_that_is_wanted(cli: Cli) -> None:
    presets = json.loads(cli("presets", "--json").out)
    assert {"name", "title", "settings"} <= presets[0].keys()
    assert json.loads(cli("presets", presets[0]["name"], "--json").out) == presets[0]
    served = json.loads(cli("models", *MIXTURE, "--json").out)
    assert {row["model"] for row in served if row["in_mixture"]} == {ALPHA, BETA, AGGREGATOR}
    assert all(row["served"] for row in served)
    assert len(served) >= 4
