"""What a command ends with: exit codes, and one line for each error."""

from __future__ import annotations

import os
import re
import sys
import traceback
from enum import IntEnum
from typing import Final

import click

from langchain_moa.cli.extra import says_extra_is_missing
from langchain_moa.cli.terminal import on_one_line, printable

_LONGEST: Final = 4000
"""Characters of an error that are shown; it may name each of many members."""
_EXTRA: Final = "Got unexpected extra argument"
_MEANT: Final[dict[str | None, str]] = {
    "ask": "give a question of several words in quotes, and a list with commas",
    "chat": "give a question to `langchain-moa ask`, or type it in the chat",
}
"""What to give in place of words that a command does not take."""
_PLAINER: Final = {
    "is not a valid float range": "is no number",
    "is not a valid float": "is no number",
    "is not a valid integer range": "is no whole number",
    "is not a valid integer": "is no whole number",
}
"""What click says, and what is said here."""
_AS_OPTIONS: Final = {
    r"give from_preset\('([^']*)'\)": r"give --preset \1",
    r"give from_config\('([^']*)'\)": r"give --config \1",
    r"give prices=\{(.*?): \(in, out\)\}, in": r"give --prices FILE with \1 = [in, out], in",
}
"""What errors advise to who writes Python, and the command's option for the same."""


class Exit(IntEnum):
    """Exit codes of every command."""

    ANSWER = 0
    """The command did what was asked."""
    BROKEN = 1
    """Something unexpected failed."""
    USAGE = 2
    """An option, a configuration, a key or an extra is wrong or missing; every member, or the
    aggregator, refused its key."""
    NO_ANSWER = 3
    """The models gave no answer, or could not be connected to."""
    NOT_SERVED = 4
    """`models`: the endpoint does not serve a configured model."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM."""


def code_of(error: BaseException) -> Exit:
    """The exit code that tells of an error."""
    if isinstance(error, click.ClickException):  # told at once, without importing LangChain
        return Exit.USAGE
    # errors import LangChain, which most commands have loaded by now
    from langchain_moa.errors import (  # noqa: PLC0415
        MissingExtraError,
        MoAConfigurationError,
        MoAError,
    )

    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Exit.INTERRUPTED
    usage = MoAConfigurationError | MissingExtraError
    if isinstance(error, usage) or says_extra_is_missing(error) or _says_key_is_refused(error):
        return Exit.USAGE
    return Exit.NO_ANSWER if isinstance(error, MoAError) else Exit.BROKEN


def _says_key_is_refused(error: BaseException) -> bool:
    """Whether each member that gave nothing, or the aggregator, was refused for its key."""
    from langchain_moa.errors import AggregationError, NotEnoughProposalsError  # noqa: PLC0415
    from langchain_moa.reliability.causes import KEY_REFUSED  # noqa: PLC0415

    if isinstance(error, AggregationError):
        return KEY_REFUSED in str(error)
    if not isinstance(error, NotEnoughProposalsError):
        return False
    reasons = [proposal.reason for proposal in error.proposals if not proposal.usable]
    return bool(reasons) and all(KEY_REFUSED in reason for reason in reasons)


def report(error: BaseException, *, debug: bool) -> int:
    """Tell of an error on stderr, in one line, and give its exit code.

    Args:
        error: What ended the command.
        debug: Whether to show the traceback, too.
    """
    if isinstance(error, BrokenPipeError):  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN
    code = code_of(error)
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    elif isinstance(error, click.ClickException):
        say(f"error: {_with_hint(error)}")
    elif code is not Exit.INTERRUPTED:
        say(says_extra_is_missing(error) or f"error: {one_line(error)}")
    return code


def _with_hint(error: click.ClickException) -> str:
    """What is wrong with the command's words, and where to read how they should be."""
    text = " ".join(error.format_message().split())
    for theirs, ours in _PLAINER.items():
        text = text.replace(theirs, ours)
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    if text.startswith(_EXTRA) and (more := _MEANT.get(context.info_name)):
        text = f"{text}: {more}."
    return f"{text} (See {context.command_path} --help.)"


def say(text: str) -> None:
    """Print lines to stderr."""
    click.echo(printable(text), err=True)


def one_line(error: BaseException) -> str:
    """An error's message on one line, or its type where it has none."""
    text = str(error)
    for ours, option in _AS_OPTIONS.items():
        text = re.sub(ours, option, text)
    return on_one_line(text, _LONGEST) or type(error).__name__
