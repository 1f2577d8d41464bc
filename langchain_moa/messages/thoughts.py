"""The reasoning that comes with an answer, wherever its provider puts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from langchain_core.messages import AIMessage

from langchain_moa.messages.blocks import REASONING_KEY, REASONING_TYPES, is_reasoning
from langchain_moa.messages.reasoning import tagged_reasoning

_TEXTS: Final = (*REASONING_TYPES, "summary", "text")
"""Where a block of reasoning has its words; beside them stand signatures and what is encrypted."""


def reasoning_of(message: AIMessage) -> str:
    """The reasoning before an answer as text; empty where there is none that can be read.

    Example:
        >>> thought = {"type": "thinking", "thinking": "2 + 2 is 4.", "signature": "c2ln"}
        >>> reasoning_of(AIMessage([thought, {"type": "text", "text": "4"}]))
        '2 + 2 is 4.'
        >>> reasoning_of(AIMessage("<think>2 + 2 is 4.</think>4"))
        '2 + 2 is 4.'
    """
    content = message.content if isinstance(message.content, list) else []
    blocks = [text for block in content if is_reasoning(block) for text in _words(block)]
    beside = list(_words(message.additional_kwargs.get(REASONING_KEY)))
    parts = [*blocks, *(beside if not blocks else ()), tagged_reasoning(message.text)]
    return "\n".join(part.strip() for part in parts if part.strip())


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
    elif isinstance(value, Mapping):
        for name in _TEXTS:
            yield from _words(value.get(name))
