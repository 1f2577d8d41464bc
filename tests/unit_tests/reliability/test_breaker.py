"""A member that keeps failing is left alone for a while."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelInvalidRequestError,
    ModelRateLimitError,
)
from langchain_core.messages import AIMessage, BaseMessage

from langchain_moa import CircuitBreaker, MoAChatModel, MoAConfigurationError
from langchain_moa.members.identity import fingerprint
from langchain_moa.reliability.breaker import Breaker, shared_breaker
from langchain_moa.testing import ScriptedChatModel

SETTING = CircuitBreaker(failures=2, reset_after=10.0)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(clock: Clock) -> Breaker:
    breaker = Breaker(SETTING, clock)
    breaker.failed()
    breaker.failed()
    return breaker


def test_it_is_closed_until_so_many_failures_in_a_row(clock: Clock) -> None:
    breaker = Breaker(SETTING, clock)
    for _ in range(3):
        breaker.failed()
        assert breaker.refuses() is None
        breaker.succeeded()
    breaker.failed()
    breaker.failed()
    assert breaker.refuses() == "circuit breaker open after 2 failures, 10 s to go"


def test_one_probe_is_let_through_after_the_wait(opened: Breaker, clock: Clock) -> None:
    clock.now += 9.0
    assert opened.refuses() == "circuit breaker open after 2 failures, 1 s to go"
    clock.now += 1.0
    assert opened.refuses() is None
    assert opened.refuses() is not None


def test_a_good_probe_closes_it(opened: Breaker, clock: Clock) -> None:
    clock.now += 10.0
    opened.refuses()
    opened.succeeded()
    assert [opened.refuses() for _ in range(3)] == [None] * 3
    opened.failed()
    assert opened.refuses() is None


def test_a_bad_probe_starts_the_wait_anew(opened: Breaker, clock: Clock) -> None:
    clock.now += 10.0
    opened.refuses()
    clock.now += 4.0
    opened.failed()
    clock.now += 9.0
    assert opened.refuses() is not None
    clock.now += 1.0
    assert opened.refuses() is None


def test_a_probe_that_is_given_up_is_followed_by_another(opened: Breaker, clock: Clock) -> None:
    first, second = object(), object()
    clock.now += 10.0
    assert opened.refuses(first) is None
    clock.now += 1000.0  # it hangs
    told = "circuit breaker open after 2 failures, a probe is under way"
    assert [opened.refuses(second), opened.refuses(first)] == [told, told]
    opened.given_up(second)  # who is no probe
    assert opened.refuses(second) == told
    opened.given_up(first)
    assert opened.refuses(second) is None
    opened.failed(second)
    assert opened.refuses(first) == "circuit breaker open after 3 failures, 10 s to go"


def test_one_of_many_threads_is_the_probe(opened: Breaker, clock: Clock) -> None:
    clock.now += 10.0
    together = threading.Barrier(8)

    def ask(_: int) -> str | None:
        together.wait()
        return opened.refuses()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))).count(None) == 1


def test_equal_members_with_equal_settings_share_their_state() -> None:
    first = shared_breaker("member", SETTING)
    assert shared_breaker("member", CircuitBreaker(failures=2, reset_after=10.0)) is first
    assert shared_breaker("other", SETTING) is not first
    assert shared_breaker("member", CircuitBreaker(failures=3, reset_after=10.0)) is not first


def test_it_outlives_its_users() -> None:
    """A mixture may be made for each call."""
    for _ in range(SETTING.failures):
        shared_breaker("outlived", SETTING).failed()
        gc.collect()
    assert shared_breaker("outlived", SETTING).refuses() is not None


def test_only_the_latest_members_are_remembered() -> None:
    used, unused = shared_breaker("used", SETTING), weakref.ref(shared_breaker("unused", SETTING))
    for place in range(2000):
        shared_breaker(f"one of many: {place}", SETTING)
        assert shared_breaker("used", SETTING) is used
    gc.collect()
    assert unused() is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"failures": 0}, "circuit_breaker.failures=0 must be a whole number from 1"),
        ({"failures": -1}, "circuit_breaker.failures=-1"),
        ({"failures": True}, "circuit_breaker.failures=True"),
        ({"failures": "3"}, "circuit_breaker.failures='3'"),
        ({"reset_after": 0}, "circuit_breaker.reset_after=0"),
        ({"reset_after": float("nan")}, "circuit_breaker.reset_after=nan"),
        ({"reset_after": None}, "circuit_breaker.reset_after=None"),
    ],
)
def test_impossible_settings(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(MoAConfigurationError, match=told):
        CircuitBreaker(**fields)


# --- in a mixture ---

LONG = 20.0
"""Seconds that nothing in these tests takes unless it is broken."""
BRIEF = CircuitBreaker(failures=1, reset_after=0.05)


def is_closed(model: ScriptedChatModel, setting: CircuitBreaker) -> bool:
    """Whether a member's breaker refuses nobody; an open one lets a probe through now and then."""
    breaker = shared_breaker(fingerprint([model]), setting)
    return {breaker.refuses() for _ in range(1000)} == {None}


