"""Streams of chat completions: what is in them, what they are instead, and whether they ended.

The SDK ends a stream alike at its mark `[DONE]` and where a connection was cut. What servers that
give no finish reason have sent up to the mark is an answer, and what was cut is none. And where a
server sends a document in place of a stream, the SDK sees a stream without events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import openai

from langchain_moa.providers.sizes import Size, answer_limit
from langchain_moa.providers.tidying import error_within, is_document, is_page, tidied, told, unread
from langchain_moa.types import LARGE, AnyDict, AnyMapping

_END: Final = "[DONE]"
_UNSPECIFIED: Final = "unspecified"
"""The finish reason of a stream that came to its end mark and never gave one."""
_SHOWN: Final = 200
"""Characters of a page that came instead of a stream."""


class Pieces(openai.Stream[object]):
    """A stream of chat completions."""

    _came_to_end = False

    def _iter_events(self) -> Iterator[Any]:
        for event in super()._iter_events():
            self._came_to_end = self._came_to_end or event.data.startswith(_END)
            _require_no_error(event, self.response)
            if event.data.strip():  # without, it only keeps the connection alive
                yield event

    def __stream__(self) -> Iterator[object]:
        heard = _Heard(self.response)
        if is_document(self.response):
            yield heard.taken(_streamed(b"".join(_limited(self.response)), self.response))
        else:
            with _with_response(self.response):
                for piece in super().__stream__():
                    yield heard.taken(piece)
        yield from heard.rest(came_to_end=self._came_to_end)


class AsyncPieces(openai.AsyncStream[object]):
    """The async twin of `Pieces`."""

    _came_to_end = False

    async def _iter_events(self) -> AsyncIterator[Any]:
        async for event in super()._iter_events():
            self._came_to_end = self._came_to_end or event.data.startswith(_END)
            _require_no_error(event, self.response)
            if event.data.strip():  # without, it only keeps the connection alive
                yield event

    async def __stream__(self) -> AsyncIterator[object]:
        heard = _Heard(self.response)
        if is_document(self.response):
            body = b"".join([piece async for piece in _alimited(self.response)])
            large = len(body) > LARGE
            read = asyncio.to_thread(_streamed, body, self.response) if large else None
            yield heard.taken(_streamed(body, self.response) if read is None else await read)
        else:
            with _with_response(self.response):
                async for piece in super().__stream__():
                    yield heard.taken(piece)
        for piece in heard.rest(came_to_end=self._came_to_end):
            yield piece


def provider_said(error: object, response: Any, usage: object = None) -> openai.APIError:
    """The SDK's error for one that a provider puts into an answer.

    Args:
        error: What the provider says.
        response: The HTTP response that it stands in, whose headers may say more.
        usage: What the answer has used even so, as far as it tells.
    """
    said = told(error)
    text = said if isinstance(said, str) else json.dumps(error, default=str)
    body = error if isinstance(error, Mapping) else {"message": text}
    made = openai.APIError(text, request=response.request, body=body)
    vars(made).update(response=response, usage=usage)
    return made


def nothing_said(response: Any, usage: object = None) -> openai.APIConnectionError:
    """The SDK's error for an answer in which there is none, as for a stream without a piece."""
    made = openai.APIConnectionError(message="the answer has no choices", request=response.request)
    vars(made).update(response=response, usage=usage)
    return made


def _require_no_error(event: Any, response: object) -> None:
    """Raise what an event says that calls itself an error, which may be no JSON.

    Raises:
        APIError: It is one.
    """
    if event.event != "error":
        return
    try:
        said = json.loads(event.data)
    except ValueError:
        said = event.data
    raise provider_said(error_within(said) or said, response)


@contextmanager
def _with_response(response: object) -> Iterator[None]:
    """Have an error that an event brings keep the response, whose headers may say more.

    What the SDK makes of one that is no object does not say what it was.
    """
    try:
        yield
    except openai.APIError as error:
        if isinstance(error.body, str | list):
            raise provider_said(error.body, response) from None
        vars(error).setdefault("response", response)
        raise


def _limited(response: Any) -> Iterator[bytes]:
    limit = answer_limit.get()
    size = None if limit is None else Size(limit, in_events=False)
    for piece in response.iter_bytes():
        if size is not None:
            size.take(piece)
        yield piece


async def _alimited(response: Any) -> AsyncIterator[bytes]:
    limit = answer_limit.get()
    size = None if limit is None else Size(limit, in_events=False)
    async for piece in response.aiter_bytes():
        if size is not None:
            size.take(piece)
        yield piece


def _streamed(body: bytes, response: Any) -> AnyDict:
    """A document that came in place of a stream, as its only piece.

    Some servers answer whole where they can't stream, and some only where they fail.

    Raises:
        APIError: It is an error, or a page.
        ModelAPIError: It is nothing that can be read.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")
    if error := error_within(answer):
        raise provider_said(error, response)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list):
        page = body[:_SHOWN].decode(errors="replace")
        if not is_page(answer):
            raise unread(repr(page))
        msg = f"Unexpected response type: a document in place of a stream, {page!r}"
        # no word of the provider's, but a wrong address: to ask again is no help
        raise openai.APIError(msg, request=response.request, body=None)
    return {**answer, "choices": [_delta(choice) for choice in choices]}


def _delta(choice: object) -> object:
    """A choice of a whole answer as one of a stream."""
    if not isinstance(choice, dict):
        return choice
    message = choice.get("message")
    delta = dict(message) if isinstance(message, dict) else {}
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        delta["tool_calls"] = [
            {"index": place, **call} if isinstance(call, dict) else call
            for place, call in enumerate(calls)
        ]
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "delta": delta}


class _Heard:
    """What has been heard of a stream: its finish reason, an error in a choice, its usage."""

    def __init__(self, response: object) -> None:
        self._response = response
        self._last: AnyMapping = {}
        self._given = False
        self._error: object = None
        self._usage: Any = None

    def taken(self, piece: object) -> object:
        """A piece as it is passed on."""
        piece = tidied(piece)
        bare = not isinstance(piece, dict) or piece.get("choices") is None
        if bare and (error := error_within(piece)):
            raise provider_said(error, self._response, self._usage)
        if not isinstance(piece, dict):
            return {"choices": []}
        self._usage = piece.get("usage") or self._usage
        choices = piece.get("choices")
        if isinstance(choices, list) and choices:
            self._last = piece
            first = choices[0]
            self._given = self._given or bool(first.get("finish_reason"))
            self._error = self._error or error_within(piece)
            if "delta" not in first:
                return {**piece, "choices": [{**first, "delta": {}}, *choices[1:]]}
        return piece

    def rest(self, *, came_to_end: bool) -> Iterator[AnyDict]:
        """What is to be passed on at the end: that no reason was given, where none was.

        Raises:
            APIError: A choice said that the provider failed.
        """
        if self._error is not None:  # what it has used comes after it
            raise provider_said(self._error, self._response, self._usage)
        if came_to_end and self._last and not self._given:
            names = ("id", "object", "model")
            known = {name: self._last[name] for name in names if name in self._last}
            choice = {"index": 0, "delta": {}, "finish_reason": _UNSPECIFIED}
            yield {**known, "choices": [choice]}
