"""What a terminal shows of a call in progress: each layer and member, and what became of it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from langchain_moa.cli.terminal import on_one_line, printable
from langchain_moa.explanation.terminal import fitting_names
from langchain_moa.explanation.words import usd
from langchain_moa.types import USABLE, AnyMapping, MoARecord, ProgressEvent, ProposalRecord

# Colours of the terminal's own palette, none of which fixes a background: they can be read on dark
# and on light. Each state is a word, too, for terminals without colour.
THEME: Final = Theme(
    {
        "waiting": "dim",
        "running": "cyan",
        "done": "green",
        "lost": "red",
        "note": "dim",
        "prompt": "bold cyan",
        "markdown.code": "bold cyan",
        "markdown.code_block": "cyan",
        "markdown.block_quote": "italic",
        "markdown.link": "underline cyan",
        "markdown.link_url": "underline cyan",
        "markdown.item.number": "cyan",
        "markdown.item.bullet": "cyan",
        "markdown.hr": "dim",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
    }
)
# as the SDK of OpenAI, which Together's clients use, puts an endpoint's answer
_SDKS_ERROR: Final = re.compile(
    r"Error code: (\d+) - (?:.*?'message': (?:'|\")(.+?)(?:'|\")[,}]|([^{].*))"
)
_TYPE: Final = re.compile(r"^\w+(Error|Exception): ")
_LONGEST_REASON: Final = 500
"""Characters of an error's text that are shown."""
_WIDEST: Final = 100
"""Columns of the board: nobody reads longer lines with ease."""
_NARROW: Final = 60
_LEFT: Final = 22
"""Width of the first column and of the states, and of what stands between."""
_OTHER: Final = 50
"""The same with the times, and with what a result needs at least to tell anything."""
_LONGEST_TAIL: Final = 200
_STYLES: Final = {"waiting": "waiting", "asking": "running", "streaming": "running", "done": "done"}


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr, with our colours (none where `NO_COLOR` is set)."""
    return Console(stderr=stderr, theme=THEME, highlight=False)


def write(console: Console, text: str, style: str = "") -> None:
    """Write a text as it stands: on a terminal wrapped between words, in a pipe in its own lines.

    What leaves through a pipe is seen on a terminal, too, sooner or later (`| tee`, `| less -R`).
    """
    if console.is_terminal:
        console.print(Text(printable(text), style))
    else:
        console.out(printable(text), highlight=False)


@dataclass(slots=True)
class _Row:
    model: str
    state: str = "waiting"
    seconds: float | None = None
    tokens: int | None = None
    error: str | None = None
    started: float = 0.0
    last_line: str = ""

    def grows(self, text: str) -> None:
        """Take a piece of a streamed proposal: its last line that holds anything is shown."""
        *before, last = (self.last_line + text).split("\n")
        kept = last if last.strip() or not before else before[-1]
        self.last_line = kept[-_LONGEST_TAIL:]

    def time(self) -> str:
        if self.state in ("asking", "streaming"):
            return f"{time.perf_counter() - self.started:.1f} s"
        return "" if self.seconds is None else f"{self.seconds:.1f} s"

    def result(self) -> str:
        if self.error:
            return self.error
        if self.state == "streaming":
            return self.last_line
        return "" if self.tokens is None else f"{self.tokens:,} tokens"


def _short(reason: str) -> str:
    """What of an error tells most, for there is little room: not its type, nor braces."""
    reason = on_one_line(reason, _LONGEST_REASON)
    found = _SDKS_ERROR.search(reason)
    return f"{found[1]}: {found[2] or found[3]}" if found else _TYPE.sub("", reason)


class Board:
    """The members of one call: waiting, asked, streaming, done, failed or cut.

    It is drawn anew whenever it is rendered, and told of each step by `on_event`.

    Args:
        names: The members' names layer by layer, the aggregator's layer last.
        consulted: Who is consulted before the aggregator: its role and its name.
    """

    def __init__(
        self, names: Sequence[Sequence[str]], consulted: tuple[str, str] | None = None
    ) -> None:
        self._rows: dict[tuple[str, int], _Row] = {}
        for layer, models in enumerate(names, start=1):
            if layer == len(names) and consulted is not None:
                self._rows[consulted[0], 0] = _Row(consulted[1])
            label = "aggregator" if layer == len(names) else f"layer {layer}"
            for index, model in enumerate(models):
                self._rows[label, index] = _Row(model)

    def on_event(self, event: ProgressEvent) -> None:
        """Take one step into account; the mixture's `on_progress`."""
        own = event["role"] if event["role"] != "proposer" else None
        row = self._rows.get((own or f"layer {event['layer']}", event["index"] or 0))
        if row is None:
            return
        match event["event"]:
            case "member_started":
                row.state, row.started = "asking", time.perf_counter()
            case "first_token" | "token":
                row.state = "streaming"
                row.grows(event["text"] or "")
            case "member_retried":
                reason = _short(event["error"] or "")
                row.error = f"again in {event['seconds'] or 0:.1f} s: {reason}"
            case "member_finished":
                row.state, row.seconds, row.error = "done", event["seconds"], None
                row.tokens = event["usage"]["output_tokens"] if event["usage"] else None
            case "member_failed" | "member_cut" as ended:
                row.state, row.seconds = ended.removeprefix("member_"), event["seconds"]
                # shortened once, not each time that the board is drawn
                row.error = _short((event["error"] or "").removeprefix(f"{row.state}: "))

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """The table of all members, as far as the screen has room."""
        yield self._table(options.max_width, self._fitting(options.max_height - 1))

    def show(self, console: Console) -> None:
        """Print a line per member, to stay: on a terminal as it was, in a pipe whole."""
        rows = [(layer, row) for (layer, _), row in self._rows.items()]
        if console.is_terminal:
            console.print("", self._table(console.width, rows), sep="\n")
            return
        for layer, row in rows:
            texts = (layer, row.model, row.state, row.time(), row.result())
            write(console, "  ".join(on_one_line(text) for text in texts if text))

    def _table(self, room: int, rows: Iterable[tuple[str, _Row]]) -> Table:
        width = min(room, _WIDEST)
        narrow = width < _NARROW  # there the state says it all; what was lost is told afterwards
        shown, beside = list(rows), _LEFT if narrow else _OTHER
        names = fitting_names([row.model for _, row in shown], width - beside)
        longest = max((cell_len(name) for name in names), default=0)
        table = Table.grid(padding=(0, 1), expand=narrow)
        columns: tuple[tuple[int, bool], ...] = ((10, False), (longest, True), (9, False))
        if not narrow:
            room = width - _LEFT - 7 - 1
            columns = ((10, False), (min(longest, room - 12), True), (9, False), (7, False))
        for size, gives in columns:
            table.add_column(
                width=None if narrow and gives else size,
                ratio=1 if narrow and gives else None,
                no_wrap=True,
                overflow="ellipsis",
            )
        if not narrow:
            rest = max(12, width - sum(size for size, _ in columns) - len(columns))
            table.add_column(no_wrap=True, overflow="ellipsis", width=rest)
        layer_before = ""
        for (layer, row), name in zip(shown, names, strict=True):
            style = _STYLES.get(row.state, "lost")
            label = layer if layer != layer_before else ""
            layer_before = layer
            texts = (label, name, row.state, row.time(), row.result())
            result = "note" if row.state == "streaming" else ""
            styles = ("note", "", style, "", result)
            cells = [Text(on_one_line(text), of) for text, of in zip(texts, styles, strict=True)]
            table.add_row(*cells[:3] if narrow else cells)
        return table

    def _fitting(self, height: int) -> Iterator[tuple[str, _Row]]:
        """The rows with their layers; where they are too many, layers are put into one row each.

        Those that are over go first, then those that wait, the last one first, so that the screen
        shows who works.
        """
        layers: dict[str, list[_Row]] = {}
        for (layer, _), row in self._rows.items():
            layers.setdefault(layer, []).append(row)
        over = [number for number, rows in layers.items() if not _open(rows)]
        waits = [n for n, rows in layers.items() if {row.state for row in rows} == {"waiting"}]
        for number in (*over, *reversed(waits)):
            if sum(map(len, layers.values())) > height and len(layers[number]) > 1:
                layers[number] = [_together(layers[number])]
        for number, rows in layers.items():
            yield from ((number, row) for row in rows)


