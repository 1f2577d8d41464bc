"""How many requests a mixture makes at the same time, as the server sees it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, LIMITS, Stage, mixture, together, until

MEMBERS: Final = (ALPHA, BETA, GAMMA, AGGREGATOR)
SECONDS: Final = 0.05
"""That a member takes: long enough for requests to meet if they are let."""
CALLS: Final = 4


class Crowd:
    """Models that take their time, and count who is there with them.

    Args:
        seconds: How long each takes.
        meet: Nobody answers before so many requests for a model (for `""`, for any) were there at
            the same time; without that a slow client would hide that it may make them.
    """

    def __init__(self, seconds: float = SECONDS, meet: Mapping[str, int] | None = None) -> None:
        self._seconds = seconds
        self._meet = meet or {}
        self._now: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.most: Counter[str] = Counter()
        """The most requests at the same time per model, and of all under `""`."""

    def behaviors(self) -> dict[str, ModelBehavior]:
        return dict.fromkeys(MEMBERS, ModelBehavior(reply=self._reply))

    def _reply(self, body: Mapping[str, Any]) -> str:
        names = (body["model"], "")
        with self._changed:
            self._now.update(names)
            self.most |= self._now
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._have_met(*names), timeout=30)
        time.sleep(self._seconds)
        with self._changed:
            self._now.subtract(names)
        return f"{body['model']} says Paris."

    def _have_met(self, *names: str) -> bool:
        return all(self.most[name] >= self._meet.get(name, 0) for name in names)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, MEMBERS)


async def invoke_all(llm: MoAChatModel) -> list[AIMessage]:
    def many() -> list[AIMessage]:
        with ThreadPoolExecutor(CALLS) as pool:
            return list(pool.map(llm.invoke, ["Go"] * CALLS))

    return await asyncio.to_thread(many)


async def ainvoke_all(llm: MoAChatModel) -> list[AIMessage]:
    return list(await asyncio.gather(*(llm.ainvoke("Go") for _ in range(CALLS))))


async def stream_all(llm: MoAChatModel) -> list[AIMessage]:
    def one(_: int) -> AIMessage:
        first, *others = llm.stream("Go")
        return sum(others, start=first)

    def many() -> list[AIMessage]:
        with ThreadPoolExecutor(CALLS) as pool:
            return list(pool.map(one, range(CALLS)))

    return await asyncio.to_thread(many)


async def astream_all(llm: MoAChatModel) -> list[AIMessage]:
    async def one() -> AIMessage:
        first, *others = [chunk async for chunk in llm.astream("Go")]
        return sum(others, start=first)

    return list(await asyncio.gather(*(one() for _ in range(CALLS))))


async def batch(llm: MoAChatModel) -> list[AIMessage]:
    return await asyncio.to_thread(llm.batch, ["Go"] * CALLS)


async def abatch(llm: MoAChatModel) -> list[AIMessage]:
    return await llm.abatch(["Go"] * CALLS)


WAYS: Final = (
    invoke_all,
    ainvoke_all,
    stream_all,
    astream_all,
    batch,
    abatch,
)
Way = Callable[[MoAChatModel], Awaitable[list[AIMessage]]]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


async def answered(llm: MoAChatModel, way: Way, server: LoopbackServer) -> None:
    """Make the calls: all are answered, nobody is lost, nothing goes on after them."""
    async with asyncio.timeout(100):
        answers = await way(llm)
    check(answers)
    assert len(server.requests) == CALLS * len(MEMBERS)
    await until(lambda: not server.open_requests)


def check(answers: list[AIMessage]) -> None:
    assert [answer.text for answer in answers] == [f"{AGGREGATOR} says Paris."] * CALLS
    for answer in answers:
        record = answer.response_metadata["moa"]
        assert not record["degraded"], record
        assert [p["attempts"] for p in record["proposals"]] == [1] * (len(MEMBERS) - 1)


@every_way
async def test_without_limits_all_requests_meet(stage: Stage, way: Way) -> None:
    crowd = Crowd(meet={"": CALLS * 3})
    server = stage.plays(crowd.behaviors())
    await answered(stage.mixture(MEMBERS[:3]), way, server)
    assert crowd.most[""] == CALLS * 3


@every_way
async def test_max_concurrency(stage: Stage, way: Way) -> None:
    crowd = Crowd(meet={"": 3})
    server = stage.plays(crowd.behaviors())
    await answered(stage.mixture(MEMBERS[:3], max_concurrency=3), way, server)
    assert crowd.most[""] == 3  # no more, and no place is left empty


@every_way
async def test_member_concurrency(stage: Stage, way: Way) -> None:
    crowd = Crowd(meet={BETA: 2, GAMMA: CALLS})
    server = stage.plays(crowd.behaviors())
    llm = stage.mixture(MEMBERS[:3], member_concurrency={ALPHA: 1, BETA: 2})
    await answered(llm, way, server)
    assert (crowd.most[ALPHA], crowd.most[BETA], crowd.most[GAMMA]) == (1, 2, CALLS)


@every_way
async def test_a_limit_for_each_member_and_one_for_all(stage: Stage, way: Way) -> None:
    crowd = Crowd(meet={"": 2})
    server = stage.plays(crowd.behaviors())
    llm = stage.mixture(MEMBERS[:3], member_concurrency=1, max_concurrency=2)
    await answered(llm, way, server)
    assert [crowd.most[name] for name in MEMBERS] == [1] * len(MEMBERS)
    assert crowd.most[""] == 2


@every_way
async def test_sequential(stage: Stage, way: Way) -> None:
    crowd = Crowd()
    server = stage.plays(crowd.behaviors())
    await answered(stage.mixture(MEMBERS[:3], sequential=True), way, server)
    assert crowd.most[""] == 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"])
async def test_sequential_keeps_the_order_of_the_members(stage: Stage, way: str) -> None:
    server = stage.plays(Crowd(0.01).behaviors())
    llm = stage.mixture((GAMMA, ALPHA, BETA), sequential=True, layers=3)
    for _ in range(3):
        server.requests.clear()
        match way:
            case "invoke":
                llm.invoke("Go")
            case "ainvoke":
                await llm.ainvoke("Go")
            case "stream":
                list(llm.stream("Go"))
            case "astream":
                _ = [chunk async for chunk in llm.astream("Go")]
            case "batch":
                llm.batch(["Go"])
            case _:
                await llm.abatch(["Go"])
        asked = [request.model for request in server.requests]
        assert asked == [GAMMA, ALPHA, BETA, GAMMA, ALPHA, BETA, AGGREGATOR]


@every_way
async def test_the_wait_for_a_place_is_nobodys_time(stage: Stage, way: Way) -> None:
    """The last of the twelve proposals waits longer than a member may take."""
    for seconds in LIMITS:
        server = stage.plays(Crowd(seconds / 5).behaviors())
        llm = stage.mixture(
            MEMBERS[:3],
            proposer_timeout=seconds,
            aggregator_timeout=seconds,
            sequential=True,
            on_no_proposals="aggregate_alone",
            on_aggregator_failure="best_proposal",
        )
        started = time.monotonic()
        with suppress(AggregationError):
            answers = await way(llm)
            if not any(answer.response_metadata["moa"]["degraded"] for answer in answers):
                break
    check(answers)
    assert server.requests[CALLS * 3 - 1].arrived - started > seconds


@every_way
async def test_a_members_rate_limiter(stage: Stage, way: Way) -> None:
    limiter = InMemoryRateLimiter(
        requests_per_second=20, check_every_n_seconds=0.01, max_bucket_size=1
    )
    server = stage.plays(Crowd(0.01).behaviors())
    limited = stage.members[ALPHA].model_copy(update={"rate_limiter": limiter})
    llm = stage.mixture(reference_models=[limited, stage.members[BETA], stage.members[GAMMA]])
    started = time.monotonic()
    await answered(llm, way, server)
    others = [request.arrived for request in server.requests_for(BETA)]
    arrived = [request.arrived for request in server.requests_for(ALPHA)]
    assert max(arrived) - started >= (CALLS - 1) / 20
    assert min(others) < max(arrived)


# --- one model in several event loops and threads ---

SHARED: Final = [
    {},
    {"max_concurrency": 2},
    {"member_concurrency": 1, "max_concurrency": 2},
    {"sequential": True, "hedge_after": 30.0},
]


def loopless(server: LoopbackServer, model: str) -> RunnableLambda[Any, Any]:
    """A member that any loop may ask: an async HTTP client belongs to one loop."""
    client = together(server, model)

    def ask(messages: Any) -> Any:
        return client.invoke(messages)

    async def aask(messages: Any) -> Any:
        return await asyncio.to_thread(client.invoke, messages)

    return RunnableLambda(ask, aask, name=model)


@pytest.mark.parametrize("limits", SHARED, ids=lambda limits: "-".join(limits) or "none")
async def test_loops_and_threads_share_a_model(limits: dict[str, Any]) -> None:
    """Whoever gives a place back, the next one in the queue may be anywhere."""
    most = limits.get("max_concurrency", 1)
    crowd = Crowd(0.01, meet={"": most})
    with LoopbackServer(crowd.behaviors()) as server:
        proposers = [loopless(server, name) for name in (ALPHA, BETA, GAMMA)]
        aggregator = loopless(server, AGGREGATOR)
        llm = mixture(server, reference_models=proposers, aggregator=aggregator, **limits)

        def in_a_loop() -> list[AIMessage]:
            return asyncio.run(ainvoke_all(llm))

        ways = [
            ainvoke_all(llm),
            asyncio.to_thread(in_a_loop),
            asyncio.to_thread(in_a_loop),
            invoke_all(llm),
            batch(llm),
        ]
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*ways)
        answers = [answer for end in ends for answer in end]
        assert [a.text for a in answers] == [f"{AGGREGATOR} says Paris."] * CALLS * len(ways)
        assert {a.response_metadata["moa"]["degraded"] for a in answers} == {False}
        assert len(server.requests) == len(answers) * len(MEMBERS)
    if limits:
        assert crowd.most[""] == most
    if "member_concurrency" in limits:
        assert {crowd.most[name] for name in MEMBERS} == {1}


async def test_a_place_is_given_back_whatever_happens() -> None:
    """Failures, timeouts and cancelled calls must not use up the places."""
    models = {
        **Crowd(0.01).behaviors(),
        ALPHA: ModelBehavior(hang=True),
        BETA: ModelBehavior(status=500),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, max_concurrency=2, member_concurrency=1, proposer_timeout=0.2)
        for _ in range(3):
            with pytest.raises(Exception, match="0 usable"):
                llm.invoke("Go")
            with pytest.raises(Exception, match="0 usable"):
                await llm.ainvoke("Go")
        patient = llm.model_copy(update={"proposer_timeout": 60.0})
        for _ in range(3):
            calls = [asyncio.ensure_future(patient.ainvoke("Go")) for _ in range(3)]
            await until(lambda: server.open_requests)
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: not server.open_requests)
        server.models.update(Crowd(0.01).behaviors())
        async with asyncio.timeout(20):
            await asyncio.gather(*(patient.ainvoke("Go") for _ in range(5)))
            await asyncio.to_thread(llm.batch, ["Go"] * 5)
