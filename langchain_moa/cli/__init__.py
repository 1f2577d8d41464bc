"""The command line: `langchain-moa`, or `python -m langchain_moa`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

_EXTRA: Final = {"click", "PIL", "prompt_toolkit", "rich"}


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
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        mend = "pip install 'langchain-moa[cli]'"
        print(f"langchain-moa: the command line needs an extra: {mend}", file=sys.stderr)  # noqa: T201
        return 2
    return run(sys.argv[1:] if argv is None else list(argv))
