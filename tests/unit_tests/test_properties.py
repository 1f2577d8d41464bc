"""For any pattern of answers, failures and delays a call ends, and its record adds up."""

from __future__ import annotations

import asyncio
import math
import re
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import ModelAPIError, ModelInvalidRequestError
from langchain_core.messages import AIMessage

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError, Proposal
from langchain_moa.testing import ScriptedChatModel
from langchain_moa.types import AggregatorRecord, MoARecord

Outcome = Literal["ok", "empty", "busy", "broken", "hangs"]
STATUS = {
    "ok": "ok",
    "empty": "empty",
    "busy": "failed",
    "broken": "failed",
    "hangs": "timed_out",
}
TIMEOUTS = (0.3, 0.3, 1.0, 5.0, 20.0)
"""Seconds that a hanging member costs; the others take a few thousandths of them.

The next ones are taken where the machine stood still for so long that a quick member was late.
"""
LONG = 30.0
_PROPOSAL = re.compile(r"draft (\d)\.(\d)")
STABLE = settings(
    derandomize=True,
    max_examples=45,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Behavior:
    """What a member does, and after how many seconds."""

    outcome: Outcome
    seconds: float


@dataclass(frozen=True)
class Case:
    """A mixture by what its members do, and the settings that matter to its course."""

    layers: tuple[tuple[Behavior, ...], ...]
    judges: tuple[Behavior, ...]
    quorum: int | float | None
    grace: float
    min_proposals: int
    max_retries: int
    on_no_proposals: Literal["raise", "aggregate_alone"]
    on_aggregator_failure: Literal["raise", "best_proposal"]

    def quorum_of(self, layer: int) -> int | None:
        """How many proposals of a layer are enough."""
        size = len(self.layers[layer - 1])
        return math.ceil(self.quorum * size) if isinstance(self.quorum, float) else self.quorum


class Member(ScriptedChatModel):
    """A model that behaves as its pattern says."""

    behavior: Behavior
    free: Any

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        if self.behavior.outcome == "hangs":
            self.free.wait(LONG)
        time.sleep(self.behavior.seconds)
        return super()._generate(*args, **kwargs)

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        hangs = self.behavior.outcome == "hangs"
        await asyncio.sleep(LONG if hangs else self.behavior.seconds)
        return await super()._agenerate(*args, **kwargs)


def busy(name: str) -> ModelAPIError:
    """An error of a provider that may be asked again at once."""
    error = ModelAPIError(name)
    error.response = SimpleNamespace(headers={"retry-after": "0.002"})  # type: ignore[attr-defined]
    return error


def member(name: str, text: str, behavior: Behavior, free: threading.Event) -> Member:
    def script(_: object) -> str | AIMessage:
        match behavior.outcome:
            case "busy":
                raise busy(name)
            case "broken":
                raise ModelInvalidRequestError(name)
            case "empty":
                return ""
            case _:
                return text

    return Member(script=script, model=name, behavior=behavior, free=free)


_OFTEN: dict[Outcome, int] = {"ok": 8, "empty": 2, "busy": 2, "broken": 2, "hangs": 1}
outcomes = st.sampled_from([outcome for outcome, times in _OFTEN.items() for _ in range(times)])
behaviors = st.builds(Behavior, outcomes, st.sampled_from([0.0, 0.0, 0.001, 0.004]))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layers = draw(
        st.lists(st.lists(behaviors, min_size=1, max_size=5).map(tuple), min_size=1, max_size=3)
    )
    smallest = min(map(len, layers))
    quorum = draw(
        st.none() | st.integers(1, smallest) | st.sampled_from([0.1, 0.34, 0.5, 0.75, 1.0])
    )
    enough = math.ceil(quorum * smallest) if isinstance(quorum, float) else quorum or smallest
    return Case(
        layers=tuple(layers),
        judges=tuple(draw(st.lists(behaviors, min_size=1, max_size=2))),
        quorum=quorum,
        grace=draw(st.sampled_from([0.0, 0.0, 0.003])),
        min_proposals=draw(st.integers(1, enough)),
        max_retries=draw(st.integers(0, 1)),
        on_no_proposals=draw(st.sampled_from(["raise", "aggregate_alone"])),
        on_aggregator_failure=draw(st.sampled_from(["raise", "best_proposal"])),
    )


@dataclass
class Course:
    """What a case came to."""

    case: Case
    judges: list[Member]
    proposals: list[Proposal]
    record: MoARecord | None = None
    text: str = ""
    error: NotEnoughProposalsError | AggregationError | None = None

    def of(self, layer: int) -> list[Proposal]:
        """The proposals of one layer."""
        return [p for p in self.proposals if p.layer == layer]

    @property
    def shown(self) -> list[Proposal]:
        """The usable proposals of the last layer that gave any."""
        usable = [p for p in self.proposals if p.usable]
        return [p for p in usable if p.layer == max(u.layer for u in usable)]


def mixture(case: Case, free: threading.Event, seconds: float) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[
            [member(f"m{i}.{j}", f"draft {i}.{j}", b, free) for j, b in enumerate(layer)]
            for i, layer in enumerate(case.layers, start=1)
        ],
        aggregator=[member(f"j{i}", f"answer {i}", b, free) for i, b in enumerate(case.judges)],
        quorum=case.quorum,
        grace=case.grace,
        min_proposals=case.min_proposals,
        max_retries=case.max_retries,
        on_no_proposals=case.on_no_proposals,
        on_aggregator_failure=case.on_aggregator_failure,
        proposer_timeout=seconds,
        aggregator_timeout=seconds,
        include_proposals=True,
    )


