"""Reasoning in answers, in blocks and in tags."""

from __future__ import annotations

import re
from typing import Final

# a tag in backticks is spoken of, not used; an unclosed one counts at the start of a line only
_THINKING = re.compile(r"(?<!`)<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)


_CLOSING = re.compile(r"</think(?:ing)?>", re.IGNORECASE)


_UNCLOSED_THINKING = re.compile(
    r"^[^\S\n]*<think(?:ing)?>.*\Z", re.DOTALL | re.IGNORECASE | re.MULTILINE
)


_UNOPENED_THINKING = re.compile(r"\A.*(?<!`)</think(?:ing)?>", re.DOTALL | re.IGNORECASE)


REASONING_BLOCKS: Final = ("reasoning", "thinking", "redacted_thinking", "reasoning_content")
"""Types of the content blocks in which providers put reasoning."""


def strip_reasoning(text: str) -> str:
    """Cut `<think>` sections from a model's text, closed, unclosed or without an opening tag.

    Example:
        >>> strip_reasoning("<think>2+2... easy</think>4")
        '4'
    """
    lowered = text.lower()  # to look for the tags costs more
    if "<think" not in lowered and "</think" not in lowered:
        return text.strip()
    closed = max((m.end() for m in _CLOSING.finditer(text)), default=0)
    kept = _THINKING.sub("", text[:closed]) + text[closed:]
    return _UNOPENED_THINKING.sub("", _UNCLOSED_THINKING.sub("", kept)).strip()


def is_reasoning(block: object) -> bool:
    """Whether a content block holds reasoning, in the words of any provider."""
    return isinstance(block, dict) and block.get("type") in REASONING_BLOCKS
