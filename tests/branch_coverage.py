"""Fails when fewer than 95 % of the core's branches were taken.

`--cov-fail-under` counts lines and branches together, which hides missing branches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

GOAL = 95.0
NOT_CORE = ("testing", "cli", "local")
"""The edges, whose tests run in processes of their own, too."""


def main(report: str) -> int:
    """Read coverage's JSON report, say the share of branches taken, and compare it."""
    files = json.loads(Path(report).read_text(encoding="utf-8"))["files"]
    core = [
        file["summary"]
        for name, file in files.items()
        if not Path(name).relative_to("langchain_moa").parts[0].startswith(NOT_CORE)
    ]
    taken = sum(summary["covered_branches"] for summary in core)
    known = sum(summary["num_branches"] for summary in core)
    share = 100 * taken / known
    print(f"{taken} of {known} branches of the core were taken: {share:.1f} %")  # noqa: T201
    return 0 if share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
