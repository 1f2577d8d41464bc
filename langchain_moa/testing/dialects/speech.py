"""What all dialects share: the protocol, what an answer is made of, and JSON on the wire."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from typing import Any, Final, NamedTuple, Protocol, Self

from langchain_moa.testing.behavior import ModelBehavior
from langchain_moa.testing.replies import Reply, tokens
from langchain_moa.types import AnyDict, AnyMapping

BROKEN_JSON: Final = '{"choices": [{"mess'
"""What a model sends that was told to be malformed."""

_BLOCK: Final = 1 << 16
"""Characters of a block of a repeated text."""
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Frame(NamedTuple):
    """One server-sent event.

    Attributes:
        data: Its JSON.
        event: Its name, where the dialect names its events.
        token: Whether it carries a token of the text; the time between tokens passes before it.
        end: Whether it belongs to the end mark, which a truncated stream lacks.
    """

    data: str
    event: str | None = None
    token: bool = False
    end: bool = False

    @property
    def sent(self) -> str:
        """The event as the wire carries it."""
        name = "" if self.event is None else f"event: {self.event}\n"
        return f"{name}data: {self.data}\n\n"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error, in no dialect yet.

    Attributes:
        status: The HTTP status.
        message: What is wrong.
        code: The error's own code, if it is not to follow from the status.
        kind: The error's type, if it is not to follow from the status.
        fields: Further fields.
    """

    status: int
    message: str
    code: str | int | None = None
    kind: str | None = None
    fields: AnyMapping = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What an answer is made of, in no dialect yet.

    Attributes:
        number: Counts the server's answers; ids are made of it, so that all are unique.
        model: The model's name in the answer.
        reply: What the model says.
        usage: Tokens as chat completions name them: `prompt_tokens`, `completion_tokens` and
            `total_tokens`.
        body: The request's body, as it came.
        behavior: How the model behaves, for what it says otherwise than an honest one.
        error: The error that stands in the answer's choice, in the dialect's words.
    """

    number: int
    model: str
    reply: Reply
    usage: Mapping[str, int]
    body: AnyMapping
    behavior: ModelBehavior = field(default_factory=ModelBehavior)
    error: object = None

    @property
    def text(self) -> str | None:
        """The text; that of an answer that fails within stops where it fails."""
        text = self.reply.text
        if self.error is None or text is None:
            return text
        return "".join(self.pieces())

    @property
    def reason(self) -> str | None:
        """The finish reason in the words of chat completions, or `None` where it is not told."""
        if self.behavior.no_finish_reason:
            return None
        return self.reply.reason if self.error is None else "error"

    def pieces(self) -> Iterator[str]:
        """The text as a stream carries it, token by token, or in blocks where it is repeated."""
        text, times = self.reply.text or "", self.behavior.repeat
        pieces = iter(tokens(text)) if times == 1 else _blocks(text, times)
        return pieces if self.error is None else islice(pieces, self.behavior.error_after)

    def told(self, usage: object) -> object:
        """The usage that the answer tells.

        Args:
            usage: What was counted, in the dialect's words.
        """
        return usage if self.behavior.usage is ... else self.behavior.usage

    def with_text(self, text: str) -> Self:
        """The same with another text, which comes once."""
        once = replace(self.behavior, repeat=1)
        return replace(self, reply=replace(self.reply, text=text), behavior=once)


def _blocks(text: str, times: int) -> Iterator[str]:
    """A text so many times over, in blocks."""
    together = max(1, _BLOCK // max(1, len(text)))
    full, rest = divmod(times, together)
    yield from repeat(text * together, full)
    if rest:
        yield text * rest


class Dialect(Protocol):
    """One provider's way to ask, answer, stream and refuse.

    Attributes:
        name: Name of the dialect in a `RecordedRequest`.
        broken: The first event of a malformed stream.
    """

    name: str
    broken: Frame

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The key that a request carries."""

    def complaint_about(self, body: object) -> str | None:
        """Why the provider would refuse a request's body, or `None`. Any JSON may be given."""

    def asked(self, body: AnyMapping, path: str) -> tuple[str, bool]:
        """The model that a body without complaint asks for, and whether to stream.

        Args:
            body: The request's body.
            path: What the address says of the model, in dialects that name it there.
        """

    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:
        """The request in the words of OpenAI's chat completions, for functions that reply."""

    def answer(self, turn: Turn) -> AnyDict:
        """The whole answer."""

    def events(self, turn: Turn) -> Iterator[Frame]:
        """The answer as a stream, up to its end mark."""

    def error(self, refusal: Refusal) -> AnyDict:
        """An error's body."""

    def error_event(self, refusal: Refusal) -> Frame:
        """An error within a stream."""

    def too_long(self, read: int, window: int) -> Refusal:
        """What the provider says of a prompt that does not fit.

        Args:
            read: Tokens of the prompt.
            window: Tokens that it may have.
        """

    def no_pictures(self) -> Refusal:
        """What the provider says of a picture for a model that takes none."""


def as_json(value: object) -> str:
    """JSON for the wire: characters as they are, but half a surrogate pair escaped."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def bearer_key(headers: Mapping[str, str]) -> str | None:
    """The key in an `Authorization` header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme == "Bearer" else None


def first_complaint(complain: Callable[[object], Iterator[str]], body: object) -> str | None:
    """The first of a body's complaints; the rules after it may rely on those before it.

    Args:
        complain: The rules, in order.
        body: The body, whatever was sent.
    """
    return next(complain(body), None)


def is_object(value: object) -> bool:
    """Whether a value is a JSON object."""
    return isinstance(value, Mapping)


def is_filled(value: object) -> bool:
    """Whether a value is a list with at least one item."""
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0


def is_text(value: object) -> bool:
    """Whether a value is a string that is not empty."""
    return isinstance(value, str) and value != ""


def is_tool_name(value: object) -> bool:
    """Whether a tool may go by this name: at most 64 letters, digits, `_` and `-`."""
    return isinstance(value, str) and _TOOL_NAME.fullmatch(value) is not None


def is_base64(value: Any) -> bool:
    """Whether a value is base64 text of at least one byte."""
    if not is_text(value):
        return False
    try:
        return bool(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return False
