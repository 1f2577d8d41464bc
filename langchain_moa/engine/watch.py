"""Tells listeners of the start and the end of a call, or of the aggregator's part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeAlias, TypeVar

from langchain_core.messages import AIMessage

from langchain_moa.tracing.progress import Progress
from langchain_moa.types import AnyDict, EventName

Ended: TypeAlias = Callable[[BaseException | None, AIMessage | None], tuple[EventName, AnyDict]]
"""Gives the event of an end, and its values, from what was raised and the answer that there was."""

_Message = TypeVar("_Message", bound=AIMessage)


class Watch:
    """Stands around what is watched, in sync and async code.

    Args:
        progress: Who is told.
        ended: Gives the event of the end.
        started: The event of the start, if there is one.
    """

    def __init__(self, progress: Progress, ended: Ended, started: EventName | None = None) -> None:
        self._progress = progress
        self._ended = ended
        self._started = started
        self._answer: AIMessage | None = None

    def answered(self, answer: _Message) -> _Message:
        """Keep the finished answer, for the event of the end."""
        self._answer = answer
        return answer

    def __enter__(self) -> Self:
        if self._started is not None:
            self._progress.emit(self._started)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        event, values = self._ended(error, self._answer)
        self._progress.emit(event, **values)

    async def __aenter__(self) -> Self:
        if self._started is not None:
            await self._progress.aemit(self._started)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        event, values = self._ended(error, self._answer)
        await self._progress.aemit(event, **values)
