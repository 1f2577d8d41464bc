"""An explanation for terminals, drawn by rich; who prints it has rich."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from langchain_moa.explanation import words
from langchain_moa.explanation.influence import Influence
from langchain_moa.explanation.rows import MemberRow, Span
from langchain_moa.explanation.view import View

_MOST: Final = 100
"""Columns: nobody reads longer lines with ease."""
_NARROW, _ROOMY = 60, 90
_STYLES: Final = {"answered": "green", "failed": "red", "given_up": "dim"}
_BARS: Final = {"answered": "█", "failed": "▒", "given_up": "░"}
_ASCII: Final = {"answered": "#", "failed": "x", "given_up": "."}


class InTerminal:
    """An explanation that rich prints.

    Args:
        view: What is explained.
        texts: Whether the proposals are printed whole.
    """

    def __init__(self, view: View, *, texts: bool = False) -> None:
        self._view = view
        self._texts = texts

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """The tables, at most as wide as can be read with ease."""
        view, width = self._view, min(options.max_width, _MOST)
        yield _members(view.members, width)
        totals = words.totals_line(view.totals, view.end)
        yield Text(totals.replace(" · ", ", ") if options.ascii_only else totals, "dim")
        for reason in view.reasons:
            yield Text(f"! {words.line(reason, 500)}", "red")
        for fact in view.facts:
            yield Text(words.line(fact, 500))
        yield from _titled("timeline", [_timeline(view, width, ascii_only=options.ascii_only)])
        yield from _titled("influence", _influence(view.influence, width))
        for title, points in view.analysis:
            shown = [Text(f"- {words.line(point, 1000)}") for point in points]
            yield from _titled(title.lower(), shown)
        if self._texts:
            yield from _proposals(view)


def fitting_names(models: Sequence[str], room: int) -> list[str]:
    """Members' names, without their owners where there is no room and that tells them apart.

    Args:
        models: Their full names.
        room: Columns for each.
    """
    names = [words.line(model) for model in models]
    short = [name.rpartition("/")[2] or name for name in names]
    fits = max(map(cell_len, names), default=0) <= room
    return names if fits or len(set(short)) < len(set(names)) else short


def _titled(title: str, parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
    yield Text("")
    yield Text(title, "bold")
    yield from parts


def _members(rows: Sequence[MemberRow], width: int) -> Table:
    roomy, narrow = width >= _ROOMY, width < _NARROW
    table = Table(box=None, pad_edge=False, width=width, header_style="dim", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("member", overflow="fold", ratio=3)
    table.add_column("status", overflow="fold", ratio=2)
    numbers = ["s"] if narrow else ["s", "in", "out", "USD"] if roomy else ["s", "tokens"]
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        again = f" ({row.attempts} requests)" if (row.attempts or 0) > 1 else ""
        name = words.line(row.model)
        if row.answered and row.answered != row.model:
            name += f" (as {words.line(row.answered)})"
        told = {
            "s": words.seconds(row.seconds),
            "in": words.count(row.tokens_in),
            "out": words.count(row.tokens_out),
            "tokens": words.count(_sum(row)),
            "USD": words.usd(row.usd),
        }
        place = words.who(row).replace("layer ", "L") if narrow else words.who(row)
        style = "green" if row.usable else "red"
        cells = [Text(name), Text(words.line(row.status) + again, style)]
        table.add_row(
            Text(place[:3] if narrow else place, "dim"), *cells, *(told[n] for n in numbers)
        )
    return table


def _sum(row: MemberRow) -> int | None:
    if row.tokens_in is None and row.tokens_out is None:
        return None
    return (row.tokens_in or 0) + (row.tokens_out or 0)


def _timeline(view: View, width: int, *, ascii_only: bool) -> RenderableType:
    if not view.timeline or not view.end:
        return Text(words.NO_TIMES, "dim")
    table = Table.grid(padding=(0, 1, 0, 0))
    told_room = 14 if width < _NARROW else 23
    room = max(8, (width - told_room) // 2 - 2)
    names = fitting_names([span.model for span in view.timeline], width - room - told_room - 3)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=width - room - told_room - 3)
    table.add_column(no_wrap=True, width=room)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=told_room)
    for span, name in zip(view.timeline, names, strict=True):
        told = f"{span.end - span.start:.2f} s {words.span_name(span)}".strip()
        table.add_row(Text(name), _bar(span, room / view.end, room, ascii_only), Text(told, "dim"))
    return table


def _bar(span: Span, scale: float, room: int, ascii_only: bool) -> Text:  # noqa: FBT001
    marks = _ASCII if ascii_only else _BARS
    start = min(room - 1, int(span.start * scale))
    long = min(room - start, max(1, round((span.end - span.start) * scale)))
    outcome = span.outcome if span.outcome in marks else "given_up"
    bar = Text(" " * start).append(marks[outcome] * long, _STYLES[outcome])
    if span.first_token is not None:
        place = min(start + long - 1, max(start, int(span.first_token * scale)))
        whole = bar.plain[:place] + "|" + bar.plain[place + 1 :]
        bar = Text(whole, _STYLES[outcome])
    return bar


def _influence(found: Influence | None, width: int) -> Iterator[RenderableType]:
    if found is None:
        yield Text(words.NOT_RECORDED, "dim")
        return
    yield Text(words.OVERLAP, "dim")
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", max_width=max(12, width - 30))
    table.add_column(overflow="fold")
    names = fitting_names([share.model for share in found.members], max(12, width - 30))
    for share, name in zip(found.members, names, strict=True):
        nearest = f"nearest to {share.sentences} of {len(found.sentences)} sentences"
        table.add_row(words.percent(share.share), Text(name), Text(nearest, "dim"))
    yield table


def _proposals(view: View) -> Iterator[RenderableType]:
    for row in view.members:
        if row.text:
            title = f"layer {row.layer} · {words.line(row.model)}"
            yield from _titled(title, [Text(words.plain(row.text))])
