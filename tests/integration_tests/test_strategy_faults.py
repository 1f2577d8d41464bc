"""The fault matrix' column for each strategy: every fault at the analyst and the judge.

A fault there costs the strategy, and never the answer: the aggregator writes it from the proposals.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.integration_tests.test_fault_matrix import (
    ANSWERS,
    FAULTS,
    LONG,
    MOST,
    SECOND,
    Fault,
    call,
    running,
)
from tests.strategies import ANALYST, JUDGE, analyst, judge_of, shown_to
from tests.wire import (
    AGGREGATOR,
    ALPHA,
    BETA,
    GAMMA,
    LIMITS,
    PROPOSERS,
    Stage,
    asked_for,
    counted,
    says,
    served,
    until,
)

ADVISERS: Final = {"compare": ("analyst", ANALYST), "select": ("judge", JUDGE)}
HONEST: Final = {ANALYST: ModelBehavior(reply=analyst), JUDGE: judge_of(lambda t: "beta" in t)}
_REASONS: Final = {"empty": "empty", "reasoning_only": "empty", "filtered": "filtered"}
WHOLE: Final = [name for name, fault in FAULTS.items() if not fault.in_streams]
"""The faults that whole answers have; the analyst and the judge give no others."""


def reason_of(fault: Fault) -> str:
    """What the record says of a fault."""
    if "RateLimit" in fault.reason:
        return "rate_limited"
    return "timed_out" if fault.late else _REASONS.get(fault.status, "upstream_error")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, (*ANSWERS, ANALYST, JUDGE))


def settings_of(stage: Stage, strategy: str, *names: str) -> dict[str, Any]:
    role, name = ADVISERS[strategy]
    members = [stage.members[one] for one in (name, *names)]
    return {"strategy": strategy, role: members, "include_proposals": True}


def honest() -> dict[str, Any]:
    return {**{name: says(text) for name, text in ANSWERS.items()}, **HONEST}


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("strategy", ADVISERS)
@pytest.mark.parametrize("name", WHOLE)
async def test_cell(stage: Stage, name: str, strategy: str, way: str) -> None:
    fault, (role, adviser) = FAULTS[name], ADVISERS[strategy]
    advice = honest()[adviser].reply
    before = running()
    for seconds in LIMITS if fault.late else [LONG]:
        # one that recovers, or whose tokens alone are unknown, answers as an honest one
        faulty = fault.behavior(advice, seconds) if fault.recovers or fault.harmless else None
        server = stage.plays(
            {**honest(), adviser: faulty or fault.behavior("All agree on Paris. ", seconds)}
        )
        llm = stage.mixture(
            PROPOSERS,
            max_retries=1,
            max_answer_bytes=MOST,
            analyst_timeout=seconds,
            **settings_of(stage, strategy),
        )
        outcome = await call(llm, way)
        await until(lambda: running() <= before and not stage.server.open_requests)
        if server.requests_for(adviser):
            break
    record = outcome.record
    if faulty is not None:
        assert record["degraded_reasons"] == []
        assert (record["analysis"] or record["selection"]) is not None
        assert outcome.text == ANSWERS[AGGREGATOR if strategy == "compare" else BETA]
        return
    assert outcome.text == ANSWERS[AGGREGATOR]
    assert record["degraded_reasons"] == [{"stage": role, "reason": reason_of(fault)}]
    assert record["analysis"] is record["selection"] is None
    assert record["consulted"]["status"] == "failed"
    assert len(server.requests_for(adviser)) == record["consulted"]["attempts"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("strategy", ADVISERS)
class TestWhatElseIsSet:
    """Quorum, hedges, fallbacks and budgets with each strategy, in all four ways to call."""

    async def test_a_quorum_goes_on_and_what_is_cut_is_not_read(
        self, stage: Stage, strategy: str, way: str
    ) -> None:
        server = stage.plays(honest())
        server.models[GAMMA] = ModelBehavior(hang=True)
        llm = stage.mixture(PROPOSERS, quorum=2, grace=0.0, **settings_of(stage, strategy))
        outcome = await call(llm, way)
        assert outcome.record["degraded_reasons"] == [{"stage": "proposer", "reason": "cut"}]
        assert (outcome.record["analysis"] or outcome.record["selection"]) is not None
        (asked,) = server.requests_for(ADVISERS[strategy][1])
        assert sorted(shown_to(asked.body).values()) == [ANSWERS[ALPHA], ANSWERS[BETA]]

    async def test_a_hedge_answers_for_one_that_takes_long(
        self, stage: Stage, strategy: str, way: str
    ) -> None:
        server = stage.plays(honest())
        adviser = ADVISERS[strategy][1]
        server.models[SECOND] = HONEST[adviser]
        server.models[adviser] = ModelBehavior(hang=True)
        options = settings_of(stage, strategy, SECOND)
        outcome = await call(stage.mixture((ALPHA, BETA), hedge_after=0.3, **options), way)
        consulted = outcome.record["consulted"]
        assert (consulted["model"], consulted["status"]) == (SECOND, "ok")
        assert consulted["attempts"] == 2

    async def test_a_fallback_is_asked_and_paid(
        self, stage: Stage, strategy: str, way: str
    ) -> None:
        server = stage.plays(honest())
        adviser = ADVISERS[strategy][1]
        server.models[SECOND] = HONEST[adviser]
        server.models[adviser] = says("No idea.")
        options = settings_of(stage, strategy, SECOND)
        outcome = await call(stage.mixture((ALPHA, BETA), **options), way)
        assert outcome.record["consulted"]["attempts"] == 3  # two of the first one
        assert not outcome.record["degraded"]
        assert {
            name: counted(usage) for name, usage in outcome.record["usage"]["by_model"].items()
        } == served(server)

    async def test_a_budget_admits_what_it_holds(
        self, stage: Stage, strategy: str, way: str
    ) -> None:
        """Two proposals, the adviser, and the aggregator's request that is kept for it."""
        server = stage.plays(honest())
        options = settings_of(stage, strategy)
        outcome = await call(stage.mixture((ALPHA, BETA), max_calls=4, **options), way)
        assert not outcome.record["degraded"]
        assert len(server.requests) == (4 if strategy == "compare" else 3)
        server.requests.clear()
        outcome = await call(stage.mixture((ALPHA, BETA), max_calls=3, **options), way)
        role, _ = ADVISERS[strategy]
        assert outcome.record["degraded_reasons"] == [{"stage": role, "reason": "over_budget"}]
        assert outcome.text == ANSWERS[AGGREGATOR]
        assert len(server.requests) == 3

    async def test_without_proposals_nobody_is_consulted(
        self, stage: Stage, strategy: str, way: str
    ) -> None:
        server = stage.plays({**honest(), ALPHA: ModelBehavior(status=400)})
        llm = stage.mixture(
            (ALPHA,), on_no_proposals="aggregate_alone", **settings_of(stage, strategy)
        )
        outcome = await call(llm, way)
        role, adviser = ADVISERS[strategy]
        assert {"stage": role, "reason": "no_proposals"} in outcome.record["degraded_reasons"]
        assert outcome.text == ANSWERS[AGGREGATOR]
        assert server.requests_for(adviser) == []


