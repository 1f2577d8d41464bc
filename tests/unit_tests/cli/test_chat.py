"""`langchain-moa chat` in a pipe: a question per line, plain text."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from langchain_moa import MoAChatModel
from langchain_moa.cli.chat import Chat, Shows
from langchain_moa.cli.conversation import Conversation
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.commands import KEY, MIXTURE, MODELS, user_turns
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA

pytestmark = pytest.mark.usefixtures("fresh")


def test_answers_alone_go_to_stdout(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("chat", *MIXTURE, stdin="One?\n\n  Two?\nexit\nThree?\n")
    assert (ran.code, ran.out, ran.err) == (0, "The **answer**.\n" * 2, "")
    assert user_turns(server, ALPHA) == [
        "user: One?",
        "assistant: The **answer**.",
        "user: Two?",
    ]


def test_without_multi_turn_each_question_stands_alone(cli: Cli, server: LoopbackServer) -> None:
    words = ("--no-multi-turn", "--system", "Be brief.")
    cli("chat", *MIXTURE, *words, stdin="One?\nTwo?\n")
    assert user_turns(server, ALPHA) == ["system: Be brief.", "user: Two?"]


def test_what_goes_wrong_is_told_on_stderr(cli: Cli, server: LoopbackServer) -> None:
    server.models[BETA] = ModelBehavior(status=400, error="no such luck")
    ran = cli(
        "chat",
        *MIXTURE,
        "--show-proposals",
        stdin="One?\n/nope\n/modle x\n/temperature 900\n/load none.json\n",
    )
    assert ran.out == "The **answer**.\n"
    assert f"layer 1, {BETA}: failed: " in ran.err
    assert f"layer 1 · {ALPHA}\nDraft of alpha." in ran.err
    assert "/nope is no command; /help lists them" in ran.err
    assert "/modle is no command; did you mean /model?" in ran.err
    assert "error: temperature=900.0 must be a number from 0 to 100." in ran.err
    assert "error: none.json: No such file or directory." in ran.err
    assert ran.code == 2


def test_a_question_without_an_answer_does_not_end_it(cli: Cli, server: LoopbackServer) -> None:
    faults = iter([ModelBehavior(status=400)])
    server.models[AGGREGATOR] = lambda _body, _earlier: next(faults, MODELS[AGGREGATOR])
    ran = cli("chat", *MIXTURE, stdin="One?\nTwo?\n")
    assert (ran.code, ran.out) == (3, "The **answer**.\n")
    assert ran.err.startswith("error: ")
    assert user_turns(server, ALPHA) == ["user: Two?"]


def test_commands(cli: Cli, server: LoopbackServer, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    stdin = f"One?\n/save {path}\n/reset\nTwo?\n/load {path}\nThree?\n/save\n//etc?\n/quit\n"
    ran = cli("chat", *MIXTURE, stdin=stdin)
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"1 turn saved to {path}.",
        "the conversation is empty.",
        f"1 turn loaded from {path}.",
        "/save needs a file's name.",
    ]
    asked = [line for line in user_turns(server, ALPHA) if line.startswith("user")]
    assert asked == ["user: One?", "user: Three?", "user: /etc?"]
    assert KEY not in path.read_text()


def test_commands_that_show_something(cli: Cli) -> None:
    stdin = "/usage\n/proposals\n/retry\n/models\n/layers\n/help\n"
    ran = cli("chat", *MIXTURE, "--rounds", "2", stdin=stdin)
    assert ran.err.splitlines() == ["no tokens yet.", "no answer yet.", "nothing to ask again."]
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[:5] == [
        ["layer", "1", ALPHA],
        [BETA],
        ["layer", "2", ALPHA],
        [BETA],
        ["aggregator", AGGREGATOR],
    ]
    assert ran.out.splitlines()[5].startswith("3 layers: 2 passes")
    assert [line[0] for line in lines[6:-1]] == [
        *("/help", "/models", "/model", "/system", "/temperature", "/strategy", "/layers"),
        *("/attach", "/proposals", "/best", "/record", "/usage", "/cost", "/save", "/load"),
        *("/retry", "/reset", "/quit"),
    ]


def test_nothing_unexpected_ends_a_conversation(
    server: LoopbackServer, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = MoAChatModel(
        reference_models=[ALPHA],
        aggregator=AGGREGATOR,
        base_url=server.base_url,
        api_key=server.api_key,
    )

    class Broken(Conversation):
        def usage(self) -> Any:
            msg = "no such luck"
            raise ZeroDivisionError(msg)

    with asyncio.Runner() as runner:
        chat = Chat(llm, Broken(), runner, Shows())
        assert chat.talk(["/usage", "One?"]) == 0
    told = capsys.readouterr()
    assert told.out == "The **answer**.\n"
    assert "error: no such luck" in told.err
