"""OpenAI's Responses API, by which its reasoning models take an effort and give summaries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from langchain_moa.testing.dialects.openai import OpenAI
from langchain_moa.testing.dialects.speech import (
    Frame,
    Turn,
    as_json,
    first_complaint,
    is_filled,
    is_object,
    is_text,
)
from langchain_moa.testing.replies import tokens
from langchain_moa.types import AnyDict, AnyMapping

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Responses(OpenAI):
    """The dialect of `POST /v1/responses`.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_openai import ChatOpenAI
        >>> with LoopbackServer({"demo/model": ModelBehavior(reply="Hello!")}) as server:
        ...     model = ChatOpenAI(
        ...         model="demo/model", api_key=server.api_key, base_url=server.base_url,
        ...         use_responses_api=True, reasoning_effort="low",
        ...     )
        ...     model.invoke("Hi").text
        'Hello!'
    """

    name = "openai_responses"

    def complaint_about(self, body: object) -> str | None:
        """Why OpenAI would answer 400, or `None`.

        It holds a request to https://platform.openai.com/docs/api-reference/responses/create.
        """
        return first_complaint(_complaints, body)

    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:  # noqa: ARG002
        """The request in the words of chat completions."""
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        messages = [_message(item) for item in items]
        if body.get("instructions"):
            messages.insert(0, {"role": "system", "content": body["instructions"]})
        chat: AnyDict = {**body, "messages": messages}
        if body.get("tools"):
            chat["tools"] = [{"type": "function", "function": tool} for tool in body["tools"]]
        choice = body.get("tool_choice")
        if isinstance(choice, dict) and "name" in choice:
            chat["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        form = (body.get("text") or {}).get("format") or {}
        if form.get("type") == "json_schema":
            chat["response_format"] = {"type": "json_schema", "json_schema": form}
        return chat

    def answer(self, turn: Turn) -> AnyDict:
        """A response with an item for reasoning, the message, and each call."""
        return self._response(turn, self._items(turn))

    def events(self, turn: Turn) -> Iterator[Frame]:
        """The events of a streamed response."""
        yield self._event("response.created", response=self._response(turn, [], "in_progress"))
        items = self._items(turn)
        for place, item in enumerate(items):
            at = {"output_index": place}
            begun = {**item, "content": []} if item["type"] == "message" else item
            yield self._event("response.output_item.added", item=begun, **at)
            if item["type"] == "message":
                at |= {"content_index": 0, "item_id": item["id"]}
                for piece in turn.pieces():
                    delta = self._event("response.output_text.delta", delta=piece, **at)
                    yield delta._replace(token=True)
            elif item["type"] == "function_call":
                at |= {"item_id": item["id"]}
                for piece in tokens(item["arguments"]):
                    yield self._event("response.function_call_arguments.delta", delta=piece, **at)
            yield self._event("response.output_item.done", item=item, output_index=place)
        ended = self._response(turn, items)
        yield self._event(f"response.{ended['status']}", response=ended)._replace(end=True)

    def _items(self, turn: Turn) -> list[AnyDict]:
        items: list[AnyDict] = []
        if turn.reply.reasoning is not None:
            summary = [{"type": "summary_text", "text": turn.reply.reasoning}]
            items.append({"type": "reasoning", "id": f"rs_{turn.number}", "summary": summary})
        if turn.text:
            said = {"type": "output_text", "text": turn.text, "annotations": []}
            head = {"type": "message", "id": f"msg_{turn.number}", "role": "assistant"}
            items.append({**head, "status": "completed", "content": [said]})
        for place, call in enumerate(turn.reply.tool_calls):
            named = {"name": call.name, "arguments": call.arguments_text, "status": "completed"}
            ids = {"id": f"fc_{turn.number}_{place}", "call_id": self.call_id(turn.number, place)}
            items.append({"type": "function_call", **ids, **named})
        return items

    def _response(self, turn: Turn, items: list[AnyDict], status: str = "") -> AnyDict:
        why = _INCOMPLETE.get(turn.reason or "")
        usage = turn.usage
        told = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        return {
            "id": f"resp_{turn.number}",
            "object": "response",
            "created_at": int(time.time()),
            "status": status or ("incomplete" if why else "completed"),
            "incomplete_details": {"reason": why} if why else None,
            "error": None,
            "instructions": None,
            "metadata": {},
            "model": turn.model,
            "output": items,
            "parallel_tool_calls": True,
            "reasoning": turn.body.get("reasoning"),
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": turn.told(told),
            **turn.behavior.fields,
        }

    def _event(self, kind: str, **values: object) -> Frame:
        data = {"type": kind, "sequence_number": 0, **values}
        return Frame(as_json(data), event=kind)


def _message(item: AnyMapping) -> AnyDict:
    """An item of the input as a message."""
    match item.get("type", "message"):
        case "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        case "function_call_output":
            told = {"tool_call_id": item["call_id"], "content": item["output"]}
            return {"role": "tool", **told}
        case "message":
            return {"role": item["role"], "content": _content(item["content"])}
    return {"role": "assistant", "content": ""}


def _content(content: Any) -> object:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": part["text"]} if "text" in part else dict(part) for part in content
    ]


def _complaints(body: Any) -> Iterator[str]:
    if not is_object(body) or not is_text(body.get("model")):
        yield "model must be a string."
    if not isinstance(body.get("input"), str) and not is_filled(body.get("input")):
        yield "input must be a string or a list with at least one item."
    if "reasoning_effort" in body:
        yield "Unknown parameter: 'reasoning_effort'."
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None and effort not in _EFFORTS:
        yield f"reasoning.effort must be one of {', '.join(_EFFORTS)}."