def half_open(model: ScriptedChatModel) -> None:
    """Open a member's breaker, and let its wait pass: who asks next is the probe."""
    shared_breaker(fingerprint([model]), BRIEF).failed()
    sleep(BRIEF.reset_after)


class Failing:
    """A script that raises an error and counts how often."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    def __call__(self, _: list[BaseMessage]) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "back again"


def mixture(script: Any, **options: Any) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[
            ScriptedChatModel(script=script, model="sick"),
            ScriptedChatModel.saying("4", model="well"),
        ],
        aggregator=ScriptedChatModel.saying("ok"),
        max_retries=0,
        **{"circuit_breaker": CircuitBreaker(failures=2, reset_after=3600), **options},
    )


def statuses(llm: MoAChatModel) -> list[str]:
    return [p["status"] for p in llm.invoke("Go").response_metadata["moa"]["proposals"]]


def test_an_open_breaker_costs_no_request() -> None:
    script = Failing(ModelAPIError("down"))
    llm = mixture(script)
    assert [statuses(llm)[0] for _ in range(4)] == ["failed", "failed", "skipped", "skipped"]
    assert script.calls == 2
    record = llm.invoke("Go").response_metadata["moa"]
    skipped = record["proposals"][0]
    assert skipped["attempts"] == 0
    assert "circuit breaker open after 2 failures" in skipped["error"]
    assert record["degraded"] is True
    assert record["usage"]["unknown"] == []


def test_mixtures_of_the_same_member_share_the_breaker() -> None:
    script = Failing(ModelAPIError("down"))
    one, other = mixture(script), mixture(script, layers=3)
    assert [statuses(one)[0] for _ in range(2)] == ["failed"] * 2
    assert statuses(other)[::2] == ["skipped"] * 2
    assert statuses(mixture(script, circuit_breaker=CircuitBreaker(failures=9)))[0] == "failed"


def test_a_member_that_comes_back_is_called_again() -> None:
    script = Failing(ModelAPIError("down"))
    llm = mixture(script, circuit_breaker=CircuitBreaker(failures=1, reset_after=0.05))
    assert statuses(llm)[0] == "failed"
    script.error = None
    while statuses(llm)[0] == "skipped":
        sleep(0.01)
    assert [statuses(llm)[0] for _ in range(3)] == ["ok"] * 3


@pytest.mark.parametrize(
    "error", [ModelInvalidRequestError("too many tools"), ContextOverflowError("too long")]
)
def test_the_requests_own_fault_is_not_the_members(error: Exception) -> None:
    assert [statuses(mixture(Failing(error)))[0] for _ in range(4)] == ["failed"] * 4


def test_an_empty_answer_is_no_failure() -> None:
    llm = mixture(lambda _: AIMessage(""))
    assert [statuses(llm)[0] for _ in range(4)] == ["empty"] * 4


def test_a_fallback_answers_while_the_breaker_is_open() -> None:
    script = Failing(ModelRateLimitError("busy"))
    spare = ScriptedChatModel.saying("spare", model="spare")
    llm = mixture(script, fallbacks={"sick": spare})
    assert [statuses(llm)[0] for _ in range(3)] == ["ok"] * 3
    assert script.calls == 2
    assert len(spare.calls) == 3


def test_a_hedge_that_another_member_answers_does_not_speak_for_the_first() -> None:
    """Otherwise a dead member with a quick fallback is called, and paid for, for ever."""
    release, asked = threading.Event(), list[object]()

    def hangs(request: object) -> str:
        asked.append(request)
        release.wait(LONG)
        return "too late"

    sick = ScriptedChatModel(script=hangs, model="sick")
    llm = mixture(
        hangs,
        circuit_breaker=BRIEF,
        fallbacks={"sick": ScriptedChatModel.saying("spare", model="spare")},
        hedge_after=0.02,
    )
    half_open(sick)
    try:
        assert statuses(llm)[0] == "ok"
        assert len(asked) == 1
        assert not is_closed(sick, BRIEF)
    finally:
        release.set()


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_fallback_that_answers_as_a_hedge_is_back(way: str) -> None:
    spare = ScriptedChatModel.saying("4", model=f"spare of {way}")
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("late", model="slow", seconds=LONG)],
        aggregator=ScriptedChatModel.saying("ok"),
        fallbacks={"slow": spare},
        hedge_after=0.02,
        circuit_breaker=BRIEF,
    )
    half_open(spare)
    assert not is_closed(spare, BRIEF)
    half_open(spare)
    answer = asyncio.run(llm.ainvoke("Go")) if way == "ainvoke" else llm.invoke("Go")
    (proposal,) = answer.response_metadata["moa"]["proposals"]
    assert proposal["model"] == f"spare of {way}"
    assert is_closed(spare, BRIEF)


def test_a_hedge_that_nobody_waits_for_any_more_tells_nothing() -> None:
    begun, release, error = threading.Event(), threading.Event(), ModelAPIError("down")
    asked: list[threading.Thread] = []

    def fails_late(_: object) -> str:
        asked.append(threading.current_thread())
        begun.set()
        release.wait(LONG)
        raise error

    def answers_then(_: object) -> str:
        begun.wait(LONG)
        return "4"

    spare = ScriptedChatModel(script=fails_late, model="spare")
    setting = CircuitBreaker(failures=1, reset_after=3600)
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel(script=answers_then, model="slow")],
        aggregator=ScriptedChatModel.saying("ok"),
        fallbacks={"slow": spare},
        hedge_after=0.02,
        circuit_breaker=setting,
    )
    (proposal,) = llm.invoke("Go").response_metadata["moa"]["proposals"]
    release.set()
    asked[0].join(LONG)
    assert (proposal["model"], proposal["attempts"]) == ("slow", 2)
    assert is_closed(spare, setting)


def test_a_fallback_whose_breaker_is_open_is_not_hedged_to() -> None:
    spare = Failing(ModelAPIError("down"))

    def slow(_: object) -> str:
        while not spare.calls:
            sleep(0.01)
        sleep(0.1)  # longer than the time after which a hedge is made
        return "4"

    llm = MoAChatModel(
        reference_models=[ScriptedChatModel(script=slow, model="slow")],
        aggregator=ScriptedChatModel.saying("ok"),
        fallbacks={"slow": ScriptedChatModel(script=spare, model="spare")},
        hedge_after=0.02,
        circuit_breaker=CircuitBreaker(failures=1, reset_after=3600),
    )
    (proposal,) = llm.invoke("Go").response_metadata["moa"]["proposals"]
    assert (spare.calls, proposal["attempts"]) == (1, 2)
    (proposal,) = llm.invoke("Go").response_metadata["moa"]["proposals"]
    assert (proposal["status"], proposal["model"], proposal["attempts"]) == ("ok", "slow", 1)
    assert spare.calls == 1
