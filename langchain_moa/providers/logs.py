"""Logs of HTTP clients without what is secret in an address or a header."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from langchain_moa.providers.accounts import shown_address

_SDKS: Final = ("openai", "anthropic", "groq", "fireworks")
_LOGGERS: Final = ("httpx", "httpx2", *(f"{sdk}._base_client" for sdk in _SDKS))
"""Those that write the address of each request, login and query with it."""

_SENT_BESIDE: Final = ("headers", "params")


class _PlainAddresses(logging.Filter):
    """Takes logins and queries out of the addresses in a log's records, and headers' values."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_plain, record.args))
        elif isinstance(record.args, Mapping):  # a request's options, as older SDKs write them
            record.args = {name: _hidden(name, value) for name, value in record.args.items()}
        return True


def _hidden(name: str, value: object) -> object:
    """An option of a request, with the values of headers and of a query left out."""
    if name in _SENT_BESIDE and isinstance(value, Mapping):
        return dict.fromkeys(value, "***")
    return value


def _plain(value: object) -> object:
    if isinstance(value, str) or type(value).__name__ == "URL":
        text = str(value)
        return shown_address(text) if "://" in text else value
    return value


_FILTER: Final = _PlainAddresses()


def hide_in_logs() -> None:
    """Let HTTP clients write addresses without logins and queries into their logs."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # which counts once, however often it is added
