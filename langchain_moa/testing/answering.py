"""One answer of a scripted model on its way out, with the faults that it was told to have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from langchain_moa.testing.behavior import ModelBehavior
from langchain_moa.testing.dialects import Dialect, Frame, Refusal, Turn
from langchain_moa.testing.requests import RecordedRequest
from langchain_moa.testing.sending import document


class Answer:
    """One answer on its way out, whole or as server-sent events.

    Args:
        record: The request; what the answer takes and whether it ended is noted there.
        behavior: How the model behaves.
        dialect: In which words it is said.
        turn: What it says.
        refusal: The error that its stream ends with, if any.
    """

    def __init__(
        self,
        record: RecordedRequest,
        behavior: ModelBehavior,
        dialect: Dialect,
        turn: Turn,
        refusal: Refusal | None = None,
    ) -> None:
        self._record = record
        self._behavior = behavior
        self._dialect = dialect
        self._turn = turn
        self._refusal = refusal

    def document(self) -> str:
        """The whole answer as one JSON document."""
        self._record.usage = dict(self._turn.usage)
        return "".join(document(self._dialect, self._turn))

    async def whole(self) -> AsyncIterator[str]:
        """The document as the pieces of a body."""
        self._record.usage = dict(self._turn.usage)
        for piece in document(self._dialect, self._turn):
            yield piece
        self._record.finished = True

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        await asyncio.sleep(self._behavior.first_token_delay)
        if self._behavior.malformed:
            yield self._dialect.broken.sent
            return
        place = 0
        waiting: Frame | None = None  # so that all is noted before the client reads the end
        for frame in self._dialect.events(self._turn):
            if self._stops_at(frame, place):
                break
            if waiting is not None:
                yield waiting.sent
            if frame.token:
                await self._before_token(place)
                place += 1
            waiting = frame
        else:
            self._record.usage = dict(self._turn.usage)
            self._record.finished = True
        if waiting is not None:
            yield waiting.sent
        if self._refusal is not None:
            yield self._dialect.error_event(self._refusal).sent

    def _stops_at(self, frame: Frame, place: int) -> bool:
        """Whether a stream that is truncated, or that fails within, has come to its last frame."""
        failing = self._refusal is not None
        limit = self._behavior.error_after if failing else self._behavior.truncate_after
        return limit is not None and (frame.end or (frame.token and place >= limit))

    async def _before_token(self, place: int) -> None:
        if place and self._behavior.token_delay:
            await asyncio.sleep(self._behavior.token_delay)
        if place == self._behavior.once_after:
            await self._behavior.may_answer()
        if place == self._behavior.drop_after:
            raise ConnectionAbortedError  # the server cuts a response that ends in an error
