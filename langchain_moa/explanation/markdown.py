"""An explanation as Markdown, with tables as GitHub has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from langchain_moa.explanation import words
from langchain_moa.explanation.influence import Influence
from langchain_moa.explanation.rows import MemberRow, Span
from langchain_moa.explanation.view import View

# what is markup anywhere, what would become a link, and what is markup at the begin of a line
_MARKS: Final = re.compile(r"[\\`*_\[\]<>|~&@$]|(?<=:)/|(?<=\b[wW]{3})\.|^[-+=#]|(?<=^\d)[.)]")
_TICKS: Final = re.compile("`+")
_BAR: Final = 40
"""Characters of the timeline."""


def markdown(view: View) -> str:
    """The whole explanation."""
    parts = ["## How this answer came about", *_summary(view)]
    parts += ["### Members", _members(view.members)]
    parts += ["### Timeline", *_timeline(view.timeline, view.end)]
    parts += ["### Influence", *_influence(view.influence)]
    for title, points in view.analysis:
        parts += [f"### {title}", "\n".join(f"- {text(point)}" for point in points)]
    parts += ["### Proposals", *_proposals(view)]
    return "\n\n".join(parts) + "\n"


def text(given: str) -> str:
    r"""A text of somebody else's as Markdown that shows it as it is.

    Example:
        >>> print(text("![x](http://evil) <b> `a|b`"))
        !\[x\](http:\//evil) \<b\> \`a\|b\`
    """
    return _MARKS.sub(r"\\\g<0>", words.line(given, 1000))


def _summary(view: View) -> Iterator[str]:
    yield text(words.totals_line(view.totals, view.end))
    if view.reasons:
        yield "**Degraded:**"
        yield "\n".join(f"- {text(reason)}" for reason in view.reasons)
    yield from map(text, view.facts)


def _members(rows: Sequence[MemberRow]) -> str:
    titles = ["", "member", "answered as", "status", "seconds", "in", "out", "USD"]
    lines = [titles, ["---", "---", "---", "---", "---:", "---:", "---:", "---:"]]
    for row in rows:
        reason = f": {row.reason}" if row.reason and not row.usable else ""
        again = f" ({row.attempts} requests)" if (row.attempts or 0) > 1 else ""
        numbers = [words.count(row.tokens_in), words.count(row.tokens_out), words.usd(row.usd)]
        lines.append(
            [
                words.who(row),
                text(row.model),
                text("" if row.answered == row.model else row.answered),
                text(f"{row.status}{again}{reason}"),
                words.seconds(row.seconds),
                *numbers,
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _timeline(spans: Sequence[Span], end: float | None) -> Iterator[str]:
    if not spans or end is None:
        yield words.NO_TIMES
        return
    scale = _BAR / end if end else 0.0
    names = [f"{words.who(span)} {words.line(span.model)}" for span in spans]
    width = max(map(len, names))
    lines = []
    for span, name in zip(spans, names, strict=True):
        first, last = round(span.start * scale), max(1, round((span.end - span.start) * scale))
        bar = list(" " * first + "#" * last)
        if span.first_token is not None:
            bar[min(len(bar) - 1, round(span.first_token * scale))] = "|"
        told = words.span_name(span)
        times = f"{span.start:.2f}-{span.end:.2f} s{f', {told}' if told else ''}"
        lines.append(f"{name:{width}}  {''.join(bar):{_BAR + 1}}  {times}")
    if any(span.first_token is not None for span in spans):
        lines.append("(| the answer's first token)")
    yield _fenced("\n".join(lines))


def _influence(found: Influence | None) -> Iterator[str]:
    if found is None:
        yield words.NOT_RECORDED
        return
    yield words.OVERLAP
    lines = [
        "| proposal | member | of the answer | nearest to sentences |",
        "| --- | --- | ---: | ---: |",
    ]
    lines += [
        f"| {share.key} | {text(share.model)} | {words.percent(share.share)} | {share.sentences} |"
        for share in found.members
    ]
    yield "\n".join(lines)
    rows = ["| sentence of the answer | proposal | overlap |", "| --- | --- | ---: |"]
    rows += [
        f"| {text(s.text)} | {f'{s.key} {text(s.model)}' if s.key else 'none'} | "
        f"{words.percent(s.share)} |"
        for s in found.sentences
    ]
    yield "\n".join(rows)


def _proposals(view: View) -> Iterator[str]:
    if not view.has_texts:
        yield words.NOT_RECORDED
        return
    for row in view.members:
        if row.text:
            summary = f"layer {row.layer}, {words.line(row.model)}"
            yield f"<details><summary>{_html(summary)}</summary>"
            yield _fenced(words.plain(row.text))
            yield "</details>"


def _html(given: str) -> str:
    # no library: these three are all there is between tags
    return given.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fenced(given: str) -> str:
    longest = max((len(found) for found in _TICKS.findall(given)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{given}\n{fence}"
