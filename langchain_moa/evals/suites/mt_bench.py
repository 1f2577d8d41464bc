"""MT-Bench: 80 questions of two turns, eight categories, rated from 1 to 10.

Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv 2306.05685); formats
as in lm-sys/FastChat at the pinned commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Final

from langchain_moa.evals.data import SourceFile
from langchain_moa.evals.reading import DataFileError, Record, field, read_records
from langchain_moa.evals.suites.base import JudgePrompt, Suite, Tell, file_hash
from langchain_moa.evals.types import GenerationSettings, Row

_COMMIT: Final = "0e6d3e4beaab66f4d3f93db72541a4abab8af28d"
_RAW: Final = f"https://raw.githubusercontent.com/lm-sys/FastChat/{_COMMIT}/fastchat/llm_judge/data"
_LICENCE: Final = "MT-Bench: Apache-2.0, part of lm-sys/FastChat"

CATEGORIES: Final = (
    "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
)  # fmt: skip
"""In the order of the questions, which is that of published pictures."""
WITH_REFERENCE: Final = ("math", "reasoning", "coding")
"""Categories whose judge sees the recorded reference answers."""
_TEMPERATURES: Final = {
    "writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1,
    "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
}  # fmt: skip
_OTHER_TEMPERATURE: Final = 0.7
MAX_TOKENS: Final = 1024

QUESTIONS: Final = SourceFile(
    name="mt_bench/question.jsonl",
    url=f"{_RAW}/mt_bench/question.jsonl",
    sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
)
REFERENCES: Final = SourceFile(
    name="mt_bench/reference_answer_gpt-4.jsonl",
    url=f"{_RAW}/mt_bench/reference_answer/gpt-4.jsonl",
    sha256="f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
)
PROMPTS: Final = SourceFile(
    name="mt_bench/judge_prompts.jsonl",
    url=f"{_RAW}/judge_prompts.jsonl",
    sha256="fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
)


@dataclass(frozen=True)
class MTBench(Suite):
    """MT-Bench with the recorded references of gpt-4, whoever judges."""

    name: str = "mt_bench"
    title: str = "MT-Bench"
    source: str = "mt_bench"
    size: int | None = 80
    turns: int = 2
    licence: str = _LICENCE
    files: dict[str, SourceFile] = attribute(
        default_factory=lambda: {"rows": QUESTIONS, "references": REFERENCES, "prompt": PROMPTS}
    )

    def rows(self, data: str | Path | None = None, *, tell: Tell | None = None) -> list[Row]:
        """The questions; those of math, reasoning and coding with both turns' references."""
        path = self.path("rows", data, tell=tell)
        references = self._references(self.path("references", data, tell=tell))
        rows: dict[str, Row] = {}
        for number, record in enumerate(read_records(path), 1):
            key = str(field(record, "question_id", int, path, number))
            turns = field(record, "turns", list, path, number)
            if not turns or any(not isinstance(turn, str) for turn in turns):
                raise DataFileError(path, f"row {number}: field 'turns' must be a list of texts.")
            category = field(record, "category", str, path, number)
            if key in rows:
                raise DataFileError(path, f"row {number} repeats question_id {key}.")
            rows[key] = Row(
                suite=self.name,
                id=key,
                messages=[{"role": "user", "content": turns[0]}],
                follow_ups=turns[1:],
                category=category,
                references=references.get(key, []) if category in WITH_REFERENCE else [],
            )
        return list(rows.values())

    def _references(self, path: Path) -> dict[str, list[str]]:
        return {
            str(field(record, "question_id", int, path, number)): answer_turns(record, path, number)
            for number, record in enumerate(read_records(path), 1)
        }

    def settings(self, row: Row) -> GenerationSettings:
        """The temperature of the row's category, and 1024 tokens."""
        temperature = _TEMPERATURES.get(row["category"], _OTHER_TEMPERATURE)
        return {"temperature": temperature, "max_tokens": MAX_TOKENS}

    def judge_prompts(
        self, data: str | Path | None = None, *, tell: Tell | None = None
    ) -> dict[str, JudgePrompt]:
        """FastChat's eight prompts: single and pairwise, with references, of one and two turns."""
        path = self.path("prompt", data, tell=tell)
        digest = file_hash(path)
        prompts = {}
        for number, record in enumerate(read_records(path), 1):
            name = field(record, "name", str, path, number)
            prompts[name] = JudgePrompt(
                name=name,
                system=field(record, "system_prompt", str, path, number),
                template=field(record, "prompt_template", str, path, number),
                sha256=digest,
                fields={"output_format": str(record.get("output_format", ""))},
            )
        return prompts


def answer_turns(record: Record, path: Path, number: int) -> list[str]:
    """The texts of an answer row's turns (FastChat's `choices[0].turns`).

    Raises:
        DataFileError: The row has none.
    """
    choices = field(record, "choices", list, path, number)
    turns = choices[0].get("turns") if choices and isinstance(choices[0], dict) else None
    if not isinstance(turns, list) or not turns or any(not isinstance(t, str) for t in turns):
        raise DataFileError(path, f"row {number}: field 'choices[0].turns' must be texts.")
    return list(turns)
