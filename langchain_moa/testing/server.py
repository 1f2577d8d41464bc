"""A model server on 127.0.0.1 that speaks the dialects of several providers on one port.

It answers OpenAI's and Together's, Anthropic's, Gemini's, Mistral's and llama.cpp's clients as
JSON or SSE, with tool calls, JSON schemas and usage, records every request, refuses what the
provider would refuse, and shows any fault that a real provider may show.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from itertools import count
from typing import Any, Final

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, shown
from langchain_moa.testing.answering import Answer
from langchain_moa.testing.behavior import BehaviorFunction, ModelBehavior
from langchain_moa.testing.dialects import (
    BROKEN_JSON,
    Anthropic,
    Dialect,
    Gemini,
    LlamaCpp,
    Mistral,
    OpenAI,
    Refusal,
    Responses,
    Turn,
    as_json,
)
from langchain_moa.testing.replies import count_prompt_tokens, count_usage
from langchain_moa.testing.requests import RecordedRequest
from langchain_moa.testing.sending import dripping, encoded, gzipped
from langchain_moa.testing.serving import ServerThread
from langchain_moa.types import AnyDict, AnyMapping

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

ANY_MODEL: Final = "*"
"""The id under which a model answers for every id that has none of its own."""

_WRONG_KEY: Final = "Invalid API key provided."
_PAGE: Final = "<!doctype html><title>502</title><h1>Bad gateway</h1>"


class LoopbackServer(ServerThread):
    """A model server in a thread of its own, to be used as a context manager.

    Args:
        models: Behavior per model id, or a function that gives it anew for each request, from
            the request's body (in the words of chat completions, whatever the dialect) and the
            number of earlier requests for this model; it is called in the server's event loop.
            Each model answers in every dialect. Requests for other ids are answered with 404, or
            by the model `"*"` where there is one, as servers do that have loaded one model (give
            it `answers_as`, the name of that model).
        api_key: The only key that is let in.
        port: Port on 127.0.0.1; 0 takes a free one.
        sizes: Bytes of models, as Ollama's list tells them.
        prefill: Whether Anthropic's dialect takes a conversation that ends on the assistant's
            turn, as models before Claude 4.6 do.

    Raises:
        MoAConfigurationError: A behavior is neither a `ModelBehavior` nor a function.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_together import ChatTogether
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = ChatTogether(
        ...         model="demo/model", api_key=server.api_key, base_url=server.base_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'

    How the clients of other providers are constructed, the classes in
    `langchain_moa.testing.dialects` show.
    """

    def __init__(
        self,
        models: Mapping[str, ModelBehavior | BehaviorFunction],
        *,
        api_key: str = DEFAULT_KEY,
        port: int = 0,
        sizes: Mapping[str, int] | None = None,
        prefill: bool = False,
    ) -> None:
        given: object = models  # callers without a type checker give texts
        if not isinstance(given, Mapping):
            msg = f"models={shown(given)} is no dict; give {{'name': ModelBehavior(reply=...)}}."
            raise MoAConfigurationError(msg)
        for name, behavior in given.items():
            if not callable(behavior) and not isinstance(behavior, ModelBehavior):
                msg = f"models[{name!r}]={shown(behavior)}: give ModelBehavior(reply=...)."
                raise MoAConfigurationError(msg)
        self._sizes = dict(sizes or {})
        self.models = dict(models)
        self.api_key = api_key
        self.requests: list[RecordedRequest] = []
        self._numbers = count(1)
        self._counts: Counter[str] = Counter()
        app = Starlette(
            routes=[
                self._route("/v1/chat/completions", OpenAI()),
                self._route("/openai/v1/chat/completions", OpenAI()),  # where Groq's clients ask
                self._route("/v1/responses", Responses()),
                self._route("/v1/messages", Anthropic(prefill=prefill)),
                # google-genai asks for the first up to version 2 and for the second from version 3
                self._route("/v1beta/models/{path:path}", Gemini()),
                self._route("/v1/models/{path:path}", Gemini()),
                self._route("/mistral/v1/chat/completions", Mistral()),
                self._route("/llama.cpp/v1/chat/completions", LlamaCpp()),
                Route("/v1/models", self._list_models),
                Route("/api/tags", self._list_as_ollama),
                Route("/llama.cpp/v1/models", self._list_models),
            ]
        )
        super().__init__(app, port=port)

    @property
    def base_url(self) -> str:
        """Address for the `base_url` of `ChatTogether` and `ChatOpenAI`."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """Address for the `base_url` of `ChatAnthropic`."""
        return self.url

    @property
    def gemini_url(self) -> str:
        """Address for the `base_url` of `ChatGoogleGenerativeAI`."""
        return self.url

    @property
    def mistral_url(self) -> str:
        """Address for the `base_url` (or `endpoint`) of `ChatMistralAI`."""
        return f"{self.url}/mistral/v1"

    @property
    def llama_cpp_url(self) -> str:
        """Address for the `base_url` of a client that asks llama.cpp's server."""
        return f"{self.url}/llama.cpp/v1"

    def requests_for(self, model: str) -> list[RecordedRequest]:
        """The recorded requests for one model, in the order they came."""
        return [request for request in self.requests if request.model == model]

    def _route(self, path: str, dialect: Dialect) -> Route:
        async def complete(request: Request) -> Response:
            return await self._complete(request, dialect)

        return Route(path, complete, methods=["POST"])

    async def _list_models(self, request: Request) -> Response:
        dialect = OpenAI()
        if dialect.key(request.headers) != self.api_key:
            return _error(dialect, Refusal(status=401, message=_WRONG_KEY))
        names = [name for name in self.models if name != ANY_MODEL]
        data = [{"id": name, "object": "model", "owned_by": "loopback"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def _list_as_ollama(self, _: Request) -> Response:
        """What `GET /api/tags` of Ollama says, which asks for no key."""
        names = [name for name in self.models if name != ANY_MODEL]
        models = [_as_ollama(name, self._sizes.get(name, 0)) for name in names]
        return JSONResponse({"models": models})

    async def _complete(self, request: Request, dialect: Dialect) -> Response:
        if dialect.key(request.headers) != self.api_key:
            return _error(dialect, Refusal(status=401, message=_WRONG_KEY))
        try:
            body = await request.json()
        except ValueError:
            return _error(dialect, Refusal(status=400, message="The body is not JSON."))
        complaint = dialect.complaint_about(body)
        if complaint is not None:
            return _error(dialect, Refusal(status=400, message=complaint))
        path = request.path_params.get("path", "")
        model, streams = dialect.asked(body, path)
        record = RecordedRequest(
            model=model, body=body, headers=dict(request.headers), dialect=dialect.name
        )
        earlier = self._counts[model]
        self._counts[model] += 1
        self.requests.append(record)
        behavior = self.models.get(model, self.models.get(ANY_MODEL))
        if behavior is None:
            message = f"The model {model!r} does not exist."
            return _error(dialect, Refusal(status=404, message=message))
        chat_body = dialect.chat_body(body, path)
        if not isinstance(behavior, ModelBehavior):
            behavior = behavior(chat_body, earlier)
        await _before_any_answer(request, behavior, streams=streams)
        refusal = _failure(behavior, earlier)
        instead = _instead(dialect, behavior, chat_body, refusal, streams=streams)
        if instead is None:
            turn = await self._turn(record, behavior, chat_body, dialect, refusal)
            at_end = refusal if behavior.error_in == "event" else None
            answer = Answer(record, behavior, dialect, turn, at_end)
            instead = _response(answer, record, behavior, streams=streams)
        instead.headers.update(behavior.headers)
        return instead

    async def _turn(
        self,
        record: RecordedRequest,
        behavior: ModelBehavior,
        chat_body: AnyMapping,
        dialect: Dialect,
        refusal: Refusal | None,
    ) -> Turn:
        if not behavior.obeys_tool_choice:
            chat_body = {**chat_body, "tool_choice": "auto"}
        if callable(behavior.reply):  # it may block, and the other requests must go on
            reply = await run_in_threadpool(behavior.reply_to, chat_body)
        else:
            reply = behavior.reply_to(chat_body)
        return Turn(
            number=next(self._numbers),
            model=behavior.answers_as or record.model,
            reply=reply,
            usage=count_usage(chat_body, reply, behavior.repeat),
            body=record.body,
            behavior=behavior,
            error=_choice_error(dialect, behavior, refusal),
        )


def _as_ollama(name: str, size: int) -> AnyDict:
    details = {"format": "gguf", "family": name.partition(":")[0], "parameter_size": "1B"}
    modified = "2026-01-01T00:00:00Z"
    return {"name": name, "model": name, "size": size, "modified_at": modified, "details": details}


def _response(
    answer: Answer, record: RecordedRequest, behavior: ModelBehavior, *, streams: bool
) -> Response:
    if streams:
        return _body(answer.events(), behavior, "text/event-stream")
    if behavior.malformed:
        return Response(BROKEN_JSON, media_type="application/json")
    if behavior.drip or behavior.gzip or behavior.repeat > 1:
        return _body(answer.whole(), behavior, "application/json")
    record.finished = True
    return Response(answer.document(), media_type="application/json")


async def _before_any_answer(request: Request, behavior: ModelBehavior, *, streams: bool) -> None:
    if behavior.once is not None and not (streams and behavior.once_after):
        await _unless_gone(request, behavior.may_answer())
    if behavior.latency:
        await asyncio.sleep(behavior.latency)
    if behavior.hang:
        await _until_gone(request)
    if behavior.drop:
        _cut(request)


def _failure(behavior: ModelBehavior, earlier: int) -> Refusal | None:
    """The error that the model shows this time, if any."""
    if not behavior.fails(earlier) or behavior.status is None:
        return None
    return Refusal(
        status=behavior.status,
        message=behavior.error,
        code=behavior.error_code,
        kind=behavior.error_type,
        fields=behavior.error_fields,
    )


def _instead(
    dialect: Dialect,
    behavior: ModelBehavior,
    chat_body: AnyMapping,
    refusal: Refusal | None,
    *,
    streams: bool,
) -> Response | None:
    """What is sent instead of an answer, if anything."""
    if behavior.content_type is not None and (refusal is not None or behavior.status is None):
        status = 200 if refusal is None else refusal.status
        return Response(_PAGE, status_code=status, media_type=behavior.content_type)
    if refusal is not None and behavior.error_in == "status":
        return _error(dialect, refusal, retry_after=behavior.retry_after)
    if refusal is not None and (
        behavior.error_in == "answer" or (behavior.error_in == "event" and not streams)
    ):
        return Response(as_json(dialect.error(refusal)), media_type="application/json")
    if behavior.silent:
        return Response(media_type="text/event-stream" if streams else "application/json")
    refusal = _unfit(dialect, behavior, chat_body)
    return None if refusal is None else _error(dialect, refusal)


def _unfit(dialect: Dialect, behavior: ModelBehavior, chat_body: AnyMapping) -> Refusal | None:
    """What the model cannot take of a request, if anything."""
    messages = chat_body["messages"]
    if not behavior.pictures and any(_has_picture(message) for message in messages):
        return dialect.no_pictures()
    read = count_prompt_tokens(messages)
    if behavior.window is not None and read > behavior.window:
        return dialect.too_long(read, behavior.window)
    return None


def _has_picture(message: AnyMapping) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)


def _choice_error(dialect: Dialect, behavior: ModelBehavior, refusal: Refusal | None) -> object:
    """The error that stands in the answer's choice, if any."""
    if refusal is None or behavior.error_in != "choice":
        return None
    body = dialect.error(refusal)
    return body.get("error", body)


def _body(pieces: AsyncIterator[str], behavior: ModelBehavior, media_type: str) -> Response:
    sent = encoded(pieces)
    if behavior.gzip:
        sent = gzipped(sent)
    if behavior.drip:
        sent = dripping(sent, behavior.drip)
    headers = {"Content-Encoding": "gzip"} if behavior.gzip else {}
    return StreamingResponse(sent, media_type=media_type, headers=headers)


def _error(dialect: Dialect, refusal: Refusal, *, retry_after: float | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    body = as_json(dialect.error(refusal))
    return Response(body, refusal.status, headers=headers, media_type="application/json")


async def _unless_gone(request: Request, awaited: Coroutine[object, object, None]) -> None:
    """Wait for something, or until the client has closed the connection."""
    gone, done = asyncio.ensure_future(_until_gone(request)), asyncio.ensure_future(awaited)
    try:
        await asyncio.wait((gone, done), return_when=asyncio.FIRST_COMPLETED)
        for ended in filter(asyncio.Future.done, (gone, done)):
            ended.result()
    finally:
        gone.cancel()
        done.cancel()


async def _until_gone(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect


def _cut(request: Request) -> None:
    """Cut the connection without an answer: ASGI has no word for it, uvicorn's cycle does."""
    cycle: Any = request.receive
    cycle.__self__.transport.abort()
    raise ClientDisconnect
