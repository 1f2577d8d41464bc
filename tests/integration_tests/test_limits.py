"""Limits fail closed: of cost without a price, of probes of a breaker, of places and money."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage

from langchain_moa import AggregationError, BudgetExceededError, CircuitBreaker, MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, Stage, says, until

WAYS: Final = ("invoke", "ainvoke", "stream", "astream")
MODELS: Final = {ALPHA: says("a"), BETA: says("b"), GAMMA: says("g"), AGGREGATOR: says("It is 4.")}
LONG: Final = 20.0
"""Seconds that nothing here takes unless it is broken."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, MODELS)


async def record_of(llm: MoAChatModel, way: str) -> Any:
    """The record of a call; sync ways run in a thread, so that others go on meanwhile."""
    answers: list[AIMessage]
    match way:
        case "invoke":
            answers = [await asyncio.to_thread(llm.invoke, "2 + 2?")]
        case "stream":
            answers = await asyncio.to_thread(lambda: list(llm.stream("2 + 2?")))
        case "ainvoke":
            answers = [await llm.ainvoke("2 + 2?")]
        case _:
            answers = [chunk async for chunk in llm.astream("2 + 2?")]
    return answers[-1].response_metadata["moa"]


# --- max_cost ---


def down() -> float:
    msg = "the price service is down"
    raise ConnectionError(msg)


UNKNOWN: Final[dict[str, Callable[[], Any]]] = {
    "raises": down,
    "None": lambda: None,
    "NaN": lambda: math.nan,
    "text": lambda: "1",
    "negative": lambda: -1,
}


class Prices:
    """A function of prices that knows one price less when the program runs than it did at first."""

    def __init__(self, unknown: Callable[[], Any]) -> None:
        self._unknown = unknown
        self.lost: set[str] = set()

    def __call__(self, model: str, _: Mapping[str, Any]) -> Any:
        return self._unknown() if model in self.lost else 0.001


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("unknown", UNKNOWN)
async def test_a_request_without_a_price_is_not_made(stage: Stage, unknown: str, way: str) -> None:
    server, prices = stage.plays(MODELS), Prices(UNKNOWN[unknown])
    llm = stage.mixture(prices=prices, max_cost=1.0, max_tokens=9, proposal_max_tokens=9)
    prices.lost = {ALPHA}
    record = await record_of(llm, way)
    assert [p["status"] for p in record["proposals"]] == ["over_budget", "ok"]
    assert "max_cost=1 admits nothing whose price is not known" in record["proposals"][0]["error"]
    assert not server.requests_for(ALPHA)


@pytest.mark.parametrize("way", WAYS)
async def test_an_aggregator_without_a_price_ends_the_call_unpaid(stage: Stage, way: str) -> None:
    server, prices = stage.plays(MODELS), Prices(down)
    llm = stage.mixture(prices=prices, max_cost=1.0, max_tokens=9, proposal_max_tokens=9)
    prices.lost = {AGGREGATOR}
    with pytest.raises(BudgetExceededError, match="whose price is not known"):
        await record_of(llm, way)
    assert not server.requests


