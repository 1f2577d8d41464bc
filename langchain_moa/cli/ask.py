"""`langchain-moa ask`: one question, one answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import click
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.attachments import file_block, files_of, with_files
from langchain_moa.cli.board import console
from langchain_moa.cli.exits import Exit, code_of, one_line, say
from langchain_moa.cli.inputs import QUESTION, all_of_stdin, may_be_written
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
from langchain_moa.cli.log import Entry, Log, new_conversation
from langchain_moa.cli.mixture import member_names, mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import printable, stdin_is_terminal, without_echo, write_data
from langchain_moa.config.text_files import checked_text, escaped, write_text
from langchain_moa.errors import MoAError
from langchain_moa.strategies.analysis import Analysis
from langchain_moa.types import AnyDict


def run(
    options: MixtureOptions,
    question: str | None,
    *,
    system: str | None,
    as_json: bool,
    estimate: bool,
    explain: bool,
    show_proposals: bool,
    report: bool,
    verbose: bool,
    attach: tuple[Path, ...] = (),
    output: Path | None = None,
    force: bool = False,
    no_log: bool = True,
) -> int:
    """Answer one question on stdout.

    Args:
        options: Which mixture answers.
        question: The question; `-` or `None` reads it from stdin.
        system: A system message before it.
        as_json: Whether to print the answer with its record, as JSON.
        estimate: Whether only to tell what it would take.
        explain: Whether to show how the answer came about, on stderr.
        show_proposals: Whether to print the proposals before the answer, on stderr.
        report: Whether to print what the analyst found, below the answer.
        verbose: Whether to print a line per member and one of totals, on stderr.
        attach: Pictures and PDFs beside the question.
        output: A file for the answer, or for the JSON, in place of stdout.
        force: Whether it may be written over a file that is there.
        no_log: Whether nothing is kept of it.

    Raises:
        click.UsageError: There is no question.
        MoAConfigurationError: The question, or the system message, is no text.
    """
    show_warnings(verbose=verbose)
    asked = _question(question, demo=options.demo)
    system = checked_text(system or "", "--system")
    messages: list[BaseMessage] = [SystemMessage(system)] if system else []
    message = with_files(asked, [file_block(path) for path in attach])
    messages.append(message)
    if output is not None:
        may_be_written(output, force=force, mend="give --force")
    if estimate:
        return _estimated(options, messages, as_json=as_json)
    stderr = console(stderr=True)
    log = Log.of_user(wanted=not (no_log or options.demo))
    printer = None if as_json or output is not None else AnswerPrinter(console())
    with mixture_for(options, include_proposals=True) as llm, without_echo():
        require_reportable(llm, report=report)
        entry = _entry(llm, message, system)
        try:
            answer = asyncio.run(
                ask(
                    llm,
                    messages,
                    progress=stderr if stderr.is_terminal else None,
                    proposals=ProposalPrinter(stderr) if show_proposals else None,
                    printer=printer,
                )
            )
        except MoAError as error:
            failed = _failed(asked, error)
            told = {"proposals": proposal_records(getattr(error, "proposals", ()))}
            log.add(replace(entry, error=one_line(error), record=told))
            if not as_json:
                raise
            _write(_json(failed), output)
            say(f"error: {one_line(error)}")
            return code_of(error)
    text, record = answer.message.text, answer.record
    log.add(replace(entry, answer=text, seconds=answer.seconds, record=record))
    if as_json:
        _write(_json(_as_json(asked, answer, report=report)), output)
    elif output is not None:
        _write(f"{text}\n", output)
    if report and not as_json:
        show_report(answer, console())
    tell(answer, stderr, explained=explain, members=verbose, totals=verbose)
    return Exit.ANSWER


def _entry(llm: MoAChatModel, question: HumanMessage, system: str) -> Entry:
    return Entry(
        command="ask",
        conversation=new_conversation(),
        question=question.text,
        files=files_of(question),
        model=member_names(llm)[-1][0],
        system=system or None,
    )


def _write(text: str, output: Path | None) -> None:
    """Write what has been paid for: on stdout where the file cannot be written, as on a full disk.

    Raises:
        MoAConfigurationError: It cannot be.
    """
    if output is None:
        write_data(text)
        return
    try:
        write_text(output, text)
    except MoAError:
        write_data(text)
        raise


def _estimated(options: MixtureOptions, messages: list[BaseMessage], *, as_json: bool) -> int:
    """Tell what the answer would take; nothing is asked, so that no key is needed."""
    with mixture_for(options, asks=False) as llm:
        found = llm.estimate(messages)
    if as_json:
        write_data(_json(asdict(found)))
    else:
        write_data(f"{printable(str(found))}\n")
    return Exit.ANSWER


def _json(data: AnyDict) -> str:
    return f"{escaped(json.dumps(data, indent=2, ensure_ascii=False))}\n"


def _question(given: str | None, *, demo: bool) -> str:
    if given is None and stdin_is_terminal() and demo:
        from langchain_moa.testing.demo_models import DEMO_QUESTION  # noqa: PLC0415 - an extra

        say(f"> {DEMO_QUESTION}\n")
        return DEMO_QUESTION
    if given is None and stdin_is_terminal():
        msg = "no question; give it as an argument, or on stdin."
        raise click.UsageError(msg)
    question = all_of_stdin() if given in (None, "-") else checked_text(given or "", QUESTION)
    if not question.strip():
        msg = "the question is empty."
        raise click.UsageError(msg)
    return question.strip()


def _as_json(question: str, asked: Asked, *, report: bool) -> AnyDict:
    analysis = Analysis.of(asked.message) if report else None
    reported = {} if analysis is None else {"report": analysis.report(asked.message.text)}
    return {
        **reported,
        "question": question,
        "answer": asked.message.text,
        "seconds": asked.seconds,
        "usage": asked.message.usage_metadata,
        "record": asked.record,
    }


def _failed(question: str, error: MoAError) -> AnyDict:
    """What there is without an answer: the error, and the proposals that were paid for."""
    proposals = [proposal.to_state() for proposal in getattr(error, "proposals", ())]
    return {
        "question": question,
        "answer": None,
        "error": {"type": type(error).__name__, "message": one_line(error)},
        "proposals": proposals,
    }
