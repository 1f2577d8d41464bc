"""Members asked together, without the graph of their layer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langchain_moa.engine.layer import asked_together


class Turn:
    """A proposer's turn that fails, or waits until it is cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.cancelled = False

    async def arun(self, *_: Any) -> Any:
        if self._error is not None:
            raise self._error from KeyError("why")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_the_first_error_ends_all_turns_and_keeps_its_cause() -> None:
    waiting, failing = Turn(), Turn(ValueError("no"))
    turns: Any = [waiting, failing]
    with pytest.raises(ValueError, match="no") as caught:
        await asked_together(turns, [], [], {})
    assert isinstance(caught.value.__cause__, KeyError)
    assert waiting.cancelled
