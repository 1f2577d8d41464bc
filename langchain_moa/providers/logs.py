"""Logs of HTTP clients without what is secret in an address."""

from __future__ import annotations

import logging
from typing import Final

from typing_extensions import override

from langchain_moa.providers.accounts import shown_address

_LOGGERS: Final = ("httpx", "httpx2", "openai._base_client", "anthropic._base_client")
"""Those that write the address of each request, login and query with it."""


class _PlainAddresses(logging.Filter):
    """Takes logins and queries out of the addresses in a log's records."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_plain, record.args))
        return True


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
