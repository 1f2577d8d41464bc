"""The real client of each dialect on a loopback server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_mistralai import ChatMistralAI
from langchain_openai import ChatOpenAI

from langchain_moa.testing import LoopbackServer
from tests.wire import together

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

KEY_PREFIXES: Final = ("GOOGLE_", "GEMINI_", "MISTRAL_")
"""Beginnings of what the developer's shell may tell these clients."""
