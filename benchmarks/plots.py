"""Plots of what was found: ratios, for seconds tell more of a machine than of us."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.roster import AIOHTTP, GIVEN, HTTPX, HTTPX2, OUR, PLAIN
from benchmarks.tails import PLAIN as PLAIN_TAIL

try:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
except ImportError as error:
    _MESSAGE = "plots need matplotlib: pip install matplotlib"
    raise ImportError(_MESSAGE) from error

Kept = dict[str, Any]
"""What a run has kept, as its JSON has it."""

COLOURS: Final = {
    GIVEN: "#1f77b4",
    OUR: "#d62728",
    PLAIN: "#555555",
    HTTPX: "#98df8a",
    HTTPX2: "#2ca02c",
    AIOHTTP: "#9467bd",
}
_OTHER: Final = "#b0b0b0"
_DPI: Final = 120
_LONGEST: Final = 4.0
"""Longer bars are cut, or the slowest peer would leave nothing of the others to be seen."""


def draw(kept: Kept, folder: Path) -> list[Path]:
    """Draw a PNG of each scenario that was run and has one.

    Args:
        kept: What the run has kept.
        folder: Where the files go; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, plot in _PLOTS.items():
        (folder / f"{name}.png").unlink(missing_ok=True)  # or it would be another run's
        if name in kept:
            drawn.append(folder / f"{name}.png")
            plot(kept[name]).savefig(drawn[-1], dpi=_DPI)
    return drawn


def _overhead(readings: list[Kept]) -> Figure:
    """Two bars of each contestant, overhead and CPU, per number of layers."""
    layers = sorted({it["layers"] for it in readings})
    figure = Figure(figsize=(11, 1.8 + 0.8 * len(layers) * 1.6), layout="constrained")
    figure.suptitle(f"One call at a time, ÷ {PLAIN} (less is better)")
    grid = figure.subplots(len(layers), 2, squeeze=False)
    measures = (("overhead", "wall time beyond the critical path"), ("cpu", "CPU of a call"))
    for row, number in zip(grid, layers, strict=True):
        there = [it for it in readings if it["layers"] == number]
        plain = next(it for it in there if it["contestant"] == PLAIN)
        for axes, (key, title) in zip(row, measures, strict=True):
            values = {it["contestant"]: it[key] / plain[key] for it in there}
            _bars(axes, values, f"{title}, {number} layers")
    return figure


def _bars(axes: Any, values: dict[str, float], title: str) -> None:
    names = sorted(values, key=lambda name: -values[name])
    lengths = [min(values[name], _LONGEST) for name in names]
    labels = [f"{values[n]:.2f}{' (cut)' if values[n] > _LONGEST else ''}" for n in names]
    bars = axes.barh(names, lengths, color=[COLOURS.get(name, _OTHER) for name in names])
    axes.axvline(1, color=COLOURS[PLAIN], linewidth=0.8, linestyle="--")
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.bar_label(bars, labels, padding=4, bbox=behind)
    axes.set_xlim(right=1.3 * max(*lengths, 1))
    axes.set_title(title, fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)


def _load(readings: list[Kept]) -> Figure:
    """CPU per call and throughput by the number of calls at the same time."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(f"Many calls at the same time, ÷ {PLAIN}")
    measures = (
        ("cpu", "CPU per call (less is better)"),
        ("throughput", "calls per second (more is better)"),
    )
    plain = {it["at_once"]: it for it in readings if it["contestant"] == PLAIN}
    for axes, (key, title) in zip(figure.subplots(1, 2), measures, strict=True):
        for name in dict.fromkeys(it["contestant"] for it in readings):
            there = [it for it in readings if it["contestant"] == name]
            counts = [it["at_once"] for it in there]
            values = [it[key] / plain[it["at_once"]][key] for it in there]
            axes.plot(counts, values, "o-", label=name, color=COLOURS.get(name, _OTHER))
        axes.set_xscale("log")
        _ticks(axes, sorted(plain))
        axes.set_ylim(bottom=0)
        axes.set(xlabel="calls at the same time", ylabel=f"÷ {PLAIN}", title=title)
        axes.grid(alpha=0.3)
    names = figure.axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=len(names[1]), frameon=False)
    return figure


def _tails(readings: list[Kept]) -> Figure:
    """The share of calls that have ended by some time, in each variant."""
    variants = list(dict.fromkeys(it["variant"] for it in readings))
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    figure.suptitle("Six proposers with lognormal latencies (p99: ten medians)")
    every = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for axes, variant in zip(every, variants, strict=True):
        for it, colour in zip(
            (it for it in readings if it["variant"] == variant),
            (COLOURS[PLAIN], COLOURS[GIVEN], COLOURS[OUR]),
            strict=True,
        ):
            style = "--" if it["contestant"] == PLAIN_TAIL else "-"
            axes.ecdf(it["seconds"], linestyle=style, color=colour)
        axes.set(xlabel="seconds", title=f"proposers: {variant}", xlim=(0, None))
        axes.grid(alpha=0.3)
    every[0].set_ylabel("share of calls that have ended")
    names = list(dict.fromkeys(it["contestant"] for it in readings))
    every[-1].legend(every[-1].lines, names, loc="lower right", fontsize="small")
    return figure


def _memory(readings: dict[str, list[float]]) -> Figure:
    """One bar of each contestant."""
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    middle = {name: sorted(kib)[len(kib) // 2] for name, kib in readings.items()}
    values = {name: kib / (middle[PLAIN] or 1) for name, kib in middle.items()}
    _bars(figure.subplots(), values, f"Memory of a call under way, ÷ {PLAIN} (less is better)")
    return figure


def _growth(readings: list[Kept]) -> Figure:
    """CPU by the bytes moved, both as multiples of the first point."""
    things = list(dict.fromkeys(it["what"] for it in readings))
    figure = Figure(figsize=(10, 8), layout="constrained")
    figure.suptitle("CPU of a call by the bytes that it moves, both ÷ those of the smallest call")
    for axes, what in zip(figure.subplots(2, 2).flat, things, strict=True):
        there = [it for it in readings if it["what"] == what]
        moved = [value / there[0]["bytes"][0] for value in there[0]["bytes"]]
        axes.loglog(moved, moved, ":", color="black", label="linear in the bytes")
        for it in there:
            xs, ys = ([v / it[key][0] for v in it[key]] for key in ("bytes", "cpus"))
            name = it["contestant"]
            label = f"{name} (exponent {it['by_bytes']:.2f})"
            axes.loglog(xs, ys, "o-", color=COLOURS.get(name, _OTHER), label=label)
        first, last = there[0]["sizes"][0], there[0]["sizes"][-1]
        axes.set(xlabel="bytes, ÷ the first", ylabel="CPU, ÷ the first")
        axes.set_title(f"{what}: {first:,} to {last:,}")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
        _plain_numbers(axes)
    return figure


def _ticks(axes: Any, places: Iterable[int]) -> None:
    places = list(places)
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain_numbers(axes: Any) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


_PLOTS: Final[dict[str, Callable[[Any], Figure]]] = {
    "overhead": _overhead,
    "load": _load,
    "tails": _tails,
    "memory": _memory,
    "growth": _growth,
}
