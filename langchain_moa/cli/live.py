"""Asks a mixture one question and shows what happens: on a terminal live, elsewhere plainly."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias, cast

import click
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from rich.console import Console, RenderableType
from rich.live import Live

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.board import Board, losses, summary, write
from langchain_moa.cli.markdown import GrowingMarkdown, Paragraphs, Part
from langchain_moa.cli.mixture import consulted_name, member_names
from langchain_moa.cli.terminal import on_one_line, printable
from langchain_moa.explanation.explain import explain
from langchain_moa.strategies.analysis import Analysis
from langchain_moa.tracing.progress import OnProgress
from langchain_moa.types import RECORD_KEY, MoARecord, ProgressEvent

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
        board: The members, and what became of each.
    """

    message: AIMessage
    record: MoARecord
    seconds: float
    board: Board


def _live(console: Console, shown: RenderableType = "") -> Live:
    """A display that goes when it ends.

    Rich's own thread of refreshes is not used: it would write in the middle of what is printed
    above the display.
    """
    return Live(shown, console=console, transient=True, auto_refresh=False)


class AnswerPrinter:
    """Prints a growing answer.

    On a terminal it is rendered as Markdown: what is finished is printed for good, and only the
    last paragraph, or the end of it, is drawn anew as it grows, so that long answers scroll as any
    text, and each piece costs the same however long the answer is.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plain: list[str] = []
        self._growing = GrowingMarkdown()
        self._live: Live | None = None

    def feed(self, text: str) -> None:
        """Take the answer's next piece, without what terminals obey: `--json` has it as it is."""
        text = printable(text)
        if not self._console.is_terminal:
            self._plain.append(text)
            return
        if self._live is None:
            self._live = _live(self._console, Paragraphs(self._growing))
            self._live.start()
        for part in self._growing.feed(text):
            self._print(part)

    def refresh(self) -> None:
        """Show what has come."""
        if self._live is not None:
            self._live.refresh()

    def end(self, *, complete: bool) -> None:
        """Print for good what is left.

        Args:
            complete: Whether it is the whole answer; a part of one is shown on a terminal only.
        """
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._print(Part(self._growing.pending, gap=0))
        elif complete:
            self._console.out("".join(self._plain), highlight=False)
        self._plain, self._growing, self._live = [], GrowingMarkdown(), None

    def _print(self, part: Part) -> None:
        if part.text.strip():
            self._console.print(Paragraphs(part.text))
        if part.gap:
            self._console.print("\n" * (part.gap - 1))


class ProposalPrinter:
    """Prints the proposals of a call before its answer: a layer's as soon as that is over.

    Args:
        console: Where to print.

    Attributes:
        printed: Whether there was any.
    """

    def __init__(self, console: Console) -> None:
        self.printed = False
        self._console = console
        self._finished: list[tuple[int, int, str, str]] = []
        self._ready: deque[tuple[int, str, str]] = deque()

    def on_event(self, event: ProgressEvent) -> None:
        """Take one step into account, in a thread in which nothing is printed."""
        place, text = event["index"] or 0, event["text"]
        if event["event"] == "member_finished" and event["role"] == "proposer" and text:
            self._finished.append((event["layer"] or 1, place, event["model"] or "", text))
        elif event["event"] == "layer_finished":
            over, self._finished = sorted(self._finished), []
            self._ready.extend((layer, model, text) for layer, _, model, text in over)

    def print(self) -> None:
        """Print those that are there."""
        while self._ready:
            self.printed = True
            show_proposals([self._ready.popleft()], self._console)

    def begin_answer(self) -> None:
        """Print the rest; on a terminal a line tells where the answer begins."""
        self.print()
        if self.printed and self._console.is_terminal:
            write(self._console, "answer", "bold")


async def ask(
    llm: MoAChatModel,
    messages: Sequence[BaseMessage],
    *,
    progress: Console | None = None,
    proposals: ProposalPrinter | None = None,
    printer: AnswerPrinter | None = None,
    on_event: OnProgress | None = None,
) -> Asked:
    """Ask the mixture, and show the members as they work and the answer as it comes.

    Args:
        llm: The mixture.
        messages: The conversation.
        progress: A terminal to show the members on; `None` shows none.
        proposals: What prints the proposals; `None` prints none.
        printer: What prints the answer; `None` prints none.
        on_event: Called with each step, too.

    Raises:
        MoAError: There is no answer.
    """
    board = Board(member_names(llm), consulted_name(llm))
    live = _live(progress, board) if progress else None

    def heard(event: ProgressEvent) -> None:
        board.on_event(event)
        if proposals is not None:
            proposals.on_event(event)
        if on_event is not None:
            on_event(event)

    listening = llm.model_copy(update={"on_progress": heard, "stream_proposals": live is not None})
    message, seconds = await _LiveAnswer(live, proposals, printer).run(listening, list(messages))
    record = message.response_metadata[RECORD_KEY]
    return Asked(message=message, record=record, seconds=seconds, board=board)


