"""What a record says, as rows: members, requests on the clock, proposals, reasons, totals.

A record may come from a file that another version wrote: what it lacks is left out, and what is of
another type than it should be is shown as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from langchain_moa.types import USABLE, AnyMapping

_STAGES: Final = ("analyst", "judge", "aggregator")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberRow:
    """One member's part of a call.

    Attributes:
        layer: Its layer, counted from 1; the aggregator's is the last.
        index: Its place in the layer, counted from 0.
        role: `proposer`, `analyst`, `judge` or `aggregator`.
        model: Name that was asked for.
        answered: Name that answered; empty where the provider says none.
        status: What became of it.
        reason: Why it gave nothing, or why those asked before gave nothing.
        seconds: How long it took.
        attempts: Requests that were made.
        tokens_in: Tokens that were read; `None` where they are not known.
        tokens_out: Tokens that were written; `None` where they are not known.
        usd: What it cost; `None` where that is not known.
        text: The proposal; `None` where it is not recorded.
    """

    layer: int
    index: int
    role: str
    model: str
    answered: str
    status: str
    reason: str
    seconds: float | None
    attempts: int | None
    tokens_in: int | None
    tokens_out: int | None
    usd: float | None
    text: str | None

    @property
    def usable(self) -> bool:
        """Whether it gave something."""
        return self.status in USABLE

    @property
    def key(self) -> str:
        """The proposal's key: `"<layer>.<index>"`."""
        return f"{self.layer}.{self.index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One request on the clock of the call.

    Attributes:
        layer: The member's layer.
        index: The member's place in it.
        role: What the member does.
        model: Name that was asked for.
        kind: `first`, `retry`, `hedge` or `fallback`.
        outcome: `answered`, `failed` or `given_up`.
        start: Seconds since the call began.
        end: The same.
        first_token: When the answer began to stream; `None` where it did not.
    """

    layer: int
    index: int
    role: str
    model: str
    kind: str
    outcome: str
    start: float
    end: float
    first_token: float | None = None


class Totals(NamedTuple):
    """All calls together.

    Attributes:
        members: Members that were to be asked.
        usable: Proposals that were usable.
        proposals: Proposals that there should have been.
        requests: Requests that were made.
        tokens_in: Tokens that were read, as far as they are known.
        tokens_out: Tokens that were written, as far as they are known.
        unknown_tokens: Models of which some tokens are not known.
        usd: Known cost; `None` without prices.
        unknown_usd: Models whose cost is not known.
    """

    members: int
    usable: int
    proposals: int
    requests: int
    tokens_in: int
    tokens_out: int
    unknown_tokens: tuple[str, ...]
    usd: float | None
    unknown_usd: tuple[str, ...]


def member_rows(record: AnyMapping) -> list[MemberRow]:
    """All members of a call, in its order."""
    rows = [
        _member_row(p, _whole(p.get("layer")) or 1, _whole(p.get("index")) or 0, "proposer")
        for p in _mappings(record.get("proposals"))
    ]
    last = _last_layer(record)
    rows += [_member_row(one, last, 0, role) for role, one in _others(record)]
    return rows


def spans(record: AnyMapping) -> list[Span]:
    """All requests of a call that the record tells of, in its order."""
    last, found = _last_layer(record), list[Span]()
    for p in _mappings(record.get("proposals")):
        place = (_whole(p.get("layer")) or 1, _whole(p.get("index")) or 0)
        found += _spans_of(p, *place, "proposer")
    for role, one in _others(record):
        found += _spans_of(one, last, 0, role)
    return found


def reasons(record: AnyMapping) -> list[str]:
    """What was degraded and why, one line each; nothing where nothing was."""
    rows = member_rows(record)
    lost = {row.role for row in rows if not row.usable}  # whose own reasons tell more
    told = [
        f"{_text(one.get('stage'))}: {_text(one.get('reason')).replace('_', ' ')}"
        for one in _mappings(record.get("degraded_reasons"))
        if _text(one.get("stage")) not in lost
    ]
    for row in rows:
        if not row.usable:
            why = f": {row.reason}" if row.reason else ""
            told.append(f"layer {row.layer}, {row.role} {row.model}, {row.status}{why}")
        elif row.reason:  # those asked before gave nothing
            told.append(f"layer {row.layer}, {row.role} {row.model} stood in: {row.reason}")
    for row, one in zip(rows, _calls(record), strict=True):
        if left_out := _texts(one.get("left_out")):
            told.append(f"layer {row.layer}, {row.role} {row.model} did not get: {_list(left_out)}")
    if best := _text(record.get("best_proposal")):
        told.append(f"no aggregator answered: proposal {best} is the answer")
    if record.get("degraded") is True and not told:
        told.append("a member that is itself a mixture lacked something")
    return list(dict.fromkeys(told))


def totals(record: AnyMapping) -> Totals:
    """All calls together."""
    usage, cost = _mapping(record.get("usage")), record.get("cost")
    rows = member_rows(record)
    proposals = [row for row in rows if row.role == "proposer"]
    costs = _mapping(cost)
    return Totals(
        members=len(rows),
        usable=sum(row.usable for row in proposals),
        proposals=len(proposals),
        requests=sum(row.attempts or 0 for row in rows),
        tokens_in=_whole(usage.get("input_tokens")) or 0,
        tokens_out=_whole(usage.get("output_tokens")) or 0,
        unknown_tokens=tuple(_texts(usage.get("unknown"))),
        usd=_number(costs.get("usd")),
        unknown_usd=tuple(_texts(costs.get("unknown"))),
    )


def facts(record: AnyMapping) -> list[str]:
    """What else there is to tell of a call, one line each."""
    told = []
    match record.get("fan_out"):
        case "reused":
            told.append("The proposals were made before, for the same turn of the user.")
        case "alone":
            told.append("The aggregator answered alone in this step.")
    if record.get("cached") is True:
        told.append("The whole answer came from a cache; nothing was paid.")
    if vote := _mapping(record.get("vote")):
        ballots = _whole(vote.get("ballots")) or 0
        agreed = [
            f"{name} {_whole(_mapping(one).get('votes')) or 0} of {ballots}"
            for name, one in _mapping(vote.get("fields")).items()
        ]
        told.append(f"Votes: {_list(agreed)}." if agreed else "A vote was taken.")
    if selection := _mapping(record.get("selection")):
        who = f"{_text(selection.get('by'))} chose the proposal of {_text(selection.get('model'))}"
        told.append(f"The {who}: {_text(selection.get('reason'))}")
    return told


def analysis(record: AnyMapping) -> list[tuple[str, list[str]]]:
    """The comparison of the proposals, part by part; nothing where none was made."""
    found = _mapping(record.get("analysis"))
    if not found:
        return []
    parts = [
        ("Consensus", _texts(found.get("consensus"))),
        ("Contradictions", [_contradiction(c) for c in _mappings(found.get("contradictions"))]),
        (
            "Covered by some",
            [
                f"{_text(c.get('point'))} ({_list(_texts(c.get('models')))})"
                for c in _mappings(found.get("partial_coverage"))
            ],
        ),
        (
            "Seen by one",
            [
                f"{_text(c.get('insight'))} ({_text(c.get('model'))})"
                for c in _mappings(found.get("unique_insights"))
            ],
        ),
        ("Blind spots", _texts(found.get("blind_spots"))),
    ]
    return [(title, points) for title, points in parts if points]


def _contradiction(found: AnyMapping) -> str:
    stances = [
        f"{_text(one.get('model'))}: {_text(one.get('stance'))}"
        for one in _mappings(found.get("stances"))
    ]
    return f"{_text(found.get('topic'))} ({'; '.join(stances)})"


def _others(record: AnyMapping) -> Iterator[tuple[str, AnyMapping]]:
    """Who was asked after the reference models, in order, with what they do."""
    consulted = record.get("consulted")
    if isinstance(consulted, Mapping):
        role = _text(consulted.get("role"))
        yield (role if role in _STAGES else "analyst"), consulted
    aggregator = record.get("aggregator")
    if isinstance(aggregator, Mapping):
        yield "aggregator", aggregator


def _calls(record: AnyMapping) -> list[AnyMapping]:
    return [*_mappings(record.get("proposals")), *(one for _, one in _others(record))]


def _last_layer(record: AnyMapping) -> int:
    before = [_whole(p.get("layer")) or 1 for p in _mappings(record.get("proposals"))]
    return _whole(record.get("layers")) or max(before, default=1) + 1


def _member_row(one: AnyMapping, layer: int, index: int, role: str) -> MemberRow:
    usage = _mapping(one.get("usage"))
    text = one.get("text")
    return MemberRow(
        layer=layer,
        index=index,
        role=role,
        model=_text(one.get("model")),
        answered=_text(one.get("model_name")),
        status=_text(one.get("status")),
        reason=_text(one.get("error")),
        seconds=_number(one.get("seconds")),
        attempts=_whole(one.get("attempts")),
        tokens_in=_whole(usage.get("input_tokens")),
        tokens_out=_whole(usage.get("output_tokens")),
        usd=_number(one.get("cost")),
        text=text if isinstance(text, str) else None,
    )


def _spans_of(one: AnyMapping, layer: int, index: int, role: str) -> Iterator[Span]:
    requests = list(_mappings(one.get("requests")))
    answered = [r for r in requests if r.get("outcome") == "answered"]
    for request in requests:
        start, seconds = _number(request.get("started")), _number(request.get("seconds"))
        if start is None or seconds is None:
            continue
        # there is one that was answered and not given up: the answer's own
        first = _number(one.get("first_token")) if request in answered[-1:] else None
        yield Span(
            layer=layer,
            index=index,
            role=role,
            model=_text(request.get("model")) or _text(one.get("model")),
            kind=_text(request.get("kind")) or "first",
            outcome=_text(request.get("outcome")),
            start=max(0.0, start),
            end=max(0.0, start) + max(0.0, seconds),
            first_token=first,
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _list(texts: Sequence[str]) -> str:
    return ", ".join(texts)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if known else None


def _mapping(value: object) -> AnyMapping:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Iterator[AnyMapping]:
    given = value if isinstance(value, list | tuple) else ()
    return (one for one in given if isinstance(one, Mapping))
