"""How a scripted model of the loopback server behaves, faults included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_moa.testing.replies import Reply, assistant_reply

ReplyFunction = Callable[[Mapping[str, Any]], str | Reply]
"""Answers the body of a chat completions request; requests of other dialects are put so first."""


@dataclass(frozen=True, kw_only=True)
class ModelBehavior:
    """How one model of the server behaves. Durations are in seconds.

    Attributes:
        reply: A fixed text or reply, or a function of the request's body, which is
            given in the words of chat completions whatever dialect the request came in.
        latency: Time before the response begins.
        first_token_delay: Further time before the first token of a stream.
        token_delay: Time before each further token of a stream.
        status: An HTTP error status instead of an answer, such as 429 or 500.
        error: Message of that error.
        error_code: Its code, such as `"context_length_exceeded"` (status 400) or
            `"invalid_api_key"` (status 401); by default the status. With Anthropic it is the
            error's type, with Gemini its status' name, and both follow from the status otherwise.
        retry_after: Value of the `Retry-After` header of that error.
        fail_first: Only so many first requests get that error; `None` means all do.
        drop: Close the connection instead of answering.
        hang: Never answer.
        drop_after: Close the connection after so many tokens of a stream; an answer that is
            not streamed comes whole.
        truncate_after: End a stream without an end mark after so many tokens; as above.
        drip: Time before each byte of an answer, whole or streamed: one that is always about
            to end, and that no limit on the time between two reads ever stops.
        malformed: Answer with broken JSON.
        content_type: Send a page of this type, such as `"text/html"`, instead of JSON or events,
            as a proxy in between does; with `status`, in place of that error.
        answers_as: Another model name in the answer than was asked for.
    """

    reply: str | Reply | ReplyFunction = assistant_reply
    latency: float = 0.0
    first_token_delay: float = 0.0
    token_delay: float = 0.0
    status: int | None = None
    error: str = "the scripted model fails as it was told to"
    error_code: str | None = None
    retry_after: float | None = None
    fail_first: int | None = None
    drop: bool = False
    hang: bool = False
    drop_after: int | None = None
    truncate_after: int | None = None
    drip: float = 0.0
    malformed: bool = False
    content_type: str | None = None
    answers_as: str | None = None

    def reply_to(self, body: Mapping[str, Any]) -> Reply:
        """The reply to a request's body."""
        said = self.reply(body) if callable(self.reply) else self.reply
        return Reply(text=said) if isinstance(said, str) else said

    def fails(self, earlier: int) -> bool:
        """Whether a request gets the error `status`.

        Args:
            earlier: How many requests for this model came before.
        """
        still = self.fail_first is None or earlier < self.fail_first
        return self.status is not None and still


BehaviorFunction = Callable[[Mapping[str, Any], int], ModelBehavior]
"""How a model behaves this time, given a request's body and how many came before it."""
