"""OpenAI's chat completions without the SDK's types, for every member that is asked over them.

LangChain hands plain dicts to the SDK, and makes plain dicts of what the SDK returns. Here they
stay what they are: to check the ones and to build the SDK's types of the others takes nearly a
third of a call's CPU. And here is where an answer is first seen: what is odd in it is tidied, and
an error in it is raised with the code and the headers that it came with.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final, TypeVar

from openai import AsyncOpenAI, OpenAI
from openai.resources.chat.completions import (
    AsyncCompletions,
    AsyncCompletionsWithRawResponse,
    Completions,
    CompletionsWithRawResponse,
)
from openai.types.chat import ChatCompletion

from langchain_moa.providers.events import AsyncPieces, Pieces, nothing_said, provider_said
from langchain_moa.providers.tidying import error_within, is_page, tidied, unread
from langchain_moa.types import LARGE, AnyDict

_PATH: Final = "/chat/completions"
_SHOWN: Final = 200
_ModelT = TypeVar("_ModelT")


class PlainCompletions(Completions):
    """Chat completions that take and give dicts."""

    def create(self, **arguments: Any) -> Any:
        """The answer as the dict that was sent, or its pieces where it is streamed."""
        if not arguments.keys() <= _known_arguments():  # the SDK says what is wrong with them
            return super().create(**arguments)
        request = _request(arguments)
        answer = self._client.post(_PATH, cast_to=object, stream_cls=Pieces, **request)
        return tidied(answer)

    @cached_property
    def with_raw_response(self) -> Any:
        """The same with the response's headers."""
        raw = CompletionsWithRawResponse(self)
        return _Raw(lambda **arguments: _Answer(raw.create(**arguments)))


class AsyncPlainCompletions(AsyncCompletions):
    """The async twin of `PlainCompletions`."""

    async def create(self, **arguments: Any) -> Any:
        """The answer as the dict that was sent, or its pieces where it is streamed."""
        if not arguments.keys() <= _known_arguments():
            return await super().create(**arguments)
        request = _request(arguments)
        answer = await self._client.post(_PATH, cast_to=object, stream_cls=AsyncPieces, **request)
        return tidied(answer)

    @cached_property
    def with_raw_response(self) -> Any:
        """The same with the response's headers."""
        raw = AsyncCompletionsWithRawResponse(self)

        async def create(**arguments: Any) -> _Answer:
            answer = _Answer(await raw.create(**arguments))
            if answer.is_large:
                await asyncio.to_thread(answer.read)
            return answer

        return _Raw(create)


def plainly_asked(model: _ModelT) -> _ModelT:
    """A copy of one of LangChain's models over OpenAI's SDK that is asked in dicts.

    The user's own object is left alone. A model whose client is not the SDK's own is given back.
    """
    roots: tuple[Any, Any] = (
        getattr(model, "root_client", None),
        getattr(model, "root_async_client", None),
    )
    if (type(roots[0]), type(roots[1])) != (OpenAI, AsyncOpenAI):
        return model
    clients = (getattr(model, "client", None), getattr(model, "async_client", None))
    if (type(clients[0]), type(clients[1])) != (Completions, AsyncCompletions):
        return model
    copy: Any = model
    update = {
        "client": PlainCompletions(roots[0]),
        "async_client": AsyncPlainCompletions(roots[1]),
    }
    asked: _ModelT = copy.model_copy(update=update)
    return asked


@dataclass(frozen=True)
class _Raw:
    create: Callable[..., object]


class _Answer:
    """The SDK's raw response, which is parsed to the dict that was sent."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._read: Any = None
        self.headers = raw.headers
        self.http_response = raw.http_response

    @property
    def is_large(self) -> bool:
        """Whether it takes a while to read. Of a stream nothing has come yet."""
        response = self.http_response
        return bool(response.is_stream_consumed) and len(response.content) > LARGE

    def read(self) -> object:
        """What was sent; a text where it is no JSON."""
        if self._read is None:
            self._read = self._raw.parse()
        return self._read

    def parse(self) -> object:
        """The answer; a text where it is no JSON.

        Raises:
            APIError: The provider sent an error in its place, or in it.
            ModelAPIError: It is nothing that can be read.
        """
        answer = self.read()
        tidy = tidied(answer)
        usage = tidy.get("usage") if isinstance(tidy, dict) else None
        if error := error_within(answer):
            raise provider_said(error, self.http_response, usage)
        if not isinstance(tidy, dict) and not is_page(tidy):
            raise unread(repr(str(tidy)[:_SHOWN]))
        if isinstance(tidy, dict) and not tidy.get("choices"):
            raise nothing_said(self.http_response, usage)
        # LangChain reads a refusal from the SDK's types only
        return ChatCompletion.construct(**tidy) if _refuses(tidy) else tidy


def _refuses(answer: object) -> bool:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    given = choices if isinstance(choices, list) else []
    messages = [choice.get("message") for choice in given if isinstance(choice, dict)]
    return any(isinstance(message, dict) and message.get("refusal") for message in messages)


def _request(arguments: AnyDict) -> AnyDict:
    """Arguments of the SDK's `create` as those of its `post`."""
    body = dict(arguments)
    options: AnyDict = {"headers": body.pop("extra_headers", None) or {}}
    for argument, option in (("extra_query", "params"), ("extra_body", "extra_json")):
        if (value := body.pop(argument, None)) is not None:
            options[option] = value
    if "timeout" in body:
        options["timeout"] = body.pop("timeout")
    return {"body": body, "options": options, "stream": bool(body.get("stream"))}


@cache
def _known_arguments() -> frozenset[str]:
    return frozenset(inspect.signature(Completions.create).parameters)
