"""Markdown on a terminal: cut into what is finished as it grows, and rendered."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, NamedTuple

from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.segment import Segment
from rich.table import Table

_LONGEST: Final = 4000
"""Characters of a paragraph that are drawn anew as it grows; a longer one is printed in parts."""
_FENCE: Final = re.compile(r"(`{3,}|~{3,})(.*)")
_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_EMPHASIS: Final = re.compile(r"\*+|~~+")
_MARK: Final = "\ufdd0"
"""Neither a space nor punctuation; a noncharacter, which no text has."""
_WIDE: Final = re.compile(
    "[\u2018-\u201d\u2014\u2026\u00b7\u3001-\u303f\ufe30-\ufe4f\uff01-\uff65]"
)
"""Punctuation beside which no spaces stand."""
# writing without spaces between words: Thai, Lao, Burmese, Khmer, Han, Kana, full widths, and
# Hangul, whose particles follow at once
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u2e80-\u2fff\u3005-\u3007\u3021-\u3029\u3031-\u33ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff10-\uff19\uff21-\uff3a"
    "\uff41-\uff5a\uff66-\uffdc\U00020000-\U0003ffff]"
)


class Part(NamedTuple):
    """A part of an answer that cannot change any more.

    Attributes:
        text: Its Markdown.
        gap: How many empty lines stand behind it.
    """

    text: str
    gap: int


class GrowingMarkdown:
    """Markdown that comes in pieces of any size, each of which is looked at once.

    A paragraph ends at an empty line outside a code block and a list's item. One that grows too
    long is cut before that: a code block goes on as a block of the same kind, a table with its
    head again, any other text behind a line's end or between words.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []  # of what is not finished, each with its end
        self._carried = 0  # so many of them were printed before, and open what goes on
        self._last: list[str] = []  # pieces of the line that has not ended
        self._size = 0  # characters of all these, without what is carried
        self._fence = ""
        self._opening = ""
        self._head: list[str] = []
        self._after_empty = False
        self._line_was_cut = False

    @property
    def pending(self) -> str:
        """What is not finished."""
        return "".join((*self._lines, *self._last))

    def feed(self, text: str) -> Iterator[Part]:
        """Take the next piece, and give what is finished by it."""
        first, *others = text.split("\n")
        yield from self._take(first)
        for line in others:
            yield from self._end_line()
            yield from self._take(line)

    def _take(self, text: str) -> Iterator[Part]:
        """Take a part of a line."""
        for start in range(0, len(text), _LONGEST):
            piece = text[start : start + _LONGEST]
            if self._after_empty and not self._fence and not self._last and piece[0] > " ":
                yield from self._finished()
            self._last.append(piece)
            self._size += len(piece)
            if self._size > _LONGEST:
                yield self._cut()

    def _finished(self) -> Iterator[Part]:
        """What stands before a line that begins a new paragraph."""
        text = "".join(self._lines).strip("\n")
        self._restart([])
        self._after_empty = False
        if text:
            yield Part(text, gap=1)

    def _end_line(self) -> Iterator[Part]:
        line = "".join((*self._last, "\n"))
        self._last = []
        self._size += 1
        goes_on = len(self._lines) == self._carried > 0
        if goes_on and self._fence and not line.strip():
            yield Part("", gap=1)  # an empty line of the code, which a block does not begin with
            return
        self._look_at(line)
        self._lines.append(line)
        if self._size > _LONGEST:
            yield self._cut()

    def _look_at(self, line: str) -> None:
        """Note what a line opens, goes on with, or ends."""
        text = line.strip()
        if not self._line_was_cut:
            fence = _fence_after(text, self._fence)
            if not self._fence:
                self._opening = f"{text}\n"
            self._fence = fence
        self._line_was_cut = False
        self._after_empty = not text
        before = self._lines[-1] if self._lines else ""
        if "|" not in line:
            self._head = []
        elif "|" in before and _RULE.fullmatch(text):
            self._head = [before, line]

    def _cut(self) -> Part:
        """What is printed of a paragraph that is too long."""
        if len(self._lines) > self._carried:
            body = "".join(self._lines)
        else:
            line = "".join(self._last)
            place = line.rfind(" ", 0, _LONGEST) + 1 or _LONGEST
            body = "".join(self._lines) + line[:place]
            self._last = [line[place:]]
            self._line_was_cut = True
        kept = body.rstrip("\n")
        gap = max(0, len(body) - len(kept) - 1)
        self._restart([self._opening] if self._fence else self._head)
        return Part(f"{kept}\n{self._fence}" if self._fence else kept, gap)

    def _restart(self, opening: Sequence[str]) -> None:
        """Begin what is not finished with lines that were printed before."""
        self._lines = list(opening) if sum(map(len, opening)) <= _LONGEST else []
        self._carried = len(self._lines)
        self._size = sum(map(len, self._last))