def _open(rows: Sequence[_Row]) -> bool:
    return any(row.state in ("waiting", "asking", "streaming") for row in rows)


def _together(rows: Sequence[_Row]) -> _Row:
    """One row for a whole layer that is over, or that waits."""
    states = Counter(row.state for row in rows)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    return _Row(
        f"{len(rows)} members",
        state="done" if "done" in states else rows[0].state,
        seconds=max((row.seconds for row in rows if row.seconds is not None), default=None),
        error=counts if len(states) > 1 else None,
    )


def summary(record: MoARecord, seconds: float) -> str:
    """One line about a call that is over: proposals, seconds, tokens, and USD if known."""
    proposals = record["proposals"]
    usable = sum(p["status"] in USABLE for p in proposals)
    parts = [
        f"{usable} of {len(proposals)} proposals",
        f"{seconds:.1f} s",
        f"{record['usage']['total_tokens']:,} tokens",
    ]
    if record["cost"]:
        more = " and an unknown part" if record["cost"]["unknown"] else ""
        parts.append(f"{usd(record['cost']['usd'])} USD{more}")
    return " · ".join(parts)


def losses(record: MoARecord, *, proposers: bool = True) -> list[str]:
    """A line for each member that gave nothing usable, with the reason.

    Members of a layer that share a reason share the line.

    Args:
        record: The record of the call.
        proposers: Whether lines of reference models are among them.
    """
    proposals = record["proposals"] if proposers else []
    asked = Counter(proposal["layer"] for proposal in proposals)
    names: dict[tuple[int, str], list[str]] = {}
    for proposal in proposals:
        if proposal["status"] not in USABLE:
            names.setdefault((proposal["layer"], _reason(proposal)), []).append(proposal["model"])
    lost = [
        f"layer {layer}, {_named(models, asked[layer])}: {reason}"
        for (layer, reason), models in names.items()
    ]
    consulted, aggregator = record.get("consulted"), record["aggregator"]  # a cache's may be older
    if consulted is not None and consulted["error"]:
        lost.append(f"{consulted['role']}: {on_one_line(consulted['error'], _LONGEST_REASON)}")
    elif unheard := [r for r in record.get("degraded_reasons", ()) if r["stage"] in _CONSULTED]:
        lost += [f"{one['stage']}: {one['reason'].replace('_', ' ')}" for one in unheard]
    if aggregator is not None and aggregator["error"]:
        lost.append(f"aggregator: {on_one_line(aggregator['error'], _LONGEST_REASON)}")
    return lost


