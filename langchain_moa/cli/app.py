"""The commands and their options; each command's work is in its own module, imported when it runs.

`--help` must not wait for LangChain: nothing here, or in `options.py`, imports it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from langchain_moa.cli.evals.commands import evals
from langchain_moa.cli.options import MixtureOptions, TextCommands, mixture_command
from langchain_moa.cli.spellings import as_we_spell
from langchain_moa.cli.terminal import open_what_is_closed, terminated_in_order

_DEBUG = "--debug"
_CODES = (
    "Exit codes: 0 an answer, 1 something unexpected, 2 usage or a key that is refused, "
    "3 no answer (the endpoint cannot be reached, say), 4 a model is not served "
    "(models), 130 Ctrl-C, 143 SIGTERM. Every command takes --debug, which shows an error's "
    "traceback."
)

_MORE = (
    "Every other setting that is a number, a switch or a word is an option, too, such as "
    "--hedge-after 3; docs/settings.md lists them. " + _CODES
)


@click.group(
    cls=TextCommands,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 80},
    epilog=_CODES,
)
@click.version_option(package_name="langchain-moa", message="langchain-moa %(version)s")
def app() -> None:
    """Several language models answer as one (Mixture-of-Agents)."""


_verbose = click.option(
    "--verbose", is_flag=True, help="A line per member, totals, warnings; on stderr."
)
_system = click.option("--system", "-s", metavar="TEXT", help="A system message at the start.")
_no_log = click.option("--no-log", is_flag=True, help="Do not log this (see `logs`).")
_force = click.option("--force", is_flag=True, help="Overwrite an existing file.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_attach = click.option(
    "--attach",
    "-a",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A picture or a PDF to send with the (first) question; repeatable.",
)
_explain = click.option("--explain", is_flag=True, help="Show how each answer came about.")
_report = click.option("--report", is_flag=True, help="Print the comparison below the answer.")
_proposals = click.option("--show-proposals", is_flag=True, help="Print the proposals first.")


@mixture_command(app, epilog=_MORE)
@_system
@_attach
@click.option("--multi-turn/--no-multi-turn", default=True, help="Show the model earlier turns.")
@_explain
@_proposals
@_report
@click.option("--continue", "-c", "go_on", is_flag=True, help="Continue the last conversation.")
@_no_log
@click.option("--yes", "-y", is_flag=True, help="Ask no questions at the start.")
@_verbose
def chat(options: MixtureOptions, *, verbose: bool, **given: Any) -> int:
    """Talk with the mixture; /help lists what can be typed."""
    from langchain_moa.cli.banner import greet  # noqa: PLC0415 - beside the others

    greet(options)
    from langchain_moa.cli.chat import run  # noqa: PLC0415 - imports LangChain

    proposals = given.pop("show_proposals")
    return run(options, verbose=verbose, proposals=proposals, **given)


@mixture_command(app, epilog=_MORE)
@click.argument("question", required=False)
@_system
@click.option("--json", "as_json", is_flag=True, help="Print the answer and its record as JSON.")
@_attach
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the answer to a file.",
)
@_force
@click.option("--estimate", is_flag=True, help="Estimate calls, tokens, cost; send nothing.")
@_explain
@_proposals
@_report
@_no_log
@_verbose
def ask(options: MixtureOptions, *, verbose: bool, **given: Any) -> int:
    """Answer QUESTION, or stdin.

    The answer alone goes to stdout, all else to stderr. QUESTION may be -, for stdin.
    """
    from langchain_moa.cli.banner import require_key  # noqa: PLC0415 - beside the others

    if not given["estimate"]:
        require_key(options)
    from langchain_moa.cli.ask import run  # noqa: PLC0415 - imports LangChain

    return run(options, verbose=verbose, **given)


@mixture_command(app)
@_as_json
def models(options: MixtureOptions, *, as_json: bool) -> int:
    """List what the endpoint serves, and mark the mixture's models."""
    from langchain_moa.cli.models import run  # noqa: PLC0415 - imports LangChain

    return run(options, as_json=as_json)


@mixture_command(app)
@click.option("--mermaid", is_flag=True, help="Print LangGraph's drawing, as Mermaid's text.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw a picture.")
@_force
def graph(options: MixtureOptions, **given: Any) -> int:
    """Draw the mixture."""
    from langchain_moa.cli.graph import run  # noqa: PLC0415 - imports LangChain

    return run(options, **given)


@app.command()
@click.option(
    "--number", "-n", type=click.IntRange(min=1), default=10, metavar="N", help="How many; 10."
)
@_as_json
def logs(*, number: int, as_json: bool) -> int:
    """Print the latest calls of ask and chat, the newest first.

    LANGCHAIN_MOA_LOG=0 logs nothing; a path names another file.
    """
    from langchain_moa.cli.log import show  # noqa: PLC0415 - beside the others
    from langchain_moa.cli.state import log_file  # noqa: PLC0415

    show(log_file(), number=number, as_json=as_json)
    return 0


@app.command()
@click.argument("name", required=False)
@_as_json
def presets(name: str | None, *, as_json: bool) -> int:
    """List the presets, or print the one called NAME."""
    from langchain_moa.cli import listing  # noqa: PLC0415 - beside the others

    return listing.presets(name, as_json=as_json)


@mixture_command(app)
@click.option("--format", "form", type=click.Choice(["toml", "yaml", "json"]), default="toml")
@click.option("--all", "every", is_flag=True, help="Also settings that have their default.")
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file."
)
@_force
def config(options: MixtureOptions, **given: Any) -> int:
    """Print the mixture that the options mean.

    It is what --config and MoAChatModel.from_config read.
    """
    from langchain_moa.cli import listing  # noqa: PLC0415 - beside the others

    return listing.config(options, **given)


app.add_command(evals)


def run(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
        argv: The command's words.

    Returns:
        The exit code.
    """
    open_what_is_closed()
    _write_all_texts()
    end = argv.index("--") if "--" in argv else len(argv)
    debug = _DEBUG in argv[:end]
    words = [*(word for word in argv[:end] if word != _DEBUG), *argv[end:]]
    words = as_we_spell(words, _switches(words[:1]))
    try:
        with terminated_in_order():
            code = app.main(args=words, prog_name="langchain-moa", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told in one line
        from langchain_moa.cli.exits import report  # noqa: PLC0415 - imports LangChain

        return report(error, debug=debug)
    return code if isinstance(code, int) else 0


def _switches(words: Sequence[str]) -> set[str]:
    """The options of a command that can be switched on and off."""
    command = app.commands.get(words[0]) if words else None
    params = command.params if command is not None else ()
    return {param.opts[0] for param in params if param.secondary_opts}


def _write_all_texts() -> None:
    """Write `?` for what an output's encoding lacks: an answer that is paid for must come out."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
