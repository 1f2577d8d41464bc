"""What a run shows: the estimate and its question, the live display, the end."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from langchain_moa.cli.board import console
from langchain_moa.cli.exits import Exit, say
from langchain_moa.cli.terminal import on_one_line, printable
from langchain_moa.evals.estimates import Estimate, described, estimate
from langchain_moa.evals.plans import Outcome, Plan
from langchain_moa.evals.report.summary import Summary, read_run, summaries
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.types import AnyDict

_GIVEN: Final = {"tokens": None, "usd": None}
"""What answers from files took: nobody knows."""
_LONGEST: Final = 300
"""Characters of an error that the end of a run tells."""
_REFRESH: Final = 4
"""How often a second the display is drawn anew."""


def agreed(found: Estimate, *, only_estimate: bool, yes: bool, as_json: bool) -> Exit | None:
    """Print what a run would take where that is wanted, and ask whether to begin.

    Returns:
        The exit code with which the command ends; `None` to begin.

    Raises:
        click.Abort: The user does not want to.
    """
    asks = not only_estimate and not yes and found["calls"] > 0
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if only_estimate or (asks and not on_terminal):
        text = json.dumps(found, indent=2) if as_json else "\n".join(described(found))
        click.echo(printable_lines(text))
    if only_estimate:
        return Exit.ANSWER
    if asks and not on_terminal:
        say("error: this would be asked and paid for; give --yes to begin.")
        return Exit.USAGE
    if asks:
        for line in described(found):
            say(line)
        click.confirm("Begin?", abort=True, err=True)
    return None


def nothing_asked(*, as_json: bool) -> Exit:
    """Print the estimate of a command that asks nobody anything."""
    found = estimate(())
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(described(found)))
    return Exit.ANSWER


def printable_lines(text: str) -> str:
    """Text without control characters but for its ends of lines."""
    return "\n".join(printable(line) for line in text.split("\n"))


@dataclass
class _Count:
    """How far one contestant, or the judge, is."""

    total: int
    done: int = 0
    before: int = 0
    failed: int = 0
    tokens: int = 0
    usd: float | None = 0.0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Answer | Judgment, *, failed: bool, recorded: bool) -> None:
        self.done += 1
        self.before += recorded
        self.failed += failed
        self.tokens += record["usage"]["total_tokens"] if record["usage"] else 0
        usd = record["usd"]
        self.usd = self.usd + usd if self.usd is not None and usd is not None else None

    @property
    def slowest(self) -> str:
        """The member that takes longest on average."""
        means = {name: sum(times) / len(times) for name, times in self.seconds.items()}
        if not means:
            return ""
        name = max(means, key=lambda each: means[each])
        return f"{name} {means[name]:.1f} s"


class Progress:
    """How far a run is: rows, rate, time left, tokens, USD, failures, the slowest member.

    Args:
        plan: The run.
        judgments: How many judgments there will be.
    """

    def __init__(self, plan: Plan, judgments: int) -> None:
        turns = sum(1 + len(row["follow_ups"]) for row in plan.rows)
        self._counts = {who.name: _Count(turns) for who in plan.contestants}
        self._judge = _Count(judgments)
        self._judge_name = plan.judge.name if plan.judge else "metric"
        self._judges = plan.judging is not None
        self._started = time.perf_counter()

    def on_answer(self, answer: Answer, recorded: bool) -> None:  # noqa: FBT001 - a callback
        """Take an answer into account."""
        count = self._counts[answer["model"]]
        count.add(answer, failed=answer["output"] is None, recorded=recorded)
        for member in _members(answer):
            count.seconds[member["model"]].append(member["seconds"])

    def on_judgment(self, judgment: Judgment, recorded: bool) -> None:  # noqa: FBT001
        """Take a judgment into account."""
        if not self._judge.done:
            self._started = time.perf_counter()
        self._judge.add(judgment, failed=judgment["read"] is None, recorded=recorded)

    def __rich_console__(self, _: Console, __: ConsoleOptions) -> RenderResult:
        """The table."""
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
        for title in ("rows", "failed", "rate", "left", "tokens", "USD"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("slowest", ratio=1, no_wrap=True, overflow="ellipsis")
        rows = [*self._counts.items()]
        if self._judges:
            rows.append((f"judge {self._judge_name}", self._judge))
        for name, count in rows:
            table.add_row(*map(Text, map(printable, self._cells(name, count))))
        yield table

    def _cells(self, name: str, count: _Count) -> Iterator[str]:
        seconds = time.perf_counter() - self._started
        rate = (count.done - count.before) / seconds if seconds else 0.0
        left = (count.total - count.done) / rate if rate else None
        yield name
        yield f"{count.done}/{count.total}"
        yield str(count.failed or "")
        yield f"{rate:.1f}/s" if rate else ""
        yield "" if left is None or not count.done else _clock(left)
        yield f"{count.tokens:,}" if count.tokens else ""
        yield f"{count.usd:.2f}" if count.usd else ""
        yield count.slowest


def _members(answer: Answer) -> Sequence[AnyDict]:
    record: AnyDict = answer["moa"] or {}
    return [m for m in (*record.get("proposals", ()), record.get("aggregator")) if m]


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Show the progress on a terminal, as long as the context lasts; it stays there at the end."""
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        yield
        return
    live = Live(progress, console=stderr, refresh_per_second=_REFRESH)
    with live:
        yield


