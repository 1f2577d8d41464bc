"""The secrets of a member: keys, logins in addresses, headers and queries of its own."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import SecretStr

from langchain_moa.members.runnables import nodes
from langchain_moa.tracing.redaction import HEADER_NAMES, SECRET_NAME, SHORTEST
from langchain_moa.types import AnyMapping, AnyRunnable

_LOGIN: Final = re.compile(r"://([^/?#\s]*)@")
_QUERY: Final = re.compile(r"[?&]([\w.-]+)=([^&#\s]+)")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_OF_HTTP: Final = frozenset({"headers", "cookies", "params"})
"""What HTTP clients are given beside a question, as Ollama's `client_kwargs` have it."""
_SHORTEST_HEADER: Final = 8
"""Shorter values of headers are words such as `json`."""


def secrets_of(runnable: AnyRunnable) -> frozenset[str]:
    """The secrets of all models inside a runnable, to be kept out of all that leaves the process.

    They are its keys, the logins and keys in its addresses, and the headers and the query that it
    sends beside a question.
    """
    found: set[str] = set()
    for part in nodes(runnable):
        if isinstance(part, RunnableBindingBase):
            found.update(secrets_in(part.kwargs))
        elif isinstance(part, BaseLanguageModel):
            found.update(secrets_in(vars(part)))
            login = getattr(getattr(part, "http_client", None), "auth", None)
            found.update(getattr(login, "secrets", ()))
    return frozenset(secret for secret in found if len(secret) >= SHORTEST)


def secrets_in(arguments: AnyMapping) -> Iterator[str]:
    """The secrets in arguments of a model, by their types, names and looks."""
    for name, value in arguments.items():
        match value:
            case SecretStr():
                yield value.get_secret_value()
            case str() if SECRET_NAME.fullmatch(name):
                yield value
            case list() | tuple() if name == "auth":  # a user's name and password
                yield from (word for word in value if isinstance(word, str))
            case str():
                yield from _in_address(value)
            case Mapping() if name in HEADER_NAMES or name in _OF_HTTP:
                yield from _in_headers(value)
            case Mapping() if all(isinstance(key, str) for key in value):
                yield from secrets_in(value)


def secrets_of_environment() -> Iterator[str]:
    """The logins of the proxies that the environment names."""
    for name in _PROXIES:
        for variable in (name, name.lower()):
            yield from _in_address(os.environ.get(variable, ""))


def _in_address(text: str) -> Iterator[str]:
    if "://" not in text:
        return
    for login in _LOGIN.findall(text):
        name, _, password = login.partition(":")
        yield from (login, password, unquote(password))
        pair = f"{unquote(name)}:{unquote(password)}"
        yield b64encode(pair.encode()).decode()  # as a header has it
    for name, value in _QUERY.findall(text):
        if SECRET_NAME.fullmatch(name) or name.lower().endswith("key"):
            yield from (value, unquote(value))


def _in_headers(headers: Mapping[object, object]) -> Iterator[str]:
    for name, value in headers.items():
        text = value if isinstance(value, str) else ""
        if len(text) >= _SHORTEST_HEADER or SECRET_NAME.fullmatch(str(name)):
            yield from _words(text)


def _words(text: str) -> Iterable[str]:
    """A header's value, and what follows `Bearer` or `Basic` in it."""
    kind, space, rest = text.partition(" ")
    return (text, rest) if space and kind.isalpha() and len(rest) >= _SHORTEST_HEADER else (text,)
