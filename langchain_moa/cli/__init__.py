"""The command line: `langchain-moa`, or `python -m langchain_moa`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from langchain_moa.cli.extra import says_extra_is_missing


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command's words; by default those that the program was started with.

    Returns:
        The exit code: see `langchain_moa.cli.exits`.
    """
    try:
        from langchain_moa.cli.app import run  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        told = says_extra_is_missing(error)
        if told is None:
            raise
        print(told, file=sys.stderr)  # noqa: T201
        return 2
    return run(sys.argv[1:] if argv is None else list(argv))
