"""The model servers of the benchmarks, in processes of their own so that their CPU counts nowhere.

`python -m benchmarks.server NAME` serves one of them until its standard input is closed, and
answers each line of it with its counts as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import faults
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior

LATENCY: Final = 0.2
"""Seconds that each model thinks before it answers."""
SHORT, LONG = 1, 500
"""Tokens of the two streamed answers; their difference is what a token costs."""
PROPOSERS: Final = tuple(f"bench/proposer-{number}" for number in range(4))
AGGREGATOR, SHORT_STREAM, LONG_STREAM = "bench/aggregator", "bench/short", "bench/long"

Models = Mapping[str, ModelBehavior | BehaviorFunction]


@dataclass(frozen=True)
class Address:
    """Where the server is, how to get in, and its process."""

    base_url: str
    api_key: str
    process: Any = field(repr=False)

    def counts(self) -> dict[str, int]:
        """Requests, their tokens, and what is open on the server now."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counts: dict[str, int] = json.loads(self.process.stdout.readline())
        return counts


def models() -> Models:
    """The behavior of every model."""
    draft = ModelBehavior(reply="word " * LONG, latency=LATENCY)
    return {
        **dict.fromkeys((*PROPOSERS, AGGREGATOR), draft),
        SHORT_STREAM: ModelBehavior(reply="word " * SHORT, latency=LATENCY),
        LONG_STREAM: ModelBehavior(reply="word " * LONG, latency=LATENCY),
    }


SERVED: Final[dict[str, Callable[[], Models]]] = {
    "steady": models,
    "tails": faults.tails,
    "quick tails": faults.quick_tails,
    "soak": faults.soak,
}


@contextmanager
def serving(name: str = "steady") -> Iterator[Address]:
    """Start the server's process and stop it at the end."""
    command = [sys.executable, "-m", "benchmarks.server", name]
    pipe = subprocess.PIPE
    # leaving the block closes the pipes, and that ends the server
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - ours
        assert process.stdin is not None  # noqa: S101 - they are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            base_url, api_key = process.stdout.readline().split()
            yield Address(base_url, api_key, process)
        finally:
            process.stdin.close()


def counted(server: LoopbackServer) -> dict[str, int]:
    """What a server has done so far, and what is open there."""
    usages = [request.usage for request in server.requests if request.usage]
    return {
        "requests": len(server.requests),
        "input_tokens": sum(usage["prompt_tokens"] for usage in usages),
        "output_tokens": sum(usage["completion_tokens"] for usage in usages),
        "open_connections": server.open_connections,
        "open_requests": server.open_requests,
    }


def main() -> None:
    """Serve until nobody asks any more."""
    with LoopbackServer(SERVED[sys.argv[1]]()) as server:
        print(server.base_url, server.api_key, flush=True)
        for _ in sys.stdin:
            print(json.dumps(counted(server)), flush=True)


if __name__ == "__main__":
    main()
