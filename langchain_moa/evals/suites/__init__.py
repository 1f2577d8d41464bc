"""The suites: their rows, how they want to be answered, and what their judges are told.

All texts come from the fetched files.

Example:
    >>> [suite.name for suite in all_suites()]
    ['alpaca_eval', 'mt_bench', 'flask', 'flask_hard']
    >>> get_suite("mt_bench").turns
    2
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.reading import Record
from langchain_moa.evals.suites.alpaca_eval import AlpacaEval
from langchain_moa.evals.suites.base import JudgePrompt, Suite, row_id
from langchain_moa.evals.suites.custom import NO_FILE, Custom
from langchain_moa.evals.suites.flask import FLASK_HARD, Flask
from langchain_moa.evals.suites.mt_bench import MTBench
from langchain_moa.evals.types import Row

__all__ = [
    "AlpacaEval",
    "Custom",
    "Flask",
    "JudgePrompt",
    "MTBench",
    "Suite",
    "all_suites",
    "get_suite",
    "row_id",
    "sample",
]


def all_suites() -> tuple[Suite, ...]:
    """The suites that have a name; any JSONL file of prompts is one, too.

    Example:
        >>> [suite.name for suite in all_suites()]
        ['alpaca_eval', 'mt_bench', 'flask', 'flask_hard']
    """
    return (AlpacaEval(), MTBench(), Flask(), FLASK_HARD)


def get_suite(source: str | Path | Sequence[Record]) -> Suite:
    """The suite of a name, of a JSONL file's path, or of prompts as such a file has them.

    Raises:
        MoAConfigurationError: There is none.

    Example:
        >>> get_suite("mt_bench").size
        80
        >>> [row] = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}]).rows()
        >>> row["id"], row["references"]
        ('sum', ['4'])
    """
    if not isinstance(source, str | Path):
        if not source:
            msg = 'suite=[] has no prompts; give some, as {"input": ...}.'
            raise MoAConfigurationError(msg)
        return Custom(source=NO_FILE, records=source)
    named = {suite.name: suite for suite in all_suites()}
    if str(source) in named:
        return named[str(source)]
    path = Path(source).expanduser()
    if path.is_file() or path.suffix in {".jsonl", ".json"}:
        return Custom(source=str(source))
    close = get_close_matches(str(source), named, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    msg = f"suite={str(source)!r} is none of {', '.join(named)}, and no file.{meant}"
    raise MoAConfigurationError(msg)


def sample(rows: Sequence[Row], limit: int | None, *, seed: int = 0) -> list[Row]:
    """So many rows, chosen by chance, with the categories' shares of the whole.

    A larger sample holds every smaller one of the same seed, so that a run goes on from it.

    Args:
        rows: All rows.
        limit: How many to keep; `None` keeps all.
        seed: The same seed gives the same rows.

    Returns:
        The rows that are kept, in their order.

    Raises:
        MoAConfigurationError: `limit` is below 1.

    Example:
        >>> rows = get_suite([{"input": f"{number} + 2?"} for number in range(10)]).rows()
        >>> few, more = sample(rows, 2), sample(rows, 4)
        >>> len(few), len(more), all(kept in more for kept in few)
        (2, 4, True)
    """
    if limit is None or limit >= len(rows):
        return list(rows)
    if limit < 1:
        msg = f"limit={limit} must be 1 or more."
        raise MoAConfigurationError(msg)
    kept = set(_drawn(rows, seed)[:limit])
    return [row for place, row in enumerate(rows) if place in kept]


def _drawn(rows: Sequence[Row], seed: int) -> list[int]:
    """All rows' places in one order, each beginning of which has the categories' shares.

    In each category rows are drawn by chance. Its row `k` of `n` stands at `(k - 1/2) / n` of the
    order, so that the beginnings are those of the Webster/Sainte-Laguë method.
    """
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["category"]].append((row["id"], place))
    order: list[tuple[float, str, int]] = []
    for name, group in groups.items():
        group.sort()  # by id, so that a file in another order gives the same sample
        random.Random(f"{seed} {name}").shuffle(group)  # noqa: S311 - no secret
        order += [((k + 0.5) / len(group), name, place) for k, (_, place) in enumerate(group)]
    return [place for _, _, place in sorted(order)]
