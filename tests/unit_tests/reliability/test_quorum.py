"""A layer's gate opens when its proposals decide it, and says why."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa.reliability.policy import Policy
from langchain_moa.reliability.quorum import NEVER, Gate
from langchain_moa.reliability.settings import Quorum, ReliabilitySettings


def counted(gate: Gate, pattern: str) -> Gate:
    """A gate that has counted `+` for each usable proposal and `-` for each other one."""
    for outcome in pattern:
        gate.count(usable=outcome == "+")
    return gate


@pytest.mark.parametrize(
    ("gate", "pattern", "opens"),
    [
        (Gate(3), "", False),
        (Gate(3), "+++", False),  # nobody is left to be waited for
        (Gate(3, quorum=2), "+", False),
        (Gate(3, quorum=2), "+-", False),
        (Gate(3, quorum=2), "+-+", True),
        (Gate(3, quorum=1), "+", True),
        (Gate(3, needed=1), "--", False),
        (Gate(3, needed=1), "---", True),
        (Gate(3, needed=2), "-", False),
        (Gate(3, needed=2), "--", True),
        (Gate(3, quorum=3, needed=3), "-", True),
        (Gate(3, needed=0), "---", False),
    ],
)
def test_what_opens_it(gate: Gate, pattern: str, *, opens: bool) -> None:
    counted(gate, pattern)
    assert gate.opened.done() is opens
    assert (gate.cut_at < NEVER) is opens
    assert bool(gate.reason) is opens


def test_the_quorum_leaves_the_others_their_grace() -> None:
    before = monotonic()
    gate = counted(Gate(3, quorum=1, grace=60.0), "+")
    assert before + 60 <= gate.cut_at <= monotonic() + 60
    assert gate.reason == "the quorum of 1 proposals was reached"


def test_nobody_has_grace_when_nothing_can_come_of_it() -> None:
    gate = counted(Gate(2, grace=60.0, needed=2), "-")
    assert gate.cut_at <= monotonic()
    assert gate.reason == "2 usable proposals could no longer be reached"


def test_the_earliest_time_and_its_reason_count() -> None:
    gate = Gate(2)
    gate.open("first", 60.0)
    late = gate.cut_at
    gate.open("second", 120.0)
    assert gate.cut_at == late
    gate.open("third")
    assert gate.cut_at < late
    assert gate.reason == "third"


def test_time_is_kept_only_from_a_layer_with_enough_proposals() -> None:
    gate, soon = Gate(4, needed=2), monotonic() - 1.0
    gate.keep_time(soon, "for others")
    assert counted(gate, "+-").cut_at == NEVER  # nothing to go on with yet
    assert counted(gate, "+").cut_at <= monotonic()
    assert gate.reason == "for others"
    early = counted(Gate(3, needed=1), "+")
    early.keep_time(monotonic() + 60.0, "for others")
    assert monotonic() + 50 <= early.cut_at <= monotonic() + 60
    alone = Gate(3, needed=0)
    alone.keep_time(soon, "for others")
    assert alone.cut_at <= monotonic()


def test_who_waits_is_woken_once_for_a_time_that_stays() -> None:
    """Each proposal would else wake all the others: work that grows with their square."""
    gate = Gate(members=100, needed=1)
    gate.keep_time(monotonic() + 60.0, "for others")
    gate.count(usable=True)
    at, signal = gate.cut_at, gate.signal
    for _ in range(98):
        gate.count(usable=True)
    assert (gate.cut_at, gate.signal) == (at, signal)
    assert not signal.done()


def test_who_waits_is_told_each_time_that_the_end_comes_earlier() -> None:
    gate = Gate(3, quorum=2, grace=10.0, needed=1)
    gate.keep_time(monotonic() + 60.0, "for others")
    signals = [gate.signal]
    gate.count(usable=True)  # enough to go on with, in a minute
    signals.append(gate.signal)
    gate.count(usable=True)  # the quorum, in ten seconds
    signals.append(gate.signal)
    gate.open("interrupted")
    assert [signal.done() for signal in signals] == [True] * 3
    assert not gate.signal.done()
    assert gate.reason == "interrupted"


@pytest.mark.parametrize(
    ("left", "layers", "aggregator_timeout", "share"),
    [
        (60.0, 2, 300.0, 30.0),
        (60.0, 3, 300.0, 20.0),
        (60.0, 3, 10.0, 25.0),
        (60.0, 2, 10.0, 50.0),
        (600.0, 2, 300.0, 300.0),
        (0.0, 3, 300.0, 0.0),
        (60.0, 2, None, 30.0),
    ],
)
def test_a_layers_share_of_the_time_left(
    left: float, layers: int, aggregator_timeout: float | None, share: float
) -> None:
    policy = Policy.of(ReliabilitySettings(aggregator_timeout=aggregator_timeout))
    assert policy.share(left, layers) == share


@pytest.mark.parametrize(
    ("gate", "left_out", "pattern", "opens"),
    [
        (Gate(3, quorum=3), 1, "++", True),
        (Gate(3, quorum=2), 1, "+", False),
        (Gate(3, needed=3), 1, "+", False),
        (Gate(3, needed=3), 1, "-", True),
        (Gate(3, needed=1), 2, "-", True),
        (Gate(2, quorum=1, needed=1), 2, "", False),
    ],
)
def test_members_that_are_left_out_are_not_expected(
    gate: Gate, left_out: int, pattern: str, *, opens: bool
) -> None:
    for _ in range(left_out):
        gate.leave_out()
    assert counted(gate, pattern).opened.done() is opens


def gate(members: int, **settings: Any) -> Gate:
    return Policy.of(ReliabilitySettings(**settings)).gate(members)


@pytest.mark.parametrize(
    ("quorum", "members", "count"),
    [
        (None, 6, None),
        (4, 6, 4),
        (0.5, 6, 3),
        (0.5, 5, 3),
        (0.01, 6, 1),
        (1.0, 6, 6),
        (2 / 3, 6, 4),
    ],
)
def test_a_share_is_rounded_up(quorum: Quorum, members: int, count: int | None) -> None:
    assert gate(members, quorum=quorum).quorum == count


def test_the_minimum_is_needed_only_where_less_is_an_error() -> None:
    assert gate(3, min_proposals=2).needed == 2
    assert gate(3, min_proposals=2, on_no_proposals="aggregate_alone").needed == 0


@settings(derandomize=True)
@given(st.text("+-", max_size=8), st.integers(1, 8), st.integers(0, 8))
def test_the_order_of_proposals_makes_no_difference(pattern: str, quorum: int, needed: int) -> None:
    gates = [
        counted(Gate(len(pattern), quorum=quorum, needed=needed), order)
        for order in (pattern, "".join(sorted(pattern)), "".join(sorted(pattern, reverse=True)))
    ]
    assert len({gate.opened.done() for gate in gates}) == 1


def test_all_of_many_threads_are_counted() -> None:
    together, gate = threading.Barrier(8), Gate(8, quorum=8)

    def count(_: int) -> None:
        together.wait()
        gate.count(usable=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert gate.opened.done()


def test_who_is_left_out_last_decides_too() -> None:
    """One of two admitted members has failed, both are needed, so the other is asked in vain."""
    gate = counted(Gate(3, needed=3), "")
    gate.leave_out()
    counted(gate, "-")
    assert gate.opened.done()
    late = counted(Gate(3, needed=2), "-")
    late.leave_out()
    assert late.opened.done()