@pytest.mark.parametrize("strategy", ADVISERS)
async def test_a_call_that_is_cancelled_leaves_nothing_behind(strategy: str) -> None:
    adviser = ADVISERS[strategy][1]
    events: list[Any] = []
    with LoopbackServer({**honest(), adviser: ModelBehavior(hang=True)}) as server:
        stage = Stage(server, (ALPHA, BETA, AGGREGATOR, adviser))
        settings = settings_of(stage, strategy)
        llm = stage.mixture((ALPHA, BETA), on_progress=events.append, **settings)
        before = asyncio.all_tasks()
        task = asyncio.create_task(llm.ainvoke("Capital?"))
        await until(asked_for(server, adviser))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not server.open_requests and asyncio.all_tasks() <= before)
    told = [event["event"] for event in events if event["role"] == ADVISERS[strategy][0]]
    assert told == ["member_started", "member_cut"]
    assert events[-1]["event"] == "call_cut"


def test_progress_tells_of_who_is_consulted(stage: Stage) -> None:
    stage.plays(honest())
    events: list[Any] = []
    stage.mixture((ALPHA, BETA), on_progress=events.append, **settings_of(stage, "compare")).invoke(
        "Capital?"
    )
    (started, ended) = [event for event in events if event["role"] == "analyst"]
    assert (started["event"], ended["event"]) == ("member_started", "member_finished")
    assert (ended["layer"], ended["index"], ended["model"]) == (2, 0, ANALYST)
    assert ended["usage"]["output_tokens"] > 0
    assert json.dumps(events)
