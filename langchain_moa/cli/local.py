"""Models on the user's own machine: `--local`, `--gguf`, and presets that ask a model server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from langchain_moa.cli.exits import say
from langchain_moa.cli.terminal import on_one_line
from langchain_moa.local.mixture import served
from langchain_moa.local.served import settings_of
from langchain_moa.local.server import LocalServer
from langchain_moa.presets import Preset
from langchain_moa.types import AnyDict

_TINY: Final = "SmolLM2-135M is tiny and often wrong; --gguf FILE takes a better model."
_PREFIX: Final = "together:"
_ERASE: Final = "\r\x1b[K"


@contextmanager
def local_models(
    files: tuple[Path, ...], addresses: dict[str, str] | None = None
) -> Iterator[AnyDict]:
    """Serve GGUF files, or the tiny model, and give the arguments of their mixture.

    Args:
        files: The files; empty for the tiny model.
        addresses: Gets what stands for each server's address, as in `mixture_for`.

    Raises:
        MoAError: They cannot be served.
    """
    if not files:
        say(_TINY)

    def started(server: LocalServer) -> None:
        if addresses is not None:
            addresses[server.base_url] = server.lasting_url

    with _Loading() as loading, served(files, on_loading=loading.tell, on_start=started) as members:
        loading.end()
        yield members


def served_models(preset: Preset, base_url: str | None) -> AnyDict:
    """The arguments of the mixture of what a model server has, which is told in one line.

    Raises:
        MoAError: It has nothing, or cannot be asked.
    """
    settings = settings_of(preset, base_url=base_url)
    names = [name.removeprefix(_PREFIX) for name in settings["reference_models"]]
    different = list(dict.fromkeys(names))
    last = settings["aggregator"].removeprefix(_PREFIX)
    count = f" {len(names)} times" if len(different) == 1 else ""
    told = f"{preset.name}: {', '.join(different)}{count}; {last} writes the answer."
    say(on_one_line(told))
    return settings


class _Loading:
    """A line on the terminal that tells how long a model has been loading."""

    def __init__(self) -> None:
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def tell(self, name: str, seconds: float) -> None:
        """Say who is loading; elsewhere than on a terminal nothing is said."""
        if sys.stderr.isatty():
            self._shown = True
            sys.stderr.write(f"{_ERASE}loading {on_one_line(name, 50)} ... {seconds:.0f} s")
            sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
            self._shown = False