def proposals_of(record: MoARecord) -> list[Proposal]:
    kept = ("layer", "index", "model", "model_name", "status", "error", "attempts", "text")
    return [Proposal(**{k: p.get(k) for k in kept}) for p in record["proposals"]]  # type: ignore[arg-type]


async def asked(llm: MoAChatModel) -> AIMessage:
    """Ask in an event loop, and see that nothing goes on after the answer."""
    try:
        return await llm.ainvoke("Go")
    finally:
        assert asyncio.all_tasks() == {asyncio.current_task()}


def course_of(case: Case, way: str, seconds: float) -> Course:
    free = threading.Event()
    llm = mixture(case, free, seconds)
    judges: Any = llm.aggregator
    try:
        answer = llm.invoke("Go") if way == "invoke" else asyncio.run(asked(llm))
    except (NotEnoughProposalsError, AggregationError) as error:
        return Course(case, judges, list(error.proposals), error=error)
    finally:
        free.set()
    record = answer.response_metadata["moa"]
    return Course(case, judges, proposals_of(record), record, answer.text)


def aggregator_of(record: MoARecord) -> AggregatorRecord:
    """What became of the aggregator, which is always asked here."""
    aggregator = record["aggregator"]
    assert aggregator is not None
    return aggregator


def was_disturbed(course: Course) -> bool:
    """Whether the machine stood still for so long that a quick member was out of time."""
    told = str(course.error or (course.record and aggregator_of(course.record)["error"]))
    judge_late = told.count("aggregator_timeout=") > sum(
        judge.outcome == "hangs" for judge in course.case.judges
    )
    return judge_late or any(
        p.status == "timed_out" and course.case.layers[p.layer - 1][p.index].outcome != "hangs"
        for p in course.proposals
    )


def undisturbed(case: Case, way: str) -> Course:
    for seconds in TIMEOUTS:
        course = course_of(case, way, seconds)
        if not was_disturbed(course):
            break
    return course


def check_order(course: Course) -> None:
    """Each member of the layers that ran is there once, in order."""
    layers = course.case.layers
    ran = len(layers) if course.record else course.proposals[-1].layer
    expected = [(i, j) for i in range(1, ran + 1) for j in range(len(layers[i - 1]))]
    assert [(p.layer, p.index) for p in course.proposals] == expected
    assert [p.model for p in course.proposals] == [f"m{i}.{j}" for i, j in expected]


def check_statuses(course: Course) -> None:
    """Members that were not cut did what their pattern says."""
    for p in course.proposals:
        outcome = course.case.layers[p.layer - 1][p.index].outcome
        if p.status == "cut":
            assert p.error
            continue
        assert p.status == STATUS[outcome]
        assert p.attempts == (1 + course.case.max_retries if outcome == "busy" else 1)
        assert p.text == (f"draft {p.layer}.{p.index}" if p.usable else "")
        assert (p.error is None) is p.usable


def check_quorum(course: Course) -> None:
    """Nobody is cut before the quorum is there, or the minimum out of reach."""
    for layer, members in enumerate(course.case.layers, start=1):
        own = course.of(layer)
        if not any(p.status == "cut" for p in own):
            continue
        usable = sum(p.usable for p in own)
        lost = sum(not p.usable and p.status != "cut" for p in own)
        quorum = course.case.quorum_of(layer)
        hopeless = (
            course.case.on_no_proposals == "raise"
            and len(members) - lost < course.case.min_proposals
        )
        assert hopeless or (quorum is not None and usable >= quorum)


def check_minimum(course: Course) -> None:
    """Each layer gave enough, or the call went as it was told to."""
    case, needed = course.case, course.case.min_proposals
    lacking = [
        layer
        for layer in range(1, len(case.layers) + 1)
        if (own := course.of(layer)) and sum(p.usable for p in own) < needed
    ]
    if isinstance(course.error, NotEnoughProposalsError):
        assert case.on_no_proposals == "raise"
        assert lacking == [course.proposals[-1].layer]
    else:
        assert not lacking or case.on_no_proposals == "aggregate_alone"


