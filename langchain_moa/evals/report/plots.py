"""Pictures of a run: bars with intervals, quality against cost, radars.

They are drawn without a window, in shades and shapes that can be told apart in grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from langchain_moa.evals.extra import extra
from langchain_moa.evals.report.summary import Against, ModelSummary, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.projections.polar import PolarAxes

_FORMATS: Final = ("png", "svg")
_DPI: Final = 160
_WIDTH: Final = 8.0
_LONGEST: Final = 34
"""Characters of a name in a picture; tables have the whole of it."""
_MOST: Final = 5
"""Models in a radar: more cannot be told apart."""
_FEWEST_POINTS: Final = 2
"""Models that a picture of costs compares."""
_FEWEST_AXES: Final = 3
"""Axes that span a radar."""
_SHORT_SCALE: Final = 2
"""A scale no longer than this has a ring at every half."""
_UPRIGHT: Final = 0.1
"""Sine of the angle below which an axis points up or down."""
_INK: Final = "#1a1a1a"
_FAINT: Final = "#555555"
_COLORS: Final = {
    "mixture": "#3f78a8",
    "self-moa": "#a9bcc7",
    "member": "#e3e7ea",
    "model": "#e3e7ea",
}
_MARKERS: Final = {"mixture": "D", "self-moa": "s", "member": "o", "model": "o"}
_HATCHES: Final = {"mixture": "", "self-moa": "///", "member": "", "model": ""}
_ROLES: Final = {
    "mixture": "mixture",
    "self-moa": "Self-MoA",
    "member": "single member",
    "model": "model",
}
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_POINTS: Final = ("D", "o", "s", "^", "v")
_MARK: Final = 9.0
"""A point's width in the picture of costs, in points of 1/72 inch, as are the next two."""
_BESIDE: Final = 9.0
"""How far beside a point its name begins."""
_LINE: Final = 13.0
"""How far names are moved up and down."""
_RADAR_COLORS: Final = ("#0b3c5d", "#c0562f", "#4f7f52", "#8a6fa8", "#7a7a7a")


def bars(summary: Summary) -> Figure | None:
    """Each model's score with its 95 % interval, or, for pairs, the first's win rate against each.

    Returns:
        The picture; `None` where nothing is scored.
    """
    if summary.pairwise:
        return _pair_bars(summary)
    models = [model for model in summary.models if model.score is not None]
    if not models:
        return None
    models.reverse()  # the first one on top of its equals
    models.sort(key=lambda model: model.score.mean if model.score else -math.inf)
    figure, axes = _figure(len(models))
    for place, model in enumerate(models):
        if model.score is not None:
            _bar(
                axes,
                place,
                (model.score.mean, model.score.low, model.score.high),
                model.role,
                summary,
            )
    axes.set_yticks(range(len(models)), [shortened(model.name) for model in models])
    axes.set_xlabel(f"{summary.measure.title}, with its 95 % interval")
    axes.set_title(_title(summary), loc="left", fontsize="medium", color=_INK)
    _room_for_values(axes, models_high(models), summary)
    _legend(axes, [model.role for model in models])
    return figure


def models_high(models: Sequence[ModelSummary]) -> list[float]:
    """Where the bars end, their intervals included."""
    return [model.score.high or model.score.mean for model in models if model.score]


def _pair_bars(summary: Summary) -> Figure | None:
    found = list(reversed(summary.comparisons))
    if not found:
        return None
    figure, axes = _figure(len(found))
    for place, against in enumerate(found):
        mean, low, high = _win_rate(against)
        _bar(axes, place, (mean, low, high), against.role, summary)
    axes.axvline(50, color=_INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(found)), [f"against {shortened(a.other)}" for a in found])
    axes.set_xlabel(f"Win rate of {shortened(summary.first.name)} (%), with its 95 % interval")
    axes.set_title(_title(summary), loc="left", fontsize="medium", color=_INK)
    _room_for_values(axes, [_win_rate(against)[2] or 0.0 for against in found], summary)
    _legend(axes, [against.role for against in found])
    return figure


def _win_rate(against: Against) -> tuple[float, float | None, float | None]:
    """The first's win rate against another, in percent: its difference is from the even 50."""
    found = against.result.difference
    low = None if found.low is None else 50 + found.low
    high = None if found.high is None else 50 + found.high
    return 50 + found.mean, low, high


