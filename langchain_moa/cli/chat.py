"""`langchain-moa chat`: a conversation in the terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import click
from langchain_core.messages import HumanMessage

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.attachments import file_block
from langchain_moa.cli.board import summary, write
from langchain_moa.cli.commands import COMMANDS, Commands
from langchain_moa.cli.conversation import Conversation
from langchain_moa.cli.exits import Exit, code_of, one_line
from langchain_moa.cli.inputs import QUESTION, lines_of_stdin
from langchain_moa.cli.kept import proposal_records
from langchain_moa.cli.live import (
    AnswerPrinter,
    Asked,
    ProposalPrinter,
    ask,
    require_reportable,
    show_report,
    show_warnings,
    tell,
)
from langchain_moa.cli.log import Log, last_conversation
from langchain_moa.cli.mixture import member_names, mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.prompt import Completions, typed
from langchain_moa.cli.state import log_file
from langchain_moa.cli.terminal import folded, stdin_is_terminal, without_echo
from langchain_moa.cli.welcome import asked_options
from langchain_moa.config.text_files import checked_text
from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.explanation.words import usd
from langchain_moa.settings import did_you_mean

Unreadable: TypeAlias = MoAConfigurationError
"""Why a line is no question."""

_LEAVE: Final = ("/quit", "/exit", "quit", "exit")  # the last two as in the reference demo
_HELP: Final = ("help", "?", "/?", "/h")
"""What somebody types who looks for help; it is sent to nobody."""


def run(
    options: MixtureOptions,
    *,
    system: str | None,
    multi_turn: bool,
    explain: bool,
    proposals: bool,
    report: bool,
    yes: bool,
    verbose: bool,
    attach: Sequence[Path] = (),
    go_on: bool = False,
    no_log: bool = True,
) -> int:
    """Hold a conversation until the user leaves.

    Args:
        options: Which mixture answers.
        system: A system message before all turns.
        multi_turn: Whether the model is shown the turns before.
        explain: Whether to show how each answer came about.
        proposals: Whether to show the proposals before each answer.
        report: Whether to show the comparison below each answer.
        yes: Whether to ask no questions at the start.
        verbose: Whether a line per member and the mixture's log are shown.
        attach: Pictures and PDFs beside the first question.
        go_on: Whether to go on with the last conversation.
        no_log: Whether nothing is kept of the conversation.

    Returns:
        The exit code: without a terminal it tells whether all questions were answered.

    Raises:
        click.UsageError: There is no conversation to go on with.
    """
    show_warnings(verbose=verbose)
    interactive = stdin_is_terminal() and sys.stdout.isatty()
    system = checked_text(system or "", "--system")
    log = Log.of_user(wanted=not (no_log or options.demo))
    conversation = Conversation(system, multi_turn=multi_turn)
    if go_on:
        if not (turns := last_conversation(log_file())):
            msg = f"--continue: no conversation is logged in {log_file()}."
            raise click.UsageError(msg)
        conversation.resume(turns)
    for path in attach:
        conversation.attach(path.name, file_block(path))
    if interactive and not yes and not (options.preset or options.config or options.serves):
        with mixture_for(options):  # what is wrong or missing is told before anything is asked
            pass
        try:
            options = asked_options(options)
        except EOFError:
            return Exit.ANSWER
    with mixture_for(options, include_proposals=True) as llm, asyncio.Runner() as runner:
        require_reportable(llm, report=report)
        shows = Shows(
            proposals=proposals,
            report=report,
            explained=explain,
            members=verbose,
            totals=interactive or verbose,
        )
        chat = Chat(llm, conversation, runner, shows, log)
        if not interactive:
            return chat.answer(lines_of_stdin())
        history = log_file().with_name("history") if log.keeps else None
        lines = typed(Completions(COMMANDS, chat.words), history)
        return chat.talk(_offered(lines) if options.demo else lines)


def _offered(lines: Iterable[str]) -> Iterator[str]:
    """What is typed to scripted models; Enter alone asks what they are best at."""
    from langchain_moa.testing.demo_models import DEMO_QUESTIONS  # noqa: PLC0415 - an extra

    first, *others = DEMO_QUESTIONS
    click.echo(folded("Scripted models. Enter asks: ", first, "  "))
    click.echo("They know these, too:")
    for question in others:
        click.echo(folded("  ", question, "    "))
    for place, line in enumerate(lines):
        yield first if place == 0 and not line.strip() else line


def _until_left(lines: Iterable[str | Unreadable]) -> Iterator[str | Unreadable]:
    """What there is to do, line by line, until one says to leave."""
    for line in lines:
        text = line if isinstance(line, MoAError) else line.strip()
        if text in _LEAVE:
            return
        if text:
            yield text


class Shows(NamedTuple):
    """What is shown beside each answer.

    Attributes:
        proposals: Its proposals, before it.
        report: What the analyst found in them.
        explained: How it came about.
        members: A line per member.
        totals: A line of totals.
    """

    proposals: bool = False
    report: bool = False
    explained: bool = False
    members: bool = False
    totals: bool = False


class Chat(Commands):
    """A conversation with one mixture.

    Args:
        llm: The mixture.
        conversation: What was said.
        runner: The event loop of all calls, to which the clients' connections belong.
        shows: What is shown beside each answer.
        log: Where calls are kept; by default nowhere.
    """

    def __init__(
        self,
        llm: MoAChatModel,
        conversation: Conversation,
        runner: asyncio.Runner,
        shows: Shows,
        log: Log | None = None,
    ) -> None:
        super().__init__(llm, conversation, log or Log(None))
        self._runner = runner
        self._shows = shows

    def talk(self, lines: Iterable[str | Unreadable]) -> int:
        """Answer each line that a user types, or do what it commands.

        Returns:
            0, for the user has seen all there was.
        """
        aggregator = member_names(self._llm)[-1][0]
        self._note(f"{aggregator} answers. /help lists the commands; Ctrl-D leaves.")
        if count := len(self._conversation):
            self._note(f"going on after {count} {'turn' if count == 1 else 'turns'}.")
        for text in _until_left(lines):
            try:
                self._do(text)
            except KeyboardInterrupt:
                self._note("cancelled; /retry asks again.")
            except Exception as error:  # noqa: BLE001 - nothing but the user ends a conversation
                self._error(error)
        return Exit.ANSWER

    def answer(self, lines: Iterable[str | Unreadable]) -> int:
        """Answer each line of a pipe, or do what it commands; Ctrl-C ends it.

        Returns:
            0, or the exit code of the last question that was not answered.
        """
        code = Exit.ANSWER
        for text in _until_left(lines):
            try:
                self._do(text)
            except MoAError as error:
                self._error(error)
                code = code_of(error)
        return code

    def _do(self, text: str | Unreadable) -> None:
        if isinstance(text, MoAError):
            raise text
        text = checked_text(text, QUESTION)
        word, _, argument = text.partition(" ")
        if text.lower() in _HELP:
            self._help("")
        elif not word.startswith("/") or word.startswith("//") or "\n" in word:
            said = text.removeprefix("/") if text.startswith("//") else text
            self._answer(self._conversation.question(said))
        elif word in self._commands:
            self._commands[word](argument.strip())
        else:
            hint = did_you_mean(word, self._commands, "/help lists them")
            self._note(f"{word} is no command; {hint} (// begins a text with a slash).")

    def _answer(self, question: HumanMessage) -> None:
        try:
            with without_echo():
                asked = self._runner.run(self._asked(question))
        except (MoAError, KeyboardInterrupt) as error:
            self._failed(question, error)
            raise
        self._kept(asked.message.text, asked.message, seconds=asked.seconds)
        if self._shows.report:
            show_report(asked, self._console)
        shows = self._shows
        tell(asked, self._about, members=shows.members, explained=shows.explained)
        if shows.totals:
            write(self._about, f"{summary(asked.record, asked.seconds)}{self._so_far()}", "note")
        if self._console.is_terminal:
            self._console.print()

    def _failed(self, question: HumanMessage, error: BaseException) -> None:
        """Keep what was paid for."""
        proposals = getattr(error, "proposals", ())
        self._conversation.failed(proposals)
        entry = replace(
            self._entry(question),
            error="cancelled" if isinstance(error, KeyboardInterrupt) else one_line(error),
            record={"proposals": proposal_records(proposals)},
        )
        self._log.add(entry)

    def _error(self, error: Exception) -> None:
        super()._error(error)
        if usable := sum(one.usable for one in getattr(error, "proposals", ())):
            what = "1 proposal is" if usable == 1 else f"{usable} proposals are"
            self._note(
                f"{what} kept: /proposals shows, /best takes one, /retry asks only who is missing."
            )

    def _so_far(self) -> str:
        """What the whole conversation took, where that is more than its last answer."""
        totals, _ = self._conversation.usage()
        tokens = sum(usage["total_tokens"] for usage in totals.values())
        costs = self._conversation.cost()
        cost = f", {usd(sum(costs.values()))} USD" if costs else ""
        return f" · so far {tokens:,} tokens{cost}" if len(self._conversation) > 1 else ""

    async def _asked(self, question: HumanMessage) -> Asked:
        terminal = self._console.is_terminal
        messages = self._conversation.with_question(question)
        kept = self._conversation.kept_for(question)
        return await ask(
            self._llm.reusing(kept) if kept else self._llm,
            messages,
            progress=self._console if terminal else None,
            proposals=ProposalPrinter(self._about) if self._shows.proposals else None,
            printer=AnswerPrinter(self._console),
            on_event=self._conversation.on_event,
        )
