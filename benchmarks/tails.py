"""Scenario D: proposers with heavy tails, one of them hanging or failing.

Everybody answers the same calls, in turn, and meets the same latencies and failures.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from langchain_core.messages import AIMessage, HumanMessage
from langchain_together import ChatTogether
from pydantic import SecretStr

from benchmarks.faults import AGGREGATOR, PROPOSERS, QUICK, VARIANTS, proposer
from benchmarks.server import Address, serving
from benchmarks.table import Row, table
from langchain_moa import MoAChatModel
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT, parse_prompt, with_proposals

PROPOSER_TIMEOUT: Final = 5.0
"""Seconds that a proposer has: the mixture's limit, and the timeout of plain LangChain's client."""
QUORUM: Final = 4
GRACE: Final = 0.1
AT_ONCE: Final = 8
"""Calls that are under way at the same time."""
QUICK_CALLS: Final = 3
PLAIN, WAITING, QUORATE = "plain LangChain", "quorum=None", f"quorum={QUORUM}, grace={GRACE}"

Call = Callable[[int], Awaitable[Any]]
_TEMPLATE = parse_prompt(AGGREGATOR_PROMPT)


@dataclass(frozen=True)
class Tail:
    """Wall seconds of one contestant's calls in one variant, and how many of them raised.

    `seconds` are those of all calls, sorted, and the others their percentiles.
    """

    variant: str
    contestant: str
    p50: float
    p95: float
    p99: float
    lost: int
    calls: int
    seconds: list[float]


async def run_tails(calls: int, *, quick: bool) -> list[Tail]:
    """Run all variants.

    Args:
        calls: Calls of each contestant in each variant.
        quick: A few calls at a tenth of all seconds: does it work?
    """
    found: list[Tail] = []
    with serving("quick tails" if quick else "tails") as address:
        for variant in VARIANTS:
            contestants = _contestants(address, variant, QUICK if quick else 1.0)
            found += await _compared(variant, contestants, QUICK_CALLS if quick else calls)
    return found


def _contestants(address: Address, variant: str, scale: float) -> dict[str, Call]:
    together = partial(
        ChatTogether,
        api_key=SecretStr(address.api_key),
        base_url=address.base_url,
        max_retries=0,
    )
    names = [proposer(variant, place) for place in range(PROPOSERS)]
    limit = PROPOSER_TIMEOUT * scale
    impatient = [together(model=name, timeout=limit) for name in names]
    aggregator = together(model=AGGREGATOR)
    common: dict[str, Any] = {
        "reference_models": [together(model=name) for name in names],
        "aggregator": aggregator,
        "proposer_timeout": limit,
        "max_retries": 0,
    }
    enough: dict[str, Any] = {"quorum": QUORUM, "grace": GRACE * scale}
    return {
        PLAIN: partial(_plain, impatient, aggregator),
        WAITING: partial(_mixed, MoAChatModel(**common)),
        QUORATE: partial(_mixed, MoAChatModel(**common, **enough)),
    }


def _question(number: int) -> list[HumanMessage]:
    return [HumanMessage(f"Call {number}: what is the capital of France?")]


async def _mixed(llm: MoAChatModel, number: int) -> Any:
    return await llm.ainvoke(_question(number))


async def _plain(proposers: list[ChatTogether], aggregator: ChatTogether, number: int) -> Any:
    """What one would write with plain LangChain: go on with those that have answered."""
    messages = _question(number)
    asked = (model.ainvoke(messages) for model in proposers)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    texts = [answer.text for answer in answers if isinstance(answer, AIMessage)]
    if not texts:
        raise LookupError
    return await aggregator.ainvoke(with_proposals(messages, texts, _TEMPLATE, "user"))


async def _compared(variant: str, contestants: Mapping[str, Call], calls: int) -> list[Tail]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    lost = dict.fromkeys(contestants, 0)
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            for name in _in_turn(list(contestants), number):
                started = time.perf_counter()
                try:
                    await contestants[name](number)
                except Exception:  # noqa: BLE001 - that is what is counted
                    lost[name] += 1
                seconds[name].append(time.perf_counter() - started)

    for warmed_up in contestants.values():
        await asyncio.gather(warmed_up(-1), return_exceptions=True)
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return [_tail(variant, name, seconds[name], lost[name]) for name in contestants]


def _in_turn(names: list[str], number: int) -> list[str]:
    """The names, each time beginning with another."""
    first = number % len(names)
    return names[first:] + names[:first]


def _tail(variant: str, name: str, seconds: list[float], lost: int) -> Tail:
    p50, p95, p99 = (percentile(seconds, share) for share in (0.5, 0.95, 0.99))
    kept = [round(value, 4) for value in sorted(seconds)]
    return Tail(variant, name, p50, p95, p99, lost, len(seconds), kept)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def tails_table(tails: list[Tail]) -> str:
    """The seconds as a Markdown table."""
    rows = (
        (t.variant, t.contestant, *_shown(t.p50, t.p95, t.p99), f"{t.lost} of {t.calls}")
        for t in tails
    )
    return table("proposers|contestant|p50, s|p95, s|p99, s|lost calls", rows)


def _shown(*seconds: float) -> list[str]:
    return [f"{value:.2f}" for value in seconds]


def ratios(tails: list[Tail]) -> list[Row]:
    """Rows of ratios to plain LangChain, and of waiting for enough to waiting for all."""
    found = {(tail.variant, tail.contestant): tail for tail in tails}
    goals = {WAITING: "<= 1.1", QUORATE: "< 1"}
    rows: list[Row] = []
    for variant in VARIANTS:
        plain, waiting, quorate = (found[variant, who] for who in (PLAIN, WAITING, QUORATE))
        for tail in (waiting, quorate):
            what = f"p95 of a call, {variant}: {tail.contestant} / plain LangChain"
            rows.append(("D", what, tail.p95 / plain.p95, goals[tail.contestant]))
        what = f"p99 of a call, {variant}: {QUORATE} / {WAITING}"
        rows.append(("D", what, quorate.p99 / waiting.p99, "<= 0.33"))
    return rows
