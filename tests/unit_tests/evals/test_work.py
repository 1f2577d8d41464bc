"""Many things at a time: the bound holds, and what is under way is finished before a stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from langsmith.run_helpers import tracing_context
from langsmith.utils import tracing_is_enabled

from langchain_moa.evals.work import Stop, run_blocking, work_through


class Crowd:
    """Counts who is at work, and lets them go when the bound has been reached."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._now = 0
        self.most = 0
        self.done: list[int] = []
        self._full = asyncio.Event()

    async def __call__(self, thing: int) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        if self._now == self._bound:
            self._full.set()
        await self._full.wait()
        await asyncio.sleep(0)
        self._now -= 1
        self.done.append(thing)


@pytest.mark.parametrize("bound", [1, 3, 8])
async def test_so_many_at_a_time_and_each_thing_once(bound: int) -> None:
    crowd = Crowd(bound)
    await work_through(range(20), crowd, concurrency=bound)
    assert crowd.most == bound
    assert sorted(crowd.done) == list(range(20))


async def test_things_are_taken_only_when_there_is_room() -> None:
    taken: list[int] = []

    def things() -> Iterator[int]:
        for thing in range(1000):
            taken.append(thing)
            yield thing

    stop = Stop()

    async def do(_: int) -> None:
        stop.asked = True
        await asyncio.sleep(0)

    await work_through(things(), do, concurrency=4, stop=stop)
    assert len(taken) <= 8


async def test_an_error_is_raised_when_the_others_have_finished() -> None:
    done: list[int] = []
    failed = asyncio.Event()

    async def do(thing: int) -> None:
        if thing == 1:
            await asyncio.sleep(0)
            failed.set()
            msg = "no"
            raise ValueError(msg)
        await failed.wait()
        done.append(thing)

    with pytest.raises(ValueError, match="no"):
        await work_through(range(100), do, concurrency=3)
    assert done == [0, 2]


async def test_nothing_is_traced_even_where_the_user_traces() -> None:
    seen: list[object] = []

    async def do(_: int) -> None:
        seen.append(tracing_is_enabled())

    with tracing_context(enabled=True):
        await work_through(range(2), do, concurrency=1)
        assert tracing_is_enabled()
    assert seen == [False, False]


async def test_a_blocking_run_works_inside_a_running_loop_too() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return 4

    assert run_blocking(main()) == 4
    assert await asyncio.to_thread(lambda: run_blocking(main())) == 4


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C cancels at once")
async def test_ctrl_c_lets_what_is_under_way_finish() -> None:
    done: list[int] = []
    told = asyncio.Event()

    async def do(thing: int) -> None:
        press_ctrl_c()
        await told.wait()
        done.append(thing)

    with pytest.raises(KeyboardInterrupt):
        await work_through(range(100), do, concurrency=1, stop=Stop(on_interrupt=told.set))
    assert done == [0]


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C cancels at once")
async def test_a_second_ctrl_c_does_not() -> None:
    begun, done = asyncio.Event(), list[int]()

    async def do(thing: int) -> None:
        begun.set()
        await asyncio.Event().wait()
        done.append(thing)

    async def pressed_twice() -> None:
        await begun.wait()
        for _ in range(2):
            press_ctrl_c()
            await asyncio.sleep(0.01)

    pressing = asyncio.create_task(pressed_twice())
    with pytest.raises(KeyboardInterrupt):
        await work_through(range(100), do, concurrency=3)
    assert done == []
    assert not pressing.cancelled()


async def test_in_another_thread_ctrl_c_is_the_programs_own() -> None:
    done: list[int] = []

    async def do(thing: int) -> None:
        done.append(thing)

    await asyncio.to_thread(lambda: asyncio.run(work_through(range(3), do, concurrency=1)))
    assert done == [0, 1, 2]


async def test_who_cancels_a_run_hears_of_it() -> None:
    begun = asyncio.Event()

    async def do(_: int) -> None:
        begun.set()
        await asyncio.Event().wait()

    run = asyncio.create_task(work_through(range(3), do, concurrency=1))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
