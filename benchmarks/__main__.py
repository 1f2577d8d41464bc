"""`python -m benchmarks`: run the scenarios and print tables of ratios.

A: overhead of a call, wall time less the critical path, against plain LangChain and peers.
B: CPU per call and throughput with up to 1,000 calls at the same time.
C: streaming, time to first token and CPU per token, bare and inside a parent graph.
D: heavy tails, hanging and failing proposers: wall seconds and lost calls.
E: memory per call under way, of 1,000.
F: growth of CPU with proposers, layers, length of proposals and history.
G: time of importing, size installed.
soak: thousands of calls among random faults; only where it is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from benchmarks.report import Report
from benchmarks.roster import HEAVY
from benchmarks.running import SCENARIOS, TAIL_CALLS, run
from benchmarks.soak import CALLS


def main() -> int:
    """Parse the arguments, run, print and keep what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario", choices=SCENARIOS, action="append", help="default: all but soak"
    )
    parser.add_argument(
        "--repetitions", type=int, default=15, help="of A, C and G; of B, E and F a fifth"
    )
    parser.add_argument(
        "--calls", type=int, help=f"of D (default {TAIL_CALLS}) and soak (default {CALLS})"
    )
    parser.add_argument("--quick", action="store_true", help="a few calls: does it work?")
    parser.add_argument(
        "--with",
        choices=HEAVY,
        action="append",
        default=[],
        dest="alone",
        help="let a heavy peer take part, in an environment that is made for it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(".benchmarks"),
        help="folder for bench.md, bench.json and the plots (default: .benchmarks)",
    )
    arguments = parser.parse_args()
    logging.getLogger("langchain_moa").setLevel(logging.ERROR)  # the failures are on purpose
    asyncio.run(run(arguments, Report(arguments.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
