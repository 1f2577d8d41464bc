"""Rows asked by the workers of a Ray cluster, with Ray Data: Ray is imported here alone.

It runs in a process of its own: Ray starts servers and threads, and reports its use to its makers
if nobody forbids it.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Final

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.answering import answered, asked_of
from langchain_moa.evals.contestants import Contestant
from langchain_moa.evals.judges.base import Judging, Question
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import judging_of
from langchain_moa.evals.work import untraced
from langchain_moa.providers.accounts import NO_KEY
from langchain_moa.providers.builder import TOGETHER_KEY_VARIABLE
from langchain_moa.types import AnyDict, AnyMapping

JUDGE_KEY_VARIABLE: Final = "LANGCHAIN_MOA_JUDGE_KEY"
"""Holds the judge's key where it has one of its own."""
_HERE: Final = "127.0.0.1"
_OBJECT_STORE: Final = 100_000_000
"""Bytes of a local cluster's object store; rows are small."""


def serve(wire: Connection) -> None:
    """Have waves of tasks done by the workers, and send each result as it comes.

    Args:
        wire: Where waves come from: how they are asked and the tasks, as JSON; `None` ends it. Each
            result goes there as JSON, `None` after the last one of a wave.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    _quiet()
    try:
        import ray  # noqa: PLC0415 - here alone, in a process of its own

        while (wave := wire.recv()) is not None:
            setup, tasks = wave
            if not ray.is_initialized():
                _start(json.loads(setup)["workers"])
            for result in _results(setup, tasks):
                wire.send(result)
            wire.send(None)
        ray.shutdown()
    except (EOFError, BrokenPipeError):  # the run has ended
        return
    except Exception as error:  # noqa: BLE001 - told by the process that waits for it
        wire.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}))


def _quiet() -> None:
    """Ray's own tales go nowhere: the terminal belongs to the run's display."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)


def _start(workers: int) -> None:
    """Join the cluster that `RAY_ADDRESS` names, else start one on this machine alone."""
    import ray  # noqa: PLC0415

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, configure_logging=False)
        return
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=_HERE,
    )


def _results(setup: str, tasks: Sequence[str]) -> Iterator[str]:
    """The tasks' results, in the order in which they come."""
    import ray.data  # noqa: PLC0415

    wanted = json.loads(setup)
    at_a_time = wanted["at_a_time"]
    # a row is a task of its own, so that of a killed worker only those under way are repeated
    rows = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
    asked = rows.map(
        Worker,
        fn_constructor_args=(setup,),
        compute=ray.data.ActorPoolStrategy(
            size=wanted["workers"], max_tasks_in_flight_per_actor=at_a_time
        ),
        num_cpus=1,
        max_concurrency=at_a_time,
    )
    for row in asked.iter_rows():
        yield row["result"]


class Worker:
    """Asks what it is given, several things at a time, in one event loop.

    Args:
        setup: Who is asked, as JSON.
    """

    def __init__(self, setup: str) -> None:
        wanted = json.loads(setup)
        self._who = [_contestant(each) for each in wanted["contestants"]]
        self._judge = _judge(wanted["judge"])
        self._judging = _judging(wanted["judging"])
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
        """The result of a task."""
        task = json.loads(row["task"])
        found = asyncio.run_coroutine_threadsafe(self._done(task), self._loop).result()
        return {"result": json.dumps({"place": task["place"], **found})}

    async def _done(self, task: AnyMapping) -> AnyDict:
        with untraced():
            try:
                return await self._asked(task)
            except MoAConfigurationError as error:
                return {"refused": str(error)}

    async def _asked(self, task: AnyMapping) -> AnyDict:
        if "question" not in task:
            who = self._who[task["who"]]
            asked = asked_of(task["row"], who, task["earlier"], task["settings"])
            return {"answer": await answered(asked)}
        given = task["question"]
        messages = tuple((role, text) for role, text in given.pop("messages"))
        question = Question(**given, messages=messages)
        if self._judging is None or self._judge is None:
            msg = "there is nobody to judge."
            raise MoAConfigurationError(msg)
        return {"result": vars(await self._judging.judged(self._judge, question))}


def _model(config: AnyDict, key: str | None) -> MoAChatModel:
    """A mixture from its settings, with the key and the address that it was meant for."""
    address = {"base_url": config.pop("base_url")} if "base_url" in config else {}
    known = key or os.environ.get(TOGETHER_KEY_VARIABLE) or (NO_KEY if address else None)
    return MoAChatModel.from_config(config, **address, **({"api_key": known} if known else {}))


def _contestant(given: AnyDict) -> Contestant:
    model = _model(given["config"], None)
    return Contestant(given["name"], given["role"], model, samples=given["samples"])


def _judge(given: AnyDict | None) -> Judge | None:
    if given is None:
        return None
    model = _model(given["config"], os.environ.get(JUDGE_KEY_VARIABLE))
    judge = Judge(model.aggregator, name=given["name"], like=model)
    judge.wire = given["wire"]
    return judge


def _judging(given: AnyDict | None) -> Judging | None:
    if given is None:
        return None
    return judging_of(given.pop("suite"), **given)
