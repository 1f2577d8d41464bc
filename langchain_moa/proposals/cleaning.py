"""What models write, made fit to be read: no tags of a call's fences, no halves of characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from langchain_core.messages import AIMessageChunk, BaseMessage
from pydantic import BaseModel

from langchain_moa.messages.blocks import REASONING_TYPES, is_reasoning
from langchain_moa.messages.characters import begun_escape, whole_characters, whole_escapes
from langchain_moa.proposals.fences import begun_tag, without_tags
from langchain_moa.types import AnyDict, AnyMapping

_Message = TypeVar("_Message", bound=BaseMessage)

_CLEANED: Final = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs")
_HIGH: Final = ("\ud800", "\udbff")
"""First halves of characters, which wait for the second."""
_PIECES: Final = ("text", "partial_json", "arguments", "args", "refusal")
"""Fields in which a streamed answer's texts come piece by piece."""
_JSON: Final = ("partial_json", "arguments", "args")
"""Those of them that are JSON, where a half may be escaped."""


def cleaned_text(text: str, key: str | None) -> str:
    """A model's text without tags of the fences that it was shown, in whole characters.

    Args:
        text: What it wrote.
        key: The fences' key; `None` where it was shown none.
    """
    whole = whole_characters(text)
    return whole if key is None else without_tags(whole, key)


def cleaned(message: _Message, key: str | None) -> _Message:
    """The same of a whole message: its texts, its calls, and what was parsed of them.

    Reasoning keeps its tags, for some providers sign it.
    """
    given = {name: getattr(message, name, None) for name in _CLEANED}
    update = {name: _cleaned(value, key) for name, value in given.items()}
    changed = {name: value for name, value in update.items() if value is not given[name]}
    return message.model_copy(update=changed) if changed else message


def _cleaned(value: object, key: str | None) -> object:
    """A value with its texts cleaned; the same object where there is nothing to clean."""
    if isinstance(value, str):
        text = cleaned_text(value, key)
        return value if text == value else text
    if isinstance(value, list):
        items = [_cleaned(item, key) for item in value]
        return value if _same(items, value) else items
    if isinstance(value, dict):
        read = None if is_reasoning(value) else key
        fields = {k: _cleaned(v, None if k in REASONING_TYPES else read) for k, v in value.items()}
        return value if _same(fields.values(), value.values()) else fields
    if isinstance(value, BaseModel):
        given = dict(value)
        fields = {k: _cleaned(v, key) for k, v in given.items()}
        return value if _same(fields.values(), given.values()) else value.model_copy(update=fields)
    return value


def _same(new: Any, old: Any) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


class _Held(NamedTuple):
    """The end of a text that waits for what follows it, and what makes a part of a chunk of it."""

    text: str
    key: str | None
    made: Callable[[str], AnyDict]


