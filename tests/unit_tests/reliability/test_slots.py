"""Limits of simultaneous calls, for threads and event loops at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import pytest

from langchain_moa.reliability.slots import MemberSlots, Places, Slots
from langchain_moa.reliability.waiting import WaitFor


class Meter:
    """Counts who is inside at the same time."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.entered += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1


def test_who_comes_first_is_let_in_first() -> None:
    slots = Slots(2)
    tickets = [slots.ask() for _ in range(5)]
    assert [ticket.done() for ticket in tickets] == [True, True, False, False, False]
    slots.give_back(tickets[1])
    assert [ticket.done() for ticket in tickets] == [True, True, True, False, False]
    slots.give_back(tickets[0])
    slots.give_back(tickets[2])
    assert all(ticket.done() for ticket in tickets)


def test_a_ticket_given_back_in_the_queue_lets_the_next_one_pass() -> None:
    slots = Slots(1)
    first, impatient, last = slots.ask(), slots.ask(), slots.ask()
    slots.give_back(impatient)
    slots.give_back(first)
    assert not impatient.done()
    assert last.done()
    slots.give_back(last)
    assert slots.ask().done()


def test_a_place_granted_meanwhile_is_handed_on() -> None:
    slots = Slots(1)
    first, second, third = slots.ask(), slots.ask(), slots.ask()
    slots.give_back(first)
    slots.give_back(second)  # it was granted, but its owner has gone
    assert third.done()


@pytest.mark.parametrize("late", [False, True])
def test_only_the_places_that_somebody_waits_for_are_taken_over(*, late: bool) -> None:
    """Two threads hang, and somebody has waited long for the place of one."""
    slots = MemberSlots(None, 1)
    [first], [other] = slots.of("first"), slots.of("other")
    hung = [Places(), Places()]
    with ExitStack() as under_way:
        for places, limit in zip(hung, (other, first), strict=True):
            assert places.ask(limit).done()
            under_way.enter_context(places.occupied())
            places.give_up()
            if not late:
                slots.leave(places)
        ticket, next_of_other = first.ask(), other.ask()
        with slots.taking_over(ticket, first):
            for places in hung if late else ():
                slots.leave(places)
            assert ticket.done()
            assert not next_of_other.done()
    assert next_of_other.done()


async def _in_loop(slots: Slots, meter: Meter) -> None:
    ticket = slots.ask()
    try:
        await WaitFor(ticket=ticket).ado()
        meter.enter()
        await asyncio.sleep(0.001)
        meter.leave()
    finally:
        slots.give_back(ticket)


def _in_thread(slots: Slots, meter: Meter) -> None:
    ticket = slots.ask()
    WaitFor(ticket=ticket).do()
    meter.enter()
    threading.Event().wait(0.001)
    meter.leave()
    slots.give_back(ticket)


@pytest.mark.parametrize("limit", [1, 3])
async def test_threads_and_two_event_loops_share_the_places(limit: int) -> None:
    slots, meter = Slots(limit), Meter()

    async def many() -> None:
        await asyncio.gather(*(_in_loop(slots, meter) for _ in range(20)))

    def other_loop() -> None:
        asyncio.run(many())

    await asyncio.gather(
        many(),
        asyncio.to_thread(other_loop),
        *(asyncio.to_thread(_in_thread, slots, meter) for _ in range(20)),
    )
    assert (meter.entered, meter.inside) == (60, 0)
    assert meter.most <= limit
    assert all(slots.ask().done() for _ in range(limit))  # every place is free again


async def test_cancelled_waits_lose_no_place() -> None:
    slots, meter = Slots(2), Meter()
    tasks = [asyncio.ensure_future(_in_loop(slots, meter)) for _ in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert meter.entered >= 20
    assert [slots.ask().done() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("total", "per_model", "limits"),
    [
        (None, None, []),
        (5, None, [5]),
        (None, 2, [2]),
        (5, 2, [2, 5]),
        (5, {"a": 1}, [1, 5]),
        (5, {"b": 1}, [5]),
    ],
)
def test_limits_of_a_member(total: Any, per_model: Any, limits: list[int]) -> None:
    slots = MemberSlots(total, per_model)
    assert [s.limit for s in slots.of("a")] == limits


def test_a_model_has_one_limit_wherever_it_is_used() -> None:
    slots = MemberSlots(7, 2)
    assert slots.of("a") == slots.of("a")
    (a, total), (b, same) = slots.of("a"), slots.of("b")
    assert a is not b
    assert total is same


def test_nothing_waits_where_there_is_room() -> None:
    slots = Slots(3)
    tickets: list[Future[None]] = [slots.ask() for _ in range(3)]
    assert all(ticket.done() for ticket in tickets)