@pytest.mark.parametrize("way", WAYS)
async def test_a_price_that_is_lost_on_the_way_ends_what_follows(stage: Stage, way: str) -> None:
    """Layer 1 is paid for; with what it cost unknown, no limit could be kept any more."""
    prices = Prices(down)

    def last_words(_: Any) -> str:
        prices.lost = {ALPHA, BETA, AGGREGATOR}
        return "a"

    behavior = ModelBehavior(reply=last_words, once=lambda: stage.server.requests_for(BETA))
    server = stage.plays({**MODELS, ALPHA: behavior})
    llm = stage.mixture(
        prices=prices, max_cost=1.0, max_tokens=9, proposal_max_tokens=9, layers=3, max_retries=2
    )
    with pytest.raises(BudgetExceededError) as caught:
        await record_of(llm, way)
    assert [p.usable for p in caught.value.proposals[:2]] == [True, True]
    assert sorted(request.model for request in server.requests) == [ALPHA, BETA]


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("silent", ["answered", "cut"])
@pytest.mark.parametrize("limit", ["max_cost", "max_total_tokens"])
async def test_who_tells_no_tokens_has_used_what_was_promised(
    stage: Stage, limit: str, silent: str, way: str
) -> None:
    """Of layer 2 only one member fits, as where layer 1 tells that it used all it might have."""
    first = says("a", usage=None) if silent == "answered" else ModelBehavior(hang=True)
    behaviors = iter([first])
    server = stage.plays({**MODELS, ALPHA: lambda *_: next(behaviors, says("a"))})
    limits: dict[str, dict[str, Any]] = {
        "max_cost": {"max_cost": 0.75, "prices": dict.fromkeys(MODELS, (0, 200))},
        "max_total_tokens": {"max_total_tokens": 6000},
    }
    llm = stage.mixture(
        layers=3, proposal_max_tokens=1000, max_tokens=1000, quorum=1, grace=0.5, **limits[limit]
    )
    record = await record_of(llm, way)
    assert [p["status"] for p in record["proposals"]][3] == "over_budget"
    assert [request.model for request in server.requests].count(BETA) == 1


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1, "completion_tokens": 1}], ids=str)
async def test_an_analyst_that_tells_no_tokens_has_used_what_was_promised(
    stage: Stage, usage: dict[str, int] | None, way: str
) -> None:
    """With that, the aggregator's second request does not fit; with what is told it does."""
    names = "contradictions", "partial_coverage", "blind_spots", "consensus", "unique_insights"
    analysis = says(json.dumps({name: [] for name in names}), usage=usage)
    behaviors = iter([ModelBehavior(status=503)])
    busy = {AGGREGATOR: lambda *_: next(behaviors, MODELS[AGGREGATOR])}
    server = stage.plays({**MODELS, GAMMA: analysis, **busy})
    analyst = stage.members[GAMMA].model_copy(update={"max_tokens": 1000})
    limits: dict[str, Any] = {"max_cost": 0.5, "prices": dict.fromkeys(MODELS, (0, 200))}
    tokens: dict[str, Any] = {"proposal_max_tokens": 9, "max_tokens": 1000}
    llm = stage.mixture(strategy="compare", analyst=analyst, max_retries=1, **limits, **tokens)
    if usage is None:
        with pytest.raises(AggregationError):
            await record_of(llm, way)
    else:
        assert (await record_of(llm, way))["consulted"]["status"] == "ok"
    asked = [request.model for request in server.requests]
    assert asked.count(GAMMA) == 1
    assert asked.count(AGGREGATOR) == (1 if usage is None else 2)


def test_without_a_limit_of_cost_a_lost_price_stops_nothing(stage: Stage) -> None:
    stage.plays(MODELS)
    prices = Prices(down)
    llm = stage.mixture(prices=prices, max_calls=9)
    prices.lost = {ALPHA, BETA, AGGREGATOR}
    record = llm.invoke("2 + 2?").response_metadata["moa"]
    assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]
    assert record["cost"]["unknown"] == sorted(prices.lost)


# --- the probe of a half-open breaker ---


class Probed:
    """A model that fails once, and then answers only when it is let."""

    def __init__(self) -> None:
        self.free = False
        self._asked = 0

    def __call__(self, _body: Mapping[str, Any], _earlier: int) -> ModelBehavior:
        self._asked += 1
        return ModelBehavior(status=500) if self._asked == 1 else ModelBehavior(reply=self._reply)

    def _reply(self, _: Mapping[str, Any]) -> str:
        async def wait() -> None:
            await until(lambda: self.free, LONG)

        asyncio.run(wait())
        return "at last"


NUMBERS: Final = count(1)


def own_breaker() -> CircuitBreaker:
    """A breaker that no other test has; in the process those of equal members are shared."""
    return CircuitBreaker(failures=1, reset_after=1e-3 + next(NUMBERS) / 1e6)


@pytest.mark.parametrize("place", ["proposer", "aggregator"])
@pytest.mark.parametrize("way", WAYS)
async def test_one_probe_at_a_time(stage: Stage, way: str, place: str) -> None:
    probed, name = Probed(), ALPHA if place == "proposer" else GAMMA
    server = stage.plays({**MODELS, name: probed})
    aggregators = (AGGREGATOR,) if place == "proposer" else (GAMMA, AGGREGATOR)
    breaker = own_breaker()
    llm = stage.mixture((ALPHA, BETA), *aggregators, circuit_breaker=breaker)
    await record_of(llm, way)  # opens it
    await asyncio.sleep(2 * breaker.reset_after)
    probing = asyncio.ensure_future(record_of(llm, way))
    await until(lambda: len(server.requests_for(name)) == 2)
    for _ in range(3):  # far longer than the wait for the next probe
        await asyncio.sleep(2 * breaker.reset_after)
        record = await record_of(llm, way)
        told = record["proposals"][0] if place == "proposer" else record["aggregator"]
        assert "a probe is under way" in told["error"]
    assert len(server.requests_for(name)) == 2
    probed.free = True
    await probing
    await record_of(llm, way)  # it is closed
    assert len(server.requests_for(name)) == 3