def _figure(rows: int) -> tuple[Figure, Axes]:
    with extra():
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(_WIDTH, 1.7 + 0.45 * rows), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _bar(
    axes: Axes,
    place: int,
    value: tuple[float, float | None, float | None],
    role: str,
    summary: Summary,
) -> None:
    mean, low, high = value
    measure = summary.measure
    errors = None if low is None or high is None else [[max(mean - low, 0)], [max(high - mean, 0)]]
    axes.barh(
        place,
        mean - measure.low,
        left=measure.low,
        height=0.62,
        color=_COLORS[role],
        edgecolor=_INK,
        linewidth=0.6,
        hatch=_HATCHES[role],
        xerr=errors,
        error_kw={"ecolor": _INK, "capsize": 3, "linewidth": 1.0},
    )
    axes.annotate(
        f"{mean:.{measure.digits}f}",
        (high if high is not None else mean, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        color=_INK,
    )


def _room_for_values(axes: Axes, ends: Sequence[float], summary: Summary) -> None:
    """Leave room for the numbers behind the bars, whatever the scale ends at."""
    measure = summary.measure
    end = max([*ends, measure.low])
    width = (end - measure.low) * 1.12 or measure.high - measure.low
    axes.set_xlim(measure.low, measure.low + width)


def _legend(axes: Axes, roles: Sequence[str]) -> None:
    with extra():
        from matplotlib.patches import Patch  # noqa: PLC0415 - an extra

    there = [role for role in _ROLES if role in roles]
    if len(there) > 1:
        axes.figure.legend(
            handles=[
                Patch(facecolor=_COLORS[r], edgecolor=_INK, hatch=_HATCHES[r], label=_ROLES[r])
                for r in there
            ],
            loc="outside lower right",
            ncols=len(there),
            frameon=False,
            fontsize="small",
        )


def cost(summary: Summary) -> Figure | None:
    """Quality against cost, with the line of those that nobody beats in both.

    Returns:
        The picture; `None` where fewer than two models have a score and a known price.
    """
    with extra():
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    points = [
        (model, usd, score)
        for model in summary.models
        if (usd := model.tally.usd) is not None and (score := _quality(summary, model)) is not None
    ]
    if len(points) < _FEWEST_POINTS:
        return None
    figure = Figure(figsize=(_WIDTH, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, linewidth=0.4, color="#dddddd")
    axes.set_axisbelow(True)
    end = 1.06 * max(usd for _, usd, _ in points) or 1.0
    line = pareto([(usd, score) for _, usd, score in points])
    line.append((end, line[-1][1]))
    axes.step(
        [usd for usd, _ in line],
        [score for _, score in line],
        where="post",
        color="#888888",
        linewidth=1.2,
        linestyle="--",
        label="nobody is better for less",
    )
    for role in _ROLES:
        own = [(usd, score) for model, usd, score in points if model.role == role]
        if own:
            axes.scatter(
                [usd for usd, _ in own],
                [score for _, score in own],
                s=_MARK**2,
                marker=_MARKERS[role],
                color=_COLORS[role],
                edgecolor=_INK,
                linewidth=0.8,
                label=_ROLES[role],
                zorder=3,
            )
    axes.set_xlabel("USD per answer")
    against = f" against {shortened(summary.first.name)}" if summary.pairwise else ""
    axes.set_ylabel(f"Win rate{against} (%)" if summary.pairwise else summary.measure.title)
    axes.set_title(_title(summary), loc="left", fontsize="medium", color=_INK)
    figure.legend(loc="outside lower right", ncols=4, frameon=False, fontsize="small")
    axes.set_xlim(0, end)
    axes.margins(y=0.15)
    _name_points(figure, axes, points)
    return figure


def _quality(summary: Summary, model: ModelSummary) -> float | None:
    if summary.pairwise and model is summary.first:
        return 50.0
    return None if model.score is None else model.score.mean


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points (cost, quality), those that no other one beats in both, the cheapest first.

    Example:
        >>> pareto([(1.0, 5.0), (2.0, 4.0), (3.0, 9.0)])
        [(1.0, 5.0), (3.0, 9.0)]
    """
    best: list[tuple[float, float]] = []
    for usd, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((usd, score))
    return best


def _name_points(
    figure: Figure, axes: Axes, points: Sequence[tuple[ModelSummary, float, float]]
) -> None:
    """Name each point beside it, as near as no other name or point is in the way."""
    with extra():
        from matplotlib.transforms import Bbox  # noqa: PLC0415 - an extra

    figure.draw_without_rendering()  # extents depend on the layout
    reach = _MARK / 2 * figure.dpi / 72
    centers = [axes.transData.transform((usd, score)) for _, usd, score in points]
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in centers]
    middle = sum(axes.get_xlim()) / 2
    for model, usd, score in sorted(points, key=lambda point: -point[2]):
        right = usd > middle  # the name goes to where there is room
        side = -_BESIDE if right else _BESIDE
        label = axes.annotate(
            shortened(model.name),
            (usd, score),
            xytext=(side, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize="small",
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
        )
        for step in range(2 * len(points) + 2):
            up = _LINE * (step // 2 + 0.75)
            label.set_position((side, -up if step % 2 else up))
            if not any(label.get_window_extent().overlaps(box) for box in taken):
                break
        taken.append(label.get_window_extent())


def radar(
    title: str,
    names: Sequence[str],
    values: Mapping[str, Mapping[str, float]],
    scale: tuple[float, float],
) -> Figure | None:
    """Models on one axis for each skill or category.

    Args:
        title: Above the picture.
        names: The axes, clockwise from the top.
        values: By model, its value on each axis; the first ones are drawn, the rest is counted.
        scale: The middle's value and the rim's; the middle goes down where a value is lower.

    Returns:
        The picture; `None` where no model has a value, or there are fewer than three axes.
    """
    with extra():
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    shown = {model: found for model, found in values.items() if found}
    if not shown or len(names) < _FEWEST_AXES:
        return None
    figure = Figure(figsize=(7.2, 7.4), layout="constrained")
    axes = cast("PolarAxes", figure.add_subplot(projection="polar"))
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    angles = [2 * math.pi * place / len(names) for place in range(len(names))]
    for style, (model, found) in enumerate(list(shown.items())[:_MOST]):
        around = [found.get(name, math.nan) for name in names]  # a gap where there is no value
        axes.plot(
            [*angles, angles[0]],
            [*around, around[0]],
            color=_RADAR_COLORS[style],
            linestyle=_LINES[style],
            marker=_POINTS[style],
            markersize=5,
            linewidth=2.0 if style == 0 else 1.4,
            label=shortened(model),
        )
    lowest = min(min(found.values()) for found in shown.values())
    low, high = scale
    while low > lowest:
        low -= 1
    axes.set_ylim(low, high)
    step = 0.5 if high - low <= _SHORT_SCALE else 1
    rings = [low + step * n for n in range(1 + round((high - low) / step))]
    axes.set_yticks(rings[1:], ["" for _ in rings[1:]])
    for ring in rings:  # the middle has a label, too, and no line crosses one
        axes.text(
            math.pi / len(names),
            ring,
            f"{ring:g}",
            ha="center",
            va="center",
            fontsize="small",
            color=_FAINT,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
    axes.set_xticks(angles, names)
    for angle, label in zip(angles, axes.get_xticklabels(), strict=True):
        side = math.sin(angle)  # beside the rim, never on it
        label.set_horizontalalignment(
            "center" if abs(side) < _UPRIGHT else "left" if side > 0 else "right"
        )
    axes.grid(linewidth=0.5, color="#cccccc")
    axes.set_title(title, loc="left", fontsize="medium", color=_INK, pad=18)
    left = len(shown) - _MOST
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    if left > 0:
        axes.text(0, -0.08, f"{left} more in the table", transform=axes.transAxes, fontsize="small")
    return figure


def shortened(name: str) -> str:
    """A name that fits, its middle left out.

    Example:
        >>> shortened("deepseek-ai/DeepSeek-V4-Pro-Instruct-2026-10")
        'deepseek-ai/DeepS…Instruct-2026-10'
    """
    if len(name) <= _LONGEST:
        return name
    half = _LONGEST // 2
    return f"{name[:half]}…{name[-(half - 1) :]}"


def _title(summary: Summary) -> str:
    name = Path(summary.run["source"]).name
    return f"{name}  ·  {summary.run['rows']} rows  ·  {judged_by(summary)}"


def judged_by(summary: Summary) -> str:
    """Who judged, for titles."""
    if summary.metric:
        return f"metric: {shortened(summary.metric.removeprefix('metric:'))}"
    return f"judge: {shortened(summary.judge)}" if summary.judge else "not judged"


def saved(figure: Figure, folder: Path, stem: str) -> list[str]:
    """Write a picture as PNG and SVG.

    Returns:
        The files' names.

    Raises:
        OSError: They cannot be written.
    """
    names = []
    for form in _FORMATS:
        name = f"{stem}.{form}"
        # no date, so that the same run gives the same file
        figure.savefig(folder / name, dpi=_DPI, metadata={"Date": None} if form == "svg" else None)
        names.append(name)
    return names
