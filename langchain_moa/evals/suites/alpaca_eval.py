"""AlpacaEval 2: 805 instructions, compared with the recorded answers of a baseline.

Dubois et al., "Length-Controlled AlpacaEval" (arXiv 2404.04475); formats as in
tatsu-lab/alpaca_eval at the pinned commit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Final

from langchain_moa.evals.data import SourceFile
from langchain_moa.evals.reading import DataFileError, field, read_records, read_text
from langchain_moa.evals.suites.base import JudgePrompt, Suite, Tell, file_hash, row_id
from langchain_moa.evals.types import GenerationSettings, Row

_COMMIT: Final = "cd543a149df89434d8a54582c0151c0b945c3d20"
_RAW: Final = f"https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/{_COMMIT}"
_REVISION: Final = "2edc6fad8be6b14ea7230aabfd08188da6b8b814"
_DATASET: Final = f"https://huggingface.co/datasets/tatsu-lab/alpaca_eval/resolve/{_REVISION}"
_LICENCE: Final = (
    "AlpacaEval: repository Apache-2.0, data CC BY-NC 4.0 (non-commercial, with attribution)"
)
_SECTION: Final = re.compile(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", re.DOTALL)
"""A message of the judge's prompt file, which is written in ChatML."""

MAX_TOKENS: Final = 2048
TEMPERATURE: Final = 0.7
"""Both as the reference repository's script for AlpacaEval has them."""

REFERENCE: Final = SourceFile(
    name="alpaca_eval/gpt4_1106_preview.json",
    url=f"{_RAW}/results/gpt4_1106_preview/model_outputs.json",
    sha256="83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
)
PROMPT: Final = SourceFile(
    name="alpaca_eval/alpaca_eval_clf_prompt.txt",
    url=(
        f"{_RAW}/src/alpaca_eval/evaluators_configs/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"
    ),
    sha256="784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
)
LC_BASELINES: Final = SourceFile(
    name="alpaca_eval/df_gamed.csv",
    url=f"{_DATASET}/df_gamed.csv",
    sha256="97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
    only_for="the length-controlled win rate",
)
"""What the length-controlled win rate is fitted with, beside a model's own annotations."""


@dataclass(frozen=True)
class AlpacaEval(Suite):
    """AlpacaEval 2 with its baseline gpt4_1106_preview."""

    name: str = "alpaca_eval"
    title: str = "AlpacaEval 2"
    source: str = "alpaca_eval"
    size: int | None = 805
    turns: int = 1
    licence: str = _LICENCE
    files: dict[str, SourceFile] = attribute(
        default_factory=lambda: {
            "rows": REFERENCE,
            "prompt": PROMPT,
            "lc_baselines": LC_BASELINES,
        }
    )

    def rows(self, data: str | Path | None = None, *, tell: Tell | None = None) -> list[Row]:
        """The instructions, with the baseline's answers."""
        path = self.path("rows", data, tell=tell)
        rows: dict[str, Row] = {}
        for number, record in enumerate(read_records(path), 1):
            instruction = field(record, "instruction", str, path, number)
            row = Row(
                suite=self.name,
                id=row_id(instruction),
                messages=[{"role": "user", "content": instruction}],
                follow_ups=[],
                category=field(record, "dataset", str, path, number),
                references=[],
                baseline={
                    "model": field(record, "generator", str, path, number),
                    "output": field(record, "output", str, path, number),
                },
            )
            if row["id"] in rows:
                raise DataFileError(path, f"row {number} repeats an earlier row's instruction.")
            rows[row["id"]] = row
        return list(rows.values())

    def settings(self, row: Row) -> GenerationSettings:
        """The same for every row."""
        del row
        return {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}

    def judge_prompts(
        self, data: str | Path | None = None, *, tell: Tell | None = None
    ) -> dict[str, JudgePrompt]:
        """One prompt, `alpaca_eval_clf`: which of the outputs `m` and `M` is better."""
        path = self.path("prompt", data, tell=tell)
        sections = dict(_SECTION.findall(read_text(path)))
        if not sections.get("user"):
            raise DataFileError(path, "has no section <|im_start|>user … <|im_end|>.")
        prompt = JudgePrompt(
            name="alpaca_eval_clf",
            system=sections.get("system", ""),
            template=sections["user"],
            sha256=file_hash(path),
        )
        return {prompt.name: prompt}
