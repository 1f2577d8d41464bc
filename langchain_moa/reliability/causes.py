"""Why a request failed, for a person: the cause, the address and the key's variable.

Clients say "Connection error." for an address without a scheme, a port where nobody listens, a
host that does not exist and a TLS that the server does not speak; what it was stands in the
exceptions behind it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from langchain_core.exceptions import ModelConnectionError

from langchain_moa.reliability.provider_errors import status_of, words_of

KEY_REFUSED: Final = "the key was refused"
"""What stands in the reason of a request that failed for its key alone."""
_DEEPEST: Final = 20
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_OTHER_STATUSES: Final = (400, 403)
_WRONG_KEY: Final = re.compile(
    r"api[_ ]key[_ ](?:is[_ ])?(?:not[_ ]valid|invalid)|(?:incorrect|invalid)[_ ]api[_ ]key",
    re.IGNORECASE,
)
"""How Gemini's API (ai.google.dev/gemini-api/docs/troubleshooting) and xAI's say it, with 400."""
_READ: Final = 4096
"""Characters of an error that are looked through."""
_CONNECTING: Final = frozenset(
    # of httpx and its successor, and of aiohttp
    {"ConnectError", "ClientConnectorError", "LocalProtocolError", "ProxyError"}
)
_NO_SCHEME: Final = frozenset({"UnsupportedProtocol", "InvalidURL", "InvalidUrlClientError"})


def reason_of(error: BaseException, *, model: str, key_from: str = "") -> str:
    """Why a request failed, in one text: the client's own words, and what they leave out.

    Args:
        error: What the client raised.
        model: The model that was asked.
        key_from: Where the model's key comes from: the environment's variables, or an argument.
    """
    said = f"{type(error).__name__}: {words_of(error)}"
    status = getattr(_response(error), "status_code", None)
    where = _address(error)
    if status == _UNAUTHORIZED or _names_the_key(error, said):
        mend = f"; set {key_from} anew" if key_from else ""
        return f"{KEY_REFUSED}{_at(where)}{mend} ({said})"
    if status == _NOT_FOUND:
        return f"no model {model!r}{_at(where)}; is the address right, and the name? ({said})"
    origin = _origin(where)
    if any(_is_about_connecting(each) for each in _chain(error)):
        return f"cannot connect{f' to {origin}' if origin else ''}: {_cause(error, where)}"
    if isinstance(error, ModelConnectionError):  # it was lost
        cause = _cause(error, where)
        behind = [part for part in (origin, "" if cause in said else cause) if part]
        return f"{said} ({': '.join(behind)})" if behind else said
    return said


def _names_the_key(error: BaseException, said: str) -> bool:
    """Whether a provider that has another status for it says that the key is wrong."""
    return status_of(error) in _OTHER_STATUSES and _WRONG_KEY.search(said[:_READ]) is not None


def told_once(failures: Iterable[tuple[str, str]]) -> str:
    """Failures in one text, in which a reason that several members share stands once.

    Args:
        failures: The member's name and its reason, of each.

    Example:
        >>> told_once([("a", "no luck"), ("b", "no luck")])
        'no luck (all 2 members)'
        >>> told_once([("a", "no luck"), ("b", "too late"), ("c", "no luck")])
        'no luck (a, c); b: too late'
        >>> told_once([("a", "no luck")])
        'a: no luck'
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in failures:
        by_reason.setdefault(reason, []).append(name)
    if len(by_reason) == 1:
        ((reason, names),) = by_reason.items()
        if len(names) > 1:
            return f"{reason} (all {len(names)} members)"
    return "; ".join(
        f"{names[0]}: {reason}" if len(names) == 1 else f"{reason} ({', '.join(names)})"
        for reason, names in by_reason.items()
    )


def _is_about_connecting(error: BaseException) -> bool:
    if isinstance(error, ConnectionRefusedError | socket.gaierror | ssl.SSLError):
        return True
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & (_CONNECTING | _NO_SCHEME))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what is behind it."""
    current: BaseException | None = error
    for _ in range(_DEEPEST):
        if current is None:
            return
        yield current
        behind = current.__cause__ or current.__context__
        # attempts on several addresses of a host fail as a group
        current = behind.exceptions[0] if isinstance(behind, BaseExceptionGroup) else behind


def _first(error: BaseException, name: str) -> object:
    """An attribute of an error or of what is behind it."""
    for each in _chain(error):
        try:
            value = getattr(each, name, None)
        except RuntimeError:  # httpx's errors say so of a request that they do not know
            continue
        if value is not None:
            return value
    return None


def _response(error: BaseException) -> object:
    """What was answered, where there was an answer; OpenRouter's errors have it by another name."""
    response = _first(error, "response")
    return _first(error, "raw_response") if response is None else response


def _address(error: BaseException) -> str:
    """The address that was asked, without a user's name, a password and what follows a `?`."""
    request = _first(error, "request")
    try:
        url = getattr(_response(error) if request is None else request, "url", None)
        if url is None:
            return ""
        parts = urlsplit(str(url))
        host = parts.netloc.rpartition("@")[2]
    except (RuntimeError, ValueError):  # the former is httpx's, of an answer to no request
        return ""
    scheme = f"{parts.scheme}://" if parts.scheme and host else ""
    return f"{scheme}{host}{parts.path}"


def _at(address: str) -> str:
    return f" at {address}" if address else ""


def _origin(address: str) -> str:
    """The part of an address that is connected to."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.lstrip('/').partition('/')[0]}"


def _cause(error: BaseException, address: str) -> str:
    """What is behind an error of a connection, with what to do where that is known."""
    chain = list(_chain(error))
    for each in reversed(chain):  # the deepest one knows most
        told = _told(each, address)
        if told is not None:
            return told
    last = chain[-1]
    return " ".join(str(last).split()) or type(last).__name__


def _told(error: BaseException, address: str) -> str | None:
    """One of the errors behind it as a person reads it; `None` where another may say more."""
    kind = type(error).__name__
    if kind in _NO_SCHEME and "://" not in address:
        return "the address has no scheme; give http:// or https://"
    if kind == "LocalProtocolError":  # its text would quote the header, and with it the key
        return "a header cannot be sent; look for odd characters in the key"
    if isinstance(error, ssl.SSLError):
        return _about_tls(error)
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return None


def _about_tls(error: ssl.SSLError) -> str:
    # aiohttp's errors are also of these types, and have nothing of theirs
    untrusted = getattr(error, "verify_message", None)
    if isinstance(error, ssl.SSLCertVerificationError) and untrusted:
        return f"the server's certificate is not trusted: {untrusted}"
    reason = str(getattr(error, "reason", None) or "no TLS").replace("_", " ").lower()
    return f"TLS failed ({reason}); a server without it has an address that begins with http://"
