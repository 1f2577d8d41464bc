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
    """All ratios that have a goal, or that tell how to read another."""
    shown = ((name, what, f"{ratio:.2f}", goal) for name, what, ratio, goal in rows)
    return table("scenario|ratio of medians|measured|goal", shown)
