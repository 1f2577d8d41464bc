"""An ASGI app served on 127.0.0.1 from a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, Final, Self

from langchain_moa.errors import MissingExtraError

try:
    import uvicorn
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

    def __init__(self, app: Any, *, port: int = 0) -> None:
        # asyncio turns Nagle's delay off only where the socket says that it is TCP; with it, each
        # answer on a connection that has just been used comes 40 ms late
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
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
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
