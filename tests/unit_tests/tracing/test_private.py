"""What is private to other packages and read here is still there; see `langchain_moa.tracing`."""

from __future__ import annotations

import inspect
import ssl
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import openai
import pytest
from google import genai
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import context
from langchain_fireworks import ChatFireworks
from langchain_groq import ChatGroq
from langchain_mistralai import ChatMistralAI
from langchain_ollama import ChatOllama
from langchain_openai.chat_models.base import BaseChatOpenAI
from langgraph.pregel import _messages
from langgraph.types import interrupt
from openai.resources.chat.completions import AsyncCompletions, Completions
from pydantic import SecretStr

import langchain_moa.tracing as room
from langchain_moa.providers.transport import http

LISTED = str(room.__doc__)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", ["_generate_with_cache", "_agenerate_with_cache"])
def test_the_caching_step_of_a_chat_model(name: str) -> None:
    assert name in LISTED
    found = parameters(getattr(BaseChatModel, name))
    assert found[:4] == ["self", "messages", "stop", "run_manager"]


def test_configure_hooks_are_context_variables() -> None:
    assert "_configure_hooks" in LISTED
    kinds = {type(hook[0]) for hook in context._configure_hooks}
    assert kinds == {ContextVar}


@pytest.mark.parametrize(
    "name",
    [
        *("_resolve_model_profile", "_identifying_params"),
        *("_get_invocation_params", "_get_ls_params", "_generate"),
    ],
)
def test_hooks_of_members(name: str) -> None:
    assert name in LISTED
    assert hasattr(BaseChatModel, name)


def test_the_handler_of_a_messages_stream_is_langgraphs() -> None:
    assert _messages.StreamMessagesHandler.__module__.startswith("langgraph.")


def test_an_interrupt_outside_a_graph_fails_on_a_key() -> None:
    assert "__pregel" in LISTED
    with pytest.raises(KeyError, match="__pregel"):
        RunnableLambda(interrupt).invoke("May I?")


@pytest.mark.parametrize("kind", [Completions, AsyncCompletions])
def test_resources_post_through_their_client(kind: Any) -> None:
    assert "self._client" in inspect.getsource(kind.__mro__[1].__init__)


def test_the_payload_of_an_openai_request() -> None:
    assert "_get_request_payload" in LISTED
    assert parameters(BaseChatOpenAI._get_request_payload)[:2] == ["self", "input_"]


@pytest.mark.parametrize("name", ["_init_transport", "_init_proxy_transport"])
@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_clients_make_their_transports_in_methods(client: str, name: str) -> None:
    assert name in LISTED
    assert callable(getattr(getattr(http, client), name))


@pytest.mark.parametrize("kind", [openai.Stream, openai.AsyncStream])
def test_the_events_of_a_stream(kind: type[object]) -> None:
    # what they do is held by tests of streams' ends, over HTTP
    assert {"_iter_events", "__stream__"} <= vars(kind).keys()


@pytest.mark.parametrize(
    ("kind", "name", "taken"),
    [
        (BaseChatOpenAI, "_create_chat_result", ["response", "generation_info"]),
        (BaseChatOpenAI, "_convert_chunk_to_generation_chunk", ["chunk"]),
        (ChatMistralAI, "_create_chat_result", ["response"]),
        (ChatAnthropic, "_format_output", ["data"]),
        (ChatAnthropic, "_make_message_chunk_from_anthropic_event", ["event"]),
        (ChatAnthropic, "_create", ["payload"]),
        (ChatAnthropic, "_acreate", ["payload"]),
    ],
)
def test_methods_that_make_requests_and_read_answers(
    kind: Any, name: str, taken: list[str]
) -> None:
    assert name in LISTED
    assert parameters(getattr(kind, name))[1 : 1 + len(taken)] == taken
    # that they are called, and with what, is held by tests of foreign answers, over HTTP
    assert f".{name}(" in inspect.getsource(inspect.getmodule(kind) or kind)


@pytest.mark.parametrize("name", ["_client", "_async_client"])
def test_the_sdks_clients_that_a_class_keeps(name: str) -> None:
    assert name in LISTED
    assert isinstance(vars(ChatAnthropic)[name], cached_property)
    assert hasattr(getattr(ChatOllama(model="x"), name)._client, "event_hooks")


@pytest.mark.parametrize("kind", [ChatGroq, ChatFireworks])
@pytest.mark.parametrize("name", ["client", "async_client"])
def test_the_http_clients_of_an_sdk(kind: Any, name: str) -> None:
    part = getattr(kind(model="x", api_key=SecretStr("k")), name)
    assert hasattr(part._client._client, "event_hooks")


def test_googles_client_of_its_clients() -> None:
    assert "_api_client" in LISTED
    client: Any = genai.Client(api_key="k")
    api = vars(client)["_api_client"]
    assert vars(client.models)["_api_client"] is vars(client.aio.models)["_api_client"] is api
    assert hasattr(vars(api)["_http_options"], "httpx_client")
    for name in ("request", "request_streamed"):
        assert inspect.isfunction(getattr(type(api), name))
        assert inspect.iscoroutinefunction(getattr(type(api), f"async_{name}"))


@pytest.mark.parametrize("kind", [http.Client, http.AsyncClient])
def test_the_tls_context_of_an_http_client(kind: Any) -> None:
    client: Any = kind()
    for name in ("_transport", "_pool", "_ssl_context"):
        assert name in LISTED
        client = getattr(client, name)
    assert isinstance(client, ssl.SSLContext)
