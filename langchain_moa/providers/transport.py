"""The SDKs' HTTP clients: connections that belong to one process and to one event loop.

The async client works over aiohttp, which takes less CPU, in any number of event loops. After a
fork the child opens connections of its own: over those of its parent it would read the answers to
its parent's questions.

SDKs work over httpx or over its successor, which has the same interface under another name and
takes no objects of the other one: whatever is of a library is made for both.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar
from weakref import WeakSet

import aiohttp
import openai

from langchain_moa.types import AnyDict

_CONNECTIONS: Final = 1000
"""At the same time in one event loop, as many as OpenAI's own clients open."""
_KEPT: Final = 100
"""Connections that are kept open in a sync client for further requests."""
_HEADER_BYTES: Final = 100 * 1024
"""The longest header of a response, as the SDK's sync client (httpcore) takes it."""

_PACKED: Final = 4096
"""Bytes of a compressed body that are unpacked at once: they may become a thousand times as many.
"""

if TYPE_CHECKING:
    import httpx
    from httpx import AsyncBaseTransport, AsyncByteStream, AsyncClient, BaseTransport, Client

    http = httpx
else:  # OpenAI's SDK moved from one to the other
    http = importlib.import_module(
        openai.DefaultAsyncHttpxClient.__bases__[0].__module__.partition(".")[0]
    )
    Client = AsyncClient = BaseTransport = AsyncBaseTransport = AsyncByteStream = object

_KindT = TypeVar("_KindT")

_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ConnectionTimeoutError, "ConnectTimeout"),
    (TimeoutError, "ReadTimeout"),
    (aiohttp.ClientConnectorError, "ConnectError"),
    (aiohttp.ServerDisconnectedError, "RemoteProtocolError"),
    (aiohttp.ClientPayloadError, "RemoteProtocolError"),
    (aiohttp.ClientResponseError, "RemoteProtocolError"),
    (aiohttp.ClientError, "ReadError"),
    (OSError, "ReadError"),
)
"""What of aiohttp's errors is which one of the HTTP library's; the first that fits counts."""


@cache
def _over(kind: type[_KindT], library: types.ModuleType, base: str) -> type[_KindT]:
    """A class of ours over one of an HTTP library's."""
    own = {"library": library, "__module__": kind.__module__}
    bases = (kind, getattr(library, base))
    return types.new_class(base, bases, exec_body=lambda namespace: namespace.update(own))


def clients_over(library: types.ModuleType) -> tuple[type[Client], type[AsyncClient]]:
    """The classes of our clients, sync and async.

    Args:
        library: httpx or httpx2.
    """
    return _over(_Client, library, "Client"), _over(_AsyncClient, library, "AsyncClient")


def _defaults(library: types.ModuleType) -> AnyDict:
    """What SDKs have set otherwise than the library: they follow redirects, and open more."""
    limits = library.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_KEPT)
    timeout = library.Timeout(timeout=600, connect=5)
    return {"limits": limits, "timeout": timeout, "follow_redirects": True}


class _Client(Client):
    """An HTTP client as SDKs have it, which after a fork opens connections of its own."""

    library: ClassVar[types.ModuleType]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**_defaults(self.library), **settings})

    def _init_transport(self, *given: Any, **options: Any) -> Any:
        return self._renewed(partial(super()._init_transport, *given, **options))

    def _init_proxy_transport(self, *given: Any, **options: Any) -> Any:
        return self._renewed(partial(super()._init_proxy_transport, *given, **options))

    def _renewed(self, new: Callable[[], Any]) -> Any:
        return _over(_OfThisProcess, self.library, "BaseTransport")(new)


class _OfThisProcess(BaseTransport):
    """A transport that is made anew in the child after a fork.

    Args:
        new: Makes the transport.
    """

    def __init__(self, new: Callable[[], Any]) -> None:
        self._new = new
        self._inner = new()
        _OPEN.add(self)

    def handle_request(self, request: object) -> Any:
        """The response to a request, its body still to be read."""
        return self._inner.handle_request(request)

    def renew(self) -> None:
        """Leave the parent's connections alone, and open others."""
        _OF_PARENT.append(self._inner)  # to close them would end them for the parent, too
        self._inner = self._new()

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()


_OPEN: Final[WeakSet[_OfThisProcess]] = WeakSet()
_OF_PARENT: Final[list[object]] = []
"""What a forked child has of its parent, and must neither use nor close."""


