"""HTTP clients as the environment wants them: certificates, proxies, a login in the address.

They follow no redirect to another host: what is sent is for the host that its owner named.
"""

from __future__ import annotations

import importlib
import os
import ssl
import sys
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from types import ModuleType
from typing import Any, Final

from langchain_moa.errors import (
    MissingExtraError,
    MoAConfigurationError,
    MoAError,
    RedirectedError,
)
from langchain_moa.providers.accounts import shown_address
from langchain_moa.providers.classes import is_a, packages_of
from langchain_moa.providers.headers import OF_A_PART, PARTS
from langchain_moa.providers.sizes import limit_answer, limit_async_answer
from langchain_moa.providers.transport import clients_over, http
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
    login: tuple[str, str] | None = None,
    proxy: str | None = None,
    library: ModuleType = http,
    **own: object,
) -> AnyDict:
    """The SDK's HTTP clients, as arguments of a model's class.

    Args:
        login: A user's name and password for every request.
        proxy: The proxy of a member; by default those of the environment.
        library: The SDK's HTTP library: httpx, or its successor.
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
    client, async_client = clients_over(library)
    try:
        return {
            "http_client": client(**settings, event_hooks={"response": _HOOKS}),
            "http_async_client": async_client(**settings, event_hooks={"response": _ASYNC_HOOKS}),
        }
    except (ImportError, ValueError, library.InvalidURL) as error:
        if proxy:
            shown = shown_address(proxy)
            msg = f"the proxy {shown!r} cannot be used: {' '.join(str(error).split())}"
            kind = MissingExtraError if isinstance(error, ImportError) else MoAConfigurationError
            raise kind(msg) from None
        raise _of_proxies(error) from None


class Connections:
    """The HTTP clients that the models of one mixture share."""

    def __init__(self) -> None:
        self._clients: dict[tuple[object, ...], AnyDict] = {}

    def clients(
        self,
        proxy: str | None = None,
        login: tuple[str, str] | None = None,
        library: ModuleType = http,
    ) -> AnyDict:
        """The clients of all members with the same proxy, login and HTTP library."""
        known = (proxy or None, login, library)
        if known not in self._clients:
            self._clients[known] = http_clients(login, proxy or None, library)
        return self._clients[known]

    def connect(self, model: Any) -> None:
        """Give a built model our HTTP clients, where its class takes none as arguments.

        Args:
            model: The model. One that is not known keeps its own, with our hooks in them.
        """
        if is_a(model, "ChatAnthropic"):
            self._connect_anthropic(model)
        elif is_a(model, "ChatGoogleGenerativeAI"):
            self._connect_google(model)
        elif is_a(model, "ChatGroq") or is_a(model, "ChatFireworks"):
            self._connect_resources(model)
        elif holders := _holders(model):
            _renew(holders)
            if is_a(model, "ChatOpenRouter") and not model.max_retries:
                # for want of a setting, its SDK repeats failed requests for an hour
                holders[0][0].retry_config = None
        else:
            _hook_into(model)

    def _connect_anthropic(self, model: Any) -> None:
        sdk = importlib.import_module("anthropic")  # the client of the model's package
        library = _library_of(sdk.DefaultHttpxClient)
        clients = self.clients(model.anthropic_proxy, library=library)
        for name, client in zip(_MADE, clients.values(), strict=True):
            vars(model)[name] = getattr(model, name).with_options(http_client=client)

    def _connect_resources(self, model: Any) -> None:
        """Those of an SDK like OpenAI's, of which the class keeps a part."""
        for name in PARTS:
            part = getattr(model, name)
            sdk = vars(part)[OF_A_PART]
            library = _library_of(type(vars(sdk)[OF_A_PART]))
            client = self.clients(library=library)[f"http_{name}"]
            setattr(model, name, type(part)(sdk.with_options(http_client=client)))

    def _connect_google(self, model: Any) -> None:
        if getattr(model.client, "vertexai", False):  # which sends tokens of its own
            return
        genai = importlib.import_module("google.genai")
        arguments = model.client_args or {}
        clients = self.clients(arguments.get("proxy"))
        options = vars(vars(model.client)[_API])[_OPTIONS].model_copy(
            update={
                "httpx_client": clients["http_client"],
                "httpx_async_client": clients["http_async_client"],
            }
        )
        model.client = genai.Client(
            api_key=model.google_api_key.get_secret_value(), http_options=options
        )


def _library_of(kind: type) -> ModuleType:
    """The HTTP library that a client's class is made from."""
    return next(sys.modules[name] for name in packages_of(kind) if name in _LIBRARIES)


_MADE: Final = ("_client", "_async_client")
"""Where Anthropic's and Ollama's classes keep the clients that they made: sync, then async."""


def _holders(model: Any) -> list[tuple[Any, str]]:
    """The objects, and their attributes, that hold a model's HTTP clients: sync, then async."""
    if is_a(model, "ChatMistralAI"):
        return [(model, "client"), (model, "async_client")]
    if is_a(model, "ChatOpenRouter"):
        held = model.client.sdk_configuration
        return [(held, "client"), (held, "async_client")]
    if is_a(model, "ChatOllama") and not any(getattr(model, name, None) for name in _OF_OLLAMA):
        return [(getattr(model, name), OF_A_PART) for name in _MADE]
    return []


def _renew(holders: list[tuple[Any, str]]) -> None:
    """Put our HTTP clients in the place of others that send alike."""
    own = getattr(*holders[0])
    sent = {"base_url": str(own.base_url), "headers": dict(own.headers), "timeout": own.timeout}
    clients = http_clients(library=_library_of(type(own)), **sent)
    for (held, name), client in zip(holders, clients.values(), strict=True):
        setattr(held, name, client)


_OF_OLLAMA: Final = ("client_kwargs", "sync_client_kwargs", "async_client_kwargs")
"""What a user says of the HTTP clients, which so are the user's own."""


def _hook_into(model: object) -> None:
    """Put our hooks into the HTTP clients that a model of an unknown class has somewhere."""
    level: list[object] = [model]
    seen = {id(model)}
    for _ in range(_DEEPEST):
        inner = (value for each in level for value in _held_by(each))
        found = {id(v): v for v in islice(inner, _LOOKED_AT) if not isinstance(v, type)}
        level = [value for known, value in found.items() if known not in seen]
        seen.update(found)
        for client in level:
            is_one = not _LIBRARIES.isdisjoint(packages_of(type(client)))
            hooks = getattr(client, "event_hooks", None) if is_one else None
            if hooks is not None:
                ours = _ASYNC_HOOKS if hasattr(client, "aclose") else _HOOKS
                told = {**hooks, "response": [*hooks["response"], *ours]}
                setattr(client, _EVENT_HOOKS, told)


def _held_by(each: object) -> Iterable[object]:
    private = getattr(each, "__pydantic_private__", None) or {}
    return [*getattr(each, "__dict__", {}).values(), *private.values()]


_EVENT_HOOKS: Final = "event_hooks"
_LIBRARIES: Final = frozenset({"httpx", "httpx2"})
_DEEPEST: Final = 4
_LOOKED_AT: Final = 1000
"""How deep, and at how many objects of a level, such a model is looked through."""
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
        http.Client(proxy=address if "://" in address else f"http://{address}", trust_env=False)
    except Exception:  # noqa: BLE001 - whatever it is, the variable is at fault
        return False
    return True


@lru_cache(maxsize=8)
def _tls(*_: str | None) -> ssl.SSLContext:
    """A TLS context for these settings of the environment; to make one takes a while."""
    context: ssl.SSLContext = http.create_ssl_context()
    return context
