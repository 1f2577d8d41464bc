"""FLASK: instructions of twelve skills, each rated from 1 to 5 by its own rubric.

Ye et al., "FLASK: Fine-grained Language Model Evaluation based on Alignment Skill Sets"
(arXiv 2307.10928); formats as in kaistAI/FLASK at the pinned commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Final

from langchain_moa.evals.data import SourceFile
from langchain_moa.evals.reading import DataFileError, field, read_records
from langchain_moa.evals.suites.base import JudgePrompt, Suite, Tell, file_hash
from langchain_moa.evals.types import GenerationSettings, Row

_COMMIT: Final = "3b4e22bc34aa9dc15ea0c51be3cbf5f3c8b1b5e5"
_RAW: Final = f"https://raw.githubusercontent.com/kaistAI/FLASK/{_COMMIT}"
_LICENCE: Final = (
    "FLASK: its repository has no licence file, and its data come from 122 sources with licences "
    "of their own; do not pass it on"
)

SKILLS: Final = (
    "robustness", "correctness", "efficiency", "factuality", "commonsense", "comprehension",
    "insightfulness", "completeness", "metacognition", "readability", "conciseness", "harmlessness",
)  # fmt: skip
"""Short names in the order of the published pictures."""
DIFFICULTIES: Final = (
    "simple lifestyle knowledge",
    "advanced lifestyle knowledge",
    "formal education knowledge",
    "major level knowledge",
    "expert level knowledge",
)
"""From easy to hard."""
MAX_TOKENS: Final = 2048
TEMPERATURE: Final = 0.7
"""Both as the reference repository's script for FLASK has them."""

_ROWS: Final = SourceFile(
    name="flask/flask_evaluation.jsonl",
    url=f"{_RAW}/evaluation_set/flask_evaluation.jsonl",
    sha256="791950bf1f159b048eba8fee205eba606926c25467a9a31e6f9b6affc2e3e13d",
)
_HARD_ROWS: Final = SourceFile(
    name="flask/flask_hard_evaluation.jsonl",
    url=f"{_RAW}/evaluation_set/flask_hard_evaluation.jsonl",
    sha256="9830d65b2a137b9184039850c748f52dde369377a0ae06c00ccb6d464d5ebb48",
)
_PROMPTS: Final = SourceFile(
    name="flask/review_prompt.jsonl",
    url=f"{_RAW}/gpt_review/src/prompt.jsonl",
    sha256="64836bb1eb6940e7ddbbbf0ea66265191bfd49476036ca15fc2660bbfa326134",
)
_SKILLS: Final = SourceFile(
    name="flask/skillset_description.json",
    url=f"{_RAW}/metadata_annotation/skillset/src/skillset_description.json",
    sha256="78f03c29f5a6510b76b8a765cb539c302d69898b7e4d7c68372c9cc2427e595e",
)


@dataclass(frozen=True)
class Rubric:
    """How a skill is rated.

    Attributes:
        skill: Its name, as the rows spell it.
        criteria: The question that its rating answers.
        scoring: What each rating means, by `"1"` to `"5"`.
    """

    skill: str
    criteria: str
    scoring: dict[str, str]


def _files(rows: SourceFile) -> dict[str, SourceFile]:
    return {"rows": rows, "prompt": _PROMPTS, "skills": _SKILLS}


@dataclass(frozen=True)
class Flask(Suite):
    """FLASK's whole set, 1,740 rows; `FLASK_HARD` is its hard subset."""

    name: str = "flask"
    title: str = "FLASK"
    source: str = "flask"
    size: int | None = 1740
    turns: int = 1
    licence: str = _LICENCE
    files: dict[str, SourceFile] = attribute(default_factory=lambda: _files(_ROWS))

    def rows(self, data: str | Path | None = None, *, tell: Tell | None = None) -> list[Row]:
        """The instructions, with their skills, domains and difficulty."""
        path = self.path("rows", data, tell=tell)
        rows: dict[str, Row] = {}
        for number, record in enumerate(read_records(path), 1):
            key = str(field(record, "idx", int, path, number))
            if key in rows:
                raise DataFileError(path, f"row {number} repeats idx {key}.")
            domains = [str(name) for name in field(record, "domain", list, path, number)]
            rows[key] = Row(
                suite=self.name,
                id=key,
                messages=[
                    {
                        "role": "user",
                        "content": field(record, "instruction", str, path, number),
                    }
                ],
                follow_ups=[],
                category=domains[0] if domains else "",
                references=[field(record, "answer", str, path, number)],
                skills=[str(name) for name in field(record, "skill", list, path, number)],
                domains=domains,
                difficulty=str(record.get("difficulty", "")),
            )
        return list(rows.values())

    def settings(self, row: Row) -> GenerationSettings:
        """The same for every row."""
        del row
        return {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}

    def judge_prompts(
        self, data: str | Path | None = None, *, tell: Tell | None = None
    ) -> dict[str, JudgePrompt]:
        """The file's prompts by `prompt_id`: `"2"` shows the judge the reference, `"1"` does not.

        `fields` holds the prompt's `defaults`.
        """
        path = self.path("prompt", data, tell=tell)
        digest = file_hash(path)
        prompts = {}
        for number, record in enumerate(read_records(path), 1):
            name = str(field(record, "prompt_id", int, path, number))
            prompts[name] = JudgePrompt(
                name=name,
                system=field(record, "system_prompt", str, path, number),
                template=field(record, "prompt_template", str, path, number),
                sha256=digest,
                fields={
                    str(k): str(v) for k, v in field(record, "defaults", dict, path, number).items()
                },
            )
        return prompts

    def rubrics(
        self, data: str | Path | None = None, *, tell: Tell | None = None
    ) -> dict[str, Rubric]:
        """How each skill is rated, by its name as the rows spell it.

        Raises:
            DataFileError: The file is missing, broken, or another than it should be.
        """
        path = self.path("skills", data, tell=tell)
        rubrics = {}
        for number, record in enumerate(read_records(path), 1):
            skill = field(record, "Skill", str, path, number)
            scoring = field(record, "Scoring", dict, path, number)
            rubrics[skill] = Rubric(
                skill=skill,
                criteria=field(record, "Criteria", str, path, number),
                scoring={str(rating): str(text) for rating, text in scoring.items()},
            )
        return rubrics


FLASK_HARD: Final = Flask(
    name="flask_hard",
    title="FLASK-Hard",
    source="flask_hard",
    size=89,
    files=_files(_HARD_ROWS),
)