class _AsyncClient(AsyncClient):
    """An HTTP client as SDKs have it, over aiohttp; which proxy it takes is decided as always.

    With a proxy that aiohttp does not know, or a later HTTP library without these hooks, it is the
    library's own, which works in one event loop only.
    """

    library: ClassVar[types.ModuleType]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**_defaults(self.library), **settings})

    def _init_transport(self, *_: object, **options: object) -> Any:
        return self._sending(options["verify"])

    def _init_proxy_transport(self, *given: Any, **options: Any) -> Any:
        proxy = given[0]
        if proxy.url.scheme != "http":
            return super()._init_proxy_transport(*given, **options)
        return self._sending(options["verify"], proxy)

    def _sending(self, tls: object, proxy: Any = None) -> Any:
        return _over(_Transport, self.library, "AsyncBaseTransport")(tls, proxy)


class _Sessions:
    """One aiohttp session per event loop: a connection belongs to the loop that opened it.

    A session is closed when its loop shuts down its asynchronous generators, as `asyncio.run`
    does at its end.
    """

    def __init__(self) -> None:
        self._open: dict[
            asyncio.AbstractEventLoop,
            tuple[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]],
        ] = {}

    async def current(self) -> aiohttp.ClientSession:
        """The running loop's session."""
        loop = asyncio.get_running_loop()
        if loop in self._open:
            return self._open[loop][0]
        opened = self._opened(loop)
        # nothing is waited for before it is known, else requests made together open one each
        session = await anext(opened)
        self._open[loop] = (session, opened)
        for closed in [known for known in list(self._open) if known.is_closed()]:
            left = self._open.pop(closed, None)  # another thread may close it, too
            if left is not None:
                with suppress(RuntimeError):  # its connections call their loop at the end
                    await left[0].close()
        return session

    def leave(self) -> None:
        """Have no session any more, without closing those that there are."""
        _OF_PARENT.append(dict(self._open))
        self._open.clear()

    async def _opened(
        self, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[aiohttp.ClientSession, None]:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),  # the HTTP client keeps its own
            auto_decompress=False,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
            timeout=_timeout(None, None, None),
        )
        try:
            yield session
        finally:
            self._open.pop(loop, None)
            await session.close()

    def close(self) -> None:
        """Close the sessions of loops that were never shut down, for aiohttp not to complain."""
        for loop, (session, _) in list(self._open.items()):
            if not loop.is_running():
                run = asyncio.run if loop.is_closed() else loop.run_until_complete
                run(session.close())


_SESSIONS: Final = _Sessions()
atexit.register(_SESSIONS.close)


def _after_fork() -> None:
    _SESSIONS.leave()
    for transport in list(_OPEN):
        transport.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


class _Transport(AsyncBaseTransport):
    """Sends the HTTP client's requests through the running loop's session.

    Args:
        tls: The TLS context of the client.
        proxy: The proxy to go through, or `None`.
    """

    library: ClassVar[types.ModuleType]

    def __init__(self, tls: object, proxy: Any = None) -> None:
        self._options: AnyDict = {"ssl": tls}
        if proxy is not None:
            auth = aiohttp.BasicAuth(*proxy.auth) if proxy.auth else None
            self._options |= {"proxy": str(proxy.url), "proxy_auth": auth}

    async def handle_async_request(self, request: Any) -> Any:
        """The response to a request, its body still to be read."""
        limits = request.extensions.get("timeout", {})
        url = request.url
        if url.userinfo:  # which the client has made a header of
            url = url.copy_with(username=None, password=None)
        with _as_errors_of(self.library):
            session = await _SESSIONS.current()
            response = await session.request(
                request.method,
                str(url),
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=_timeout(limits.get("pool"), limits.get("connect"), limits.get("read")),
                **self._options,
            )
        reason = (response.reason or "").encode()
        return self.library.Response(
            status_code=response.status,
            headers=response.raw_headers,
            stream=_over(_Body, self.library, "AsyncByteStream")(response),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": reason},
        )


class _Body(AsyncByteStream):
    """A response's body; to close it before its end closes the connection."""

    library: ClassVar[types.ModuleType]

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._packed = "Content-Encoding" in response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_errors_of(self.library):
            async for part in self._response.content.iter_any():
                if not self._packed:
                    yield part
                    continue
                for place in range(0, len(part), _PACKED):
                    yield part[place : place + _PACKED]

    async def aclose(self) -> None:
        """Give the connection back."""
        self._response.release()


@lru_cache(maxsize=256)
def _timeout(
    pool: float | None, connect: float | None, read: float | None
) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=pool, sock_connect=connect, sock_read=read)


@contextmanager
def _as_errors_of(library: types.ModuleType) -> Iterator[None]:
    try:
        yield
    except tuple(kind for kind, _ in _ERRORS) as error:
        name = next(name for kind, name in _ERRORS if isinstance(error, kind))
        raise getattr(library, name)(str(error) or type(error).__name__) from error
