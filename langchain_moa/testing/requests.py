"""A request as the server keeps it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from langchain_moa.types import AnyDict


@dataclass(kw_only=True)
class RecordedRequest:
    """One request for an answer that the server got.

    Attributes:
        model: The model that was asked for.
        body: The whole JSON body, as it came.
        headers: The headers, names in lower case.
        dialect: Whose way to ask it is: `"openai"` (Together's too), `"anthropic"`, `"gemini"`,
            `"mistral"` or `"llama.cpp"`.
        arrived: When it came, on the clock of `time.monotonic`.
        usage: Tokens of the answer, once it was sent, as chat completions name them whatever the
            dialect: `prompt_tokens`, `completion_tokens` and `total_tokens`.
        finished: Whether the answer was sent to its end.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_together import ChatTogether
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="4")}) as server:
        ...     address = {"api_key": server.api_key, "base_url": server.base_url}
        ...     answer = ChatTogether(model="demo/model", **address).invoke("2 + 2?")
        >>> [request] = server.requests
        >>> request.model, request.dialect, request.body["messages"][0]["content"]
        ('demo/model', 'openai', '2 + 2?')
    """

    model: str
    body: AnyDict
    headers: dict[str, str]
    dialect: str = "openai"
    arrived: float = field(default_factory=time.monotonic)
    usage: dict[str, int] | None = None
    finished: bool = False
