"""The model server of the benchmarks, in a process of its own so that its CPU counts nowhere."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from langchain_moa.testing import LoopbackServer, ModelBehavior

LATENCY: Final = 0.2
"""Seconds that each model thinks before it answers."""
SHORT, LONG = 1, 500
"""Tokens of the two streamed answers; their difference is what a token costs."""
PROPOSERS: Final = tuple(f"bench/proposer-{number}" for number in range(4))
AGGREGATOR, SHORT_STREAM, LONG_STREAM = "bench/aggregator", "bench/short", "bench/long"


@dataclass(frozen=True)
class Address:
    """Where the server is and how to get in."""

    base_url: str
    api_key: str


def models() -> dict[str, ModelBehavior]:
    """The behavior of every model."""
    draft = ModelBehavior(reply="word " * LONG, latency=LATENCY)
    return {
        **dict.fromkeys((*PROPOSERS, AGGREGATOR), draft),
        SHORT_STREAM: ModelBehavior(reply="word " * SHORT, latency=LATENCY),
        LONG_STREAM: ModelBehavior(reply="word " * LONG, latency=LATENCY),
    }


@contextmanager
def serving() -> Iterator[Address]:
    """Start the server's process and stop it at the end."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield Address(*process.stdout.readline().split())
        process.terminate()


if __name__ == "__main__":
    with LoopbackServer(models()) as server:
        print(server.base_url, server.api_key, flush=True)
        threading.Event().wait()