def ended(
    plan: Plan, found: Outcome, scores: Sequence[object], *, data: Path | None, as_json: bool
) -> Exit:
    """Tell how a run ended, and what came of it.

    Args:
        plan: The run.
        found: Its records.
        scores: What upstream's files of it come to.
        data: The folder with the suites' files that was named.
        as_json: Whether to print JSON.

    Returns:
        0, or 3 where rows are left unanswered or unscored.
    """
    told = _summary(plan) if found.judgments else None
    if told is not None and not as_json:
        click.echo(printable(told.headline))
        for each in told.comparisons[1:]:  # the first one is the headline
            click.echo(printable(each.sentence))
    if as_json:
        summary = {
            "suite": plan.suite.name,
            "out": str(plan.folder),
            "answers": {
                "total": len(found.answers),
                "failed": found.unanswered,
                **(_spent(found.answers) if plan.contestants else _GIVEN),
            },
            "judgments": {
                "total": len(found.judgments),
                "unscored": found.unscored,
                **_spent(found.judgments),
            },
            "files": [str(path) for path in found.files],
            "results": list(scores),
            "headline": told.headline if told else None,
            "comparisons": [each.sentence for each in told.comparisons] if told else [],
            "means": {m.name: m.score.mean if m.score else None for m in told.models}
            if told
            else {},
        }
        click.echo(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))
    for what, count, records in (
        ("answers failed", found.unanswered, found.answers),
        ("judgments could not be had or read", found.unscored, found.judgments),
    ):
        if count:
            left = f"{count} of {len(records)} {what}; --retry-failed asks for them again."
            say(f"{left}{_most_common_error(records)}")
    words = ["langchain-moa", "eval", "report", str(plan.folder), "--out", f"{plan.folder}-report"]
    words += [] if data is None else ["--data", str(data)]
    say(f"recorded in {plan.folder}; to report: {shlex.join(words)}")
    return Exit.NO_ANSWER if found.unanswered or found.unscored else Exit.ANSWER


def _most_common_error(records: Sequence[Answer] | Sequence[Judgment]) -> str:
    """What most of the failures say, in a sentence; nothing where no request failed."""
    errors = Counter(record["error"] for record in records if record["error"])
    if not errors:
        return ""
    [(error, count)] = errors.most_common(1)
    return f" {count} of them: {on_one_line(error, _LONGEST)}"


def _summary(plan: Plan) -> Summary | None:
    """What this judge's, or this metric's, judgments come to."""
    name = plan.judge.name if plan.judge else plan.judging.name if plan.judging else ""
    found = [each for each in summaries(read_run(plan.folder)) if each.judge == name]
    return found[0] if found else None


def _spent(records: Sequence[Answer] | Sequence[Judgment]) -> AnyDict:
    costs = [record["usd"] for record in records]
    known = [usd for usd in costs if usd is not None]
    return {
        "tokens": sum(r["usage"]["total_tokens"] for r in records if r["usage"]),
        "usd": sum(known) if len(known) == len(costs) else None,
    }
