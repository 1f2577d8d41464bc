"""What Anthropic's Messages API refuses of a request.

Sources: https://docs.claude.com/en/api/messages, ".../build-with-claude/extended-thinking",
".../agents-and-tools/tool-use/handle-tool-calls" and errors that users met, each named at its
rule. Consecutive messages of one role are no fault: the API makes one turn of them, and so the
rules look at turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from langchain_moa.testing.dialects.speech import is_base64, is_filled, is_object, is_text
from langchain_moa.types import AnyMapping

_CALL_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_BLOCKS: Final = {
    "user": {"text", "image", "document", "search_result", "tool_result"},
    "assistant": {
        *("text", "thinking", "redacted_thinking", "tool_use"),
        *("server_tool_use", "web_search_tool_result"),  # of tools that ran at the provider's
    },
}
_IN_RESULT: Final = {"text", "image", "document", "search_result"}
_THINKING: Final = ("thinking", "redacted_thinking")
_PICTURES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_LEAST_BUDGET: Final = 1024


@dataclass
class _Turn:
    """One or more messages of one role."""

    role: str
    blocks: list[AnyMapping]

    def of_type(self, *kinds: str) -> list[AnyMapping]:
        return [block for block in self.blocks if block["type"] in kinds]


def complaints(body: Any, *, prefill: bool) -> Iterator[str]:
    """All complaints about a request, of which each may rely on the absence of those before.

    Args:
        body: The request's body, whatever was sent.
        prefill: Whether the conversation may end on the assistant's turn.
    """
    yield from _about_envelope(body)
    yield from _about_tools(body)
    for place, message in enumerate(body["messages"]):
        for complaint in _about_message(message):
            yield f"messages.{place}: {complaint}"
    turns = _turns(body["messages"])
    # github.com/lobehub/lobehub/issues/1601
    if turns[0].role != "user":
        yield "messages: the first message must be the user's."
    yield from _about_calls(turns, has_tools=bool(body.get("tools")))
    yield from _about_thinking(body, turns)
    yield from _about_end(turns, prefill=prefill)


def _about_envelope(body: Any) -> Iterator[str]:
    if not is_object(body) or not is_text(body.get("model")):
        yield "model: must be a string."
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        yield "max_tokens: required, an integer of at least 1."
    if not is_filled(body.get("messages")):
        yield "messages: at least one message is needed."
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        if not isinstance(system, list) or not all(is_object(block) for block in system):
            yield "system: must be a string or a list of text blocks."
        for block in system:
            yield from _about_block(block, {"text"})


def _about_message(message: Any) -> Iterator[str]:
    role = message.get("role") if is_object(message) else None
    if not isinstance(role, str) or role not in _BLOCKS:
        yield "role must be 'user' or 'assistant'; system is a parameter beside messages."
    content = message.get("content")
    if isinstance(content, str):
        # github.com/anthropics/claude-code/issues/59812 and 23369
        if not content.strip():
            yield "content must not be empty."
        return
    if not is_filled(content):
        yield "content must be a string or a list of blocks, at least one."
    for block in content:
        yield from _about_block(block, _BLOCKS[str(role)])


def _about_block(block: Any, allowed: set[str]) -> Iterator[str]:
    kind = block.get("type") if is_object(block) else None
    if not isinstance(kind, str) or kind not in allowed:
        yield f"a block of type {kind!r} is none of {sorted(allowed)}."
    match kind:
        case "text":
            if not is_text(block.get("text")) or not block["text"].strip():
                yield "text blocks must have text, not only whitespace."
        case "thinking" | "redacted_thinking":
            yield from _about_thought(block)
        case "image":
            yield from _about_picture(block.get("source"))
        case "tool_use" | "server_tool_use":
            yield from _about_call(block)
        case "web_search_tool_result" if not is_text(block.get("tool_use_id")):
            yield "web_search_tool_result blocks must have a tool_use_id."
        case "tool_result":
            yield from _about_result(block)


def _about_thought(block: AnyMapping) -> Iterator[str]:
    if block["type"] == "redacted_thinking":
        if not is_text(block.get("data")):
            yield "redacted_thinking blocks must have data."
    # github.com/langchain-ai/langchain/pull/29971
    elif not isinstance(block.get("thinking"), str) or not is_text(block.get("signature")):
        yield "thinking blocks must have a thinking and its signature."


def _about_picture(source: Any) -> Iterator[str]:
    kind = source.get("type") if is_object(source) else None
    if kind not in ("base64", "url", "file"):
        yield "the source of an image has the type 'base64', 'url' or 'file'."
    if kind == "base64" and source.get("media_type") not in _PICTURES:
        yield f"the media_type of an image is one of {', '.join(_PICTURES)}."
    if kind == "base64" and not is_base64(source.get("data")):
        yield "the data of an image must be base64."
    if kind == "url" and not str(source.get("url")).startswith(("https://", "http://")):
        yield "the url of an image is http(s)."


def _about_call(block: AnyMapping) -> Iterator[str]:
    if not is_text(block.get("id")) or _CALL_ID.fullmatch(block["id"]) is None:
        yield "tool_use blocks must have an id of letters, digits, '_' and '-'."
    if not is_text(block.get("name")) or _NAME.fullmatch(block["name"]) is None:
        yield "tool_use blocks must have a name of letters, digits, '_' and '-'."
    if not is_object(block.get("input")):
        yield "the input of a tool_use block must be an object."


def _about_result(block: AnyMapping) -> Iterator[str]:
    if not is_text(block.get("tool_use_id")):
        yield "tool_result blocks must have a tool_use_id."
    content = block.get("content")
    if content is not None and not isinstance(content, str | list):
        yield "the content of a tool_result block is a string or a list of blocks."
    for inner in content if isinstance(content, list) else ():
        yield from _about_block(inner, _IN_RESULT)


def _about_tools(body: AnyMapping) -> Iterator[str]:
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(is_object(tool) for tool in tools):
        yield "tools: must be a list of objects."
    # tools that the API runs itself have a type and no schema
    for tool in (tool for tool in tools if tool.get("type", "custom") == "custom"):
        if not is_text(tool.get("name")) or _NAME.fullmatch(tool["name"]) is None:
            yield "tools: a name has letters, digits, '_' and '-'."
        schema = tool.get("input_schema")
        if not is_object(schema) or schema.get("type") != "object":
            yield f"tools: the input_schema of {tool['name']!r} must have the type 'object'."
    names = [tool.get("name") for tool in tools]
    if any(name in names[:place] for place, name in enumerate(names)):
        yield f"tools: the names {names} are not unique."
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not is_object(choice) or choice.get("type") not in ("auto", "any", "tool", "none"):
        yield "tool_choice: its type is 'auto', 'any', 'tool' or 'none'."
    if not tools:
        yield "tool_choice: there are no tools."
    if choice["type"] == "tool" and choice.get("name") not in names:
        yield f"tool_choice: names {choice.get('name')!r}, which is not among the tools."


def _turns(messages: list[AnyMapping]) -> list[_Turn]:
    turns: list[_Turn] = []
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if turns and turns[-1].role == message["role"]:
            turns[-1].blocks.extend(blocks)
        else:
            turns.append(_Turn(message["role"], list(blocks)))
    return turns


def _about_calls(turns: list[_Turn], *, has_tools: bool) -> Iterator[str]:
    """Complaints about calls and results: each call is answered at once, and only once."""
    seen: set[str] = set()
    waiting: list[str] = []
    for turn in turns:
        results = [block["tool_use_id"] for block in turn.of_type("tool_result")]
        for call_id in results:
            # github.com/tghamm/Anthropic.SDK/issues/184
            if call_id not in waiting:
                yield f"messages: no tool_use in the turn before has the id {call_id!r}."
        # github.com/anthropics/claude-code/issues/8210
        if sorted(results) != sorted(waiting):
            yield f"messages: of the tool_use ids {waiting} only {results} have results, each once."
        # github.com/anthropics/anthropic-sdk-typescript/issues/653
        if any(block["type"] != "tool_result" for block in turn.blocks[: len(results)]):
            yield "messages: tool_result blocks must come first in the user's turn."
        waiting = [block["id"] for block in turn.of_type("tool_use")]
        if len(set(waiting)) < len(waiting) or seen & set(waiting):
            yield f"messages: the tool_use ids {waiting} are not unique in the conversation."
        seen.update(waiting)
    if waiting:
        yield f"messages: the tool_use ids {waiting} have no tool_result."
    # https://portkey.ai/error-library/tool-definition-error-10488
    if seen and not has_tools:
        yield "tools: must be given where messages have tool_use or tool_result blocks."


def _about_thinking(body: AnyMapping, turns: list[_Turn]) -> Iterator[str]:
    for turn in turns:
        # github.com/tailcallhq/forgecode/issues/2107
        if turn.role == "assistant" and turn.blocks[-1]["type"] in _THINKING:
            yield "messages: thinking cannot be the last block of the assistant's turn."
    thinking = body.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or not _LEAST_BUDGET <= budget < body["max_tokens"]:
        yield f"thinking: budget_tokens is at least {_LEAST_BUDGET} and less than max_tokens."
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "thinking: no tool can be forced with it."
    # github.com/deepset-ai/haystack-core-integrations/issues/2146
    if turns[-1].of_type("tool_result") and turns[-2].blocks[0]["type"] not in _THINKING:
        yield "messages: with thinking, the turn that called the tools must start with thinking."


def _about_end(turns: list[_Turn], *, prefill: bool) -> Iterator[str]:
    if turns[-1].role == "user":
        return
    # github.com/strands-agents/sdk-python/issues/1694
    if not prefill:
        yield "messages: the conversation must end on the user's turn; prefill is not supported."
    last = turns[-1].blocks[-1]
    if last["type"] == "text" and last["text"] != last["text"].rstrip():
        yield "messages: a prefill cannot end in whitespace."
