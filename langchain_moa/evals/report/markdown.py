"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from langchain_moa.evals.comparison import RESAMPLES, Comparison, Estimate, rounded
from langchain_moa.evals.manifest import judge_of, versions
from langchain_moa.evals.report.published import published_for
from langchain_moa.evals.report.summary import Against, Summary
from langchain_moa.evals.suites.flask import SKILLS
from langchain_moa.types import AnyMapping

_NOT_THERE = "-"


def report(
    summaries: Sequence[Summary],
    official: Sequence[Sequence[AnyMapping]],
    pictures: Sequence[Sequence[str]],
) -> str:
    """The report of some runs.

    Args:
        summaries: What they come to.
        official: The suites' own numbers for each of them.
        pictures: The pictures' files for each of them.
    """
    several = len(summaries) > 1
    heads = [f"{s.title}: {s.headline}" if several else s.headline for s in summaries]
    parts = ["# Evaluation", "", *(f"- {head}" for head in heads), ""]
    for summary, scores, names in zip(summaries, official, pictures, strict=True):
        parts += _section(summary, scores, names, headline=several)
    return "\n".join(parts).rstrip() + "\n"


def _section(
    summary: Summary, scores: Sequence[AnyMapping], pictures: Sequence[str], *, headline: bool
) -> list[str]:
    parts = [f"## {_escaped(summary.title)}", ""]
    parts += [summary.headline, ""] if headline else []
    parts += [_picture(name) for name in pictures if name.endswith(".png")]
    parts += _ceiling(summary)
    parts += ["### Models", "", *_models(summary), ""]
    if summary.comparisons:
        parts += [f"### {_escaped(summary.first.name)} against the others", ""]
        parts += [*_comparisons(summary), ""]
        parts += [f"- {against.sentence}" for against in summary.comparisons[1:]]
        parts += [""]
    parts += _official(scores)
    parts += ["### How it was measured", "", *_how(summary), ""]
    return [*parts, *_published(summary)]


def _picture(name: str) -> str:
    return f"![{name.removesuffix('.png')}]({name})\n"


def _ceiling(summary: Summary) -> list[str]:
    found = summary.ceiling
    if found is None:
        return []
    digits, measure = summary.measure.digits, summary.measure
    members = sum(model.role == "member" for model in summary.models)
    return [
        "### The ceiling",
        "",
        (
            f"The best answer of the {members} members to each row would have "
            f"{found.best:.{digits}f} on average ({found.n} rows). On "
            f"{100 * found.all_fail:.1f} % of the rows all members fail together (β; 95 % "
            f"interval {100 * found.low:.1f} to {100 * found.high:.1f} %, Clopper-Pearson; failed: "
            f"{measure.failure}). No selection among them can get more than "
            f"{100 * found.limit:.1f} % of the rows right "
            "([arXiv 2606.27288](https://arxiv.org/abs/2606.27288))."
        ),
        "",
    ]


def _models(summary: Summary) -> list[str]:
    digits = summary.measure.digits
    title = summary.measure.title
    if summary.pairwise:
        title = f"Win rate against {summary.first.name} (%)"
    rows = [
        [
            model.name,
            model.role,
            _interval(model.score, digits),
            model.score.n if model.score else 0,
            model.unscored,
            model.tally.failed,
            _number(model.tally.usd, 5),
            _number(model.tally.seconds, 1),
            _number(model.tally.tokens, 0),
            _number(model.tally.length, 0),
        ]
        for model in summary.models
    ]
    titles = [
        "model", "role", f"{title}, 95 % interval", "rows", "unscored", "failed answers",
        "USD / answer", "s / answer", "tokens / answer", "characters",
    ]  # fmt: skip
    return table(titles, rows)


def _comparisons(summary: Summary) -> list[str]:
    digits = summary.measure.digits
    titles = [
        "against", "rows", "win / tie / loss", "mean difference, 95 % interval",
        "win rate at equal length", "USD / answer", "s / answer", "verdict", "rows needed",
    ]  # fmt: skip
    return table(titles, [_against(summary, against, digits) for against in summary.comparisons])


