"""An ASGI app served on 127.0.0.1 from a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future
from typing import Final, Self

from langchain_moa.errors import MissingExtraError

try:
    import uvicorn
    from starlette.types import ASGIApp
except ImportError as error:
    _MESSAGE = "the loopback server needs: pip install 'langchain-moa[testing]'"
    raise MissingExtraError(_MESSAGE) from error

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0


class ServerThread:
    """Serves an ASGI app, to be used as a context manager.

    Args:
        app: The app.
        port: Port on 127.0.0.1; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        # asyncio turns Nagle's delay off only where the socket says that it is TCP; with it, each
        # answer on a connection that has just been used comes 40 ms late
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def open_requests(self) -> int:
        """How many requests are being answered now."""
        return len(self._server.server_state.tasks)

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open now."""
        return len(self._server.server_state.connections)

    def start(self) -> Self:
        """Start serving; returns once the server answers.

        Raises:
            RuntimeError: It did not start in time.
        """
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                msg = "the loopback server did not start"
                raise RuntimeError(msg)
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop serving; connections that still wait are cut."""
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(uvicorn.Server):
    """A server that ends at once: uvicorn's takes 0.2 seconds, and one more for who hangs."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped: Future[None] = Future()

    def stop(self) -> None:
        """End, from whatever thread."""
        self.should_exit = True
        if not self._stopped.done():
            self._stopped.set_result(None)

    async def main_loop(self) -> None:
        """Serve until it is stopped."""
        seconds = 0
        while not await self.on_tick(10 * seconds):  # which renews the date of answers
            await asyncio.wait([asyncio.wrap_future(self._stopped)], timeout=1)
            seconds += 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut the connections."""
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
