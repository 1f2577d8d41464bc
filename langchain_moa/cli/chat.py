"""`langchain-moa chat`: a conversation in the terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.utils import is_dumb_terminal

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.board import console, usage_table, write
from langchain_moa.cli.conversation import Conversation
from langchain_moa.cli.exits import Exit, code_of, one_line
from langchain_moa.cli.inputs import QUESTION, lines_of_stdin, may_be_written
from langchain_moa.cli.live import (
    AnswerPrinter,
    Asked,
    ask,
    require_reportable,
    show_explanation,
    show_proposals,
    show_report,
    tell,
)
from langchain_moa.cli.mixture import member_names, mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import on_one_line, stdin_is_terminal, without_echo
from langchain_moa.config.text_files import checked_text
from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.explanation.explain import explain
from langchain_moa.presets import DEFAULT_PRESET, get_preset

Value = TypeVar("Value")
Unreadable: TypeAlias = MoAConfigurationError
"""Why a line is no question."""

_COMMANDS: Final = {
    "/help": "show this",
    "/models": "show the members",
    "/layers": "show how many layers there are",
    "/proposals": "show the proposals of the last answer",
    "/record": "show how the last answer came about (/record FILE: as .html, .md, .json)",
    "/usage": "show the tokens of this conversation",
    "/save FILE": "save the conversation (--force FILE: over a file)",
    "/load FILE": "go on with a saved one",
    "/retry": "ask the last question again",
    "/reset": "forget the conversation",
    "/quit": "leave (as Ctrl-D)",
}
_LEAVE: Final = ("/quit", "/exit", "quit", "exit")  # the last two as in the reference demo
_PROMPT: Final = ">>> "
_TEMPERATURE: Final = 0.7  # the paper's and the reference demo's
_MAX_TOKENS: Final = 2048


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
) -> int:
    """Hold a conversation until the user leaves.

    Args:
        options: Which mixture answers.
        system: A system message before all turns.
        multi_turn: Whether the model is shown the turns before.
        explain: Whether to show how each answer came about.
        proposals: Whether to show the proposals of each answer.
        report: Whether to show the comparison below each answer.
        yes: Whether to ask no questions at the start.
        verbose: Whether the mixture's log is shown.

    Returns:
        The exit code: without a terminal it tells whether all questions were answered.
    """
    interactive = stdin_is_terminal() and sys.stdout.isatty()
    system = checked_text(system or "", "--system")
    if interactive and not yes and not (options.preset or options.config or options.serves):
        with mixture_for(options):  # what is wrong or missing is told before anything is asked
            pass
        try:
            options = _asked_options(options)
        except EOFError:
            return Exit.ANSWER
    with mixture_for(options, include_proposals=True) as llm, asyncio.Runner() as runner:
        require_reportable(llm, report=report)
        conversation = Conversation(system, multi_turn=multi_turn)
        shows = Shows(
            proposals=proposals,
            report=report,
            explained=explain,
            totals=interactive or verbose,
        )
        chat = Chat(llm, conversation, runner, shows)
        return chat.talk(_typed()) if interactive else chat.answer(lines_of_stdin())


def _asked_options(options: MixtureOptions) -> MixtureOptions:
    """The reference demo's three questions, as far as options leave them open."""
    ask_for = _reader()
    default = options.aggregator or get_preset(DEFAULT_PRESET).settings["aggregator"]
    if options.aggregator is None:
        options = replace(options, aggregator=_asked(ask_for, "Main model", default, str))
    if options.temperature is None:
        temperature = _asked(ask_for, "Temperature", _TEMPERATURE, _from(0, float))
        options = replace(options, temperature=temperature)
    if options.max_tokens is None:
        max_tokens = _asked(ask_for, "Max tokens", _MAX_TOKENS, _from(1, int))
        options = replace(options, max_tokens=max_tokens)
    return options


def _asked(
    ask_for: Callable[[str], str], what: str, default: Value, parse: Callable[[str], Value]
) -> Value:
    while True:
        given = ask_for(f"{what} [{default}]: ").strip()
        try:
            return parse(given) if given else default
        except ValueError:
            print(f"{given!r} won't do; give something like {default}.")  # noqa: T201


def _from(least: int, kind: Callable[[str], Value]) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        value = kind(text)
        if not least <= float(text) < float("inf"):
            raise ValueError
        return value

    return parse


def _reader(**settings: Any) -> Callable[[str], str]:
    """Reads a line; where the cursor can't be moved, as in Emacs' shell, without editing."""
    if is_dumb_terminal():  # prompt_toolkit would take no Ctrl-C and no Ctrl-D there
        return input
    session: PromptSession[str] = PromptSession(**settings)
    return lambda prompt: session.prompt([("bold ansicyan" if prompt == _PROMPT else "", prompt)])


