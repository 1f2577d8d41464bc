"""Python reads this at its start where the folder is in `PYTHONPATH`: no network for it."""

from __future__ import annotations

import ipaddress
import socket
import sys


def _only_this_machine(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "127.0.0.1"
        if not ipaddress.ip_address(host).is_loopback:
            msg = f"no network: {address}"
            raise OSError(msg)
    elif event == "socket.getaddrinfo" and arguments[0] not in {
        None,
        "localhost",
        "127.0.0.1",
        "::1",
        socket.gethostname(),
    }:
        msg = f"no network: {arguments[0]}"
        raise socket.gaierror(msg)


sys.addaudithook(_only_this_machine)
