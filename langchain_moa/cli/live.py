"""Asks a mixture one question and shows what happens: on a terminal live, elsewhere plainly."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.board import Board, losses, summary, write
from langchain_moa.cli.mixture import member_names
from langchain_moa.cli.terminal import printable
from langchain_moa.tracing.progress import OnProgress
from langchain_moa.types import MoARecord, ProgressEvent

Chunks: TypeAlias = AsyncGenerator[AIMessageChunk, None]

_FENCE: Final = re.compile(r"(`{3,}|~{3,})(.*)")
_REFRESH = 10
"""How often a second the display is drawn anew."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An answer and how it came about.

    Attributes:
        message: The answer.
        record: What happened in the call.
        seconds: Wall time of the call.
    """

    message: AIMessage
    record: MoARecord
    seconds: float


def _live(console: Console, shown: RenderableType = "") -> Live:
    """A display that goes when it ends.

    Rich's own thread of refreshes is not used: it would write in the middle of what is printed
    above the display.
    """
    return Live(shown, console=console, transient=True, auto_refresh=False)


class AnswerPrinter:
    """Prints a growing answer.

    On a terminal it is rendered as Markdown: paragraphs that are finished are printed for good, and
    only the last one is drawn anew as it grows, so that long answers scroll as any text.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pending = ""
        self._live: Live | None = None

    def feed(self, text: str) -> None:
        """Take the answer's next piece."""
        if not self._console.is_terminal:
            self._pending += text
            return
        self._pending += printable(text)
        if self._live is None:
            self._live = _live(self._console)
            self._live.start()
        finished, self._pending = finished_paragraphs(self._pending)
        self._live.update(_Paragraphs(self._pending, tail=True))
        if finished:
            self._console.print(_Paragraphs(finished))
            self._console.print()

    def refresh(self) -> None:
        """Show what has come."""
        if self._live is not None:
            self._live.refresh()

    def end(self, *, complete: bool) -> None:
        """Print for good what is left.

        Args:
            complete: Whether it is the whole answer; a part of one is shown on a terminal only.
        """
        if self._live is None:
            if complete:
                self._console.out(self._pending, highlight=False)
        else:
            self._live.update("")
            self._live.stop()
            if self._pending.strip():
                self._console.print(_Paragraphs(self._pending))
        self._pending, self._live = "", None


class _Paragraphs:
    """Markdown without the empty lines that its renderer puts around some kinds of blocks.

    Args:
        text: The Markdown.
        tail: Whether only the end is shown of what is higher than the screen.
    """

    def __init__(self, text: str, *, tail: bool = False) -> None:
        self._text = text
        self._tail = tail

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # parsed when it is drawn, which is less often than tokens come
        markdown = Markdown(self._text, code_theme="ansi_dark", hyperlinks=False)
        lines = console.render_lines(markdown, options, pad=False)
        written = [i for i, line in enumerate(lines) if "".join(s.text for s in line).strip()]
        shown = lines[written[0] : written[-1] + 1] if written else []
        for line in shown[-max(1, options.max_height - 1) :] if self._tail else shown:
            yield from line
            yield Segment.line()


def finished_paragraphs(text: str) -> tuple[str, str]:
    """Split growing Markdown at the last empty line outside a code block and a list's item.

    Returns:
        What cannot change any more, and the rest.
    """
    fence, after_empty, split, place = "", False, 0, 0
    for line in text.splitlines(keepends=True):
        if after_empty and not fence and not line[0].isspace():
            split = place
        fence = _fence_after(line.strip(), fence)
        after_empty = not line.strip()
        place += len(line)
    return text[:split].strip("\n"), text[split:]


def _fence_after(line: str, fence: str) -> str:
    """The fence of the code block that goes on after a line; empty outside of one.

    Only a fence of the same kind, as long at least and with nothing behind it, ends a block.
    """
    found = _FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        return found[1]
    return "" if not found[2] and found[1].startswith(fence) else fence


async def ask(
    llm: MoAChatModel,
    messages: Sequence[BaseMessage],
    *,
    progress: Console | None = None,
    printer: AnswerPrinter | None = None,
    on_event: OnProgress | None = None,
) -> Asked:
    """Ask the mixture, and show the members as they work and the answer as it comes.

    Args:
        llm: The mixture.
        messages: The conversation.
        progress: A terminal to show the members on; `None` shows none.
        printer: What prints the answer; `None` prints none.
        on_event: Called with each step, too.

    Raises:
        MoAError: There is no answer.
    """
    board = Board(member_names(llm))
    live = _live(progress, board) if progress else None

    def heard(event: ProgressEvent) -> None:
        board.on_event(event)
        if on_event is not None:
            on_event(event)

    listening = llm.model_copy(update={"on_progress": heard, "stream_proposals": live is not None})
    return await _Asking(live, printer).run(listening, list(messages))


class _Asking:
    """One question being answered: first the members are shown, then the answer."""

    def __init__(self, live: Live | None, printer: AnswerPrinter | None) -> None:
        self._live = live
        self._printer = printer

    async def run(self, llm: MoAChatModel, messages: list[BaseMessage]) -> Asked:
        started = time.perf_counter()
        whole: AIMessageChunk | None = None
        complete = False
        if self._live:
            self._live.start()
        refreshing = asyncio.create_task(self._refresh())
        try:
            async with aclosing(cast("Chunks", llm.astream(messages))) as chunks:
                async for chunk in chunks:
                    whole = chunk if whole is None else whole + chunk
                    self._show(chunk.text)
            complete = True
        finally:
            refreshing.cancel()
            self._hide_members()
            if whole is not None and self._printer:
                self._printer.end(complete=complete)
        message = cast("AIMessage", message_chunk_to_message(whole or AIMessageChunk(content="")))
        seconds = time.perf_counter() - started
        return Asked(message=message, record=message.response_metadata["moa"], seconds=seconds)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(1 / _REFRESH)
            if self._live:
                self._live.refresh()
            if self._printer:
                self._printer.refresh()

    def _show(self, text: str) -> None:
        if text and self._printer is not None:
            self._hide_members()
            self._printer.feed(text)

    def _hide_members(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def tell(asked: Asked, console: Console, *, proposals: bool, totals: bool) -> None:
    """Tell of a call that is over: what was lost, the proposals, one line of totals.

    Args:
        asked: The answer and its record.
        console: Where to tell it.
        proposals: Whether to print the proposals.
        totals: Whether to print the line of totals.
    """
    if proposals:
        show_proposals(asked.record, console)
    for loss in losses(asked.record):
        write(console, loss, "lost")
    if totals:
        write(console, summary(asked.record, asked.seconds), "note")


def show_proposals(record: MoARecord, console: Console) -> None:
    """Print each usable proposal under its layer and model."""
    for proposal in record["proposals"]:
        if text := proposal.get("text"):
            write(console, f"\nlayer {proposal['layer']} · {proposal['model']}", "bold")
            write(console, text)
    write(console, "")
