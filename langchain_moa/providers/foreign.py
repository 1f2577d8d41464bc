"""Anthropic's, Mistral's and Google's answers made what LangChain's classes for them can read.

These classes take the types of an answer for granted: a gateway's odd usage ends the call that it
belongs to or counts as no tokens, and an error with status 200 as an answer without text. Here, as
`tidying` does it for chat completions, what is odd is unknown, and an error is raised.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from langchain_core.exceptions import ModelAPIError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call
from langchain_core.outputs import ChatResult
from pydantic import BaseModel, ValidationError

from langchain_moa.providers.classes import is_a, like, of_class
from langchain_moa.providers.tidying import calls_apart, error_within, is_document, tidied, unread
from langchain_moa.types import AnyDict, whole_number

_ModelT = TypeVar("_ModelT", bound=BaseChatModel)
_T = TypeVar("_T")

_DATA: Final = b"data:"
_EVENT: Final = b"event:"
_SHOWN: Final = 200
_COUNTS: Final = ("input_tokens", "output_tokens")


def tidily_read(model: _ModelT) -> _ModelT:
    """A copy of a model whose foreign answers are tidied before they are read.

    The user's own object is left alone; a model of another class is given back.
    """
    if is_a(model, "ChatAnthropic"):
        return of_class(model.model_copy(), _anthropic(type(model)))
    if is_a(model, "ChatMistralAI"):
        own: Any = model
        clients = {"client": _Client(own.client), "async_client": _Client(own.async_client)}
        return of_class(model.model_copy(update=clients), _mistral(type(model)))
    if is_a(model, "ChatGoogleGenerativeAI"):
        client = _google(getattr(model, "client", None))
        return model if client is None else model.model_copy(update={"client": client})
    return model


def _require_answer(answer: object, *, complete: bool) -> None:
    """Refuse what is no answer.

    Args:
        answer: What the provider sent.
        complete: Whether it has what an answer must have.

    Raises:
        ValueError: It is an error.
        ModelAPIError: It is nothing that can be read.
    """
    if complete:
        return
    if error := error_within(answer):
        raise ValueError(error if isinstance(error, Mapping) else {"message": error})
    msg = f"the answer cannot be read: {str(answer)[:_SHOWN]!r}"
    raise ModelAPIError(msg)


_UNREAD: Final = (AttributeError, IndexError, KeyError, TypeError, ValidationError)
"""What a client raises that takes the types of an answer for granted."""


def readably(read: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """What a client makes of an answer.

    Raises:
        ModelAPIError: It cannot read it.
    """
    try:
        return read(*args, **kwargs)
    except _UNREAD as error:
        raise _of_client(error) from error


def whole_readably(read: Callable[..., ChatResult], answer: AnyDict) -> ChatResult:
    """What a client makes of a whole answer of chat completions, see `calls_apart`.

    Raises:
        ModelAPIError: It cannot read it.
    """
    readable, odd = calls_apart(answer)
    made = readably(read, readable)
    for generation, calls in zip(made.generations, odd, strict=False):
        if calls and isinstance(generation.message, AIMessage):
            said = [make_invalid_tool_call(call, _NO_OBJECT) for call in calls]
            generation.message.invalid_tool_calls += said
    return made


_NO_OBJECT: Final = "the arguments are no JSON object"


def _of_client(error: Exception) -> ModelAPIError:
    return unread(f"{type(error).__name__}: {error}")


def _require_stream(body: bytes) -> None:
    """Refuse a document that came in place of a stream: the error that it is, or a page.

    Raises:
        ValueError: It is an error.
        ModelAPIError: It is no error that can be read.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")
    _require_answer(answer, complete=False)


# --- Anthropic: objects of its SDK, which does not check them ---


