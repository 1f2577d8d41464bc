"""Made-up files of judgments, in the formats of upstream's tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.evaluations import INSTRUCTIONS


def annotation(instruction: str, preference: float | None, **fields: Any) -> dict[str, Any]:
    """A row of AlpacaEval's annotations."""
    return {
        "instruction": instruction,
        "output_1": "the baseline's answer",
        "generator_1": "base",
        "output_2": "mine",
        "generator_2": "acme/mine",
        "annotator": "judge",
        "preference": preference,
        **fields,
    }


def annotated(*preferences: float | None, **fields: Any) -> list[dict[str, Any]]:
    """Annotations of the first rows of the made-up suite."""
    pairs = zip(INSTRUCTIONS, preferences, strict=False)
    return [annotation(text, preference, **fields) for text, preference in pairs]


def judgment(question: int, turn: int, score: float, **fields: Any) -> dict[str, Any]:
    """A row of MT-Bench's single judgments."""
    return {
        "question_id": question,
        "model": "acme/mine",
        "judge": ["gpt-4", "single-v1"],
        "user_prompt": "Rate it.",
        "judgment": f"[[{score}]]",
        "score": score,
        "turn": turn,
        "tstamp": 1.0,
        **fields,
    }


def pair(question: int, first: str, second: str, **fields: Any) -> dict[str, Any]:
    """A row of MT-Bench's pair judgments."""
    return {
        "question_id": question,
        "model_1": "acme/mine",
        "model_2": "acme/other",
        "g1_winner": first,
        "g2_winner": second,
        "judge": ["gpt-4", "pair-v2"],
        "turn": 1,
        **fields,
    }


def review(row: int, scores: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A row of FLASK's reviews."""
    return {
        "idx": row,
        "domain": ["Math"],
        "difficulty": "expert level knowledge",
        "review": f"Good. {dict(scores)}",
        "score": dict(scores),
        **fields,
    }


def as_list(path: Path, rows: Sequence[Any]) -> Path:
    """A JSON list in a file."""
    path.write_text(json.dumps(rows), "utf-8")
    return path


def as_lines(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path
