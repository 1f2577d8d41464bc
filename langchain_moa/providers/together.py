"""Together's model and client as members given as strings use them.

Async answers are read where they were awaited, not in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_together import ChatTogether
from typing_extensions import override

from langchain_moa.providers.accounts import endpoint_of
from langchain_moa.providers.clients import http_clients
from langchain_moa.providers.completions import AsyncPlainCompletions, PlainCompletions
from langchain_moa.providers.headers import leave_out_foreign_headers
from langchain_moa.types import AnyDict

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

    answer: object = None
    error: Exception | None = None

    @property
    def with_raw_response(self) -> _Asked:
        return self

    def create(self, **_: object) -> object:
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
    together.client = PlainCompletions(together.root_client)
    together.async_client = _AsyncCompletions(together.root_async_client)
    return together


class _AsyncCompletions(AsyncPlainCompletions):
    """Async chat completions that know how a mixture calls their model."""

    @staticmethod
    def as_called(model: ChatTogether) -> ChatTogether:
        """The model as a mixture calls it."""
        called = model.model_copy()
        object.__setattr__(called, "__class__", _ReadsInPlace)  # the same fields, all validated
        return called
