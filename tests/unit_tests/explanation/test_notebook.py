"""The board in a notebook's cell, with IPython's own display and a mixture over the wire."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from langchain_core.messages import AIMessageChunk
from traitlets.config import Config

from langchain_moa import NotebookBoard
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, mixture, says, until


@pytest.fixture
def shown() -> Iterator[list[dict[str, Any]]]:
    """What a notebook would show, in the order in which it was told to."""
    hooks = sys.displayhook, sys.excepthook
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    new_publisher: Any = CapturingDisplayPublisher
    publisher = new_publisher(shell=shell)
    shell.display_pub = publisher
    yield publisher.outputs
    InteractiveShell.clear_instance()
    sys.displayhook, sys.excepthook = hooks


def pages(shown: list[dict[str, Any]]) -> list[str]:
    return [output["data"]["text/html"] for output in shown]


def test_each_call_has_a_picture_that_is_drawn_anew(shown: list[dict[str, Any]]) -> None:
    """One member answers, one fails twice, one is cut; the last picture tells all of them."""
    models = {
        ALPHA: says("one\ntwo <b>three</b>"),
        BETA: ModelBehavior(status=503, error="no such luck"),
        GAMMA: ModelBehavior(hang=True),
        AGGREGATOR: says("Done."),
    }
    with LoopbackServer(models) as server:
        llm = mixture(
            server,
            reference_models=[ALPHA, BETA, GAMMA],
            on_progress=NotebookBoard(),
            stream_proposals=True,
            max_retries=1,
            quorum=1,
            grace=3.0,
        )
        llm.invoke("Hi")
        first = pages(shown)[-1]
        llm.invoke("Hi again")
    for state in ("done", "failed", "cut"):
        assert f">{state}</td>" in first
    assert "no such luck" in first
    assert first.count("<tr>") == 4
    assert "<b>" not in first
    assert "tokens</td>" in first
    begun = [output["transient"]["display_id"] for output in shown if not output.get("update")]
    assert len(begun) == len(set(begun)) == 2  # a picture of its own for each call
    assert {output["transient"]["display_id"] for output in shown} == set(begun)


async def test_who_is_asked_is_seen_before_anybody_answers(shown: list[dict[str, Any]]) -> None:
    """The times go on, too, while nothing happens; and nothing is drawn after the end."""

    def seen() -> bool:
        """Whether there were two pictures of the members that are waited for."""
        return len({page for page in pages(shown) if page.count(">asking</td>") == 2}) >= 2

    models = {ALPHA: says("one", once=seen), BETA: says("two", once=seen), AGGREGATOR: says("3.")}
    with LoopbackServer(models) as server:
        await mixture(server, on_progress=NotebookBoard()).ainvoke("Hi")
    assert pages(shown)[-1].count(">done</td>") == 3
    await until(lambda: "moa-board" not in {thread.name for thread in threading.enumerate()})
    assert pages(shown)[-1].count(">done</td>") == 3


class Slow:
    """Chunks with a picture's pause between them: each is shown before the next one comes."""

    def __init__(self, shown: list[dict[str, Any]]) -> None:
        self.texts = ["a < b", "\x1b[2J", " and c"]
        self._shown = shown

    def __iter__(self) -> Iterator[AIMessageChunk]:
        for text in self.texts:
            yield AIMessageChunk(content=text)
            threading.Event().wait(0.11)


async def test_an_answer_grows_and_is_given_back(shown: list[dict[str, Any]]) -> None:
    async def astream() -> Any:
        for chunk in Slow(shown):
            yield chunk

    board = NotebookBoard()
    whole = board.show(Slow(shown))
    awhole = await board.ashow(astream())
    assert whole.text == awhole.text == "a < b\x1b[2J and c"
    texts = pages(shown)
    assert "a &lt; b" in texts[0]
    assert "and c" in texts[-1]
    assert not [text for text in texts if "\x1b" in text]
    assert [bool(output.get("update")) for output in shown].count(False) == 2


def test_a_stream_of_nothing_is_an_empty_answer(shown: list[dict[str, Any]]) -> None:
    assert NotebookBoard().show([]).text == ""
    assert len(shown) == 1
