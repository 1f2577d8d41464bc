"""FLASK's judge: the skills that a row asks for, each rated from 1 to 5 by its own rubric.

Prompt and rubrics are upstream's (kaistAI/FLASK, `gpt_review`), with the reference answer. As
there, temperature and limit of tokens are left to the judge's provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from langchain_moa.evals.judges.base import Answers, Judging, Outcome, Question, outcome
from langchain_moa.evals.parsing import is_review, skill_scores
from langchain_moa.evals.suites import JudgePrompt
from langchain_moa.evals.suites.flask import Rubric
from langchain_moa.evals.types import Row

_WITH_REFERENCE = "2"
"""The prompt that upstream uses, by its number in the file."""
_RATINGS = "12345"


class SkillJudging(Judging):
    """One question for each answer, about all skills of its row.

    Args:
        prompts: The judge's prompts by name, from the fetched file.
        rubrics: How each skill is rated, from the fetched file.
    """

    output_tokens = 400

    def __init__(self, prompts: Mapping[str, JudgePrompt], rubrics: Mapping[str, Rubric]) -> None:
        self._prompt = prompts[_WITH_REFERENCE]
        self._rubrics = rubrics

    @property
    def prompt(self) -> str:
        """Hash of upstream's prompt file."""
        return self._prompt.sha256

    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """A question for each answer."""
        for row in rows:
            for model in answers.models:
                output = answers.get(row, model)
                if output is not None:
                    yield self._question(row, model, output)

    def _question(self, row: Row, model: str, output: str) -> Question:
        text = self._prompt.filled(
            **self._prompt.fields,
            skills="".join(self._rubric(label) for label in row["skills"]),
            question=row["messages"][-1]["content"],
            sample_answer="".join(row["references"][:1]),
            response=output,
        )
        return Question(
            row=row,
            turn=1,
            model=model,
            baseline=None,
            swapped=False,
            messages=(("system", self._prompt.system), ("user", text)),
            prompt=self._prompt.sha256,
        )

    def _rubric(self, label: str) -> str:
        """A skill's rubric as upstream writes it; rows may shorten a skill's name."""
        found = next((r for name, r in self._rubrics.items() if label in name), None)
        if found is None:
            return ""
        lines = "".join(f"\nScore {n}: {found.scoring[n]}" for n in _RATINGS)
        return f"\n{found.skill}: {found.criteria}{lines}\n\n"

    def read(self, question: Question, text: str) -> Outcome:
        """The scores in the text's last Python dict."""
        del question
        scores = skill_scores(text)
        if not is_review(scores):
            return outcome(text)
        return outcome(text, scores=scores, read="dict")
