"""Together's model and client as members given as strings use them.

LangChain hands plain dicts to the SDK, and makes plain dicts of what the SDK returns. Here they
stay what they are: to check the ones and to build the SDK's types of the others takes nearly a
third of a call's CPU. And async answers are read where they were awaited, not in a thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_together import ChatTogether
from openai.resources.chat.completions import (
    AsyncCompletions,
    AsyncCompletionsWithRawResponse,
    Completions,
    CompletionsWithRawResponse,
)
from openai.types.chat import ChatCompletion
from typing_extensions import override

from langchain_moa.providers.accounts import endpoint_of
from langchain_moa.providers.clients import http_clients
from langchain_moa.providers.events import AsyncPieces, Pieces
from langchain_moa.providers.headers import leave_out_foreign_headers
from langchain_moa.types import AnyDict

_PATH: Final = "/chat/completions"


_CLIENTS: Final = (
    *("client", "async_client", "root_client", "root_async_client"),
    *("http_client", "http_async_client"),
)
OF_CLIENTS: Final = frozenset(
    {
        *("api_key", "together_api_key", "openai_api_key", "base_url", "together_api_base"),
        *("timeout", "request_timeout", "max_retries", "default_headers", "default_query"),
        *("http_client", "http_async_client"),
    }
)
"""Settings that the clients are made with, so that models that differ in them can't share them."""


class _ReadsInPlace(ChatTogether):
    """A `ChatTogether` whose async answers change no thread: that takes longer than to read them.

    Only the mixture calls it. To traces it is the `ChatTogether` that the user may look at.
    """

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        if "response_format" in payload or "messages" not in payload:  # other endpoints of the SDK
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        asked = await _asked(self.async_client, payload)
        # the sync method reads the answer, or handles the error; it needs the messages no more
        reader = self.model_copy(update={"client": asked})
        return reader._generate([], stop, **kwargs)  # noqa: SLF001 - of its own class


for _name in ("__name__", "__qualname__", "__module__"):
    setattr(_ReadsInPlace, _name, getattr(ChatTogether, _name))


async def _asked(client: Any, payload: AnyDict) -> _Asked:
    try:
        return _Asked(answer=await client.with_raw_response.create(**payload))
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is read
        return _Asked(error=error)


@dataclass(frozen=True)
class _Asked:
    """A client that has been asked: gives the answer, or raises the error."""

    answer: Any = None
    error: Exception | None = None

    @property
    def with_raw_response(self) -> _Asked:
        return self

    def create(self, **_: object) -> Any:
        if self.error is not None:
            raise self.error
        return self.answer


def new_together(model: str, like: ChatTogether | None = None, **settings: Any) -> ChatTogether:
    """A `ChatTogether` over shared connections, in any number of event loops.

    Args:
        model: Model id.
        like: One whose clients the new one uses, too; its `OF_CLIENTS` must be the same.
        **settings: Other arguments of `ChatTogether`, `api_key` and `base_url` among them.

    Raises:
        ValidationError: A setting is wrong.
        MoAConfigurationError: What the environment says of certificates or proxies is wrong.
        MissingExtraError: A proxy needs a package that is not installed.
    """
    endpoint = endpoint_of(settings["base_url"])
    if endpoint.query:
        settings["default_query"] = {**endpoint.query, **(settings.get("default_query") or {})}
    clients = (
        {name: getattr(like, name) for name in _CLIENTS} if like else http_clients(endpoint.login)
    )
    key = settings["api_key"]
    together = ChatTogether(
        model=model,
        **{
            "stream_usage": True,  # unset, a stream reports no usage
            "max_retries": 0,
            "openai_proxy": None,  # the environment's is for OpenAI
            **clients,
            **settings,
            "base_url": endpoint.address,
        },
    )
    together.together_api_key = key  # which knows where it comes from
    if like is None:
        leave_out_foreign_headers(together)
    together.client = _PlainCompletions(together.root_client)
    together.async_client = _AsyncPlainCompletions(together.root_async_client)
    return together


class _PlainCompletions(Completions):
    """Chat completions that take and give dicts."""

    def create(self, **arguments: Any) -> Any:
        if not arguments.keys() <= _known_arguments():  # the SDK says what is wrong with them
            return super().create(**arguments)
        request = _request(arguments)
        return self._client.post(_PATH, cast_to=object, stream_cls=Pieces, **request)

    @cached_property
    def with_raw_response(self) -> Any:
        """The same with the response's headers."""
        raw = CompletionsWithRawResponse(self)
        return _Raw(lambda **arguments: _Answer(raw.create(**arguments)))


class _AsyncPlainCompletions(AsyncCompletions):
    """The async twin of `_PlainCompletions`."""

    @staticmethod
    def as_called(model: ChatTogether) -> ChatTogether:
        """The model as a mixture calls it."""
        called = model.model_copy()
        object.__setattr__(called, "__class__", _ReadsInPlace)  # the same fields, all validated
        return called

    async def create(self, **arguments: Any) -> Any:
        if not arguments.keys() <= _known_arguments():
            return await super().create(**arguments)
        request = _request(arguments)
        return await self._client.post(_PATH, cast_to=object, stream_cls=AsyncPieces, **request)

    @cached_property
    def with_raw_response(self) -> Any:
        """The same with the response's headers."""
        raw = AsyncCompletionsWithRawResponse(self)

        async def create(**arguments: Any) -> _Answer:
            return _Answer(await raw.create(**arguments))

        return _Raw(create)


@dataclass(frozen=True)
class _Raw:
    create: Callable[..., Any]


class _Answer:
    """The SDK's raw response, which is parsed to the dict that was sent."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.headers = raw.headers
        self.http_response = raw.http_response

    def parse(self) -> Any:
        """The answer; a text where it is no JSON."""
        answer = self._raw.parse()
        # LangChain reads a refusal from the SDK's types only
        return self._raw.parse(to=ChatCompletion) if _refuses(answer) else answer


def _refuses(answer: object) -> bool:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    messages = [choice.get("message") for choice in choices or () if isinstance(choice, dict)]
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
