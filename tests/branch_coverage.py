"""Fails when fewer than 95 % of the core's branches were taken.

`tests/cover.py` finds them, in each of the tests' processes; here they are put together. Lines are
not counted: they hide missing branches.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
GOAL: Final = 95.0
NOT_CORE: Final = ("testing", "cli", "local")
"""The edges, whose tests run in processes of their own, too."""
Branch = tuple[int, int]


def main(folder: str, *, every: bool) -> int:
    """Read what was found, say the share of branches taken, and compare it.

    Args:
        folder: Where the processes' findings are.
        every: Whether to list each branch that was not taken.
    """
    taken: dict[str, set[Branch]] = defaultdict(set)
    known: dict[str, set[Branch]] = defaultdict(set)
    for found in Path(folder).glob("*.json"):
        for name, file in json.loads(found.read_text("utf-8"))["files"].items():
            if Path(name).relative_to("langchain_moa").parts[0].startswith(NOT_CORE):
                continue
            taken[name] |= set(map(tuple, file["executed_branches"]))
            known[name] |= set(map(tuple, file["missing_branches"])) | taken[name]
    counted = {name: set(_counted(name, known[name])) for name in known}
    passed = sum(len(counted[name] & taken[name]) for name in counted)
    share = 100 * passed / max(1, sum(map(len, counted.values())))
    for name, branches in sorted(counted.items()):
        if every and (missed := sorted(branches - taken[name])):
            print(f"{name}: " + ", ".join(f"{one}->{two or 'end'}" for one, two in missed))  # noqa: T201
    print(f"{share:.1f} % of the core's branches were taken")  # noqa: T201
    return 0 if share >= GOAL else 1


def _counted(name: str, branches: set[Branch]) -> Iterator[Branch]:
    """Branches that a program can take: not those that only type checkers see."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    for one, two in branches:
        if "TYPE_CHECKING" not in lines[one - 1]:
            yield one, two


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], every="--missing" in sys.argv))
