"""A model server on 127.0.0.1 that speaks Together's and OpenAI's chat completions.

It answers as JSON or SSE, with tool calls, JSON schemas, usage and several choices, records
every request, and shows any fault that a real provider may show.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from langchain_moa.errors import MissingExtraError
from langchain_moa.testing.replies import (
    Reply,
    assistant_reply,
    count_prompt_tokens,
    tokens,
)
from langchain_moa.testing.requests import complaint_about
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

ReplyFunction = Callable[[Mapping[str, Any]], str | Reply]
"""Answers the body of a chat completions request."""


@dataclass(frozen=True, kw_only=True)
class ModelBehavior:
    """How one model of the server behaves. Durations are in seconds.

    Attributes:
        reply: A fixed text or reply, or a function of the request's body.
        latency: Time before the response begins.
        first_token_delay: Further time before the first token of a stream.
        token_delay: Time before each further token of a stream.
        status: An HTTP error status instead of an answer, such as 429 or 500.
        error: Message of that error.
        retry_after: Value of the `Retry-After` header of that error.
        fail_first: Only so many first requests get that error; `None` means all do.
        drop: Close the connection instead of answering.
        hang: Never answer.
        drop_after: Close the connection after so many tokens of a stream; an answer that is
            not streamed comes whole.
        truncate_after: End a stream without an end mark after so many tokens; as above.
        malformed: Answer with broken JSON.
        answers_as: Another model name in the answer than was asked for.
    """

    reply: str | Reply | ReplyFunction = assistant_reply
    latency: float = 0.0
    first_token_delay: float = 0.0
    token_delay: float = 0.0
    status: int | None = None
    error: str = "the scripted model fails as it was told to"
    retry_after: float | None = None
    fail_first: int | None = None
    drop: bool = False
    hang: bool = False
    drop_after: int | None = None
    truncate_after: int | None = None
    malformed: bool = False
    answers_as: str | None = None

    def reply_to(self, body: Mapping[str, Any]) -> Reply:
        """The reply to a request's body."""
        said = self.reply(body) if callable(self.reply) else self.reply
        return Reply(text=said) if isinstance(said, str) else said


@dataclass(kw_only=True)
class RecordedRequest:
    """One chat completions request that the server got.

    Attributes:
        model: The model that was asked for.
        body: The whole JSON body.
        headers: The headers, names in lower case.
        arrived: When it came, on the clock of `time.monotonic`.
        usage: Tokens of the answer, once it was sent.
        finished: Whether the answer was sent to its end.
    """

    model: str
    body: dict[str, Any]
    headers: dict[str, str]
    arrived: float = field(default_factory=time.monotonic)
    usage: dict[str, int] | None = None
    finished: bool = False


class LoopbackServer(ServerThread):
    """A model server in a thread of its own, to be used as a context manager.

    Args:
        models: Behavior per model id; requests for other ids are answered with 404.
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
        models: Mapping[str, ModelBehavior],
        *,
        api_key: str = DEFAULT_KEY,
        port: int = 0,
    ) -> None:
        self.models = dict(models)
        self.api_key = api_key
        self.requests: list[RecordedRequest] = []
        self._ids = count(1)
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
        earlier = len(self.requests_for(record.model))
        self.requests.append(record)
        behavior = self.models.get(record.model)
        if behavior is None:
            return _error(404, f"The model {record.model!r} does not exist.")
        return await self._behave(request, record, behavior, earlier)

    async def _behave(
        self, request: Request, record: RecordedRequest, behavior: ModelBehavior, earlier: int
    ) -> Response:
        if behavior.latency:
            await asyncio.sleep(behavior.latency)
        if behavior.hang:
            await _until_gone(request)
        if behavior.drop:
            _cut(request)
        still = behavior.fail_first is None or earlier < behavior.fail_first
        if behavior.status is not None and still:
            return _error(behavior.status, behavior.error, retry_after=behavior.retry_after)
        if callable(behavior.reply):  # it may block, and the other requests must go on
            reply = await run_in_threadpool(behavior.reply_to, record.body)
        else:
            reply = behavior.reply_to(record.body)
        answer = _Answer(record, behavior, reply, f"chatcmpl-{next(self._ids)}")
        if record.body.get("stream"):
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        return answer.whole()

    def _let_in(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.api_key}"


class _Answer:
    """One answer on its way out, whole or as server-sent events."""

    def __init__(
        self, record: RecordedRequest, behavior: ModelBehavior, reply: Reply, answer_id: str
    ) -> None:
        self._record = record
        self._behavior = behavior
        self._reply = reply
        self._head = {
            "id": answer_id,
            "created": int(time.time()),
            "model": behavior.answers_as or record.model,
        }
        self._choices: int = record.body.get("n") or 1

    def _usage(self) -> dict[str, int]:
        read = count_prompt_tokens(self._record.body["messages"])
        calls = "".join(call.arguments_text for call in self._reply.tool_calls)
        written = len(tokens((self._reply.text or "") + calls)) * self._choices
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }

    def whole(self) -> Response:
        """The answer as one JSON document."""
        if self._behavior.malformed:
            return Response('{"choices": [{"mess', media_type="application/json")
        message: dict[str, Any] = {"role": "assistant", "content": self._reply.text}
        if self._reply.tool_calls:
            message["tool_calls"] = [_call(i, c) for i, c in enumerate(self._reply.tool_calls)]
        choices = [
            {"index": i, "message": message, "finish_reason": self._reply.reason}
            for i in range(self._choices)
        ]
        self._record.usage = self._usage()
        self._record.finished = True
        head = {**self._head, "object": "chat.completion"}
        return JSONResponse({**head, "choices": choices, "usage": self._record.usage})

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        await asyncio.sleep(self._behavior.first_token_delay)
        if self._behavior.malformed:
            yield 'data: {"choices": [{"del\n\n'
            return
        for choice in range(self._choices):
            async for delta in self._deltas():
                yield self._event(choice, delta, None)
            if self._behavior.truncate_after is not None:
                return
            yield self._event(choice, {}, self._reply.reason)
        self._record.usage = self._usage()
        if (self._record.body.get("stream_options") or {}).get("include_usage"):
            yield _data({**self._chunk_head(), "choices": [], "usage": self._record.usage})
        self._record.finished = True
        yield "data: [DONE]\n\n"

    async def _deltas(self) -> AsyncIterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        pieces = tokens(self._reply.text or "")
        for place, piece in enumerate(pieces[: self._behavior.truncate_after]):
            if place and self._behavior.token_delay:
                await asyncio.sleep(self._behavior.token_delay)
            if place == self._behavior.drop_after:
                raise ClientDisconnect  # the server cuts a response that ends in an error
            yield {"content": piece}
        for index, call in enumerate(self._reply.tool_calls):
            opened = _call(index, call)
            opened["function"]["arguments"] = ""
            yield {"tool_calls": [{"index": index, **opened}]}
            for piece in tokens(call.arguments_text):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _event(self, choice: int, delta: dict[str, Any], reason: str | None) -> str:
        entry = {"index": choice, "delta": delta, "finish_reason": reason}
        return _data({**self._chunk_head(), "choices": [entry]})


def _call(index: int, call: Any) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"id": f"call_{index}", "type": "function", "function": function}


def _data(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


def _error(status: int, message: str, *, retry_after: float | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    body = {"error": {"message": message, "type": "scripted_error", "code": status}}
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
