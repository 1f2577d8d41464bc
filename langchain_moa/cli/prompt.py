"""The prompt of a chat: lines with a history, and what completes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.utils import is_dumb_terminal

from langchain_moa.cli.state import private_file

PROMPT: Final = ">>> "
_OF_FILES: Final = ("/attach", "/load", "/save", "/record")


class Completions(Completer):
    """Completes commands with what they mean, and what some of them take.

    Args:
        commands: What each command means.
        words: Gives what a command takes, where that is a list of words.
    """

    def __init__(self, commands: Mapping[str, str], words: Callable[[str], Iterable[str]]) -> None:
        self._commands = {name.partition(" ")[0]: told for name, told in commands.items()}
        self._words = words
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        """What may come at the cursor."""
        text = document.text_before_cursor
        command, blank, rest = text.partition(" ")
        if not text.startswith("/"):
            return
        if not blank:
            for name, told in self._commands.items():
                if name.startswith(text):
                    yield Completion(name, -len(text), display_meta=told)
        elif command in _OF_FILES:
            yield from self._paths.get_completions(Document(rest), event)
        else:
            for word in self._words(command):
                if rest.lower() in word.lower():
                    yield Completion(word, -len(rest))


def reader(**settings: Any) -> Callable[[str], str]:
    """Reads a line; where the cursor can't be moved, as in Emacs' shell, without editing."""
    if is_dumb_terminal():  # prompt_toolkit would take no Ctrl-C and no Ctrl-D there
        return input
    session: PromptSession[str] = PromptSession(**settings)
    return lambda prompt: session.prompt([("bold ansicyan" if prompt == PROMPT else "", prompt)])


def typed(completer: Completer, history: Path | None) -> Iterator[str]:
    """What is typed, line by line; several lines that are pasted at once are one.

    Args:
        completer: What completes lines.
        history: The file that remembers lines across runs; `None` remembers those of this one.
    """
    read = reader(
        history=_history(history),
        completer=completer,
        complete_while_typing=False,
        complete_in_thread=True,  # names of models come from the endpoint
    )
    while True:
        try:
            yield read(PROMPT)
        except KeyboardInterrupt:  # of a line that was begun
            continue
        except EOFError:
            return


def _history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    try:
        return FileHistory(private_file(path))
    except OSError:  # a chat can do without
        return InMemoryHistory()