def _against(summary: Summary, against: Against, digits: int) -> list[object]:
    result = against.result
    other = next(model for model in summary.models if model.name == against.other)
    first = summary.first.tally
    equal = result.at_equal_length
    name = f"{against.other} (best member)" if against.best_member else against.other
    return [
        name,
        result.n,
        f"{result.win} / {result.tie} / {result.loss}",
        _interval(result.difference, digits, signed=True),
        _NOT_THERE if equal is None else f"{_interval(_percent(equal), 1)} %",
        f"{_number(first.usd, 5)} : {_number(other.tally.usd, 5)}",
        f"{_number(first.seconds, 1)} : {_number(other.tally.seconds, 1)}",
        result.verdict,
        _needed(result),
    ]


def _needed(result: Comparison) -> str:
    if result.verdict != "not told apart":
        return ""
    return _NOT_THERE if result.rows_needed is None else f"{rounded(result.rows_needed):,}"


def _percent(share: Estimate) -> Estimate:
    low, high = share.low, share.high
    return Estimate(
        100 * share.mean,
        None if low is None else 100 * low,
        None if high is None else 100 * high,
        share.n,
    )


def _official(scores: Sequence[AnyMapping]) -> list[str]:
    """The suite's own numbers."""
    if not scores:
        return []
    parts = ["### The suite's own numbers", ""]
    flask = [score for score in scores if "skills" in score]
    if flask:
        for group in ("skills", "domains", "difficulties"):
            parts += [*_groups(group, flask), ""]
        return parts
    ratings = [score for score in scores if "categories" in score]
    if ratings:
        names = list(dict.fromkeys(name for score in ratings for name in score["categories"]))
        rows = [
            [
                score["model"],
                *(_number(score[key], 2) for key in ("turn_1", "turn_2", "average")),
                *(_number(score["categories"].get(name), 2) for name in names),
            ]
            for score in ratings
        ]
        parts += [*table(["model", "turn 1", "turn 2", "average", *names], rows), ""]
    for mark, columns in _COLUMNS.items():
        found = [score for score in scores if mark in score]
        if found:
            rows = [[_cell(score[name]) for name in columns.values()] for score in found]
            parts += [*table(list(columns), rows), ""]
    reasons = dict.fromkeys(score["lc_reason"] for score in scores if score.get("lc_reason"))
    notes = [f"No length-controlled win rate: {reason}." for reason in reasons]
    baselines = dict.fromkeys(s["lc_baselines"] for s in scores if s.get("lc_baselines"))
    notes += [f"Length controlled with {name}." for name in baselines]
    return [*parts, *(line for note in notes for line in (note, ""))]


_COLUMNS = {
    "discrete_win_rate": {
        "model": "model", "LC win rate %": "length_controlled_win_rate",
        "win rate %": "win_rate", "standard error": "standard_error",
        "discrete %": "discrete_win_rate", "wins": "n_wins", "losses": "n_wins_base",
        "draws": "n_draws", "length": "avg_length",
    },
    "win_rate_adjusted": {
        "model": "model", "wins": "win", "losses": "loss", "ties": "tie",
        "win rate": "win_rate", "adjusted": "win_rate_adjusted",
    },
}  # fmt: skip


def _groups(group: str, scores: Sequence[AnyMapping]) -> list[str]:
    """Means of skills, domains or difficulties, models side by side."""
    there = dict.fromkeys(name for score in scores for name in score[group])
    names = [n for n in SKILLS if n in there] if group == "skills" else list(there)
    titles = {"skills": "skill", "domains": "domain", "difficulties": "difficulty"}
    rows = [
        [
            "unlabelled" if name == "-1" else name,
            *(_number(score[group].get(name, {}).get("mean"), 2) for score in scores),
        ]
        for name in names
    ]
    return table([titles[group], *(score["model"] for score in scores)], rows)


