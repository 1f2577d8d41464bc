"""HTTP clients as the environment wants them: certificates, proxies, a login in the address.

They follow no redirect to another host: what is sent is for the host that its owner named.
"""

from __future__ import annotations

import importlib
import os
import ssl
from base64 import b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from langchain_moa.errors import (
    MissingExtraError,
    MoAConfigurationError,
    MoAError,
    RedirectedError,
)
from langchain_moa.providers.accounts import shown_address
from langchain_moa.providers.families import is_a
from langchain_moa.providers.sizes import limit_answer, limit_async_answer
from langchain_moa.providers.transport import AsyncClient, Client, http
from langchain_moa.types import AnyDict

_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES: Final = tuple(
    variable
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for variable in (name, name.lower())
)

_KEEPS_THE_QUESTION: Final = frozenset({307, 308})
"""The redirects after which a client sends the same again; after others it asks for a page."""
_PORTS: Final = {"http": 80, "https": 443}

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


def http_clients(
    login: tuple[str, str] | None = None, proxy: str | None = None, **own: object
) -> AnyDict:
    """The SDK's HTTP clients, as arguments of a model's class.

    Args:
        login: A user's name and password for every request.
        proxy: The proxy of a member; by default those of the environment.
        **own: Other arguments of the clients.

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
    settings: AnyDict = {"verify": tls, "auth": login and Login(*login), **own}
    settings |= {"proxy": proxy} if proxy else {"mounts": NO_PROXY}
    try:
        return {
            "http_client": Client(**settings, event_hooks={"response": _HOOKS}),
            "http_async_client": AsyncClient(**settings, event_hooks={"response": _ASYNC_HOOKS}),
        }
    except (ImportError, ValueError, http.InvalidURL) as error:
        if proxy:
            shown = shown_address(proxy)
            msg = f"the proxy {shown!r} cannot be used: {' '.join(str(error).split())}"
            kind = MissingExtraError if isinstance(error, ImportError) else MoAConfigurationError
            raise kind(msg) from None
        raise _of_proxies(error) from None


def connect(model: Any, shared: Callable[[str | None], AnyDict]) -> None:
    """Give a built model our HTTP clients, where its class takes none as arguments.

    Args:
        model: The model. One that is not known is left alone.
        shared: The clients with a proxy, which serve any number of models.
    """
    if is_a(model, "ChatAnthropic"):
        _connect_anthropic(model, shared)
    elif is_a(model, "ChatMistralAI"):
        _connect_mistral(model)
    elif is_a(model, "ChatGoogleGenerativeAI"):
        _connect_google(model, shared)


def _connect_anthropic(model: Any, shared: Callable[[str | None], AnyDict]) -> None:
    sdk = importlib.import_module("anthropic")  # the client of the model's package
    if issubclass(sdk.DefaultHttpxClient, http.Client):
        clients = shared(model.anthropic_proxy)
    else:  # an older one, over another HTTP library
        proxy = {"proxy": model.anthropic_proxy or None}
        clients = {
            "http_client": sdk.DefaultHttpxClient(**proxy, event_hooks={"response": _HOOKS}),
            "http_async_client": sdk.DefaultAsyncHttpxClient(
                **proxy, event_hooks={"response": _ASYNC_HOOKS}
            ),
        }
    for name, client in zip(_OF_ANTHROPIC, clients.values(), strict=True):
        # where the class keeps what it made
        vars(model)[name] = getattr(model, name).with_options(http_client=client)


_OF_ANTHROPIC: Final = ("_client", "_async_client")


def _connect_mistral(model: Any) -> None:
    sent = {
        "base_url": str(model.client.base_url),
        "headers": dict(model.client.headers),
        "timeout": model.timeout,
    }
    clients = http_clients(**sent)
    model.client, model.async_client = clients["http_client"], clients["http_async_client"]


def _connect_google(model: Any, shared: Callable[[str | None], AnyDict]) -> None:
    if getattr(model.client, "vertexai", False):  # which sends tokens of its own
        return
    genai = importlib.import_module("google.genai")
    arguments = model.client_args or {}
    clients = shared(arguments.get("proxy"))
    options = vars(vars(model.client)[_API])[_OPTIONS].model_copy(
        update={
            "httpx_client": clients["http_client"],
            "httpx_async_client": clients["http_async_client"],
        }
    )
    model.client = genai.Client(
        api_key=model.google_api_key.get_secret_value(), http_options=options
    )


_API: Final = "_api_client"
_OPTIONS: Final = "_http_options"


def require_same_host(response: Any) -> None:
    """Refuse a redirect to another host: a hook of the sync HTTP client.

    The same host over TLS is the same one. One that makes a page's request of a question is
    refused, too: nobody answers that.

    Raises:
        RedirectedError: It is one of these.
    """
    if not response.has_redirect_location:
        return
    asked = response.request.url
    try:
        location = asked.join(response.headers["Location"])
    except Exception:  # noqa: BLE001 - of either library; the client says what is wrong with it
        return
    origins = [(url.scheme, url.port or _PORTS.get(url.scheme)) for url in (asked, location)]
    is_same = location.host == asked.host and (
        origins[0] == origins[1] or origins == list(_PORTS.items())
    )
    if not is_same or response.status_code not in _KEEPS_THE_QUESTION:
        raise RedirectedError(*(shown_address(str(each)) for each in (asked, location)))


async def require_same_async_host(response: Any) -> None:
    """The same of the async client."""
    require_same_host(response)


_HOOKS: Final = [require_same_host, limit_answer]
_ASYNC_HOOKS: Final = [require_same_async_host, limit_async_answer]


def _of_proxies(error: Exception) -> MoAError:
    """The error that names the variable which is at fault."""
    names = [name for name in _PROXIES if os.environ.get(name)]
    wrong = [name for name in names if not _is_proxy(os.environ[name])] or names
    shown = ", ".join(f"{name}={shown_address(os.environ[name])!r}" for name in wrong)
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
