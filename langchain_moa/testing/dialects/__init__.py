"""The dialects of the loopback server: one provider's way to ask, answer, stream and refuse.

Each dialect is one file behind the protocol `Dialect`; none knows a web server.
"""

from __future__ import annotations

from langchain_moa.testing.dialects.anthropic import Anthropic
from langchain_moa.testing.dialects.gemini import Gemini
from langchain_moa.testing.dialects.llama_cpp import LlamaCpp
from langchain_moa.testing.dialects.mistral import Mistral
from langchain_moa.testing.dialects.openai import OpenAI
from langchain_moa.testing.dialects.responses import Responses
from langchain_moa.testing.dialects.speech import (
    BROKEN_JSON,
    Dialect,
    Frame,
    Refusal,
    Turn,
    as_json,
)

__all__ = [
    "BROKEN_JSON",
    "Anthropic",
    "Dialect",
    "Frame",
    "Gemini",
    "LlamaCpp",
    "Mistral",
    "OpenAI",
    "Refusal",
    "Responses",
    "Turn",
    "as_json",
]
