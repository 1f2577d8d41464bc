"""`--strategy` and `--report`: what is shown of a comparison and of a choice."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from langchain_moa import Analysis, MoAChatModel
from langchain_moa.cli.board import Board, console, losses
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from langchain_moa.tracing.progress import progress_event
from tests.commands import MIXTURE, asked_models
from tests.conftest import Cli
from tests.strategies import BLIND_SPOT, CONSENSUS, analyst, judge_of
from tests.wire import AGGREGATOR, ALPHA, BETA, says

pytestmark = pytest.mark.usefixtures("fresh")

WORDS = ("What is the capital?", *MIXTURE, "--strategy")


def reads_first(body: Any) -> str:
    """An aggregator that is the analyst, too."""
    return analyst(body) if body.get("tools") else "It is **Paris**."


@pytest.fixture(autouse=True)
def models(server: LoopbackServer, fresh: None) -> None:
    del fresh
    server.models[ALPHA] = says("Paris.")
    server.models[BETA] = says("Lyon. It floods.")
    server.models[AGGREGATOR] = ModelBehavior(reply=reads_first)


def test_a_report_stands_below_the_answer(cli: Cli, server: LoopbackServer) -> None:
    ran = cli("ask", *WORDS, "compare", "--report")
    answer, *rest = ran.out.split("\n\n## ")
    assert (ran.code, answer, ran.err) == (0, "It is **Paris**.", "")
    assert [section.partition("\n")[0] for section in rest] == [
        "Consensus",
        "Disagreements",
        "Minority view",
        "Blind spots",
    ]
    assert f"- {CONSENSUS}" in ran.out
    assert f"  - **{BETA}**: Lyon" in ran.out
    assert f"- **{BETA}** alone: It floods." in ran.out
    assert f"- {BLIND_SPOT}" in ran.out
    assert asked_models(server).count(AGGREGATOR) == 2


def test_json_has_the_report_and_a_chat_shows_it(cli: Cli) -> None:
    told = json.loads(cli("ask", *WORDS, "compare", "--report", "--json").out)
    assert told["report"] == Analysis(**told["record"]["analysis"]).report("It is **Paris**.")
    ran = cli("chat", *WORDS[1:], "compare", "--report", stdin="What is the capital?\n")
    assert f"It is **Paris**.\n\n## Consensus\n\n- {CONSENSUS}" in ran.out


def test_a_report_of_nothing_is_refused_before_anything_is_asked(
    cli: Cli, server: LoopbackServer
) -> None:
    ran = cli("ask", *WORDS, "select", "--report")
    assert (ran.code, ran.out) == (2, "")
    assert "--report shows a comparison, and --strategy is select" in ran.err
    assert server.requests == []


def test_a_selected_draft_is_all_there_is(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = judge_of(lambda text: "Lyon" in text)
    ran = cli("ask", *WORDS, "select")
    assert (ran.code, ran.out, ran.err) == (0, "Lyon. It floods.\n", "")


def test_what_was_not_found_is_told(cli: Cli, server: LoopbackServer) -> None:
    server.models[AGGREGATOR] = says("No JSON.")
    ran = cli("ask", *WORDS, "compare", "--report")
    assert (ran.code, ran.out) == (0, "No JSON.\n")
    assert "analyst: the answer holds no JSON object" in ran.err


def test_a_reason_without_a_request_is_told() -> None:
    record: Any = {
        "proposals": [],
        "aggregator": None,
        "consulted": None,
        "degraded_reasons": [{"stage": "check", "reason": "none_passed"}],
    }
    assert losses(record) == ["check: none passed"]


def test_the_board_has_a_row_for_who_is_consulted(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board([["a"], ["z"]], ("analyst", "y"))
    about = {"layer": 2, "index": 0, "role": "analyst", "model": "y"}
    board.on_event(progress_event("member_started", **about))
    board.on_event(progress_event("member_failed", **about, seconds=0.5, error="no JSON"))
    console().print(board)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:3] == ["analyst", "y", "failed"]
    assert rows[2] == ["aggregator", "z", "waiting"]


def test_drawings_have_it_too(cli: Cli, tmp_path: Path) -> None:
    drawn = cli("graph", *WORDS[1:], "compare").out
    assert f"   +-- analyst\n   |     +-- {AGGREGATOR}\n   |\n   +-- aggregator" in drawn
    assert "analyst" in cli("graph", *WORDS[1:], "compare", "--mermaid").out
    pictures = []
    for strategy in ("synthesize", "compare", "select"):
        path = tmp_path / f"{strategy}.png"
        assert cli("graph", *WORDS[1:], strategy, "--png", str(path)).code == 0
        with Image.open(path) as picture:
            pictures.append((picture.height, picture.tobytes()))
    (plain, _), (compared, analyst), (selected, judge) = pictures
    assert compared == selected > plain
    assert analyst != judge


@pytest.mark.parametrize(
    ("strategy", "box"),
    [("synthesize", None), ("compare", ">analyst: y&lt;b&gt;<"), ("select", ">judge: y&lt;b&gt;<")],
)
def test_a_notebook_shows_it(strategy: Any, box: str | None) -> None:
    a, y, z = (ScriptedChatModel.saying("x", model=name) for name in ("a", "acme/y<b>", "z"))
    llm = MoAChatModel(reference_models=[a, a], aggregator=z, analyst=y, judge=y, strategy=strategy)
    page = llm._repr_html_()
    assert page.count("<") == 1, "an image is all that a notebook shows before it is trusted"
    shown = b64decode(page.partition("base64,")[2].partition('"')[0]).decode()
    assert shown.count("<rect") == (6 if box is None else 7)
    assert box is None or box in shown
