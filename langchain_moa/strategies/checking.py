"""Asks a user's check whether proposals pass: all at the same time, within the time there is."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic

from langchain_moa.reliability.threads import in_thread, woken_by
from langchain_moa.reliability.users_code import as_errors
from langchain_moa.settings import is_async
from langchain_moa.strategies.settings import Check
from langchain_moa.types import Reason

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What came of the checks.

    Attributes:
        passed: Places of the proposals that pass.
        failed: Whether the check raised an error for one that does not.
        late: Whether it did not end for one.
    """

    passed: list[int]
    failed: bool
    late: bool

    @property
    def reason(self) -> Reason:
        """Why none passes, where none does."""
        return "check_failed" if self.failed else "timed_out" if self.late else "none_passed"


@dataclass(frozen=True)
class CheckAll:
    """A step that asks a check about some texts.

    Attributes:
        check: The user's function, async or not.
        texts: What it is asked about.
        until: When the time is over, on the clock of `time.monotonic`. A function in a thread goes
            on then, with nobody waiting for it.
    """

    check: Check
    texts: Sequence[str]
    until: float

    def do(self) -> Checked:
        """Ask in threads."""
        asked = [in_thread(partial(_called, self.check, text)) for text in self.texts]
        futures.wait(asked, self._timeout)
        return _checked([one if one.done() else None for one in asked])

    async def ado(self) -> Checked:
        """Ask in the event loop, or in threads where the function is not async."""
        asked = [asyncio.ensure_future(_acalled(self.check, text)) for text in self.texts]
        try:
            await asyncio.wait(asked, timeout=self._timeout)
            return _checked([one if one.done() else None for one in asked])
        finally:
            for one in asked:
                one.cancel()

    @property
    def _timeout(self) -> float | None:
        return None if self.until == inf else max(0.0, self.until - monotonic())


def _called(check: Check, text: str) -> bool:
    with as_errors():
        passes = check(text)
        return bool(asyncio.run(_awaited(passes)) if inspect.isawaitable(passes) else passes)


async def _awaited(passes: object) -> object:
    return await passes if inspect.isawaitable(passes) else passes


async def _acalled(check: Check, text: str) -> bool:
    if is_async(check):
        with as_errors():
            return bool(await _awaited(check(text)))
    asked = in_thread(partial(_called, check, text))
    await woken_by(asked)
    return asked.result()


def _checked(asked: Sequence[futures.Future[bool] | asyncio.Future[bool] | None]) -> Checked:
    """What came of each; `None` has not ended."""
    errors = [None if one is None else _error_of(one) for one in asked]
    for error in errors:
        if error is not None:
            logger.warning("the check of a proposal failed: %s: %s", type(error).__name__, error)
    passed = [
        place
        for place, (one, error) in enumerate(zip(asked, errors, strict=True))
        if one is not None and error is None and one.result()
    ]
    return Checked(passed, any(error is not None for error in errors), None in asked)


def _error_of(asked: futures.Future[bool] | asyncio.Future[bool]) -> BaseException | None:
    return asyncio.CancelledError() if asked.cancelled() else asked.exception()
