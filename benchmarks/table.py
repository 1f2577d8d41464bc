"""Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Row = tuple[str, str, float, str]
"""Scenario, what is measured, the ratio, the goal."""


def table(header: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        header: The columns' names with `|` between them.
        rows: The cells of each row.
    """
    names = header.split("|")
    rules = ["---:" if name and place > 1 else "---" for place, name in enumerate(names)]
    lines = (" | ".join(cells) for cells in (names, *rows))
    head, *body = (f"| {line} |" for line in lines)
    return "\n".join([head, f"|{'|'.join(rules)}|", *body])


def ratios_table(rows: Iterable[Row]) -> str:
    """All ratios, with their goals; what misses its goal is bold."""
    shown = ((name, what, _shown(ratio, goal), goal) for name, what, ratio, goal in rows)
    return table("scenario|ratio of medians|measured|goal", shown)


def _shown(ratio: float, goal: str) -> str:
    text = f"{ratio:.2f}"
    if not goal:
        return text
    relation, bound = goal.split()
    met = float(text) <= float(bound) if relation == "<=" else float(text) < float(bound)
    return text if met else f"**{text}**"