def _how(summary: Summary) -> list[str]:
    run = summary.run
    judge = judge_of(run, summary.judge)
    lines = [f"- Run: `{summary.folder}`, started {run['started']}, ended {run['finished'] or '-'}"]
    lines += [
        f"- Rows: {run['rows']} of `{run['source']}`"
        + (f" (limit {run['limit']})" if run["limit"] else "")
    ]
    if summary.judge is None:
        lines += ["- Nobody has judged the answers yet."]
    elif summary.metric:
        lines += [f"- Metric: `{summary.metric}`"]
    else:
        lines += [f"- Judge: `{summary.judge}`, prompt SHA-256 `{summary.prompt}`"]
        if judge:
            told = {k: v for k, v in judge["settings"].items() if k != "judges_itself"}
            lines += [f"- Judge's settings: {_settings(told)}"]
        lines += [f"- Judging took {summary.judge_tokens:,} tokens, {_judge_cost(summary)}"]
    if summary.judges_itself:
        names = ", ".join(f"`{name}`" for name in summary.judges_itself)
        lines += [f"- **The judge is also among the models ({names}): it may prefer itself.**"]
    if summary.how_read:
        ways = ", ".join(f"{name} {count}" for name, count in summary.how_read.items())
        lines += [f"- Judgments were read from: {ways}"]
    lines += [f"- Judgments that failed or could not be read: {summary.failed_judgments}"]
    if summary.judged:
        lines += [f"- Judged from {summary.judged[0]} to {summary.judged[1]}"]
    lines += [
        f"- `{model['name']}` ({model['role']}): {_settings(model['settings'])}"
        for model in run["models"]
    ]
    lines += [f"- Versions of the run: {_versions(run['versions'])}"]
    lines += [f"- Versions of this report: {_versions(versions())}"]
    return [
        *lines,
        (
            f"- Intervals: bootstrap over rows, {RESAMPLES:,} resamples with a fixed seed; "
            "differences are paired by row. Equal length: logistic regression on the difference "
            "in characters. The best member is chosen on these rows, which is in its favour."
        ),
    ]


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _judge_cost(summary: Summary) -> str:
    if summary.judge_usd is not None:
        return f"{summary.judge_usd:.4f} USD"
    if summary.judge_usd_known is None:
        return "cost not known"
    return f"{summary.judge_usd_known:.4f} USD and what judgments without a known price cost"


def _settings(settings: AnyMapping) -> str:
    parts = [f"{name} = {value!r}" for name, value in settings.items()]
    return f"`{', '.join(parts)}`" if parts else "its own"


def _published(summary: Summary) -> list[str]:
    found = published_for(summary.run["suite"])
    if found is None:
        return []
    titles = ["skill" if summary.run["suite"] == "flask" else "model", *found["columns"]]
    return [
        f"### Published elsewhere, judge: {found['judge']}",
        "",
        f"Not to be compared with the above: another judge made them ({found['source']}).",
        "",
        *table(titles, found["rows"]),
        "",
    ]


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A Markdown table's lines.

    Example:
        >>> table(["a", "b"], [["x", 1]])
        ['| a | b |', '| --- | ---: |', '| x | 1 |']
    """
    cells = [[_escaped(str(cell)) for cell in row] for row in rows]
    ruler = ["---", *("---:" for _ in titles[1:])]
    heads = [_escaped(title) for title in titles]
    return [f"| {' | '.join(line)} |" for line in (heads, ruler, *cells)]


def _escaped(text: str) -> str:
    """Text that stays in its cell."""
    return " ".join(text.replace("|", "\\|").split())


def _interval(estimate: Estimate | None, digits: int, *, signed: bool = False) -> str:
    if estimate is None:
        return _NOT_THERE
    sign = "+" if signed else ""
    text = f"{estimate.mean:{sign}.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:{sign}.{digits}f} to {estimate.high:{sign}.{digits}f})"


def _number(value: float | None, digits: int) -> str:
    return _NOT_THERE if value is None else f"{value:,.{digits}f}"


def _cell(value: object) -> str:
    if value is None:
        return _NOT_THERE
    return f"{value:.2f}" if isinstance(value, float) else str(value)
