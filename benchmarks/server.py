"""The model servers of the benchmarks, in processes of their own so that their CPU counts nowhere.

`python -m benchmarks.server NAME` serves one of them until its standard input is closed, and
answers each line of it with its counts as JSON; the line `forget` makes it begin anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from benchmarks import faults
from benchmarks.machine import raise_file_limit
from benchmarks.roster import ANALYST, CHOOSER, Job
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior, Reply

LATENCY, QUICK_LATENCY = 0.2, 0.05
"""Seconds that each model thinks before it answers."""
SHORT, LONG = 1, 500
"""Tokens of the two streamed answers; their difference is what a token costs."""
JUDGE: Final = "bench/judge"
ECHO: Final = "bench/echo"
PROPOSERS: Final = tuple(f"bench/proposer-{number}" for number in range(4))
AGGREGATOR, SHORT_STREAM, LONG_STREAM = "bench/aggregator", "bench/short", "bench/long"
LENGTHS: Final = (100, LONG, 1_000, 5_000, 20_000)
"""Tokens of the answers of models that do not think at all."""
MOST_PROPOSERS: Final = 64
_WORD: Final = "word "
ANALYSIS: Final = {
    "consensus": ["word"] * 4,
    "contradictions": [
        {"topic": "word", "stances": [{"model": n, "stance": "word"} for n in (1, 2, 3, 4)]}
    ],
    "partial_coverage": [{"models": [1, 2], "point": "word"}],
    "unique_insights": [{"model": 3, "insight": "word"}],
    "blind_spots": ["word"] * 2,
}

Models = Mapping[str, ModelBehavior | BehaviorFunction]


@dataclass(frozen=True)
class Address:
    """Where the server is, how to get in, its process, and how long its models think."""

    base_url: str
    api_key: str
    process: Any = field(repr=False)
    latency: float = LATENCY

    def counts(self, *, forget: bool = False) -> dict[str, float]:
        """Requests, their tokens and bytes, what is open on the server now, and its CPU seconds.

        Args:
            forget: Whether the server begins to count anew, but for its CPU.
        """
        self.process.stdin.write("forget\n" if forget else "\n")
        self.process.stdin.flush()
        counts: dict[str, float] = json.loads(self.process.stdout.readline())
        return counts

    def job(
        self,
        proposers: Sequence[str] = PROPOSERS,
        aggregator: str = AGGREGATOR,
        **options: Any,
    ) -> Job:
        """A mixture of this server's models."""
        return Job(
            self.base_url, self.api_key, tuple(proposers), aggregator, AGGREGATOR_PROMPT, **options
        )


def at_once(tokens: int, place: int = 0) -> str:
    """The id of a model that answers so many tokens without thinking."""
    return f"bench/at-once-{tokens}-{place}"


def models(latency: float = LATENCY) -> Models:
    """The behavior of every model."""
    draft = ModelBehavior(reply=_WORD * LONG, latency=latency)
    answers = {tokens: ModelBehavior(reply=_WORD * tokens) for tokens in LENGTHS}
    return {
        **{at_once(n, place): answers[n] for n in LENGTHS for place in range(MOST_PROPOSERS)},
        **dict.fromkeys((*PROPOSERS, AGGREGATOR), draft),
        ANALYST: ModelBehavior(reply=json.dumps(ANALYSIS), latency=latency),
        CHOOSER: ModelBehavior(reply=json.dumps({"number": 1, "reason": "word"}), latency=latency),
        SHORT_STREAM: ModelBehavior(reply=_WORD * SHORT, latency=latency),
        LONG_STREAM: ModelBehavior(reply=_WORD * LONG, latency=latency),
    }


def judge() -> Models:
    """A judge that prefers the second output, with log-probabilities as OpenAI gives them."""
    tops = [{"token": "M", "logprob": -0.25}, {"token": "m", "logprob": -1.5}]
    logprobs = {"content": [{"token": "M", "logprob": -0.25, "top_logprobs": tops}]}
    said = Reply(text="M", finish_reason="length", logprobs=logprobs)
    return {JUDGE: ModelBehavior(reply=said)}


def echo() -> Models:
    """A model that repeats what it is asked."""

    def reply(body: Mapping[str, Any]) -> str:
        return f"re {body['messages'][-1]['content']}"

    return {ECHO: ModelBehavior(reply=reply, latency=LATENCY)}


SERVED: Final[dict[str, Callable[[], Models]]] = {
    "steady": models,
    "quick": partial(models, QUICK_LATENCY),
    "tails": faults.tails,
    "quick tails": faults.quick_tails,
    "soak": faults.soak,
    "judge": judge,
    "echo": echo,
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
            latency = QUICK_LATENCY if name == "quick" else LATENCY
            yield Address(base_url, api_key, process, latency)
        finally:
            process.stdin.close()


def counted(server: LoopbackServer) -> dict[str, float]:
    """What a server has done so far, and what is open there."""
    usages = [request.usage for request in server.requests if request.usage]
    read = sum(int(request.headers.get("content-length", 0)) for request in server.requests)
    written = sum(usage["completion_tokens"] for usage in usages) * len(_WORD)
    return {
        "requests": len(server.requests),
        "input_tokens": sum(usage["prompt_tokens"] for usage in usages),
        "output_tokens": sum(usage["completion_tokens"] for usage in usages),
        "bytes": read + written,
        "cpu": time.process_time(),
        "open_connections": server.open_connections,
        "open_requests": server.open_requests,
    }


def main() -> None:
    """Serve until nobody asks any more."""
    raise_file_limit()
    with LoopbackServer(SERVED[sys.argv[1]]()) as server:
        print(server.base_url, server.api_key, flush=True)
        for line in sys.stdin:
            counts = counted(server)
            if line.strip() == "forget":
                server.requests.clear()
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