def _fence_after(line: str, fence: str) -> str:
    """The fence of the code block that goes on after a line; empty outside of one.

    Only a fence of the same kind, as long at least and with nothing behind it, ends a block.
    """
    found = _FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        return found[1]
    return "" if not found[2] and found[1].startswith(fence) else fence


class Paragraphs:
    """Markdown without the empty lines that its renderer puts around some kinds of blocks.

    Args:
        text: The Markdown, or what is growing, of which only the end is shown where it is higher
            than the screen.
    """

    def __init__(self, text: str | GrowingMarkdown) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines that have something on them, and what is between them."""
        # parsed when it is drawn, which is less often than tokens come
        grows = isinstance(self._text, GrowingMarkdown)
        text = self._text.pending if isinstance(self._text, GrowingMarkdown) else self._text
        lines = console.render_lines(rendered(text.rstrip("\n")), options, pad=False)
        written = [i for i, line in enumerate(lines) if "".join(s.text for s in line).strip()]
        shown = lines[written[0] : written[-1] + 1] if written else []
        for line in shown[-max(1, options.max_height - 1) :] if grows else shown:
            yield from line
            yield Segment.line()


class _Table(TableElement):
    """A table that loses nothing where it is narrow: in many scripts a cell is one long word."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                for column in part.columns:
                    column.overflow = "fold"
            yield part


class _Markdown(Markdown):
    elements: ClassVar = {**Markdown.elements, "table_open": _Table}


def rendered(text: str) -> Markdown:
    """Markdown as a terminal shows it.

    Emphasis is found where writing without spaces stands next to punctuation, as in
    `是**“重点”**吗`: CommonMark's rules, which rely on spaces between words, leave its asterisks
    (https://spec.commonmark.org/0.31.2/#left-flanking-delimiter-run,
    https://github.com/commonmark/commonmark-spec/issues/650).
    """
    markdown = _Markdown(_with_marks(text), code_theme="ansi_dark", hyperlinks=False)
    _remove_marks(markdown.parsed)
    return markdown


def _with_marks(text: str) -> str:
    """The text with a mark between emphasis and punctuation, which then is none to the parser."""
    pieces, done = [], 0
    for found in _EMPHASIS.finditer(text):
        start, end = found.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        if _touches(after, before):
            pieces += [text[done:end], _MARK]
            done = end
        elif _touches(before, after):
            pieces += [text[done:start], _MARK]
            done = start
    return "".join((*pieces, text[done:]))


def _touches(one: str, other: str) -> bool:
    """Whether one character is punctuation and the other a letter that needs no space before it."""
    if not one or not other.strip() or not unicodedata.category(one).startswith(("P", "S")):
        return False
    return bool(_UNSPACED.match(other) or (other.isalnum() and _WIDE.match(one)))


def _remove_marks(tokens: Sequence[Token]) -> None:
    for token in tokens:
        token.content = token.content.replace(_MARK, "")
        for name, value in token.attrs.items():
            if isinstance(value, str):
                token.attrs[name] = value.replace(_MARK, "")
        _remove_marks(token.children or ())
