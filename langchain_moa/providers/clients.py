"""HTTP clients as the environment wants them: certificates, proxies, a login in the address."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from functools import lru_cache
from typing import Final

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, MoAError
from langchain_moa.providers.accounts import shown_address
from langchain_moa.providers.sizes import limit_answer, limit_async_answer
from langchain_moa.providers.transport import AsyncClient, Client, http
from langchain_moa.types import AnyDict

_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES: Final = tuple(
    variable
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for variable in (name, name.lower())
)

NO_PROXY: Final = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
"""This machine, which is asked without the environment's proxy: that one could not reach it."""


class Login(http.BasicAuth):
    """A user's name and password, as an address may hold them.

    Args:
        name: The user's name.
        password: The user's password.
    """

    def __init__(self, name: str, password: str) -> None:
        super().__init__(name, password)
        encoded = b64encode(f"{name}:{password}".encode()).decode()
        self.pair = (name, password)
        self.secrets = frozenset({password, encoded})


def http_clients(login: tuple[str, str] | None = None) -> AnyDict:
    """The SDK's HTTP clients, as arguments of a model's class.

    Args:
        login: A user's name and password for every request.

    Raises:
        MoAConfigurationError: A variable of the environment names certificates that can't be read,
            or a proxy that is none.
        MissingExtraError: A proxy needs a package that is not installed.
    """
    try:
        tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        named = ", ".join(f"{n}={os.environ[n]!r}" for n in _CERTIFICATES if os.environ.get(n))
        msg = f"{named or 'TLS'}: the certificates can't be read: {error}."
        raise MoAConfigurationError(msg) from None
    settings: AnyDict = {"verify": tls, "auth": login and Login(*login), "mounts": NO_PROXY}
    try:
        return {
            "http_client": Client(**settings, event_hooks={"response": [limit_answer]}),
            "http_async_client": AsyncClient(
                **settings, event_hooks={"response": [limit_async_answer]}
            ),
        }
    except (ImportError, ValueError, http.InvalidURL) as error:  # the environment's proxies
        raise _of_proxies(error) from None


def _of_proxies(error: Exception) -> MoAError:
    """The error that names the variable which is at fault."""
    names = [name for name in _PROXIES if os.environ.get(name)]
    guilty = [name for name in names if not _is_proxy(os.environ[name])] or names
    shown = ", ".join(f"{name}={shown_address(os.environ[name])!r}" for name in guilty)
    reason = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return MissingExtraError(f"{shown}: {reason}")
    return MoAConfigurationError(
        f"{shown} is no proxy: {reason}; correct it, or unset the variable."
    )


def _is_proxy(address: str) -> bool:
    try:
        Client(proxy=address if "://" in address else f"http://{address}", trust_env=False)
    except Exception:  # noqa: BLE001 - whatever it is, the variable is at fault
        return False
    return True


@lru_cache(maxsize=8)
def _tls(*_: str | None) -> ssl.SSLContext:
    """A TLS context for these settings of the environment; to make one takes a while."""
    context: ssl.SSLContext = http.create_ssl_context()
    return context
