"""The real client of each dialect on a loopback server, and what is said to them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI

from langchain_moa.testing import LoopbackServer
from tests.wire import says, together

Client = Callable[..., BaseChatModel]


def openai(server: LoopbackServer, model: str, **fields: Any) -> BaseChatModel:
    given = {"api_key": server.api_key, "base_url": server.base_url, "max_retries": 0}
    return ChatOpenAI(model=model, stream_usage=True, **{**given, **fields})


def anthropic(server: LoopbackServer, model: str, **fields: Any) -> BaseChatModel:
    given = {"api_key": server.api_key, "base_url": server.anthropic_url, "max_retries": 0}
    return ChatAnthropic(**{"model": model, **given, **fields})


def gemini(server: LoopbackServer, model: str, **fields: Any) -> BaseChatModel:
    # Google's client takes 0 for its own default
    given = {"api_key": server.api_key, "base_url": server.gemini_url, "max_retries": 1}
    return ChatGoogleGenerativeAI(**{"model": model, **given, **fields})


def mistral(server: LoopbackServer, model: str, **fields: Any) -> BaseChatModel:
    given = {"api_key": server.api_key, "base_url": server.mistral_url, "max_retries": 1}
    return ChatMistralAI(**{"model_name": model, **given, **fields})


CLIENTS: Final[dict[str, Client]] = {
    "together": together,
    "openai": openai,
    "anthropic": anthropic,
    "gemini": gemini,
    "mistral": mistral,
}
"""A client of each provider that repeats no failed request."""

SPEAKERS: Final = {name: says(f"Thus says {name}.") for name in CLIENTS}
"""A model for each of these clients, of the name of its provider."""

PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
PICTURE: Final[dict[str, Any]] = {"type": "image", "base64": PNG, "mime_type": "image/png"}
THOUGHT: Final = {"type": "thinking", "thinking": "Two and two.", "signature": "c2lnbmF0dXJl"}


def one_of_each(server: LoopbackServer) -> list[BaseChatModel]:
    """A member of each provider."""
    return [client(server, name) for name, client in CLIENTS.items()]


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@tool
def clock(city: str) -> str:
    """The time in a city."""
    return f"noon in {city}"
