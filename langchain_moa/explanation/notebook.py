"""A live board in a notebook's cell: who is asked, who has answered, and how it grows."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, Iterable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib import import_module
from typing import Any, Final

from langchain_core.messages import AIMessageChunk

from langchain_moa.errors import MissingExtraError
from langchain_moa.explanation import words
from langchain_moa.types import ProgressEvent

_PAUSE: Final = 0.1
"""Seconds between two pictures of a board."""
_TICK: Final = 0.5
"""Seconds after which a board is drawn anew where nothing happens: the time goes on."""
_TABLE: Final = "color:inherit;font:inherit"
"""In old documents without a doctype a table has neither from what is around it."""
_CELL: Final = "padding:.1em 1em .1em 0;text-align:left;white-space:nowrap"
_ENDS: Final = ("call_finished", "call_failed", "call_cut")
_COLOURS: Final = {"done": "#2da44e", "failed": "#cf4a5a", "cut": "#8c959f"}
_LONGEST: Final = 100


@dataclass(slots=True)
class _Row:
    label: str
    model: str
    state: str = "asking"
    started: float = 0.0
    seconds: float | None = None
    told: str = ""

    def cells(self) -> str:
        passed = time.monotonic() - self.started if self.seconds is None else self.seconds
        colour = _COLOURS.get(self.state, "#4493f8")
        texts = [self.label, self.model]
        cells = "".join(f'<td style="{_CELL}">{escape(words.line(text))}</td>' for text in texts)
        return (
            f'{cells}<td style="{_CELL};color:{colour}">{self.state}</td>'
            f'<td style="{_CELL}">{passed:.1f} s</td>'
            f'<td style="{_CELL};opacity:.7">{escape(words.line(self.told, _LONGEST))}</td>'
        )


class NotebookBoard:
    """Shows each call of a mixture in the notebook's cell that makes it, as plain HTML.

    With `stream_proposals=True` the last line of each proposal is shown as it grows.

    Raises:
        MissingExtraError: There is no IPython, which every notebook has.

    Example:
        >>> from langchain_moa import MoAChatModel, NotebookBoard
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> board = NotebookBoard()
        >>> four = ScriptedChatModel.saying("4")
        >>> llm = MoAChatModel.self_moa(four, samples=2, on_progress=board)
        >>> answer = board.show(llm.stream("2 + 2?"))  # in a notebook, tables; here, their names
        <IPython.core.display.HTML object>
        ...
        >>> answer.text
        '4'
    """

    def __init__(self) -> None:
        self._display = _ipython()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clear()

    def __deepcopy__(self, memo: object) -> NotebookBoard:
        """Itself: a copied mixture tells the same board."""
        return self

    def __call__(self, event: ProgressEvent) -> None:
        """Take one step of a call into account: the mixture's `on_progress`."""
        with self._lock:
            if event["event"] == "call_started":
                self._clear()
                self._tick()
            self._take(event)
            if event["event"] in _ENDS:
                self._over.set()
            if self._over.is_set() or time.monotonic() - self._drawn > _PAUSE:
                self._show()

    def show(self, chunks: Iterable[AIMessageChunk]) -> AIMessageChunk:
        """Show a streamed answer as it grows; gives the whole of it.

        Args:
            chunks: What `llm.stream(...)` gives.
        """
        growing = _Growing(self._display)
        for chunk in chunks:
            growing.add(chunk)
        return growing.end()

    async def ashow(self, chunks: AsyncIterable[AIMessageChunk]) -> AIMessageChunk:
        """The same for what `llm.astream(...)` gives."""
        growing = _Growing(self._display)
        async for chunk in chunks:
            growing.add(chunk)
        return growing.end()

    def _clear(self) -> None:
        self._over.set()  # of the call before
        self._over = threading.Event()
        self._rows: dict[tuple[int, int, str], _Row] = {}
        self._handle: Any = None
        self._drawn = 0.0

    def _tick(self) -> None:
        """Draw the board of a call anew until that is over, whether anything happens or not."""
        over, pause = self._over, _PAUSE  # the first picture soon: then it is known who is asked

        def ticks() -> None:
            nonlocal pause
            while not over.wait(pause):
                pause = _TICK
                with self._lock:
                    if not over.is_set() and time.monotonic() - self._drawn > _PAUSE:
                        self._show()

        # the cell is known by the context of who calls
        target = partial(copy_context().run, ticks)
        threading.Thread(target=target, name="moa-board", daemon=True).start()

    def _take(self, event: ProgressEvent) -> None:
        if event["layer"] is None or event["role"] is None:
            return
        key = (event["layer"], event["index"] or 0, event["role"])
        row = self._rows.get(key)
        if row is None:
            label = f"layer {event['layer']}" if event["role"] == "proposer" else event["role"]
            row = _Row(label, event["model"] or "", started=time.monotonic())
            self._rows[key] = row
        match event["event"]:
            case "first_token":
                row.state = "streaming"
            case "token":
                row.state = "streaming"
                row.told = (row.told + (event["text"] or ""))[-4 * _LONGEST :].split("\n")[-1]
            case "member_retried":
                row.told = f"again: {event['error']}"
            case "member_finished":
                row.state, row.seconds = "done", event["seconds"]
                usage = event["usage"]
                row.told = f"{usage['output_tokens']:,} tokens" if usage else ""
            case "member_failed" | "member_cut" as ended:
                row.state, row.seconds = ended.removeprefix("member_"), event["seconds"]
                row.told = event["error"] or ""

    def _show(self) -> None:
        self._drawn = time.monotonic()
        rows = "".join(f"<tr>{row.cells()}</tr>" for _, row in sorted(self._rows.items()))
        page = self._display.HTML(f'<table style="{_TABLE}">{rows}</table>')
        if self._handle is None:
            self._handle = self._display.display(page, display_id=True)
        else:
            self._handle.update(page)


class _Growing:
    """Text that grows in a cell."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._chunks: list[AIMessageChunk] = []
        self._texts: list[str] = []
        self._handle: Any = None
        self._drawn = 0.0

    def add(self, chunk: AIMessageChunk) -> None:
        self._chunks.append(chunk)
        self._texts.append(chunk.text)
        if time.monotonic() - self._drawn > _PAUSE:
            self._show()

    def end(self) -> AIMessageChunk:
        self._show()
        first, *others = self._chunks or [AIMessageChunk(content="")]
        return first + others

    def _show(self) -> None:
        self._drawn = time.monotonic()
        text = escape(words.plain("".join(self._texts)))
        page = self._display.HTML(f'<div style="white-space:pre-wrap">{text}</div>')
        if self._handle is None:
            self._handle = self._display.display(page, display_id=True)
        else:
            self._handle.update(page)


def _ipython() -> Any:
    try:
        return import_module("IPython.display")
    except ImportError as error:
        msg = "NotebookBoard needs IPython, which every notebook has: pip install ipykernel."
        raise MissingExtraError(msg) from error