def _typed() -> Iterator[str]:
    """What is typed, line by line; several lines that are pasted at once are one."""
    words = [command.partition(" ")[0] for command in _COMMANDS]
    read = _reader(
        history=InMemoryHistory(),
        completer=WordCompleter(words, sentence=True),
        complete_while_typing=False,
    )
    while True:
        try:
            yield read(_PROMPT)
        except KeyboardInterrupt:  # of a line that was begun
            continue
        except EOFError:
            return


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
        proposals: Its proposals.
        report: What the analyst found in them.
        explained: How it came about.
        totals: A line of totals.
    """

    proposals: bool = False
    report: bool = False
    explained: bool = False
    totals: bool = False


class Chat:
    """A conversation with one mixture.

    Args:
        llm: The mixture.
        conversation: What was said.
        runner: The event loop of all calls, to which the clients' connections belong.
        shows: What is shown beside each answer.
    """

    def __init__(
        self,
        llm: MoAChatModel,
        conversation: Conversation,
        runner: asyncio.Runner,
        shows: Shows,
    ) -> None:
        self._llm = llm
        self._conversation = conversation
        self._runner = runner
        self._shows = shows
        self._console = console()
        # in a pipe, stdout is for answers and for what commands show
        self._about = self._console if self._console.is_terminal else console(stderr=True)
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/models": self._models,
            "/layers": self._layers,
            "/proposals": self._show_proposals,
            "/record": self._record,
            "/usage": self._usage,
            "/save": self._save,
            "/load": self._load,
            "/retry": self._retry,
            "/reset": self._reset,
        }

    def talk(self, lines: Iterable[str | Unreadable]) -> int:
        """Answer each line that a user types, or do what it commands.

        Returns:
            0, for the user has seen all there was.
        """
        aggregator = member_names(self._llm)[-1][0]
        self._note(f"{aggregator} answers. /help lists the commands; Ctrl-D leaves.")
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
        if not word.startswith("/") or word.startswith("//") or "\n" in word:
            self._answer(text.removeprefix("/") if text.startswith("//") else text)
        elif word in self._commands:
            self._commands[word](argument.strip())
        else:
            self._note(f"{word} is no command; /help lists them (// begins a text with a slash).")

    def _answer(self, question: str) -> None:
        with without_echo():
            asked = self._runner.run(self._asked(question))
        self._conversation.answered(asked.message)
        if self._shows.report:
            show_report(asked, self._console)
        shows = self._shows
        tell(
            asked,
            self._about,
            proposals=shows.proposals,
            totals=shows.totals,
            explained=shows.explained,
        )
        if self._console.is_terminal:
            self._console.print()

    async def _asked(self, question: str) -> Asked:
        terminal = self._console.is_terminal
        return await ask(
            self._llm,
            self._conversation.with_question(question),
            progress=self._console if terminal else None,
            printer=AnswerPrinter(self._console),
            on_event=self._conversation.on_event,
        )

    def _error(self, error: Exception) -> None:
        write(self._about, f"error: {one_line(error)}", "lost")

    def _note(self, text: str) -> None:
        write(self._about, on_one_line(text), "note")

    def _help(self, _: str) -> None:
        for command, meaning in _COMMANDS.items():
            write(self._console, f"{command:12} {meaning}")
        write(self._console, "Ctrl-C cancels an answer. Pasted lines are one question.", "note")

    def _models(self, _: str) -> None:
        *layers, aggregators = member_names(self._llm)
        for number, models in enumerate(layers, start=1):
            for place, model in enumerate(models):
                label = f"layer {number}" if place == 0 else ""
                write(self._console, f"{label:11}{on_one_line(model)}")
        write(self._console, f"{'aggregator':11}{on_one_line(aggregators[0])}")

    def _layers(self, _: str) -> None:
        layers = self._llm.num_layers
        passes = "one pass" if layers == 2 else f"{layers - 1} passes"  # noqa: PLR2004 - with the aggregator's
        text = f"{layers} layers: {passes} of the reference models, and the aggregator."
        write(self._console, text, "note")

    def _show_proposals(self, _: str) -> None:
        if record := self._conversation.last_record:
            show_proposals(record, self._console)
        else:
            self._note("no answer yet.")

    def _record(self, argument: str) -> None:
        answer = self._conversation.last_answer
        if answer is None:
            self._note("no answer yet.")
        elif argument:
            self._note(f"written to {explain(answer).save(argument)}.")
        else:
            show_explanation(answer, self._console)

    def _usage(self, _: str) -> None:
        totals, unknown = self._conversation.usage()
        if totals:
            self._console.print(usage_table(totals, unknown, self._conversation.cost()))
        else:
            self._note("no tokens yet.")

    def _save(self, argument: str) -> None:
        word, _, rest = argument.partition(" ")
        force = word == "--force"
        name = rest.strip() if force else argument

        def save(path: Path) -> None:
            may_be_written(path, force=force, mend="/save --force FILE is the way")
            self._conversation.save(path)

        self._with_file("/save", name, save, "saved to")

    def _load(self, argument: str) -> None:
        self._with_file("/load", argument, self._conversation.load, "loaded from")

    def _with_file(
        self, command: str, argument: str, action: Callable[[Path], None], done: str
    ) -> None:
        if not argument:
            self._note(f"{command} needs a file's name.")
            return
        try:
            path = Path(argument).expanduser()
        except RuntimeError:
            msg = f"{argument}: there is no such user here."
            raise MoAConfigurationError(msg) from None
        action(path)
        count = len(self._conversation)
        self._note(f"{count} {'turn' if count == 1 else 'turns'} {done} {argument}.")

    def _retry(self, _: str) -> None:
        if question := self._conversation.to_retry():
            self._answer(question)
        else:
            self._note("nothing to ask again.")

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        self._note("the conversation is empty.")
