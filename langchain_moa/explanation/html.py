"""An explanation as HTML: tables, bars, folded texts, a picture; no script, nothing remote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from langchain_moa.explanation import words
from langchain_moa.explanation.influence import Influence
from langchain_moa.explanation.picture import INK, image, svg
from langchain_moa.explanation.rows import MemberRow, Span
from langchain_moa.explanation.view import View

# Colours that can be read on light and on dark: notebooks have either.
_COLOURS: Final = {"answered": "#2da44e", "failed": "#cf4a5a", "given_up": "#8c959f"}
_STYLE: Final = """
.moa{font:14px/1.45 system-ui,sans-serif;max-width:72rem}
.moa h3{font-size:1.05em;margin:1.2em 0 .4em}
.moa table{border-collapse:collapse;margin:.3em 0;color:inherit;font:inherit}
.moa th,.moa td{text-align:left;vertical-align:top;padding:.25em .7em;
border-bottom:1px solid rgba(128,128,128,.35);background:none}
.moa td.n,.moa th.n{text-align:right;font-variant-numeric:tabular-nums}
.moa td{overflow-wrap:anywhere}
.moa td.n,.moa th.n,.moa td.w{white-space:nowrap;overflow-wrap:normal}
.moa .lost{color:#cf4a5a}.moa .ok{color:#2da44e}.moa .note{opacity:.75}
.moa .reasons{border-left:3px solid #cf4a5a;padding-left:.8em;margin:.6em 0}
.moa pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0 .8em;padding:.6em .8em;
background:rgba(128,128,128,.12);border-radius:4px}
.moa summary{cursor:pointer}
"""
_NAMES, _BARS, _RISE = 330, 480, 22
"""Pixels of the timeline: for names, for bars, for each row."""
_LONGEST_NAME: Final = 48


def html(view: View) -> str:
    """The whole explanation, as a piece that stands in a page."""
    parts = [
        f"<style>{_STYLE}</style>",
        f"<p>{_text(words.totals_line(view.totals, view.end))}</p>",
    ]
    if view.reasons:
        points = "".join(f"<li>{_text(reason)}</li>" for reason in view.reasons)
        parts.append(f'<div class="reasons"><b>Degraded</b><ul>{points}</ul></div>')
    parts += [f"<p>{_text(fact)}</p>" for fact in view.facts]
    parts += [_members(view.members), "<h3>Timeline</h3>", timeline(view.timeline, view.end)]
    parts += ["<h3>Influence</h3>", *_influence(view.influence)]
    for title, points_ in view.analysis:
        found = "".join(f"<li>{_text(point)}</li>" for point in points_)
        parts.append(f"<h3>{title}</h3><ul>{found}</ul>")
    parts += ["<h3>Proposals</h3>", *_proposals(view)]
    return f'<div class="moa">{"".join(parts)}</div>'


def page(view: View) -> str:
    """The explanation as a file of its own."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">"
        "<title>How this answer came about</title></head>"
        f"<body><h1>How this answer came about</h1>{html(view)}</body></html>\n"
    )


def _text(given: str) -> str:
    return escape(words.line(given, 2000))