class CleanStream:
    """Cleans an answer's chunks: what may be the beginning of a tag waits for the next chunk.

    Args:
        key: The key of the fences that the model was shown; `None` where it was shown none.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key
        self._held: dict[tuple[object, ...], _Held] = {}

    def take(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """A chunk to pass on; the last one brings what was held back."""
        update: AnyDict = {}
        content = self._content(chunk.content)
        if content is not chunk.content:
            update["content"] = content
        calls = [self._fields(c, ("call", c["index"]), _call) for c in chunk.tool_call_chunks]
        if not _same(calls, chunk.tool_call_chunks):
            update["tool_call_chunks"] = calls
        if chunk.additional_kwargs:
            beside = self._fields(chunk.additional_kwargs, ("beside",), _beside)
            if beside is not chunk.additional_kwargs:
                update["additional_kwargs"] = beside
        taken = chunk.model_copy(update=update) if update else chunk
        if chunk.chunk_position != "last" or (rest := self.rest()) is None:
            return taken
        whole = taken + rest
        return whole.model_copy(update={"chunk_position": "last"})

    def of_event(self, event: AnyDict) -> list[AnyDict]:
        """The events to tell of in place of one of LangChain's protocol (`stream_events` v3).

        The end of a block brings what was held back of it.
        """
        name, index = event.get("event"), event.get("index")
        if name == "content-block-delta":
            delta = event["delta"]

            def again(_: AnyMapping, field: str, rest: str) -> AnyDict:
                return {**event, "delta": {"type": delta.get("type"), field: rest}}

            return [_with(event, "delta", self._fields(delta, ("event", index), again))]
        if name == "content-block-finish":
            ended = [where for where in self._held if where[:2] == ("event", index)]
            held = [self._held.pop(where) for where in ended]
            rest = [h.made(text) for h in held if (text := cleaned_text(h.text, h.key))]
            return [*rest, _with(event, "content", _cleaned(event.get("content"), self._key))]
        if name == "message-finish" and "additional_kwargs" in event:
            kept = _cleaned(event["additional_kwargs"], self._key)
            return [_with(event, "additional_kwargs", kept)]
        return [event]

    def rest(self) -> AIMessageChunk | None:
        """What was held back at the end of the stream, which begins no tag after all."""
        pieces = [
            AIMessageChunk(**{"content": "", **held.made(text)})
            for held in self._held.values()
            if (text := cleaned_text(held.text, held.key))
        ]
        self._held.clear()
        return sum(pieces[1:], pieces[0]) if pieces else None

    def _content(self, content: str | list[str | AnyDict]) -> object:
        if isinstance(content, str):
            return self._text(content, ("text",), self._key, _content)
        blocks = [self._block(block, place) for place, block in enumerate(content)]
        return content if _same(blocks, content) else blocks

    def _block(self, block: str | AnyDict, place: int) -> object:
        if isinstance(block, str):
            return self._text(block, ("text",), self._key, _content)
        where = ("block", block.get("index", place), block.get("type"))
        return self._fields(block, where, _of_block(block))

    def _fields(
        self,
        given: AnyMapping,
        where: tuple[object, ...],
        made: Callable[[AnyMapping, str, str], AnyDict],
    ) -> object:
        """A part of a chunk with the texts in its fields cleaned; the same where none changes."""
        changed = {}
        for name in (*_PIECES, *REASONING_TYPES):
            text = given.get(name)
            if isinstance(text, str):
                key = None if name in REASONING_TYPES else self._key

                def again(rest: str, name: str = name) -> AnyDict:
                    return made(given, name, rest)

                new = self._text(text, (*where, name), key, again)
                if new is not text:
                    changed[name] = new
        return {**given, **changed} if changed else given

    def _text(
        self,
        text: str,
        where: tuple[object, ...],
        key: str | None,
        made: Callable[[str], AnyDict],
    ) -> str:
        held = self._held[where].text if where in self._held else ""
        is_json = where[-1] in _JSON
        plain = text.isascii() and not (is_json and "\\" in text)
        if not held and plain and (key is None or not ("<" in text or text[-1:] == "\n")):
            return text
        whole = held + text
        half = begun_escape(whole) if is_json else 0
        half = half or int(_HIGH[0] <= whole[-1:] <= _HIGH[1])
        ending = whole[len(whole) - half :]
        whole = whole_characters(whole.removesuffix(ending))
        whole = whole_escapes(whole) if is_json else whole
        tail = begun_tag(whole, key) if key is not None else 0
        end = len(whole) - tail
        self._held[where] = _Held(whole[end:] + ending, key, made)
        new = whole[:end] if key is None else without_tags(whole[:end], key, ended=False)
        return text if new == text else new


def _with(event: AnyDict, name: str, value: object) -> AnyDict:
    return event if value is event.get(name) else {**event, name: value}


def _content(rest: str) -> AnyDict:
    return {"content": rest}


def _call(given: AnyMapping, name: str, rest: str) -> AnyDict:
    piece = {"name": None, "id": None, "index": given["index"], "type": "tool_call_chunk"}
    return {"tool_call_chunks": [{**piece, name: rest}]}


def _beside(_: AnyMapping, name: str, rest: str) -> AnyDict:
    return {"additional_kwargs": {name: rest}}


def _of_block(block: AnyMapping) -> Callable[[AnyMapping, str, str], AnyDict]:
    same = {k: block[k] for k in ("type", "index") if k in block}
    return lambda _, name, rest: {"content": [{**same, name: rest}]}
