"""`python -m langchain_moa.testing`: serve the demo's scripted models until interrupted."""

from __future__ import annotations

import argparse
import contextlib
import threading

from langchain_moa.testing.demo_models import DEMO_MODELS
from langchain_moa.testing.server import LoopbackServer


def main() -> None:
    """Serve on the given port and print the address and the key."""
    parser = argparse.ArgumentParser(
        prog="python -m langchain_moa.testing", description="Serve scripted models on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=0, help="port; by default a free one")
    port = parser.parse_args().port
    with LoopbackServer(DEMO_MODELS, port=port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"base_url={server.base_url} api_key={server.api_key}", flush=True)  # noqa: T201
        print("models:", *server.models, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
