"""Characters that a model sends in halves, as pieces of JSON escapes, made whole again.

A character beyond U+FFFF is a pair of surrogates in JSON's escapes. A provider that cuts a text
between them sends two halves, which Python joins to no character, and which no file, no log and
no request in UTF-8 can hold. A half that stays alone is shown as U+FFFD, as Unicode recommends
(https://www.unicode.org/versions/Unicode17.0.0/core-spec/chapter-3/#G66453).
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk

Message = TypeVar("Message", bound=AIMessage)

_HALVES: Final = re.compile("[\ud800-\udfff]")
_FIRST_HALVES: Final = ("\ud800", "\udbff")
_FIELDS: Final = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs")


def whole_characters(text: str) -> str:
    r"""A text in which each pair of halves is its character, and each other half U+FFFD.

    Example:
        >>> whole_characters("\ud83d\udc4d and \ud83d") == "👍 and \ufffd"
        True
    """
    if text.isascii() or _HALVES.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def with_whole_characters(message: Message) -> Message:
    """A message whose texts, and calls of tools, hold no halves; itself where none did."""
    changed = {name: _cleaned(getattr(message, name)) for name in _FIELDS}
    changed = {name: new for name, new in changed.items() if new is not getattr(message, name)}
    return message.model_copy(update=changed) if changed else message


def _cleaned(value: Any) -> Any:
    """Plain data without halves; the same object where there were none."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, dict):
        made: Any = {_cleaned(key): _cleaned(part) for key, part in value.items()}
        same = all(made.get(key) is part for key, part in value.items())
    elif isinstance(value, list):
        made = [_cleaned(part) for part in value]
        same = all(new is old for new, old in zip(made, value, strict=True))
    else:
        return value
    return value if same else made


class WholeCharacters:
    """The chunks of one stream, each with whole characters only.

    A first half at a chunk's end waits for the next chunk, whose text it then begins.
    """

    def __init__(self) -> None:
        self._waiting = ""

    def passed_on(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """The chunk without the half that waits, and with the one that waited."""
        content = chunk.content
        if not self._waiting and isinstance(content, str) and content.isascii():
            return chunk
        if not isinstance(content, str):
            return self._in_blocks(chunk)
        text = self._joined(content, ends=chunk.chunk_position == "last")
        return chunk if text is content else chunk.model_copy(update={"content": text})

    def rest(self) -> str:
        """What is left of a stream that has no last chunk."""
        return whole_characters(self._waiting)

    def _in_blocks(self, chunk: AIMessageChunk) -> AIMessageChunk:
        blocks = [dict(block) if isinstance(block, dict) else block for block in chunk.content]
        for place, block in enumerate(blocks):
            ends = place + 1 < len(blocks) or chunk.chunk_position == "last"
            if isinstance(block, str):
                blocks[place] = self._joined(block, ends=ends)
            elif isinstance(block.get("text"), str):
                block["text"] = self._joined(block["text"], ends=ends)
        return chunk if blocks == chunk.content else chunk.model_copy(update={"content": blocks})

    def _joined(self, text: str, *, ends: bool) -> str:
        if not text and not ends:  # it says nothing of what follows
            return text
        given = self._waiting + text
        first, last = _FIRST_HALVES
        self._waiting = given[-1] if not ends and given and first <= given[-1] <= last else ""
        whole = whole_characters(given[:-1] if self._waiting else given)
        return text if whole == text else whole