_CONSULTED: Final = ("analyst", "check", "judge")


def _named(models: Sequence[str], asked: int) -> str:
    if len(models) == asked > 1:
        return f"all {asked} members"
    return ", ".join(map(on_one_line, models))


def _reason(proposal: ProposalRecord) -> str:
    reason = f"{proposal['status']}: {proposal['error']}" if proposal["error"] else None
    return on_one_line(reason or proposal["status"], _LONGEST_REASON)


def usage_table(
    totals: Mapping[str, AnyMapping],
    unknown: Sequence[str],
    costs: Mapping[str, float] | None = None,
) -> Table:
    """Tokens and USD per model and in all.

    Args:
        totals: Usage per model.
        unknown: Models of which some tokens are not known.
        costs: Known USD per model; none where there are no prices.
    """
    costs = costs or {}
    table = Table(box=None, pad_edge=False, show_footer=True)
    sums = {k: sum(u[k] for u in totals.values()) for k in ("input_tokens", "output_tokens")}
    # the one column that gives way to a narrow terminal
    table.add_column("model", footer="all", overflow="fold")
    for title, total in zip(("in", "out"), sums.values(), strict=True):
        table.add_column(title, footer=f"{total:,}", justify="right", no_wrap=True)
    if costs:
        table.add_column("USD", footer=usd(sum(costs.values())), justify="right", no_wrap=True)
    table.add_column(width=1, no_wrap=True)
    for model in [*totals, *(model for model in unknown if model not in totals)]:
        usage = totals.get(model)
        counts = [f"{usage[kind]:,}" if usage else "" for kind in sums]
        price = [usd(costs.get(model))] if costs else []
        table.add_row(Text(on_one_line(model)), *counts, *price, "*" if model in unknown else "")
    if unknown:
        table.caption = "* and requests that did not say what they used"
    return table
