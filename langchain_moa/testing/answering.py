"""One answer of a scripted model as the wire carries it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from langchain_moa.testing.behavior import ModelBehavior
from langchain_moa.testing.replies import Reply, count_prompt_tokens, tokens
from langchain_moa.testing.requests import RecordedRequest

BROKEN_JSON: Final = '{"choices": [{"mess'


class Answer:
    """One answer on its way out, whole or as server-sent events.

    Args:
        record: The request; what the answer takes and whether it ended is noted there.
        behavior: How the model behaves.
        reply: What it says.
        answer_id: The answer's id.
    """

    def __init__(
        self, record: RecordedRequest, behavior: ModelBehavior, reply: Reply, answer_id: str
    ) -> None:
        self._record = record
        self._behavior = behavior
        self._reply = reply
        self._head = {
            "id": answer_id,
            "created": int(time.time()),
            "model": behavior.answers_as or record.model,
        }
        self._choices: int = record.body.get("n") or 1

    def _usage(self) -> dict[str, int]:
        read = count_prompt_tokens(self._record.body["messages"])
        calls = "".join(call.arguments_text for call in self._reply.tool_calls)
        written = len(tokens((self._reply.text or "") + calls)) * self._choices
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }

    def document(self) -> str:
        """The whole answer as one JSON document."""
        message: dict[str, Any] = {"role": "assistant", "content": self._reply.text}
        if self._reply.tool_calls:
            message["tool_calls"] = [_call(i, c) for i, c in enumerate(self._reply.tool_calls)]
        choices = [
            {"index": i, "message": message, "finish_reason": self._reply.reason}
            for i in range(self._choices)
        ]
        self._record.usage = self._usage()
        head = {**self._head, "object": "chat.completion"}
        return _json({**head, "choices": choices, "usage": self._record.usage})

    async def whole(self) -> AsyncIterator[str]:
        """The document as the only piece of a body."""
        yield self.document()
        self._record.finished = True

    async def events(self) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        await asyncio.sleep(self._behavior.first_token_delay)
        if self._behavior.malformed:
            yield f"data: {BROKEN_JSON}\n\n"
            return
        for choice in range(self._choices):
            async for delta in self._deltas():
                yield self._event(choice, delta, None)
            if self._behavior.truncate_after is not None:
                return
            yield self._event(choice, {}, self._reply.reason)
        self._record.usage = self._usage()
        if (self._record.body.get("stream_options") or {}).get("include_usage"):
            yield _data({**self._chunk_head(), "choices": [], "usage": self._record.usage})
        self._record.finished = True
        yield "data: [DONE]\n\n"

    async def _deltas(self) -> AsyncIterator[dict[str, Any]]:
        yield {"role": "assistant", "content": ""}
        pieces = tokens(self._reply.text or "")
        for place, piece in enumerate(pieces[: self._behavior.truncate_after]):
            if place and self._behavior.token_delay:
                await asyncio.sleep(self._behavior.token_delay)
            if place == self._behavior.drop_after:
                raise ConnectionAbortedError  # the server cuts a response that ends in an error
            yield {"content": piece}
        for index, call in enumerate(self._reply.tool_calls):
            opened = _call(index, call)
            opened["function"]["arguments"] = ""
            yield {"tool_calls": [{"index": index, **opened}]}
            for piece in tokens(call.arguments_text):
                yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _event(self, choice: int, delta: dict[str, Any], reason: str | None) -> str:
        entry = {"index": choice, "delta": delta, "finish_reason": reason}
        return _data({**self._chunk_head(), "choices": [entry]})


def _call(index: int, call: Any) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"id": f"call_{index}", "type": "function", "function": function}


def _data(event: dict[str, Any]) -> str:
    return f"data: {_json(event)}\n\n"


def _json(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair travels escaped or not at all
        return json.dumps(value)
    return text
