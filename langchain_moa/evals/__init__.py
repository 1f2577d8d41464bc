"""Evaluation: AlpacaEval 2, MT-Bench, FLASK, and a user's own prompts.

Each step is a function over plain records and can be used alone; `docs/evaluation.md` tells of all.

    from langchain_moa.evals import answer, get_suite, judge, judging_of, write_report

    rows = get_suite("mt_bench").rows()
    answers = answer(rows, [mixture, member], folder="runs/mt")
    judge(rows, answers, judging_of("mt_bench"), "openai:gpt-5", folder="runs/mt")
    write_report("runs/mt", "report")

Nothing is imported before it is used; most of it needs the extra `evals`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.evals.answer_files import read_answer_file
    from langchain_moa.evals.comparison import (
        Ceiling,
        Comparison,
        Estimate,
        bootstrap,
        ceiling,
        clopper_pearson,
        compare,
        sentence,
        win_rate_at_equal_length,
    )
    from langchain_moa.evals.contestants import contestant, members_of, self_moa_of
    from langchain_moa.evals.evaluators import as_evaluator
    from langchain_moa.evals.judges.model import Judge
    from langchain_moa.evals.judging import judging_of
    from langchain_moa.evals.length_files import load_length_control
    from langchain_moa.evals.parsing import rating, skill_scores, winner
    from langchain_moa.evals.reading import DataFileError, read_records
    from langchain_moa.evals.records import read_answers, read_judgments
    from langchain_moa.evals.report.measures import pair_scores, row_scores
    from langchain_moa.evals.report.summary import read_run, summaries
    from langchain_moa.evals.report.writing import write_report
    from langchain_moa.evals.scores.alpaca_eval import score_alpaca_eval
    from langchain_moa.evals.scores.flask import score_flask
    from langchain_moa.evals.scores.length_control import Coefficients, LengthControl, predict
    from langchain_moa.evals.scores.mt_bench import score_mt_bench, score_mt_bench_pairs
    from langchain_moa.evals.scoring import score_files
    from langchain_moa.evals.steps import aanswer, ajudge, answer, judge
    from langchain_moa.evals.suites import Suite, all_suites, get_suite, sample
    from langchain_moa.evals.types import Answer, Judgment, Row, Run
    from langchain_moa.evals.upstream import (
        alpaca_eval_annotations,
        flask_reviews,
        mt_bench_judgments,
        mt_bench_pairs,
    )

_HOMES = {
    "Answer": "types",
    "Ceiling": "comparison",
    "Coefficients": "scores.length_control",
    "Comparison": "comparison",
    "DataFileError": "reading",
    "Estimate": "comparison",
    "Judge": "judges.model",
    "Judgment": "types",
    "LengthControl": "scores.length_control",
    "Row": "types",
    "Run": "types",
    "Suite": "suites",
    "aanswer": "steps",
    "ajudge": "steps",
    "all_suites": "suites",
    "alpaca_eval_annotations": "upstream",
    "answer": "steps",
    "as_evaluator": "evaluators",
    "bootstrap": "comparison",
    "ceiling": "comparison",
    "clopper_pearson": "comparison",
    "compare": "comparison",
    "contestant": "contestants",
    "flask_reviews": "upstream",
    "get_suite": "suites",
    "judge": "steps",
    "judging_of": "judging",
    "load_length_control": "length_files",
    "members_of": "contestants",
    "mt_bench_judgments": "upstream",
    "mt_bench_pairs": "upstream",
    "pair_scores": "report.measures",
    "predict": "scores.length_control",
    "rating": "parsing",
    "read_answer_file": "answer_files",
    "read_answers": "records",
    "read_judgments": "records",
    "read_records": "reading",
    "read_run": "report.summary",
    "row_scores": "report.measures",
    "sample": "suites",
    "score_alpaca_eval": "scores.alpaca_eval",
    "score_files": "scoring",
    "score_flask": "scores.flask",
    "score_mt_bench": "scores.mt_bench",
    "score_mt_bench_pairs": "scores.mt_bench",
    "self_moa_of": "contestants",
    "sentence": "comparison",
    "skill_scores": "parsing",
    "summaries": "report.summary",
    "win_rate_at_equal_length": "comparison",
    "winner": "parsing",
    "write_report": "report.writing",
}

__all__ = [
    "Answer",
    "Ceiling",
    "Coefficients",
    "Comparison",
    "DataFileError",
    "Estimate",
    "Judge",
    "Judgment",
    "LengthControl",
    "Row",
    "Run",
    "Suite",
    "aanswer",
    "ajudge",
    "all_suites",
    "alpaca_eval_annotations",
    "answer",
    "as_evaluator",
    "bootstrap",
    "ceiling",
    "clopper_pearson",
    "compare",
    "contestant",
    "flask_reviews",
    "get_suite",
    "judge",
    "judging_of",
    "load_length_control",
    "members_of",
    "mt_bench_judgments",
    "mt_bench_pairs",
    "pair_scores",
    "predict",
    "rating",
    "read_answer_file",
    "read_answers",
    "read_judgments",
    "read_records",
    "read_run",
    "row_scores",
    "sample",
    "score_alpaca_eval",
    "score_files",
    "score_flask",
    "score_mt_bench",
    "score_mt_bench_pairs",
    "self_moa_of",
    "sentence",
    "skill_scores",
    "summaries",
    "win_rate_at_equal_length",
    "winner",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing this package costs nothing."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
