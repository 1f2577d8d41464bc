"""Made-up folders of runs, as `eval run` and `eval judge` leave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from langchain_moa.evals.manifest import write_manifest
from langchain_moa.evals.types import Answer, Judgment, Run, RunModel

MIXTURE, ALPHA, BETA, SELF = "moa", "acme/alpha", "acme/beta", "self-moa (acme/alpha)"
ROLES: tuple[tuple[str, Any], ...] = (
    (MIXTURE, "mixture"),
    (ALPHA, "member"),
    (BETA, "member"),
    (SELF, "self-moa"),
)
AT = "2026-11-20T10:00:00+00:00"


def answer(row: str, model: str, output: str | None = "An answer.", **fields: Any) -> Answer:
    """An answer's record, which cost more the more members it asked."""
    made = {
        "suite": "custom", "row": row, "turn": 1, "model": model, "settings": "s",
        "output": output, "error": None if output is not None else "timeout", "moa": None, "at": AT,
        "usage": {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30},
        "usd": {MIXTURE: 0.03, SELF: 0.02}.get(model, 0.005), "seconds": 2.0,
    }  # fmt: skip
    return cast("Answer", {**made, **fields})


def judged(row: str, model: str, **fields: Any) -> Judgment:
    """A judgment's record."""
    made = {
        "suite": "custom", "row": row, "turn": 1, "model": model, "baseline": None,
        "swapped": False, "judge": "openai:gpt-5", "prompt": "ab" * 32, "settings": "s",
        "preference": None, "score": None, "scores": None, "verdict": None, "read": "rating",
        "raw": "[[A]]", "error": None, "seconds": 1.0, "usd": 0.001, "at": AT,
        "usage": {"input_tokens": 100, "output_tokens": 1, "total_tokens": 101},
    }  # fmt: skip
    return cast("Judgment", {**made, **fields})


def both_orders(row: str, other: str, first: str | None, second: str | None) -> list[Judgment]:
    """A pair judged in both orders; a verdict that is `None` could not be read."""
    return [
        judged(
            row,
            MIXTURE,
            baseline=other,
            swapped=swapped,
            verdict=verdict,
            read="verdict" if verdict else None,
        )
        for swapped, verdict in ((False, first), (True, second))
    ]


def run_folder(
    folder: Path,
    answers: Sequence[Answer],
    judgments: Sequence[Judgment],
    *,
    suite: str = "custom",
    models: Sequence[tuple[str, Any]] = ROLES,
    **fields: Any,
) -> Path:
    """A run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in (("answers", answers), ("judgments", judgments)):
        if records:
            text = "".join(f"{json.dumps(record)}\n" for record in records)
            (folder / f"{name}.jsonl").write_text(text, "utf-8")
    named: list[RunModel] = [
        {"name": name, "role": role, "settings": {"layers": 2} if role == "mixture" else {}}
        for name, role in models
    ]
    made: dict[str, Any] = {
        "suite": suite,
        "source": "prompts.jsonl" if suite == "custom" else suite,
        "rows": len({record["row"] for record in answers}),
        "limit": None,
        "models": named,
        "judge": {"name": "openai:gpt-5", "prompt": "ab" * 32, "settings": {"temperature": 0.0}},
        "metric": None,
        "versions": {"python": "3.12.1", "langchain-moa": "0.1.0"},
        "started": AT,
        "finished": AT,
    }
    write_manifest(folder, cast("Run", {**made, **fields}))
    return folder