async def requested(server: LoopbackServer, model: str, times: int) -> None:
    await until(lambda: len(server.requests_for(model)) == times)


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
async def test_a_cancelled_probe_lets_the_next_one_out(stage: Stage, way: str) -> None:
    probed = Probed()
    server = stage.plays({**MODELS, ALPHA: probed})
    breaker = own_breaker()
    llm = stage.mixture(circuit_breaker=breaker)
    await record_of(llm, way)
    for probes in (2, 3, 4):
        await asyncio.sleep(2 * breaker.reset_after)
        probing = asyncio.ensure_future(record_of(llm, way))
        await requested(server, ALPHA, probes)
        probing.cancel()
        await asyncio.wait([probing])
    probed.free = True
    record = await record_of(llm, way)
    assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]


# --- a refused hedge ---


@pytest.mark.parametrize("refused_by", ["breaker", "budget"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_refused_hedge_gives_its_place_back(
    stage: Stage, way: str, refused_by: str
) -> None:
    """The place is free for another call while the request that was to be hedged still hangs."""
    free = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs(_: Any) -> str:
        asyncio.run_coroutine_threadsafe(free.wait(), loop).result(LONG)
        return "a"

    server = stage.plays(
        {**MODELS, ALPHA: ModelBehavior(reply=hangs), GAMMA: ModelBehavior(status=500)}
    )
    options: dict[str, Any] = {"max_calls": 3}
    if refused_by == "breaker":
        breaker = CircuitBreaker(failures=1, reset_after=LONG + next(NUMBERS))
        options = {"circuit_breaker": breaker}
        await record_of(stage.mixture((GAMMA, BETA), **options), way)  # opens gamma's
    before = len(server.requests_for(BETA)), len(server.requests_for(GAMMA))
    fallbacks = {ALPHA: [stage.members[GAMMA]]}
    llm = stage.mixture(hedge_after=0.05, fallbacks=fallbacks, max_concurrency=3, **options)
    first = asyncio.ensure_future(record_of(llm, way))
    await until(lambda: server.requests_for(ALPHA) and len(server.requests_for(BETA)) > before[0])
    await asyncio.sleep(0.3)  # in which the hedge is refused
    second = asyncio.ensure_future(record_of(llm, way))  # two more places, of which two are free
    await until(lambda: len(server.requests_for(BETA)) == before[0] + 2)
    assert not first.done()
    free.set()
    await asyncio.gather(first, second)
    assert len(server.requests_for(GAMMA)) == before[1]


async def test_prices_that_are_asked_for_a_hedge_hold_up_no_event_loop(stage: Stage) -> None:
    """They wait here for something that the loop does."""
    asked, goes_on = threading.Event(), threading.Event()
    goes_on.set()

    def prices(model: str, _: Mapping[str, Any]) -> float:
        if model == GAMMA:
            asked.set()
            goes_on.wait(LONG)
        return 0.001

    stage.plays({**MODELS, ALPHA: ModelBehavior(hang=True)})
    fallbacks = {ALPHA: [stage.members[GAMMA]]}
    limits: dict[str, Any] = {"max_cost": 1.0, "max_tokens": 9, "proposal_max_tokens": 9}
    llm = stage.mixture(
        hedge_after=0.1, fallbacks=fallbacks, prices=prices, proposer_timeout=LONG, **limits
    )
    for event in (asked, goes_on):  # they were asked when the model was made
        event.clear()
    call = asyncio.ensure_future(llm.ainvoke("2 + 2?"))
    await until(asked.is_set)
    goes_on.set()
    proposal = (await call).response_metadata["moa"]["proposals"][0]
    assert proposal["model"] == GAMMA
    assert [request["kind"] for request in proposal["requests"]] == ["first", "hedge"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_hedge_that_became_the_probe_is_no_probe_for_ever(stage: Stage, way: str) -> None:
    """The breaker opened while the first request was under way; the hedge went to the same one."""
    hangs, fails = ModelBehavior(hang=True), ModelBehavior(status=500)
    behaviors = iter([hangs, fails, hangs])
    server = stage.plays({**MODELS, ALPHA: lambda *_: next(behaviors, says("a"))})
    breaker = own_breaker()
    llm = stage.mixture(circuit_breaker=breaker, hedge_after=1.0, proposer_timeout=2.0)
    other = llm.replace(hedge_after=None)
    first = asyncio.ensure_future(record_of(llm, way))
    await requested(server, ALPHA, 1)
    await record_of(other, way)  # opens it
    await first
    assert [request.model for request in server.requests].count(ALPHA) == 3
    await asyncio.sleep(2 * breaker.reset_after)
    record = await record_of(other, way)
    assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]
