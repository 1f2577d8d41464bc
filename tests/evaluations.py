"""What tests of evaluations share: made-up suites in upstream's formats, and the recorded ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.records import failed_answer
from langchain_moa.evals.types import Answer, Row

# read now: tests have an environment without it
_RECORDED = Path(
    os.environ.get("LANGCHAIN_MOA_DATA") or Path(__file__).parents[2] / "shared" / "data"
)
CHATML = """<|im_start|>system
You pick outputs.
<|im_end|>
<|im_start|>user
Asked: {instruction}
m: {output_1}
M: {output_2}
Say m or M.
<|im_end|>"""
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem")
INSTRUCTIONS = [f"Instruction {number} of {{ten}}" for number in range(10)]
SKILLS = ("Logical Robustness", "Readability", "Commonsense Understanding")


def recorded(name: str = "") -> Path:
    """The folder with recorded data, or a file in it; the test is skipped where there is none."""
    if not (_RECORDED / name).exists():
        pytest.skip(f"no recorded data at {_RECORDED / name}")
    return _RECORDED / name


def made_up(folder: Path) -> Path:
    """A data folder with small suites of our own invention, in the formats of the real ones."""
    _write(
        folder / "alpaca_eval/gpt4_1106_preview.json",
        json.dumps(
            [
                {
                    "dataset": CATEGORIES[n % 2],
                    "instruction": text,
                    "output": f"base {n}",
                    "generator": "base",
                }
                for n, text in enumerate(INSTRUCTIONS)
            ]
        ),
    )
    _write(folder / "alpaca_eval/alpaca_eval_clf_prompt.txt", CHATML)
    questions = [
        {"question_id": 81 + n, "category": name, "turns": [f"First {n}?", f"Second {n}?"]}
        for n, name in enumerate(CATEGORIES)
    ]
    _lines(folder / "mt_bench/question.jsonl", questions)
    references = [
        {"question_id": q["question_id"], "choices": [{"turns": ["Reference 1.", "Reference 2."]}]}
        for q in questions
    ]
    _lines(folder / "mt_bench/reference_answer_gpt-4.jsonl", references)
    _lines(folder / "mt_bench/judge_prompts.jsonl", [*_mt_bench_prompts()])
    flask = [
        {
            "idx": n, "instruction": f"Task {n}", "answer": f"Right {n}", "task": "t",
            "skill": list(SKILLS), "domain": ["Math"], "difficulty": "expert level knowledge",
        }
        for n in range(1, 6)
    ]  # fmt: skip
    for name in ("flask_evaluation", "flask_hard_evaluation"):
        _lines(folder / f"flask/{name}.jsonl", flask)
    template = "{prompt1}\n{skills}\n{question}\n{sample_answer}\n{response}\n{prompt2}"
    prompts = [
        {
            "prompt_id": n, "system_prompt": "You review.", "prompt_template": template,
            "defaults": {"prompt1": "Rate.", "prompt2": "End with a dict."},
        }
        for n in (1, 2)
    ]  # fmt: skip
    _lines(folder / "flask/review_prompt.jsonl", prompts)
    rubrics = [
        {"Skill": name, "Criteria": f"{name}?", "Scoring": {str(n): f"is {n}" for n in range(1, 6)}}
        for name in SKILLS
    ]
    _write(folder / "flask/skillset_description.json", json.dumps(rubrics))
    return folder


def _mt_bench_prompts() -> list[dict[str, str]]:
    ref, refs = "R1 {ref_answer_1}\n", "R1 {ref_answer_1}\nR2 {ref_answer_2}\n"
    two = "Q1 {question_1}\nQ2 {question_2}\n"
    templates = {
        "single-v1": "Q {question}\nA {answer}",
        "single-math-v1": "Q {question}\n" + ref + "A {answer}",
        "single-v1-multi-turn": two + "A1 {answer_1}\nA2 {answer_2}",
        "single-math-v1-multi-turn": two + refs + "A1 {answer_1}\nA2 {answer_2}",
        "pair-v2": "Q {question}\nA {answer_a}\nB {answer_b}",
        "pair-math-v1": "Q {question}\n" + ref + "A {answer_a}\nB {answer_b}",
        "pair-v2-multi-turn": two + "A {answer_a_1} {answer_a_2}\nB {answer_b_1} {answer_b_2}",
        "pair-math-v1-multi-turn": two + refs + "A {answer_a_2}\nB {answer_b_2}",
    }
    return [
        {
            "name": name, "type": name.partition("-")[0], "system_prompt": f"You are {name}.",
            "prompt_template": text, "output_format": "[[rating]]",
        }
        for name, text in templates.items()
    ]  # fmt: skip


def _lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    _write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def row(key: str, text: str = "", *, follow_ups: Sequence[str] = (), **fields: Any) -> Row:
    """A row of a user's own prompts, or of another suite."""
    made: dict[str, Any] = {
        "suite": "custom",
        "id": key,
        "messages": [{"role": "user", "content": text or f"Question {key}?"}],
        "follow_ups": list(follow_ups),
        "category": "",
        "references": [],
    }
    return Row(**{**made, **fields})  # type: ignore[typeddict-item]


def answered(key: str, model: str, output: str | None, **fields: Any) -> Answer:
    """An answer's record."""
    made = {**failed_answer("custom", key, 1, model, ""), "error": None, "output": output}
    return Answer(**{**made, **fields})  # type: ignore[typeddict-item]


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
