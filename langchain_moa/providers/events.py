"""Streams of members given as strings tell whether they came to their end mark.

The SDK ends a stream alike at its mark `[DONE]` and where a connection was cut. What servers that
give no finish reason have sent up to the mark is an answer, and what was cut is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import openai

from langchain_moa.types import AnyDict, AnyMapping

_END: Final = "[DONE]"
_UNSPECIFIED: Final = "unspecified"
"""The finish reason of a stream that came to its end mark and never gave one."""


class Pieces(openai.Stream[object]):
    """A stream of chat completions."""

    _came_to_end = False

    def _iter_events(self) -> Iterator[Any]:
        for event in super()._iter_events():
            self._came_to_end = self._came_to_end or event.data.startswith(_END)
            yield event

    def __stream__(self) -> Iterator[object]:
        reason = _Reason()
        for piece in super().__stream__():
            reason.take(piece)
            yield piece
        if self._came_to_end and reason.lacks:
            yield reason.unspecified()


class AsyncPieces(openai.AsyncStream[object]):
    """The async twin of `Pieces`."""

    _came_to_end = False

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self._came_to_end = self._came_to_end or event.data.startswith(_END)
            yield event

    async def __stream__(self) -> AsyncIterator[object]:
        reason = _Reason()
        async for piece in super().__stream__():
            reason.take(piece)
            yield piece
        if self._came_to_end and reason.lacks:
            yield reason.unspecified()


class _Reason:
    """Looks for the finish reason of a stream."""

    def __init__(self) -> None:
        self._last: AnyMapping = {}
        self._given = False

    def take(self, piece: object) -> None:
        choices = piece.get("choices") if isinstance(piece, Mapping) else None
        if isinstance(piece, Mapping) and isinstance(choices, list) and choices:
            self._last = piece
            first = choices[0]
            self._given = self._given or bool(
                isinstance(first, Mapping) and first.get("finish_reason")
            )

    @property
    def lacks(self) -> bool:
        """Whether something came, and no reason with it."""
        return bool(self._last) and not self._given

    def unspecified(self) -> AnyDict:
        """A last piece that says so."""
        known = {name: self._last[name] for name in ("id", "object", "model") if name in self._last}
        choice = {"index": 0, "delta": {}, "finish_reason": _UNSPECIFIED}
        return {**known, "choices": [choice]}