def check_answer(course: Course) -> None:
    """The first aggregator that can answers; else it is as the settings say."""
    case = course.case
    if isinstance(course.error, NotEnoughProposalsError):
        assert not any(judge.calls for judge in course.judges)
        return
    able = [place for place, judge in enumerate(case.judges) if judge.outcome == "ok"]
    if able:
        assert course.text == f"answer {able[0]}"
        assert course.record is not None
        assert aggregator_of(course.record)["model"] == f"j{able[0]}"
        return
    if case.on_aggregator_failure == "raise" or not course.shown:
        assert isinstance(course.error, AggregationError)
        return
    assert course.record is not None
    best = course.record["best_proposal"]
    assert {p.key: p.text for p in course.shown}[str(best)] == course.text
    assert aggregator_of(course.record)["status"] == "failed"


def check_reading(course: Course) -> None:
    """Aggregators read the usable proposals of the last layer that gave any, each once."""
    for judge in course.judges:
        for messages, _ in judge.calls:
            read = [tuple(map(int, m)) for m in _PROPOSAL.findall(messages[-1].text)]
            assert sorted(read) == [(p.layer, p.index) for p in course.shown]


def check_accounts(course: Course) -> None:
    """The totals are the sum over all members and the aggregator."""
    record = course.record
    if record is None:
        return
    usage = record["usage"]
    members = [p["usage"] for p in record["proposals"] if p["usage"]]
    judges = [usage["by_model"][j.model] for j in course.judges if j.model in usage["by_model"]]
    for key in ("input_tokens", "output_tokens", "total_tokens"):
        total: Any = usage[key]
        assert total == sum(u[key] for u in [*members, *judges])
        assert total == sum(u[key] for u in usage["by_model"].values())
    for proposal in record["proposals"]:
        assert usage["by_model"].get(proposal["model"]) == proposal["usage"]
        known = proposal["status"] in ("ok", "empty")
        assert known <= (proposal["usage"] is not None)
        asked_in_vain = proposal["attempts"] > 0 and proposal["usage"] is None
        assert (proposal["model"] in usage["unknown"]) == asked_in_vain
    degraded = not all(p.usable for p in course.proposals) or record["best_proposal"] is not None
    assert record["degraded"] is degraded
    assert (record["best_proposal"] is None) == (aggregator_of(record)["status"] == "ok")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_any_pattern(way: str) -> None:
    @STABLE
    @given(cases())
    def holds(case: Case) -> None:
        course = undisturbed(case, way)
        check_order(course)
        check_statuses(course)
        check_quorum(course)
        check_minimum(course)
        check_answer(course)
        check_reading(course)
        check_accounts(course)

    holds()


# --- what no order of events may change ---


def simple(
    layer: tuple[Behavior, ...],
    judge: Behavior,
    quorum: float | None = None,
    min_proposals: int = 1,
) -> Case:
    return Case(
        layers=(layer,),
        judges=(judge,),
        quorum=quorum,
        grace=0.0,
        min_proposals=min_proposals,
        max_retries=0,
        on_no_proposals="raise",
        on_aggregator_failure="raise",
    )


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("quorum", [1, 2, 3, 0.5])
def test_a_quorum_does_not_wait_for_who_hangs(way: str, quorum: float) -> None:
    well, hangs = Behavior("ok", 0.0), Behavior("hangs", 0.0)
    case = Case(
        ((well, hangs, well, hangs, well, hangs),), (well,), quorum, 0.0, 1, 0, "raise", "raise"
    )
    free = threading.Event()
    llm = mixture(case, free, LONG)
    answer = llm.invoke("Go") if way == "invoke" else asyncio.run(asked(llm))
    free.set()
    statuses = [p["status"] for p in answer.response_metadata["moa"]["proposals"]]
    assert statuses[1::2] == ["cut"] * 3
    assert statuses[::2].count("ok") >= math.ceil(quorum * 6 if quorum == 0.5 else quorum)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_nobody_is_waited_for_when_the_minimum_is_out_of_reach(way: str) -> None:
    hangs, broken = Behavior("hangs", 0.0), Behavior("broken", 0.0)
    case = simple((hangs, broken), hangs, min_proposals=2)
    free = threading.Event()
    llm = mixture(case, free, LONG)
    with pytest.raises(NotEnoughProposalsError) as caught:
        _ = llm.invoke("Go") if way == "invoke" else asyncio.run(asked(llm))
    free.set()
    assert [p.status for p in caught.value.proposals] == ["cut", "failed"]