@cache
def _anthropic(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    read_whole: Any = getattr(kind, _OF_WHOLE)
    read_piece: Any = getattr(kind, _OF_PIECES)

    def whole(self: Any, data: Any, **kwargs: Any) -> Any:
        complete = isinstance(getattr(data, "content", None), list)
        plain = data.model_dump(warnings=False) if isinstance(data, BaseModel) else data
        _require_answer(plain, complete=complete)
        usage = _counted(data.usage)
        known = {**_known(data, usage), "content": _blocks(data.content)}
        result = readably(read_whole, self, data.model_copy(update=known), **kwargs)
        if usage is None:
            result.generations[0].message.usage_metadata = None
        return result

    def piece(self: Any, event: Any, **kwargs: Any) -> Any:
        return readably(tidy_piece, self, event, **kwargs)

    def tidy_piece(self: Any, event: Any, **kwargs: Any) -> Any:
        if event.type == "message_start":
            message = event.message.model_copy(update=_known(event.message, None))
            event = event.model_copy(update={"message": message})
        if event.type != "message_delta":
            return read_piece(self, event, **kwargs)
        usage = _counted(event.usage)
        event = event.model_copy(update={"usage": usage})
        chunk, start = read_piece(self, event, **kwargs)
        if usage is None and chunk is not None:
            chunk.usage_metadata = None
        return chunk, start

    return like(kind, **{_OF_WHOLE: whole, _OF_PIECES: piece, **_anthropic_requests(kind)})


def _anthropic_requests(kind: type[BaseChatModel]) -> AnyDict:
    """The methods that make requests, which find a document in the place of a stream."""
    asked, aasked = getattr(kind, _ASKED), getattr(kind, _AASKED)

    def create(self: Any, payload: AnyDict) -> Any:
        raw = asked(self, payload)
        if payload.get("stream"):
            if is_document(response := _response_of(raw)):
                _require_stream(response.read())
            _tidy_lines(response, _Named())
        return raw

    async def acreate(self: Any, payload: AnyDict) -> Any:
        raw = await aasked(self, payload)
        if payload.get("stream"):
            if is_document(response := _response_of(raw)):
                _require_stream(await response.aread())
            _tidy_lines(response, _Named())
        return raw

    return {_ASKED: create, _AASKED: acreate}


class _Named:
    """Tidies the lines of a stream: an event without a name gets its type's, or the SDK skips it.

    Anthropic's own events say it twice, what serves its API may say it once.
    """

    def __init__(self) -> None:
        self._has_name = False

    def __call__(self, line: bytes) -> bytes:
        if line.startswith(_DATA) and not self._has_name:
            kind = _type_of(line.removeprefix(_DATA))
            return b"event: " + kind + b"\n" + line if kind else line
        # an empty line ends an event
        self._has_name = bool(line.strip()) and (self._has_name or line.startswith(_EVENT))
        return line


def _type_of(data: bytes) -> bytes:
    """The type of an event, if it has one that can be a name."""
    try:
        kind = json.loads(data)["type"]
    except (LookupError, TypeError, ValueError):
        return b""
    return kind.encode() if isinstance(kind, str) and kind.isidentifier() else b""


def _response_of(made: Any) -> Any:
    """The HTTP response of what the class gives: before 1.7 that is the SDK's stream itself."""
    return made.http_response if hasattr(made, "http_response") else made.response


_OF_WHOLE: Final = "_format_output"
_OF_PIECES: Final = "_make_message_chunk_from_anthropic_event"
_ASKED: Final = "_create"
_AASKED: Final = "_acreate"


def _blocks(content: list[Any]) -> list[Any]:
    """The blocks that are some, those of text with a text."""
    return [
        block.model_copy(update={"text": ""})
        if getattr(block, "type", None) == "text"
        and not isinstance(getattr(block, "text", None), str)
        else block
        for block in content
        if isinstance(block, BaseModel)
    ]


def _known(message: Any, usage: object) -> AnyDict:
    """What to put in the place of a message's fields."""
    names = {n: None for n in ("id", "model") if not isinstance(getattr(message, n, None), str)}
    return {"usage": usage, **names}


def _counted(usage: Any) -> Any:
    """The usage with what is no whole number left out; `None` where it counts no tokens."""
    if not isinstance(usage, BaseModel):
        return None
    own = {name: getattr(usage, name, None) for name in _COUNTS}
    if any(whole_number(value) is None for value in own.values()):
        return None
    kept = {name: _count(getattr(usage, name)) for name in (*type(usage).model_fields, *own)}
    return usage.model_copy(update=kept)


def _count(value: Any) -> Any:
    """A count, or an object of counts; `None` for anything else."""
    if isinstance(value, BaseModel):
        inner = dict(value)
        return value if all(whole_number(v) is not None for v in inner.values()) else None
    return whole_number(value)


# --- Mistral: chat completions, over an HTTP client of its own ---


@cache
def _mistral(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    read: Any = getattr(kind, _OF_MISTRAL)

    def whole(self: Any, response: Any) -> Any:
        answer = tidied(response)
        given = isinstance(response, dict) and response.get("choices")
        _require_answer(response, complete=bool(given) and bool(answer["choices"]))
        return whole_readably(partial(read, self), answer)

    return like(kind, **{_OF_MISTRAL: whole})


_OF_MISTRAL: Final = "_create_chat_result"


class _Client:
    """Stands in for an HTTP client: the events of its streams are tidied."""

    def __init__(self, client: Any) -> None:
        self._client = client
        is_async = hasattr(client, "aclose")
        self.stream = self._astream if is_async else self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @contextmanager
    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self._client.stream(*args, **kwargs) as response:
            if response.is_success and is_document(response):
                _require_stream(response.read())
            _tidy_lines(response, _line)
            yield response

    @asynccontextmanager
    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with self._client.stream(*args, **kwargs) as response:
            if response.is_success and is_document(response):
                _require_stream(await response.aread())
            _tidy_lines(response, _line)
            yield response


def _tidy_lines(response: Any, tidy: Callable[[bytes], bytes]) -> None:
    """Have the lines of a response, a stream of events, tidied while they are read."""
    pieces, apieces = response.iter_bytes, response.aiter_bytes

    def iter_bytes(chunk_size: int | None = None) -> Iterator[bytes]:
        lines = _Lines(tidy)
        for piece in pieces(chunk_size):
            yield lines.take(piece)
        yield lines.rest()

    async def aiter_bytes(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        lines = _Lines(tidy)
        async for piece in apieces(chunk_size):
            yield lines.take(piece)
        yield lines.rest()

    response.iter_bytes, response.aiter_bytes = iter_bytes, aiter_bytes


class _Lines:
    """The lines of a stream of events, each tidied when it is whole."""

    def __init__(self, tidy: Callable[[bytes], bytes]) -> None:
        self._tidy = tidy
        self._begun: list[bytes] = []

    def take(self, piece: bytes) -> bytes:
        """The lines that have ended with this piece."""
        ended, mark, begun = piece.rpartition(b"\n")
        if not mark:
            self._begun.append(piece)
            return b""
        lines = b"".join([*self._begun, ended]).split(b"\n")
        self._begun = [begun]
        return b"".join(self._tidy(line) + b"\n" for line in lines)

    def rest(self) -> bytes:
        """The last line, if it had no end."""
        return self._tidy(b"".join(self._begun))


def _line(line: bytes) -> bytes:
    if not line.startswith(_DATA):
        return line
    try:
        answer = json.loads(line.removeprefix(_DATA))
    except ValueError:
        return line  # the end mark; what else is no JSON is an error to who reads it
    if not isinstance(answer, dict) or answer.get("choices") is None:
        if error := error_within(answer):
            _require_answer(error, complete=False)
        return _DATA + b' {"choices": []}'
    tidy = tidied(answer)
    if any(not isinstance(choice.get("delta"), dict) for choice in tidy["choices"]):
        tidy = {**tidy, "choices": [{**c, "delta": c.get("delta") or {}} for c in tidy["choices"]]}
    return line if tidy is answer else _DATA + json.dumps(tidy).encode()


# --- Google: its SDK checks all types, so the text is tidied before ---


def _google(client: Any) -> Any:
    """Stands in for Google's client; `None` where it is not built as it is known."""
    try:
        models, of_async = copy.copy(client.models), copy.copy(client.aio.models)
        api = _Api(vars(models)[_API])
    except (AttributeError, KeyError, TypeError):
        return None
    for each in (models, of_async):
        setattr(each, _API, api)
    return SimpleNamespace(models=models, aio=SimpleNamespace(models=of_async))


_API: Final = "_api_client"


class _Api:
    """Stands in for the part of Google's client that makes requests."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return _body_tidied(self._api.request(*args, **kwargs))

    async def async_request(self, *args: Any, **kwargs: Any) -> Any:
        return _body_tidied(await self._api.async_request(*args, **kwargs))

    def request_streamed(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with _reading():
            yield from map(_body_tidied, self._api.request_streamed(*args, **kwargs))

    async def async_request_streamed(self, *args: Any, **kwargs: Any) -> Any:
        pieces = await self._api.async_request_streamed(*args, **kwargs)

        async def tidy() -> AsyncIterator[Any]:
            with _reading():
                async for piece in pieces:
                    yield _body_tidied(piece)

        return tidy()


@contextmanager
def _reading() -> Iterator[None]:
    """Google's SDK takes an error in a stream for an object."""
    try:
        yield
    except _UNREAD as error:
        raise _of_client(error) from error


def _body_tidied(response: Any) -> Any:
    answer: Any = json.loads(response.body) if response.body else None
    said = isinstance(answer, dict) and any(answer.get(name) for name in _GOOGLES_PARTS)
    _require_answer(answer, complete=said)
    tidy = _google_tidied(answer)
    return response if tidy == answer else response.model_copy(update={"body": json.dumps(tidy)})


_GOOGLES_PARTS: Final = ("candidates", "promptFeedback", "usageMetadata", "totalTokens")
"""What an answer of Google's has, or a piece of one; the last is that of a count."""
_GOOGLES_TEXTS: Final = ("responseId", "modelVersion", "createTime")
_GOOGLES_COUNTS: Final = ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")


def _google_tidied(answer: AnyDict) -> AnyDict:
    left_out = {n for n in _GOOGLES_TEXTS if not isinstance(answer.get(n), str)}
    if not isinstance(answer.get("promptFeedback"), dict):
        left_out.add("promptFeedback")
    if not isinstance(answer.get("candidates"), list):
        left_out.add("candidates")
    tidy = {name: value for name, value in answer.items() if name not in left_out}
    if "candidates" in tidy:
        tidy["candidates"] = [_candidate(c) for c in tidy["candidates"] if isinstance(c, dict)]
    if "usageMetadata" in answer:
        tidy["usageMetadata"] = _google_counted(answer["usageMetadata"])
    return tidy


def _candidate(candidate: AnyDict) -> AnyDict:
    """A candidate with the content, the parts and the texts of the types that they have."""
    content = candidate.get("content")
    if content is None:
        return candidate
    given = content if isinstance(content, dict) else {"parts": [content]}
    tidy = {n: v for n, v in given.items() if n != "role" or isinstance(v, str)}
    if (parts := given.get("parts")) is not None:
        listed = parts if isinstance(parts, list) else [parts]
        said = [{"text": part} if isinstance(part, str) else part for part in listed]
        tidy["parts"] = [_part(part) for part in said if isinstance(part, dict)]
    return {**candidate, "content": tidy}


def _part(part: AnyDict) -> AnyDict:
    odd = {n for n, kind in _OF_PARTS.items() if n in part and not isinstance(part[n], kind)}
    called = part.get("functionCall")
    if isinstance(called, dict) and not isinstance(called.get("args"), dict | None):
        odd.add("functionCall")
    return {name: value for name, value in part.items() if name not in odd} if odd else part


_OF_PARTS: Final = {"text": str, "thought": bool, "functionCall": dict}
"""Types of what is read of a part."""


def _google_counted(usage: object) -> AnyDict | None:
    if not isinstance(usage, dict):
        return None
    counts = [usage[name] for name in _GOOGLES_COUNTS if usage.get(name) is not None]
    if any(whole_number(value) is None for value in counts):
        return None
    return {name: value for name, value in usage.items() if _is_googles(name, value)}


def _is_googles(name: str, value: Any) -> bool:
    """Whether a part of Google's usage is of the type that its name says."""
    if name.endswith("Count"):
        return whole_number(value) is not None
    if name.endswith("Details"):
        return isinstance(value, list) and all(_has_count(each) for each in value)
    return name == "trafficType" and isinstance(value, str)


def _has_count(detail: Any) -> bool:
    if not isinstance(detail, dict):
        return False
    counted = whole_number(detail.get("tokenCount")) is not None
    return counted and isinstance(detail.get("modality"), str)
