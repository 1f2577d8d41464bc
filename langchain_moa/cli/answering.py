"""Asks a mixture one question and shows what happens: on a terminal live, elsewhere plainly."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.markup import escape
from rich.segment import Segment

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.board import Board, losses, summary
from langchain_moa.cli.mixture import member_names
from langchain_moa.types import MoARecord

Chunks: TypeAlias = AsyncGenerator[AIMessageChunk, None]

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
        self._pending += text
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=_REFRESH, transient=True)
            self._live.start()
        finished, self._pending = finished_paragraphs(self._pending)
        if finished:
            self._console.print(_Paragraphs(finished))
            self._console.print()
        self._live.update(_Paragraphs(self._pending))

    def end(self) -> None:
        """Print for good what is left."""
        if self._live is None:
            self._console.out(self._pending, highlight=False)
        else:
            self._live.update("")
            self._live.stop()
            if self._pending.strip():
                self._console.print(_Paragraphs(self._pending))
        self._pending, self._live = "", None


class _Paragraphs:
    """Markdown without the empty lines that its renderer puts around some kinds of blocks."""

    def __init__(self, text: str) -> None:
        self._markdown = Markdown(text, code_theme="ansi_dark")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._markdown, options, pad=False)
        written = [i for i, line in enumerate(lines) if "".join(s.text for s in line).strip()]
        for line in lines[written[0] : written[-1] + 1] if written else []:
            yield from line
            yield Segment.line()


def finished_paragraphs(text: str) -> tuple[str, str]:
    """Split growing Markdown at the last empty line outside a code block.

    Returns:
        What cannot change any more, and the rest.
    """
    in_code, split, place = False, 0, 0
    for line in text.splitlines(keepends=True):
        place += len(line)
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        elif not line.strip() and not in_code:
            split = place
    return text[:split].strip("\n"), text[split:]


async def ask(
    llm: MoAChatModel,
    messages: Sequence[BaseMessage],
    *,
    progress: Console | None = None,
    printer: AnswerPrinter | None = None,
) -> Asked:
    """Ask the mixture, and show the members as they work and the answer as it comes.

    Args:
        llm: The mixture.
        messages: The conversation.
        progress: A terminal to show the members on; `None` shows none.
        printer: What prints the answer; `None` prints none.

    Raises:
        MoAError: There is no answer.
    """
    board = Board(member_names(llm))
    live = (
        Live(board, console=progress, transient=True, refresh_per_second=_REFRESH)
        if progress
        else None
    )
    listening = llm.model_copy(
        update={"on_progress": board.on_event, "stream_proposals": live is not None}
    )
    return await _Asking(live, printer).run(listening, list(messages))


class _Asking:
    """One question being answered: first the members are shown, then the answer."""

    def __init__(self, live: Live | None, printer: AnswerPrinter | None) -> None:
        self._live = live
        self._printer = printer

    async def run(self, llm: MoAChatModel, messages: list[BaseMessage]) -> Asked:
        started = time.perf_counter()
        whole: AIMessageChunk | None = None
        if self._live:
            self._live.start()
        try:
            async with aclosing(cast("Chunks", llm.astream(messages))) as chunks:
                async for chunk in chunks:
                    whole = chunk if whole is None else whole + chunk
                    self._show(chunk.text)
        finally:
            self._hide_members()
            if whole is not None and self._printer:
                self._printer.end()
        message = cast("AIMessage", message_chunk_to_message(whole or AIMessageChunk(content="")))
        seconds = time.perf_counter() - started
        return Asked(message=message, record=message.response_metadata["moa"], seconds=seconds)

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
        console.print(f"[lost]{escape(loss)}[/]", soft_wrap=True)
    if totals:
        console.print(f"[note]{summary(asked.record, asked.seconds)}[/]", soft_wrap=True)


def show_proposals(record: MoARecord, console: Console) -> None:
    """Print each usable proposal under its layer and model."""
    for proposal in record["proposals"]:
        if text := proposal.get("text"):
            head = f"layer {proposal['layer']} · {proposal['model']}"
            console.print(f"\n[bold]{escape(head)}[/]", soft_wrap=True)
            console.print(escape(text), soft_wrap=not console.is_terminal)
    console.print()
