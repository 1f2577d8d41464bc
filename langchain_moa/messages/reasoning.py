"""Reasoning in tags, where a server leaves it in the text of an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from langchain_moa.messages.characters import from_first_seen


class _Tags(NamedTuple):
    """How a family of models marks its reasoning where the server leaves it in the text.

    Attributes:
        opening: What reasoning begins with, in any case of letters. Words, which other models say,
            too, count at the beginning of a text alone, and where the closing is there.
        closing: What it ends with.
        answers: What the answer itself may stand between, after the reasoning.
        may_lack_opening: Whether the closing counts alone, as the opening may stand in the prompt.
    """

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    answers: tuple[tuple[str, str], ...] = ()
    may_lack_opening: bool = True


_TAGS: Final = (
    # DeepSeek-R1, Qwen 3, GLM-4.5, MiniMax-M2 and most others; Claude and others that are asked to
    # think in <thinking>; Hunyuan-A13B and models trained like it put the answer into <answer>,
    # Baidu's ERNIE 4.5 into <response> (vLLM's reasoning parsers for both)
    _Tags(
        ("<think>", "<thinking>"),
        ("</think>", "</thinking>"),
        (("<answer>", "</answer>"), ("<response>", "</response>")),
    ),
    # Reka Flash 3: its model card; <reason>: Open WebUI's page "Reasoning & Thinking Models"
    _Tags(("<reasoning>", "<reason>"), ("</reasoning>", "</reason>"), (("<answer>", "</answer>"),)),
    # OpenThinker and others that were trained on OpenThoughts-114k: the system prompt of that data
    _Tags(
        ("<|begin_of_thought|>",),
        ("<|end_of_thought|>",),
        (("<|begin_of_solution|>", "<|end_of_solution|>"),),
    ),
    # ByteDance Seed-OSS: tokenizer_config.json of ByteDance-Seed/Seed-OSS-36B-Instruct
    _Tags(("<seed:think>",), ("</seed:think>",)),
    # MiniMax-M3: its chat template
    _Tags(("<mm:think>",), ("</mm:think>",)),
    # Meituan's LongCat: vLLM's reasoning parser for it
    _Tags(("<longcat_think>",), ("</longcat_think>",)),
    # K2 Horizon, by effort: vLLM's reasoning parser for it
    _Tags(
        ("<ifm|think>", "<ifm|think_fast>", "<ifm|think_faster>"),
        ("</ifm|think>", "</ifm|think_fast>", "</ifm|think_faster>"),
    ),
    # Kimi-VL-Thinking and Kimi-Dev: their model cards
    _Tags(("◁think▷",), ("◁/think▷",)),
    # Kimi K3: vLLM's reasoning parser for it
    _Tags(
        ("<|open|>think<|sep|>",),
        ("<|close|>think<|sep|>",),
        (
            ("<|open|>response<|sep|>", "<|close|>response<|sep|><|close|>message<|sep|>"),
            ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
        ),
    ),
    # Mistral's Magistral: special tokens of mistral-common's tokenizer
    _Tags(("[think]",), ("[/think]",)),
    # LG's EXAONE Deep: its model card; Alibaba's Marco-o1: its system prompt
    _Tags(("<thought>",), ("</thought>",), (("<output>", "</output>"),)),
    # Cohere's Command A Reasoning: its chat template
    _Tags(
        ("<|start_thinking|>",),
        ("<|end_thinking|>",),
        (("<|start_response|>", "<|end_response|>"),),
    ),
    # Apertus: vLLM's reasoning parser for it
    _Tags(("<|inner_prefix|>",), ("<|inner_suffix|>",)),
    # Upstage's Solar Open 2: vLLM's reasoning parser for it
    _Tags(("<|think:start|>",), ("<|think:end|>",)),
    # PLaMo 3: vLLM's reasoning parser for it
    _Tags(("<|plamo:begin_think:plamo|>",), ("<|plamo:end_think:plamo|>",)),
    # Huawei's openPangu: vLLM's reasoning parser for it
    _Tags(("[unused16]",), ("[unused17]",)),
    # Gemma 4: its chat template
    _Tags(("<|channel>thought",), ("<channel|>",)),
    # OpenAI's gpt-oss where a server does not parse its "harmony" format: openai/harmony, docs;
    # with <|end|> alone, Phi's answers end
    _Tags(
        ("<|channel|>analysis<|message|>",),
        ("<|end|>",),
        (("<|start|>assistant<|channel|>final<|message|>", "<|return|>"),),
        may_lack_opening=False,
    ),
    # ServiceNow's Apriel Thinker: its chat template
    _Tags(
        ("here are my reasoning steps:",),
        ("[begin final response]",),
        (("", "[end final response]"),),
    ),
    # IBM's Granite 3.2: vLLM's reasoning parser for it
    _Tags(
        ("here is my thought process:", "here's my thought process:"),
        ("here is my response:", "here's my response:"),
        may_lack_opening=False,
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
    opening = _any(filter(_is_tag, tags.opening))
    said = _any(tag for tag in tags.opening if not _is_tag(tag))
    closing = _any(tags.closing)
    alone = closing if tags.may_lack_opening else _any(())
    flags = re.DOTALL | re.IGNORECASE
    return _Patterns(
        closing=re.compile(closing, flags),
        section=re.compile(rf"(?:(?<!`){opening}|\A\s*{said}).*?{closing}", flags),
        unclosed=re.compile(rf"^[^\S\n]*{opening}.*\Z", flags | re.MULTILINE),
        unopened=re.compile(rf"\A.*(?<!`){alone}", flags),
    )


def _is_tag(text: str) -> bool:
    """Whether it is a mark that no model writes otherwise, and no words."""
    return not text[0].isalpha()


def _any(texts: Iterable[str]) -> str:
    """A pattern of any of these texts; of none, one that is nowhere."""
    return f"(?:{'|'.join(map(re.escape, texts)) or '(?!)'})"


_BEGINNINGS: Final = tuple(
    {
        tag.split()[0] if tag[0].isalpha() else tag[0]
        for tags in _TAGS
        for tag in (*tags.opening, *tags.closing)
    }
)
"""How all tags begin: with one of a few signs or words, of which most answers have none."""


def _used(text: str) -> Iterator[_Tags]:
    """The tags that stand in a text; to look for them with patterns costs more."""
    lowered = text.lower()
    if any(beginning in lowered for beginning in _BEGINNINGS):
        for tags in _TAGS:
            if any(tag in lowered for tag in (*tags.opening, *tags.closing)):
                yield tags


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
    for tags in _used(text):
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
    found = []
    for tags in _used(text):
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
    return _unwrapped(kept, tags.answers) if kept != text else kept


def _unwrapped(text: str, answers: Iterable[tuple[str, str]]) -> str:
    """The answer without the tags that a model puts around it after its reasoning."""
    stripped = text.strip()
    for beginning, end in answers:
        inner = stripped[len(beginning) :]
        if stripped[: len(beginning)].lower() == beginning:
            if inner[-len(end) :].lower() == end:
                return inner[: -len(end)]
            text = inner
    return text


_OPENINGS: Final = {tag: tags for tags in _TAGS for tag in filter(_is_tag, tags.opening)}
_CLOSINGS: Final = tuple(tag for tags in _TAGS if tags.may_lack_opening for tag in tags.closing)
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
