"""The packages that the command line needs beside LangChain; none of them is imported here."""

from __future__ import annotations

from typing import Final

_PACKAGES: Final = {"click", "PIL", "prompt_toolkit", "rich"}


def says_extra_is_missing(error: BaseException) -> str | None:
    """What to tell when an import failed for want of the extra; `None` for any other error."""
    package = error.name if isinstance(error, ImportError) else None
    if (package or "").partition(".")[0] not in _PACKAGES:
        return None
    return f"error: the command line needs {package}: pip install 'langchain-moa[cli]'"
