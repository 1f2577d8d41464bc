"""A model server on 127.0.0.1 that speaks Together's and OpenAI's chat completions.

It answers as JSON or SSE, with tool calls, JSON schemas, usage and several choices, records
every request, and shows any fault that a real provider may show.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Final

from langchain_moa.errors import MissingExtraError
from langchain_moa.testing.answering import BROKEN_JSON, Answer
from langchain_moa.testing.behavior import BehaviorFunction, ModelBehavior
from langchain_moa.testing.requests import RecordedRequest, complaint_about
from langchain_moa.testing.serving import ServerThread

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ImportError as error:
    _MESSAGE = "the loopback server needs: pip install 'langchain-moa[testing]'"
    raise MissingExtraError(_MESSAGE) from error

DEFAULT_KEY: Final = "loopback-key"

_PAGE: Final = "<!doctype html><title>502</title><h1>Bad gateway</h1>"


class LoopbackServer(ServerThread):
    """A model server in a thread of its own, to be used as a context manager.

    Args:
        models: Behavior per model id, or a function that gives it anew for each request, from
            the request's body and the number of earlier requests for this model; it is called
            in the server's event loop. Requests for other ids are answered with 404.
        api_key: The only key that is let in.
        port: Port on 127.0.0.1; 0 takes a free one.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_together import ChatTogether
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = ChatTogether(
        ...         model="demo/model", api_key=server.api_key, base_url=server.base_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    def __init__(
        self,
        models: Mapping[str, ModelBehavior | BehaviorFunction],
        *,
        api_key: str = DEFAULT_KEY,
        port: int = 0,
    ) -> None:
        self.models = dict(models)
        self.api_key = api_key
        self.requests: list[RecordedRequest] = []
        self._ids = count(1)
        self._counts: Counter[str] = Counter()
        app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._list_models),
            ]
        )
        super().__init__(app, port=port)

    @property
    def base_url(self) -> str:
        """Address for the clients' `base_url`."""
        return f"{self.url}/v1"

    def requests_for(self, model: str) -> list[RecordedRequest]:
        """The recorded requests for one model, in the order they came."""
        return [request for request in self.requests if request.model == model]

    async def _list_models(self, request: Request) -> Response:
        if not self._let_in(request):
            return _error(401, "Invalid API key provided.")
        data = [{"id": name, "object": "model", "owned_by": "loopback"} for name in self.models]
        return JSONResponse({"object": "list", "data": data})

    async def _complete(self, request: Request) -> Response:
        if not self._let_in(request):
            return _error(401, "Invalid API key provided.")
        try:
            body = await request.json()
        except ValueError:
            return _error(400, "The body is not JSON.")
        complaint = complaint_about(body)
        if complaint is not None:
            return _error(400, complaint)
        record = RecordedRequest(model=body["model"], body=body, headers=dict(request.headers))
        earlier = self._counts[record.model]
        self._counts[record.model] += 1
        self.requests.append(record)
        behavior = self.models.get(record.model)
        if behavior is None:
            return _error(404, f"The model {record.model!r} does not exist.")
        if not isinstance(behavior, ModelBehavior):
            behavior = behavior(body, earlier)
        await _before_any_answer(request, behavior)
        return _failure(behavior, earlier) or await self._answer(record, behavior)

    async def _answer(self, record: RecordedRequest, behavior: ModelBehavior) -> Response:
        if callable(behavior.reply):  # it may block, and the other requests must go on
            reply = await run_in_threadpool(behavior.reply_to, record.body)
        else:
            reply = behavior.reply_to(record.body)
        answer = Answer(record, behavior, reply, f"chatcmpl-{next(self._ids)}")
        if record.body.get("stream"):
            return _body(answer.events(), behavior, "text/event-stream")
        if behavior.malformed:
            return Response(BROKEN_JSON, media_type="application/json")
        if behavior.drip:
            return _body(answer.whole(), behavior, "application/json")
        record.finished = True
        return Response(answer.document(), media_type="application/json")

    def _let_in(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.api_key}"


async def _before_any_answer(request: Request, behavior: ModelBehavior) -> None:
    if behavior.latency:
        await asyncio.sleep(behavior.latency)
    if behavior.hang:
        await _until_gone(request)
    if behavior.drop:
        _cut(request)


def _failure(behavior: ModelBehavior, earlier: int) -> Response | None:
    """What is sent instead of an answer, if anything."""
    failing = behavior.fails(earlier)
    status = behavior.status if failing and behavior.status is not None else 200
    if behavior.content_type is not None and (failing or behavior.status is None):
        return Response(_PAGE, status_code=status, media_type=behavior.content_type)
    if failing:
        return _error(
            status, behavior.error, code=behavior.error_code, retry_after=behavior.retry_after
        )
    return None


def _body(pieces: AsyncIterator[str], behavior: ModelBehavior, media_type: str) -> Response:
    sent = _dripping(pieces, behavior.drip) if behavior.drip else pieces
    return StreamingResponse(sent, media_type=media_type)


async def _dripping(pieces: AsyncIterator[str], seconds: float) -> AsyncIterator[bytes]:
    async for piece in pieces:
        for byte in piece.encode():
            await asyncio.sleep(seconds)
            yield bytes([byte])


def _error(
    status: int, message: str, *, code: str | None = None, retry_after: float | None = None
) -> Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    body = {"error": {"message": message, "type": "scripted_error", "code": code or status}}
    return JSONResponse(body, status_code=status, headers=headers)


async def _until_gone(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def _cut(request: Request) -> None:
    """Cut the connection without an answer: ASGI has no word for it, uvicorn's cycle does."""
    request.receive.__self__.transport.abort()  # type: ignore[attr-defined]
    raise ClientDisconnect