class _LiveAnswer:
    """One question being answered: first the members are shown, then the answer."""

    def __init__(
        self,
        live: Live | None,
        proposals: ProposalPrinter | None,
        printer: AnswerPrinter | None,
    ) -> None:
        self._live = live
        self._proposals = proposals
        self._printer = printer
        self._begun = False

    async def run(self, llm: MoAChatModel, messages: list[BaseMessage]) -> tuple[AIMessage, float]:
        started = time.perf_counter()
        received: list[AIMessageChunk] = []
        complete = False
        if self._live:
            self._live.start()
        refreshing = asyncio.create_task(self._refresh())
        try:
            async with aclosing(cast("Chunks", llm.astream(messages))) as chunks:
                async for chunk in chunks:
                    received.append(chunk)
                    self._show(chunk.text)
            complete = True
        finally:
            refreshing.cancel()
            self._hide_members()
            if self._proposals and not self._begun:
                self._proposals.print()
            if received and self._printer:
                self._printer.end(complete=complete)
        first, *others = received or [AIMessageChunk(content="")]
        message = cast("AIMessage", message_chunk_to_message(first + others))  # in one step
        return message, time.perf_counter() - started

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(1 / _REFRESH)
            if self._proposals and not self._begun:
                self._proposals.print()
            if self._live:
                self._live.refresh()
            if self._printer:
                self._printer.refresh()

    def _show(self, text: str) -> None:
        if not text or self._printer is None:
            return
        if not self._begun:
            self._begun = True
            self._hide_members()
            if self._proposals:
                self._proposals.begin_answer()
        self._printer.feed(text)

    def _hide_members(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


class _OnStderr(logging.Handler):
    """Writes to what stderr is at the time: a live display has it written above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{printable(self.format(record))}\n")


def show_warnings(*, verbose: bool) -> None:
    """Show the mixture's warnings where they are asked for; losses are told anyway."""
    logging.basicConfig(format="%(levelname)s %(message)s", handlers=[_OnStderr()])
    logging.getLogger("langchain_moa").setLevel(logging.INFO if verbose else logging.CRITICAL)


def require_reportable(llm: MoAChatModel, *, report: bool) -> None:
    """Refuse to promise a report where nobody compares.

    Raises:
        click.UsageError: Nobody does.
    """
    if report and llm.strategy != "compare":
        msg = f"--report shows a comparison, and --strategy is {llm.strategy}; give compare."
        raise click.UsageError(msg)


def show_report(asked: Asked, console: Console) -> None:
    """Print what the analyst found: on a terminal rendered, in a pipe as Markdown."""
    analysis = Analysis.of(asked.message)
    if analysis is None:  # why is told with what was lost
        return
    report = printable(analysis.report())
    write(console, "")
    if console.is_terminal:
        console.print(Paragraphs(report))
    else:
        console.out(report, highlight=False)


def tell(
    asked: Asked,
    console: Console,
    *,
    members: bool = False,
    totals: bool = False,
    explained: bool = False,
) -> None:
    """Tell of a call that is over: a line per member, what was lost, one line of totals.

    Args:
        asked: The answer and its record.
        console: Where to tell it.
        members: Whether to print a line per member.
        totals: Whether to print the line of totals.
        explained: Whether to show how the answer came about, which tells all of that.
    """
    if explained:
        show_explanation(asked.message, console)
        return
    if members:
        asked.board.show(console)
    # those of members are in their lines, and were logged
    for loss in losses(asked.record, proposers=not members):
        write(console, loss, "lost")
    if totals:
        write(console, summary(asked.record, asked.seconds), "note")


def show_proposals(proposals: Sequence[tuple[int, str, str]], console: Console) -> None:
    """Print proposals under their layer and model: on a terminal rendered, in a pipe as they are.

    Args:
        proposals: Layer, model and text of each.
        console: Where to print them.
    """
    for layer, model, text in proposals:
        write(console, f"layer {layer} · {on_one_line(model)}", "bold")
        if console.is_terminal:
            console.print(Paragraphs(printable(text)))
        else:
            write(console, text)
        write(console, "")


def show_explanation(answer: AIMessage, console: Console) -> None:
    """Show how an answer came about: on a terminal as tables, in a pipe as Markdown."""
    explanation = explain(answer)
    if console.is_terminal:
        console.print("", explanation, sep="\n")
    else:
        write(console, printable(str(explanation)))
