"""What can be typed in a chat beside questions: commands that show, keep, and change something."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.attachments import file_block, files_of
from langchain_moa.cli.board import console, usage_table, write
from langchain_moa.cli.conversation import Conversation, without_record
from langchain_moa.cli.exits import one_line
from langchain_moa.cli.inputs import may_be_written
from langchain_moa.cli.kept import answer_of, best_of
from langchain_moa.cli.live import show_explanation, show_proposals
from langchain_moa.cli.log import Entry, Log
from langchain_moa.cli.mixture import member_names
from langchain_moa.cli.models import names_served
from langchain_moa.cli.terminal import folded, on_one_line
from langchain_moa.config.text_files import checked_text
from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.explanation.explain import explain
from langchain_moa.types import RECORD_KEY

COMMANDS: Final = {
    "/help": "show this",
    "/models": "show the members",
    "/model NAME": "other aggregator",
    "/system TEXT": "system message",
    "/temperature N": "of all members",
    "/strategy NAME": "compare, select, ...",
    "/layers": "how many there are",
    "/attach FILE": "send a picture, a PDF",
    "/proposals N": "of the last answer",
    "/best N": "take one as answer",
    "/record FILE": "why this answer",
    "/usage": "tokens and USD",
    "/cost": "the same",
    "/save FILE": "save it (--force)",
    "/load FILE": "go on with it",
    "/retry": "ask the last again",
    "/reset": "forget all turns",
    "/quit": "leave (Ctrl-D)",
}
"""What each means; the meanings fit beside the commands in 40 columns."""
_STRATEGIES: Final = ("synthesize", "compare", "select")


class Commands:
    """A conversation with one mixture, and the commands about it.

    Args:
        llm: The mixture.
        conversation: What was said.
        log: Where calls are kept.
    """

    def __init__(self, llm: MoAChatModel, conversation: Conversation, log: Log) -> None:
        self._llm = llm
        self._conversation = conversation
        self._log = log
        self._served: list[str] | None = None
        self._console = console()
        # in a pipe, stdout is for answers and for what commands show
        self._about = self._console if self._console.is_terminal else console(stderr=True)
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/models": self._models,
            "/model": self._model,
            "/system": self._system,
            "/temperature": self._temperature,
            "/strategy": self._strategy,
            "/layers": self._layers,
            "/attach": self._attach,
            "/proposals": self._show_proposals,
            "/best": self._best,
            "/record": self._record,
            "/usage": self._usage,
            "/cost": self._usage,
            "/save": self._save,
            "/load": self._load,
            "/retry": self._retry,
            "/reset": self._reset,
        }

    def words(self, command: str) -> Iterable[str]:
        """What a command takes, where that is a list of words."""
        if command == "/strategy":
            return _STRATEGIES
        if command != "/model":
            return ()
        if self._served is None:
            try:
                self._served = names_served(self._llm)
            except MoAError:  # the endpoint gives no list
                self._served = []
        known = [name for layer in member_names(self._llm) for name in layer]
        return dict.fromkeys([*known, *self._served])

    def _answer(self, question: HumanMessage) -> None:
        """Have a question answered."""
        raise NotImplementedError

    def _error(self, error: Exception) -> None:
        write(self._about, f"error: {one_line(error)}", "lost")

    def _note(self, text: str) -> None:
        write(self._about, on_one_line(text), "note")

    def _help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        for command, meaning in COMMANDS.items():
            write(self._console, f"{command:{width}} {meaning}")
        write(self._console, "Ctrl-C cancels an answer. Pasted lines are one question.", "note")

    # --- what the mixture is ---

    def _models(self, _: str) -> None:
        *layers, aggregators = member_names(self._llm)
        for number, models in enumerate(layers, start=1):
            for place, model in enumerate(models):
                label = f"layer {number}" if place == 0 else ""
                write(self._console, folded(f"{label:11}", on_one_line(model)))
        write(self._console, folded(f"{'aggregator':11}", on_one_line(aggregators[0])))

    def _layers(self, _: str) -> None:
        layers = self._llm.num_layers
        passes = "one pass" if layers == 2 else f"{layers - 1} passes"  # noqa: PLR2004 - with the aggregator's
        text = f"{layers} layers: {passes} of the reference models, and the aggregator."
        write(self._console, text, "note")

    def _model(self, name: str) -> None:
        if name:
            self._llm = self._llm.replace(aggregator=name)
        self._note(f"{member_names(self._llm)[-1][0]} answers.")

    def _system(self, text: str) -> None:
        if text:
            self._conversation.system = checked_text(text, "/system")
        self._note(f"system message: {self._conversation.system or 'none'}")

    def _temperature(self, text: str) -> None:
        if text:
            try:
                number = float(text)
            except ValueError:
                msg = f"temperature={text!r} is no number; give one from 0."
                raise MoAConfigurationError(msg) from None
            # one after the other: an error names what was typed, not the setting beside it
            warmer = self._llm.replace(temperature=number)
            self._llm = warmer.replace(proposal_temperature=number)
        own, of_proposals = self._llm.temperature, self._llm.proposal_temperature
        self._note(f"temperature {_number(own)}, of proposals {_number(of_proposals)}.")

    def _strategy(self, name: str) -> None:
        if name:
            self._llm = self._llm.replace(strategy=name)
        self._note(f"strategy {self._llm.strategy}.")

    # --- the last answer, or what was paid for where there is none ---

    def _show_proposals(self, argument: str) -> None:
        number = _place(argument)
        if lost := self._conversation.lost:
            told = [(one.layer, one.model, one.text) for one in lost if one.usable]
        elif record := self._conversation.last_record:
            proposals = record["proposals"]
            told = [(p["layer"], p["model"], text) for p in proposals if (text := p.get("text"))]
        else:
            self._note("no answer yet.")
            return
        if number is not None and not 1 <= number <= len(told):
            self._note(f"there is no proposal {number}; there are {len(told)}.")
            return
        show_proposals(told if number is None else told[number - 1 : number], self._console)

    def _best(self, argument: str) -> None:
        lost = self._conversation.lost
        if not lost:
            self._note("nothing failed; /best is for a question that got no answer.")
            return
        best = best_of(lost, _place(argument))
        answer = answer_of(best, lost, "the call failed, and its best proposal was taken")
        self._kept(answer.text, answer, seconds=None)
        self._note(f"layer {best.layer} · {best.model}")
        write(self._console, answer.text)

    def _kept(self, text: str, answer: AIMessage, *, seconds: float | None) -> None:
        """Keep an answer with its question, in the conversation and in the log."""
        question = self._conversation.answered(answer)
        record = answer.response_metadata.get(RECORD_KEY)
        entry = self._entry(question)
        number = self._log.add(
            replace(
                entry,
                answer=text,
                seconds=seconds,
                record=record,
                message=without_record(answer) if self._log.keeps else None,
            )
        )
        self._conversation.logged(number)

    def _entry(self, question: HumanMessage, command: str = "chat") -> Entry:
        return Entry(
            command=command,
            conversation=self._conversation.identity,
            question=question.text,
            files=files_of(question),
            model=member_names(self._llm)[-1][0],
            system=self._conversation.system,
        )

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

    # --- the conversation ---

    def _attach(self, argument: str) -> None:
        if argument:
            path = _path(argument)
            self._conversation.attach(path.name, file_block(path))
        names = ", ".join(self._conversation.attached) or "no file"
        self._note(f"{names}: sent with the next question.")

    def _save(self, argument: str) -> None:
        word, _, rest = argument.partition(" ")
        force = word == "--force"
        name = rest.strip() if force else argument

        def save(path: Path) -> None:
            may_be_written(path, force=force, mend="/save --force FILE is the way")
            self._conversation.save(path)

        self._with_file("/save", name, save, "saved to")

    def _load(self, argument: str) -> None:
        self._with_file("/load", argument, self._loaded, "loaded from")

    def _loaded(self, path: Path) -> None:
        self._conversation.load(path)
        for question, answer in self._conversation.turns:
            entry = self._entry(question, "load")
            told = replace(
                entry,
                answer=answer.text,
                record=answer.response_metadata.get(RECORD_KEY),
                message=without_record(answer),
            )
            self._conversation.logged(self._log.add(told))

    def _with_file(
        self, command: str, argument: str, action: Callable[[Path], None], done: str
    ) -> None:
        if not argument:
            self._note(f"{command} needs a file's name.")
            return
        action(_path(argument))
        count = len(self._conversation)
        self._note(f"{count} {'turn' if count == 1 else 'turns'} {done} {argument}.")

    def _retry(self, _: str) -> None:
        question, logged = self._conversation.to_retry()
        self._log.retract(logged)
        if question:
            self._answer(question)
        else:
            self._note("nothing to ask again.")

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        self._note("the conversation is empty.")


def _number(value: float | None) -> str:
    return "as each model has it" if value is None else f"{value:g}"


def _path(argument: str) -> Path:
    """The file that was typed, or dragged onto the terminal, which puts quotes around some.

    Raises:
        MoAConfigurationError: It is another user's, who is not known.
    """
    quoted = len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "'\""
    try:
        return Path(argument[1:-1] if quoted else argument).expanduser()
    except RuntimeError:
        msg = f"{argument}: there is no such user here."
        raise MoAConfigurationError(msg) from None


def _place(argument: str) -> int | None:
    """The number of a proposal, if one was typed.

    Raises:
        MoAConfigurationError: Something else was.
    """
    if argument and not argument.isdecimal():
        msg = f"{argument!r} is no number of a proposal; give one from 1."
        raise MoAConfigurationError(msg)
    return int(argument) if argument else None
