"""What is private to other packages and read here is still there; see `langchain_moa.tracing`."""

from __future__ import annotations

import inspect
from contextvars import ContextVar
from typing import Any

import openai
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import context
from langchain_openai.chat_models.base import BaseChatOpenAI
from langgraph.pregel import _messages
from langgraph.types import interrupt
from openai.resources.chat.completions import AsyncCompletions, Completions

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


@pytest.mark.parametrize("name", ["_resolve_model_profile", "_identifying_params"])
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
