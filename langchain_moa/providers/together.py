"""Together's model and client as members given as strings use them.

LangChain hands plain dicts to the SDK, and makes plain dicts of what the SDK returns. Here they
stay what they are: to check the ones and to build the SDK's types of the others takes nearly a
third of a call's CPU. And async answers are read where they were awaited, not in a thread.
"""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, Final

import openai
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

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, MoAError
from langchain_moa.providers.accounts import Endpoint, endpoint_of, shown_address
from langchain_moa.providers.headers import leave_out_foreign_headers
from langchain_moa.providers.transport import AsyncClient, Client, Login, http

_PATH: Final = "/chat/completions"


_CLIENTS: Final = (
    *("client", "async_client", "root_client", "root_async_client"),
    *("http_client", "http_async_client"),
)
OF_CLIENTS: Final = frozenset(
    {
        *("api_key", "together_api_key", "openai_api_key", "base_url", "together_api_base"),
        *("timeout", "request_timeout", "max_retries", "default_headers", "default_query"),
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


async def _asked(client: Any, payload: dict[str, Any]) -> _Asked:
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

    def create(self, **_: Any) -> Any:
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
    clients = {name: getattr(like, name) for name in _CLIENTS} if like else _http_clients(endpoint)
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


def _http_clients(endpoint: Endpoint) -> dict[str, Any]:
    """The SDK's HTTP clients for an address.

    Raises:
        MoAConfigurationError: A variable of the environment names certificates that can't be read,
            or a proxy that is none.
        MissingExtraError: A proxy needs a package that is not installed.
    """
    try:
        tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        named = ", ".join(f"{n}={os.environ[n]!r}" for n in _CERTIFICATES if os.environ.get(n))
        msg = f"{named or 'TLS'}: the certificates can't be read: {error}."
        raise MoAConfigurationError(msg) from None
    login = None if endpoint.login is None else Login(*endpoint.login)
    settings = {"verify": tls, "auth": login}
    try:
        return {"http_client": Client(**settings), "http_async_client": AsyncClient(**settings)}
    except (ImportError, ValueError, http.InvalidURL) as error:  # the environment's proxies
        raise _of_proxies(error) from None


def _of_proxies(error: Exception) -> MoAError:
    """The error that names the variable which is at fault."""
    names = [name for name in _PROXIES if os.environ.get(name)]
    guilty = [name for name in names if not _is_proxy(os.environ[name])] or names
    shown = ", ".join(f"{name}={shown_address(os.environ[name])!r}" for name in guilty)
    reason = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return MissingExtraError(f"{shown}: {reason}")
    return MoAConfigurationError(f"{shown} is no proxy: {reason}; mend it, or unset the variable.")


def _is_proxy(address: str) -> bool:
    try:
        Client(proxy=address if "://" in address else f"http://{address}", trust_env=False)
    except Exception:  # noqa: BLE001 - whatever it is, the variable is at fault
        return False
    return True


_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES: Final = tuple(
    variable
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for variable in (name, name.lower())
)


@lru_cache(maxsize=8)
def _tls(*_: str | None) -> ssl.SSLContext:
    """A TLS context for these settings of the environment; to make one takes a while."""
    context: ssl.SSLContext = http.create_ssl_context()
    return context


class _PlainCompletions(Completions):
    """Chat completions that take and give dicts."""

    def create(self, **arguments: Any) -> Any:
        if not arguments.keys() <= _known_arguments():  # the SDK says what is wrong with them
            return super().create(**arguments)
        request = _request(arguments)
        return self._client.post(_PATH, cast_to=object, stream_cls=openai.Stream[object], **request)

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
        return await self._client.post(
            _PATH, cast_to=object, stream_cls=openai.AsyncStream[object], **request
        )

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


def _refuses(answer: Any) -> bool:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    messages = [choice.get("message") for choice in choices or () if isinstance(choice, dict)]
    return any(isinstance(message, dict) and message.get("refusal") for message in messages)


def _request(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the SDK's `create` as those of its `post`."""
    body = dict(arguments)
    options: dict[str, Any] = {"headers": body.pop("extra_headers", None) or {}}
    for argument, option in (("extra_query", "params"), ("extra_body", "extra_json")):
        if (value := body.pop(argument, None)) is not None:
            options[option] = value
    if "timeout" in body:
        options["timeout"] = body.pop("timeout")
    return {"body": body, "options": options, "stream": bool(body.get("stream"))}


@cache
def _known_arguments() -> frozenset[str]:
    return frozenset(inspect.signature(Completions.create).parameters)
