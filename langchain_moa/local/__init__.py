"""Real models on the user's own machine, without a key.

`LocalServer` serves a GGUF file with llama.cpp's own server (extra `local`), `local_mixture` makes
a mixture of one or more files, and `settings_of` one of what Ollama, vLLM, LM Studio or another
llama.cpp serves. How to use them is in `docs/local-models.md`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.local.mixture import local_mixture
    from langchain_moa.local.served import settings_of
    from langchain_moa.local.server import LocalServer
    from langchain_moa.local.weights import smollm2

_HOMES = {
    "LocalServer": "server",
    "local_mixture": "mixture",
    "settings_of": "served",
    "smollm2": "weights",
}

__all__ = ["LocalServer", "local_mixture", "settings_of", "smollm2"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
