"""Figures that others have published, apart from one's own, with their judge's name."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TypedDict


class Published(TypedDict):
    """A table of published figures."""

    judge: str
    source: str
    columns: list[str]
    """What follows a row's name."""
    rows: list[list[str]]


@cache
def published() -> dict[str, Published]:
    """The tables, by suite.

    Example:
        >>> published()["mt_bench"]["rows"][2][:2]
        ['MoA', '9.25 ± 0.10']
    """
    text = files("langchain_moa.evals.report").joinpath("published.toml").read_text("utf-8")
    return tomllib.loads(text)


def published_for(suite: str) -> Published | None:
    """The table of a suite, if there is one.

    Example:
        >>> published_for("custom") is None
        True
    """
    return published().get(suite)
