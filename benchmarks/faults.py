"""Models with heavy-tailed latencies that fail now and then, each time the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from langchain_moa.testing import BehaviorFunction, ModelBehavior, Reply

MEDIAN, P99 = 0.2, 2.0
"""Seconds of the proposers' latency in scenario D."""
AGGREGATOR_SECONDS: Final = 0.2
VARIANTS: Final = ("as is", "one hangs", "one fails")
ONE_FAILS: Final = 0.3
"""Share of requests that the failing proposer of scenario D answers with status 500."""
QUICK: Final = 0.1
"""What all seconds are multiplied by in a quick run."""
PROPOSERS: Final = 6

SOAK_MEDIAN, SOAK_P99 = 0.01, 0.2
SOAK_PROPOSERS: Final = tuple(f"soak/proposer-{place}" for place in range(4))
SOAK_AGGREGATORS: Final = ("soak/aggregator", "soak/second-aggregator")
SHARE_OF_FAULTS: Final = 0.2

_STANDARD_SCORE_OF_P99: Final = 2.326
_CALL: Final = re.compile(r"Call (\d+)")
_WORDS: Final = "Paris is the capital of France, as far as anybody knows."

FAULTS: Final = (
    ModelBehavior(status=429, retry_after=0.1),
    ModelBehavior(status=500),
    ModelBehavior(drop=True),
    ModelBehavior(hang=True),
    ModelBehavior(reply=_WORDS, drip=0.02),
    ModelBehavior(reply=_WORDS, truncate_after=5),
    ModelBehavior(reply=_WORDS, drop_after=5),
    ModelBehavior(malformed=True),
    ModelBehavior(reply=""),
    ModelBehavior(reply=Reply(text=None, finish_reason="content_filter")),
    ModelBehavior(content_type="text/html"),
    ModelBehavior(content_type="text/html", status=502),
    ModelBehavior(
        status=400,
        error="Input tokens exceed the configured limit.",
        error_code="context_length_exceeded",
    ),
    ModelBehavior(status=401, error_code="invalid_api_key"),
)
"""The faults that a soak draws from."""


def latency(random: Random, median: float, p99: float) -> float:
    """Seconds drawn from a lognormal distribution."""
    sigma = math.log(p99 / median) / _STANDARD_SCORE_OF_P99
    return median * math.exp(random.gauss(0, sigma))


def proposer(variant: str, place: int) -> str:
    """The id of a proposer of scenario D."""
    return f"tails/{variant.replace(' ', '-')}/{place}"


AGGREGATOR: Final = "tails/aggregator"


def tails(scale: float = 1.0) -> dict[str, ModelBehavior | BehaviorFunction]:
    """The models of scenario D.

    What happens to a request depends on the proposer's place and on the call's number, which
    stands in the question: everybody who is compared meets the same.
    """
    answer = ModelBehavior(reply=_WORDS, latency=AGGREGATOR_SECONDS * scale)
    proposers = {
        proposer(variant, place): partial(_tail, variant, place, scale)
        for variant in VARIANTS
        for place in range(PROPOSERS)
    }
    return {AGGREGATOR: answer, **proposers}


def quick_tails() -> dict[str, ModelBehavior | BehaviorFunction]:
    """The same, faster."""
    return tails(QUICK)


def _tail(
    variant: str, place: int, scale: float, body: Mapping[str, Any], earlier: int
) -> ModelBehavior:
    del earlier  # the call's number counts, whoever came before
    found = _CALL.search(str(body["messages"]))
    random = Random(f"{found and found[1]}/{place}")  # noqa: S311 - the same each time
    seconds = latency(random, MEDIAN * scale, P99 * scale)
    if place == 0 and variant == "one hangs":
        return ModelBehavior(hang=True)
    fails = place == 0 and variant == "one fails" and random.random() < ONE_FAILS
    return ModelBehavior(reply=_WORDS, latency=seconds, status=500 if fails else None)


def soak() -> dict[str, ModelBehavior | BehaviorFunction]:
    """The models of the soak: each request may meet any fault."""
    names = (*SOAK_PROPOSERS, *SOAK_AGGREGATORS)
    return {name: partial(_soaked, name) for name in names}


def _soaked(name: str, body: Mapping[str, Any], earlier: int) -> ModelBehavior:
    del body
    random = Random(f"{name}/{earlier}")  # noqa: S311 - the same each time
    seconds = latency(random, SOAK_MEDIAN, SOAK_P99)
    faulty = random.random() < SHARE_OF_FAULTS
    behavior = random.choice(FAULTS) if faulty else ModelBehavior(reply=_WORDS)
    return replace(behavior, latency=seconds)
