"""How a scripted model of the loopback server behaves, faults included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from langchain_moa.testing.replies import Reply, assistant_reply
from langchain_moa.types import AnyMapping

_LOOK_SECONDS: Final = 0.003
"""Time between two looks at what an answer waits for."""

ReplyFunction = Callable[[AnyMapping], str | Reply]
"""Answers the body of a chat completions request; requests of other dialects are put so first."""


ErrorPlace = Literal["status", "answer", "event", "choice"]
"""Where a provider says that it failed."""


@dataclass(frozen=True, kw_only=True)
class ModelBehavior:
    """How one model of the server behaves. Durations are in seconds.

    Attributes:
        reply: A fixed text or reply, or a function of the request's body, which is
            given in the words of chat completions whatever dialect the request came in.
        once: Answer only when this gives something true; it is asked every few milliseconds in the
            server's event loop, such as `threading.Event().is_set` or
            `lambda: server.requests_for("another/model")`. A test then waits for what it is about,
            and for no duration. A client that leaves before is let go.
        once_after: How many tokens of a stream come before that; an answer that is not streamed
            waits with all of it.
        latency: Time before the response begins.
        first_token_delay: Further time before the first token of a stream.
        token_delay: Time before each further token of a stream.
        status: An HTTP error status instead of an answer, such as 429 or 500.
        error: Message of that error.
        error_code: Its code, such as `"context_length_exceeded"` (status 400) or
            `"invalid_api_key"` (status 401); by default the status. With Anthropic it is the
            error's type, with Gemini its status' name, and both follow from the status otherwise.
            A number stays a number.
        error_type: Its type, such as llama.cpp's `"exceed_context_size_error"`; by default
            that of the dialect.
        error_fields: Further fields of the error, such as `{"n_ctx": 4096}` or OpenRouter's
            `metadata`.
        error_in: Where the error stands. `"status"` is an HTTP status. The others come with
            status 200: `"answer"` in place of the whole answer or stream; `"event"` as an event
            of a stream, which then ends without its end mark, or in place of a whole answer;
            `"choice"` in the answer's choice, beside the finish reason `"error"` (in dialects
            without choices, that reason alone).
        error_after: With `"event"` and `"choice"`: how many tokens of the text come first.
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
        silent: Answer with status 200 and not a single byte.
        no_finish_reason: Never say why the answer ended. The finish reason is null, or left out
            where the dialect has no null for it; a stream still has its end mark.
        answers_as: Another model name in the answer than was asked for.
        usage: What stands in the place of the answer's usage, of any JSON type, NaN and `None`
            included; `...` is what was counted.
        fields: Further fields at the top level of an answer and of each event that has a
            model's name, such as `{"system_fingerprint": 7}`; they replace those of their name.
        choice_fields: The same for each choice, such as `{"logprobs": "none"}`, in dialects that
            have choices.
        headers: Further headers of whatever is answered.
        repeat: How many times over the reply's text comes. It is made while it is sent, in
            blocks of 64 KiB, and so `reply="word ", repeat=20_000_000` is an answer of 100 MB that
            takes no memory here; a stream sends each block as one token.
        gzip: Send the answer compressed. With `repeat`, some 600 kB on the wire become 600 MB.
        window: The most tokens that a prompt may have (a token is four bytes here); a longer one
            gets the error that the dialect's provider has for it.
        pictures: Whether the model takes pictures. One that does not refuses them as the
            dialect's provider does: with status 400, or 500 as llama.cpp.
        obeys_tool_choice: Whether a tool choice counts. Where it does not, a function that
            replies is given `"auto"` in its place.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> slow = ModelBehavior(reply="4", latency=0.2)
        >>> limited_once = ModelBehavior(reply="4", status=429, retry_after=1, fail_first=1)
        >>> with LoopbackServer({"a/slow": slow, "a/limited": limited_once}) as server:
        ...     sorted(server.models)
        ['a/limited', 'a/slow']
        >>> limited_once.fails(earlier=0), limited_once.fails(earlier=1)
        (True, False)
    """

    reply: str | Reply | ReplyFunction = assistant_reply
    once: Callable[[], object] | None = None
    once_after: int = 0
    latency: float = 0.0
    first_token_delay: float = 0.0
    token_delay: float = 0.0
    status: int | None = None
    error: str = "the scripted model fails as it was told to"
    error_code: str | int | None = None
    error_type: str | None = None
    error_fields: AnyMapping = field(default_factory=dict)
    error_in: ErrorPlace = "status"
    error_after: int = 0
    retry_after: float | None = None
    fail_first: int | None = None
    drop: bool = False
    hang: bool = False
    drop_after: int | None = None
    truncate_after: int | None = None
    drip: float = 0.0
    malformed: bool = False
    content_type: str | None = None
    silent: bool = False
    no_finish_reason: bool = False
    answers_as: str | None = None
    usage: object = ...
    fields: AnyMapping = field(default_factory=dict)
    choice_fields: AnyMapping = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    gzip: bool = False
    window: int | None = None
    pictures: bool = True
    obeys_tool_choice: bool = True

    def reply_to(self, body: AnyMapping) -> Reply:
        """The reply to a request's body."""
        said = self.reply(body) if callable(self.reply) else self.reply
        return Reply(text=said) if isinstance(said, str) else said

    async def may_answer(self) -> None:
        """Wait until `once` is true."""
        if self.once is None:
            return
        while True:
            if self.once():
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def fails(self, earlier: int) -> bool:
        """Whether a request gets the error.

        Args:
            earlier: How many requests for this model came before.
        """
        still = self.fail_first is None or earlier < self.fail_first
        return self.status is not None and still


BehaviorFunction = Callable[[AnyMapping, int], ModelBehavior]
"""How a model behaves this time, given a request's body and how many came before it."""
