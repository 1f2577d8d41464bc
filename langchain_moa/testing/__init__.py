"""What users and we test with: scripted chat models and a loopback model server.

`ScriptedChatModel` answers inside the process. `LoopbackServer` speaks the HTTP and SSE of
Together, OpenAI, Anthropic, Gemini, Mistral and llama.cpp on 127.0.0.1, with faults on demand; it
needs the extra `testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.testing.behavior import BehaviorFunction, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall, assistant_reply
from langchain_moa.testing.requests import RecordedRequest
from langchain_moa.testing.scripted import ScriptedChatModel

if TYPE_CHECKING:
    from langchain_moa.testing.server import LoopbackServer

__all__ = [
    "BehaviorFunction",
    "LoopbackServer",
    "ModelBehavior",
    "RecordedRequest",
    "Reply",
    "ScriptedChatModel",
    "ToolCall",
    "assistant_reply",
]


def __getattr__(name: str) -> object:
    """Import the server when it is first used: it needs an extra, scripted models don't."""
    if name == "LoopbackServer":
        from langchain_moa.testing import server  # noqa: PLC0415 - optional

        return server.LoopbackServer
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
