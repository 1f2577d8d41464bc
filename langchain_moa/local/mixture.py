"""A mixture of models in GGUF files, which are served as long as it is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from langchain_moa.errors import TellsOneLine
from langchain_moa.local.machine import free_cores
from langchain_moa.local.server import CONTEXT, LocalServer
from langchain_moa.types import AnyDict

if TYPE_CHECKING:
    from langchain_moa.chat_models import MoAChatModel

OnLoading = Callable[[str, float], object]
"""Called while models load, with the name of one and the seconds since its start."""

SAMPLES: Final = 3
"""Proposals of a model that is alone."""
SETTINGS: Final[AnyDict] = {
    "stream_requests": True,  # what is given up, the server stops writing
    "proposal_temperature": 0.7,
    "proposal_max_tokens": 256,
    "max_tokens": 512,
    "proposer_timeout": 600.0,
    "aggregator_timeout": 600.0,
    "analyst_timeout": 600.0,
    "timeout": 3600.0,
}
"""Settings of a mixture on one's own machine: processors write slowly, and small models often don't
find an end."""
TINY: Final[AnyDict] = {
    "temperature": 0.2,
    "placement": "system",  # it takes proposals beside the question for what it is asked about
    "proposal_max_tokens": 64,
    "max_tokens": 128,
}
"""What SmolLM2-135M needs beside these, as tried."""
ADVICE: Final = {"analyst": 1024, "judge": 128}
"""Most tokens of who a strategy consults: a model that finds no end would fill its context."""
TINY_ADVICE: Final = {"analyst": 256, "judge": 64}


@contextmanager
def local_mixture(
    *files: str | os.PathLike[str],
    context: int = CONTEXT,
    on_loading: OnLoading | None = None,
    **settings: object,
) -> Iterator[MoAChatModel]:
    """Serve GGUF files and give the mixture of their models.

    Several files are several reference models, and the largest one's model writes the answer, too.
    One file is Self-MoA: its model proposes three times.

    Args:
        *files: GGUF files; by default SmolLM2-135M-Instruct, a tiny model that shows how things
            work and is often wrong.
        context: Tokens that a request and its answer may have together.
        on_loading: Called while models load, with the name of one and the seconds since its start.
        **settings: Other arguments of `MoAChatModel`.

    Raises:
        MissingExtraError: The server's package, or the small model's, is not installed.
        MoAConfigurationError: A file or a setting is wrong, or there is not enough memory.

    Example:
        >>> from langchain_moa.local import local_mixture
        >>> with local_mixture("gemma.gguf", "qwen.gguf") as llm:  # doctest: +SKIP
        ...     print(llm.invoke("What is the capital of France?").text)
    """
    from langchain_moa.chat_models import MoAChatModel  # noqa: PLC0415 - slow to import

    with TellsOneLine(), served(files, context=context, on_loading=on_loading) as members:
        yield MoAChatModel(**{**members, **settings})


@contextmanager
def served(
    files: Sequence[str | os.PathLike[str]],
    *,
    context: int = CONTEXT,
    on_loading: OnLoading | None = None,
    on_start: Callable[[LocalServer], object] | None = None,
) -> Iterator[AnyDict]:
    """Serve files, and give the arguments of their mixture; the rest is as in `local_mixture`.

    Args:
        files: GGUF files.
        context: Tokens that a request and its answer may have together.
        on_loading: Called while models load.
        on_start: Called with each server, once it has its model.
    """
    models = files or (None,)
    slots = SAMPLES if len(models) == 1 else 2  # a proposal, and one that has been given up
    threads = max(1, free_cores() // len(models))
    with ExitStack() as running:
        servers = [
            LocalServer(model, slots=slots, context=context, threads=threads) for model in models
        ]
        for server in servers:
            running.callback(server.stop)
            server.start(_of(server, on_loading))
            if on_start is not None:
                on_start(server)
        members: list[object] = [server.member() for server in servers]
        sizes = [server.size for server in servers]
        references = members * SAMPLES if len(members) == 1 else members
        special, limits = ({}, ADVICE) if files else (TINY, TINY_ADVICE)
        largest = sizes.index(max(sizes))
        yield {
            **SETTINGS,
            **special,
            "reference_models": references,
            "aggregator": members[largest],
            **{
                role: servers[largest].member(temperature=0.0, max_tokens=most)
                for role, most in limits.items()
            },
        }


def _of(server: LocalServer, on_loading: OnLoading | None) -> Callable[[float], object] | None:
    if on_loading is None:
        return None
    return lambda seconds: on_loading(server.model_name, seconds)
