"""The steps from rows to answers and from answers to judgments, on Ray's workers.

Records are written here, by the process that holds the run's folder, as results come; so a run that
was begun on one engine goes on with the other.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, cast

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, MoAError
from langchain_moa.evals.answering import Asked
from langchain_moa.evals.contestants import Contestant
from langchain_moa.evals.judges.base import Judging, Question, Result
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.types import Answer
from langchain_moa.types import AnyDict, AnyMapping

WORKERS: Final = 2
"""Workers of a local cluster, and of an existing one."""
_PATIENCE: Final = 30.0
"""Seconds that Ray has to end."""
_WAVE: Final = 1000
"""Tasks that are handed to Ray together."""
JUDGE_KEY: Final = "LANGCHAIN_MOA_JUDGE_KEY"


class RayEngine:
    """Has things asked by Ray's workers, in an existing cluster (`RAY_ADDRESS`), else a local one.

    Members, judges and metrics must be such as a configuration can hold; keys are taken from the
    environment of the workers.

    Args:
        contestants: Who answers.
        judging: How answers are judged.
        judge: Who judges.
        concurrency: How many things are asked at the same time, by all workers together.
        workers: How many workers.

    Raises:
        MissingExtraError: The extra `ray` is not installed.
        MoAConfigurationError: A member is a function or a chain, which no configuration holds.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant] = (),
        judging: Judging | None = None,
        judge: Judge | None = None,
        *,
        concurrency: int = 8,
        workers: int = WORKERS,
    ) -> None:
        if find_spec("ray") is None:
            msg = "engine='ray' needs the extra ray: pip install 'langchain-moa[evals,ray]'."
            raise MissingExtraError(msg)
        self._judging = judging
        self._wire: Connection | None = None
        self._process: BaseProcess | None = None
        self._setup: AnyDict = {
            "workers": workers,
            "at_a_time": max(1, concurrency // workers),
            "contestants": [
                {
                    "name": who.name,
                    "role": who.role,
                    "samples": who.samples,
                    "config": who.model.to_config(),
                }
                for who in contestants
            ],
            "judge": None
            if judge is None
            else {"name": judge.name, "wire": judge.wire, "config": judge.asked.to_config()},
        }
        self._places = {who.name: place for place, who in enumerate(contestants)}
        own = judge.own_key if judge is not None else None
        self._key = own.get_secret_value() if own is not None else None

    async def answers(self, asked: Sequence[Asked]) -> AsyncIterator[tuple[Asked, Answer]]:
        """The answers' records, in the order in which they come.

        Raises:
            MoAConfigurationError: The set-up is wrong: a key, or a model's name.
            MoAError: Ray failed.
        """
        tasks = [
            {
                "place": place,
                "row": each.row,
                "who": self._places[each.model],
                "earlier": each.earlier,
                "settings": each.generation,
            }
            for place, each in enumerate(asked)
        ]
        async for result in self._results(tasks):
            each = asked[result["place"]]
            # the same hash on every machine, whatever its packages
            yield each, each.marked(cast("Answer", result["answer"]))

    async def judged(
        self, questions: Sequence[tuple[int, Question]]
    ) -> AsyncIterator[tuple[int, Result]]:
        """What came of questions, with their numbers, in the order in which it comes.

        Raises:
            MoAConfigurationError: The set-up is wrong: the judge's key, or its name.
            MoAError: Ray failed.
        """
        tasks = [{"place": place, "question": vars(question)} for place, question in questions]
        async for result in self._results(tasks):
            yield result["place"], Result(**result["result"])

    async def _results(self, tasks: Sequence[AnyMapping]) -> AsyncIterator[AnyDict]:
        for start in range(0, len(tasks), _WAVE):
            async for result in self._wave(tasks[start : start + _WAVE]):
                yield result

    async def _wave(self, tasks: Iterable[AnyMapping]) -> AsyncIterator[AnyDict]:
        # how a judge is read may have been found out since
        setup = {**self._setup, "judging": self._judging.recipe if self._judging else None}
        wire = self._wire or self._started()
        wire.send((json.dumps(setup), [json.dumps(task) for task in tasks]))
        while (result := await asyncio.to_thread(_received, wire)) is not None:
            if "refused" in result:
                msg = f"{result['refused']} (Ray's workers take keys from their own environment.)"
                raise MoAConfigurationError(msg)
            yield result

    def _started(self) -> Connection:
        """The process in which Ray is."""
        from langchain_moa.evals.ray_worker import serve  # noqa: PLC0415 - its name alone

        context = multiprocessing.get_context("spawn")
        self._wire, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        with _environment(self._key):
            self._process.start()
        theirs.close()
        return self._wire

    def close(self) -> None:
        """End Ray's process."""
        if self._wire is None or self._process is None:
            return
        with suppress(OSError):
            self._wire.send(None)
        self._wire.close()
        self._process.join(_PATIENCE)
        self._process.terminate()
        self._wire = self._process = None


def _received(wire: Connection) -> AnyDict | None:
    try:
        text = wire.recv()
    except EOFError:
        text = json.dumps({"failed": "its process ended early"})
    result = None if text is None else cast("AnyDict", json.loads(text))
    if result is not None and "failed" in result:
        msg = f"engine='ray': {result['failed']}; Ray's own logs are in /tmp/ray/session_latest."
        raise MoAError(msg)
    return result


@contextmanager
def _environment(key: str | None) -> Iterator[None]:
    """The judge's own key in the environment of a process that is started meanwhile."""
    if key is None:
        yield
        return
    os.environ[JUDGE_KEY] = key
    try:
        yield
    finally:
        del os.environ[JUDGE_KEY]
