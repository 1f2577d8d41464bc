"""Reasoning in tags, where a server leaves it in the text of an answer."""

from __future__ import annotations

import re
from functools import cache
from typing import Final, NamedTuple

from langchain_moa.messages.characters import from_first_seen


class _Tags(NamedTuple):
    """How a family of models marks its reasoning where the server leaves it in the text.

    Attributes:
        opening: What reasoning begins with, in any case of letters.
        closing: What it ends with.
        answer: What the answer itself may stand between, after the reasoning.
    """

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    answer: tuple[str, str] | None = None


_TAGS: Final = (
    # DeepSeek-R1, Qwen 3, GLM-4.5, MiniMax-M2 and most others; Claude and others that are asked to
    # think in <thinking>; Hunyuan-A13B and models trained like it put the answer into <answer>
    _Tags(("<think>", "<thinking>"), ("</think>", "</thinking>"), ("<answer>", "</answer>")),
    # ByteDance Seed-OSS: tokenizer_config.json of ByteDance-Seed/Seed-OSS-36B-Instruct
    _Tags(("<seed:think>",), ("</seed:think>",)),
    # MiniMax-M3: its chat template
    _Tags(("<mm:think>",), ("</mm:think>",)),
    # Kimi-VL-Thinking and Kimi-Dev: their model cards
    _Tags(("◁think▷",), ("◁/think▷",)),
    # Mistral's Magistral: special tokens of mistral-common's tokenizer
    _Tags(("[think]",), ("[/think]",)),
    # LG's EXAONE Deep: its model card
    _Tags(("<thought>",), ("</thought>",)),
    # Cohere's Command A Reasoning: its chat template
    _Tags(
        ("<|start_thinking|>",),
        ("<|end_thinking|>",),
        ("<|start_response|>", "<|end_response|>"),
    ),
    # Apertus: vLLM's reasoning parser for it
    _Tags(("<|inner_prefix|>",), ("<|inner_suffix|>",)),
    # Gemma 4: its chat template
    _Tags(("<|channel>thought",), ("<channel|>",)),
    # OpenAI's gpt-oss where a server does not parse its "harmony" format: openai/harmony, docs
    _Tags(
        ("<|channel|>analysis<|message|>",),
        ("<|end|>",),
        ("<|start|>assistant<|channel|>final<|message|>", "<|return|>"),
    ),
)
"""The tags of reasoning, and where each is documented."""


class _Patterns(NamedTuple):
    closing: re.Pattern[str]
    section: re.Pattern[str]
    unclosed: re.Pattern[str]
    unopened: re.Pattern[str]


@cache
def _patterns(tags: _Tags) -> _Patterns:
    """What finds reasoning; built at first use, for most answers have none.

    A tag in backticks is spoken of, not used; an unclosed one counts at the start of a line only.
    """
    opening = f"(?:{'|'.join(map(re.escape, tags.opening))})"
    closing = f"(?:{'|'.join(map(re.escape, tags.closing))})"
    flags = re.DOTALL | re.IGNORECASE
    return _Patterns(
        closing=re.compile(closing, flags),
        section=re.compile(f"(?<!`){opening}.*?{closing}", flags),
        unclosed=re.compile(rf"^[^\S\n]*{opening}.*\Z", flags | re.MULTILINE),
        unopened=re.compile(rf"\A.*(?<!`){closing}", flags),
    )


def strip_reasoning(text: str) -> str:
    r"""Cut reasoning in tags from a model's text: closed, unclosed or without an opening tag.

    Where nothing is left that can be seen, nothing is left.

    Example:
        >>> strip_reasoning("<think>2+2... easy</think>4")
        '4'
        >>> strip_reasoning("[THINK]easy[/THINK]4")
        '4'
        >>> strip_reasoning("<think>easy</think>\u200b")
        ''
    """
    lowered = text.lower()  # to look for the tags with patterns costs more
    for tags in _TAGS:
        if any(tag in lowered for tag in (*tags.opening, *tags.closing)):
            text = _without(tags, text)
    return text.strip() if from_first_seen(text) else ""


