"""`python -m benchmarks`: run the scenarios and print tables of ratios.

A: overhead of a call, wall time less the critical path, against plain LangChain and peers.
B: CPU per call and throughput with up to 1,000 calls at the same time.
C: streaming, time to first token and CPU per token, bare and inside a parent graph.
D: heavy tails, hanging and failing proposers: wall seconds and lost calls.
E: memory per call under way, of 1,000.
F: growth of CPU with proposers, layers, length of proposals and history.
G: time of importing, size installed.
H: CPU of judging an answer in an evaluation, against a plain batch of the same prompts.
I: the rows of an evaluation on Ray's workers, one of which is killed, and in one process.
soak: thousands of calls among random faults; only where it is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

from benchmarks.report import Report
from benchmarks.roster import HEAVY
from benchmarks.running import SCENARIOS, TAIL_CALLS, run
from benchmarks.soak import CALLS

_OUT: Final = Path(".benchmarks")
_QUICK: Final = _OUT / "quick"


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        msg = f"{text!r} is no number from 1 on"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


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
        "--repetitions", type=_count, default=15, help="of A, C and G; of B, E, F and H a fifth"
    )
    parser.add_argument(
        "--calls", type=_count, help=f"of D (default {TAIL_CALLS}) and soak (default {CALLS})"
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
        help=f"folder for bench.md, bench.json, plots (default: {_OUT}, of quick runs {_QUICK})",
    )
    arguments = parser.parse_args()
    if arguments.alone and "A" not in (arguments.scenario or "A"):
        parser.error(f"--with {arguments.alone[0]}: heavy peers take part in scenario A only")
    report = Report(arguments.out or (_QUICK if arguments.quick else _OUT))
    logging.getLogger("langchain_moa").setLevel(logging.ERROR)  # the failures are on purpose
    asyncio.run(run(arguments, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