def _members(rows: Sequence[MemberRow]) -> str:
    titles = ("", "member", "answered as", "status")
    numbers = ("seconds", "tokens in", "tokens out", "USD")
    head = "".join(f"<th>{title}</th>" for title in titles)
    head += "".join(f'<th class="n">{title}</th>' for title in numbers)
    lines = [f"<tr>{head}</tr>"]
    for row in rows:
        again = f" ({row.attempts} requests)" if (row.attempts or 0) > 1 else ""
        reason = f": {row.reason}" if row.reason and not row.usable else ""
        told = [words.seconds(row.seconds), words.count(row.tokens_in)]
        told += [words.count(row.tokens_out), words.usd(row.usd)]
        answered = "" if row.answered == row.model else row.answered
        cells = f'<td class="w">{_text(words.who(row))}</td>'
        cells += f"<td>{_text(row.model)}</td><td>{_text(answered)}</td>"
        kind = "ok" if row.usable else "lost"
        cells += f'<td class="{kind}">{_text(row.status + again + reason)}</td>'
        cells += "".join(f'<td class="n">{cell}</td>' for cell in told)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def timeline(spans: Sequence[Span], end: float | None) -> str:
    """The requests on the clock, as a picture."""
    if not spans or not end:
        return f'<p class="note">{words.NO_TIMES}</p>'
    height, scale = _RISE * len(spans) + 24, _BARS / end
    rows = "".join(_row(span, place, scale) for place, span in enumerate(spans))
    axis = "".join(
        f'<text x="{_NAMES + share * _BARS:.0f}" y="{height - 4}" text-anchor="middle" '
        f'opacity="0.7">{share * end:.2f} s</text>'
        for share in (0.0, 0.5, 1.0)
    )
    width = _NAMES + _BARS + 150
    style = f"<style>text{{fill:{INK};font:12px system-ui,sans-serif}}</style>"
    return image(svg(width, height, f"{style}{rows}{axis}"), "timeline")


def _row(span: Span, place: int, scale: float) -> str:
    top = place * _RISE
    left, long = _NAMES + span.start * scale, max(2.0, (span.end - span.start) * scale)
    name = escape(f"{words.who(span)}  {words.line(span.model, _LONGEST_NAME)}")
    told = f"{span.end - span.start:.2f} s {words.span_name(span)}".strip()
    colour = _COLOURS.get(span.outcome, _COLOURS["given_up"])
    opacity = "0.55" if span.kind != "first" else "0.9"
    mark = ""
    if span.first_token is not None:
        x = _NAMES + span.first_token * scale
        mark = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + 19}" stroke="{INK}" '
            f'stroke-width="2"><title>first token at {span.first_token:.2f} s</title></line>'
        )
    return (
        f'<text x="8" y="{top + 15}">{name}</text>'
        f'<rect x="{left:.1f}" y="{top + 4}" width="{long:.1f}" height="12" rx="2" fill="{colour}" '
        f'opacity="{opacity}"><title>{name}: {escape(told)}</title></rect>{mark}'
        f'<text x="{left + long + 6:.1f}" y="{top + 15}" opacity="0.7">{escape(told)}</text>'
    )


def _influence(found: Influence | None) -> Iterator[str]:
    if found is None:
        yield f'<p class="note">{words.NOT_RECORDED}</p>'
        return
    yield f'<p class="note">{words.OVERLAP}</p><table>'
    for share in found.members:
        bar = (
            f'<div style="width:{120 * share.share:.0f}px;height:10px;margin-top:5px;'
            'background-color:#4493f8"></div>'
        )
        nearest = f"nearest to {share.sentences} of {len(found.sentences)} sentences"
        yield (
            f"<tr><td>{_text(share.key)}</td><td>{_text(share.model)}</td>"
            f'<td class="n">{words.percent(share.share)}</td><td>{bar}</td><td>{nearest}</td></tr>'
        )
    yield "</table><details><summary>Sentence by sentence</summary><table>"
    for one in found.sentences:
        source = f"{one.key} {one.model}" if one.key else "no proposal has half of it"
        yield (
            f'<tr><td>{_text(one.text)}</td><td>{_text(source)}</td><td class="n">'
            f"{words.percent(one.share)}</td></tr>"
        )
    yield "</table></details>"


def _proposals(view: View) -> Iterator[str]:
    if not view.has_texts:
        yield f'<p class="note">{words.NOT_RECORDED}</p>'
        return
    for row in view.members:
        if row.text:
            title = _text(f"layer {row.layer} · {row.model}")
            text = escape(words.plain(row.text))
            yield f"<details><summary>{title}</summary><pre>{text}</pre></details>"