def tagged_reasoning(text: str) -> str:
    """What `strip_reasoning` cuts of a text, without the tags.

    Example:
        >>> tagged_reasoning("<think>2+2... easy</think>4")
        '2+2... easy'
        >>> tagged_reasoning("4")
        ''
    """
    lowered = text.lower()
    found = []
    for tags in _TAGS:
        if any(tag in lowered for tag in (*tags.opening, *tags.closing)):
            patterns, rest = _patterns(tags), text
            for pattern in (patterns.section, patterns.unclosed, patterns.unopened):
                found += pattern.findall(rest)
                rest = pattern.sub("", rest)
            found = [_untagged(tags, part) for part in found]
            text = rest
    return "\n".join(part for part in found if part)


def _untagged(tags: _Tags, text: str) -> str:
    for tag in (*tags.opening, *tags.closing):
        text = re.sub(re.escape(tag), "", text, flags=re.IGNORECASE)
    return text.strip()


def _without(tags: _Tags, text: str) -> str:
    patterns = _patterns(tags)
    # beyond the last closing tag no section can end, and to look for it there takes quadratic time
    closed = max((m.end() for m in patterns.closing.finditer(text)), default=0)
    kept = patterns.section.sub("", text[:closed]) + text[closed:]
    kept = patterns.unopened.sub("", patterns.unclosed.sub("", kept))
    return _unwrapped(kept, tags.answer) if tags.answer and kept != text else kept


def _unwrapped(text: str, around: tuple[str, str]) -> str:
    """The answer without the tags that a model puts around it after its reasoning."""
    beginning, end = around
    stripped = text.strip()
    if stripped[: len(beginning)].lower() != beginning:
        return text
    inner = stripped[len(beginning) :]
    return inner[: -len(end)] if inner[-len(end) :].lower() == end else inner


_OPENINGS: Final = {tag: tags for tags in _TAGS for tag in tags.opening}
_CLOSINGS: Final = tuple(tag for tags in _TAGS for tag in tags.closing)
_LONGEST_TAG: Final = max(map(len, (*_OPENINGS, *_CLOSINGS)))


class ReasoningAhead:
    """Tells of a text that comes in pieces whether it has got past the reasoning at its start.

    Example:
        >>> ahead = ReasoningAhead()
        >>> [ahead.is_past(piece) for piece in ("<th", "ink>2+2", "</think>", " ", "4")]
        [False, False, False, False, True]
    """

    def __init__(self) -> None:
        self._rest = ""  # in lower case: what is not yet known to be reasoning, or not
        self._inside: _Tags | None = None
        self._past = False

    def is_past(self, piece: str) -> bool:
        """Whether, with this piece, text has come that is no reasoning."""
        if self._past:
            return True
        self._rest += piece.lower()
        while self._cut():
            pass
        if self._inside is not None:
            self._rest = self._rest[-_LONGEST_TAG:]  # half a closing tag, at most
            return False
        may_open = (tag.startswith(self._rest) for tag in (*_OPENINGS, *_CLOSINGS))
        self._past = bool(self._rest) and not any(may_open)
        return self._past

    def _cut(self) -> bool:
        """Cut the next tag, and what is known to be reasoning with it; whether there was one."""
        if self._inside is not None:
            closing = _patterns(self._inside).closing.search(self._rest)
            if closing is None:
                return False
            self._rest, self._inside = self._rest[closing.end() :], None
            return True
        self._rest = from_first_seen(self._rest)
        tag = next(filter(self._rest.startswith, (*_OPENINGS, *_CLOSINGS)), None)
        if tag is None:
            return False
        self._rest, self._inside = self._rest[len(tag) :], _OPENINGS.get(tag)
        return True
