"""MT-Bench's judge: answers rated from 1 to 10, or two compared in both orders.

Prompts, references and rules are upstream's (lm-sys/FastChat, `llm_judge`); the references are the
recorded ones, whoever judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from langchain_moa.evals.judges.base import Answers, Judging, Outcome, Question, outcome
from langchain_moa.evals.parsing import Winner, rating, winner
from langchain_moa.evals.suites import JudgePrompt
from langchain_moa.evals.types import Row

_ARGUMENTS = {"temperature": 0.0, "max_tokens": 2048}
_TURNS = 2


class _MTBenchJudging(Judging):
    """What both ways share.

    Args:
        prompts: The judge's prompts by name, from the fetched file.
    """

    arguments = _ARGUMENTS

    def __init__(self, prompts: Mapping[str, JudgePrompt]) -> None:
        self._prompts = prompts

    @property
    def prompt(self) -> str:
        """Hash of upstream's prompt file."""
        return next(iter(self._prompts.values())).sha256

    def _references(self, row: Row) -> dict[str, str]:
        return {f"ref_answer_{n}": text for n, text in enumerate(row["references"], 1)}

    def _asked(self, row: Row) -> list[str]:
        return [row["messages"][-1]["content"], *row["follow_ups"]]


class RatingJudging(_MTBenchJudging):
    """Each answer alone, rated from 1 to 10."""

    wants = "single"

    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """A question for each answer of each turn."""
        for row in rows:
            for model in answers.models:
                for turn in range(1, 1 + len(self._asked(row))):
                    outputs = answers.turns(row, model, turn)
                    if outputs is not None:
                        yield self._question(row, model, outputs)

    def _question(self, row: Row, model: str, outputs: list[str]) -> Question:
        asked = self._asked(row)
        kind = "single-math-v1" if row["references"] else "single-v1"
        if len(outputs) == 1:
            places = {"question": asked[0], "answer": outputs[0]}
        else:
            kind += "-multi-turn"
            places = _numbered("question", asked) | _numbered("answer", outputs)
        prompt = self._prompts[kind]
        return Question(
            row=row,
            turn=len(outputs),
            model=model,
            baseline=None,
            swapped=False,
            messages=(
                ("system", prompt.system),
                ("user", prompt.filled(**places, **self._references(row))),
            ),
            prompt=prompt.sha256,
        )

    def read(self, question: Question, text: str) -> Outcome:
        """The rating in the text."""
        del question
        found = rating(text)
        return outcome(text, score=found, read=None if found is None else "rating")


class PairJudging(_MTBenchJudging):
    """The first model's answers against each other model's, in both orders.

    Args:
        prompts: The judge's prompts by name, from the fetched file.
        first: The model that is compared with all others; by default the first one that answers.
    """

    wants = "pair"

    def __init__(self, prompts: Mapping[str, JudgePrompt], first: str = "") -> None:
        super().__init__(prompts)
        self._first = first

    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """Two questions for each pair of answers: upstream's first game shows the model first."""
        first = self._first or answers.models[0]
        for row in rows:
            for other in answers.models:
                for turn in range(1, 1 + len(self._asked(row))):
                    ours = answers.turns(row, first, turn)
                    theirs = answers.turns(row, other, turn)
                    if other == first or ours is None or theirs is None:
                        continue
                    for swapped in (True, False):
                        yield self._question(row, (first, other), ours, theirs, swapped=swapped)

    def _question(
        self,
        row: Row,
        models: tuple[str, str],
        ours: list[str],
        theirs: list[str],
        *,
        swapped: bool,
    ) -> Question:
        asked = self._asked(row)
        one, two = (ours, theirs) if swapped else (theirs, ours)
        kind = "pair-math-v1" if row["references"] else "pair-v2"
        if len(ours) == 1:
            places = {"question": asked[0], "answer_a": one[0], "answer_b": two[0]}
        else:
            kind += "-multi-turn"
            places = _numbered("question", asked) | _numbered("answer_a", one)
            places |= _numbered("answer_b", two)
        prompt = self._prompts[kind]
        return Question(
            row=row,
            turn=len(ours),
            model=models[0],
            baseline=models[1],
            swapped=swapped,
            messages=(
                ("system", prompt.system),
                ("user", prompt.filled(**places, **self._references(row))),
            ),
            prompt=prompt.sha256,
        )

    def read(self, question: Question, text: str) -> Outcome:
        """The verdict in the text."""
        return compared(question, winner(text), text)


def compared(question: Question, found: Winner | None, text: str) -> Outcome:
    """A verdict on A and B, turned to the model and the other one."""
    if found is None:
        return outcome(text)
    if found == "tie":
        return outcome(text, preference=1.5, verdict="tie", read="rating")
    won = (found == "A") == question.swapped
    verdict = "model" if won else "baseline"
    return outcome(text, preference=2.0 if won else 1.0, verdict=verdict, read="rating")


def _numbered(name: str, texts: Sequence[str]) -> dict[str, str]:
    return {f"{name}_{number}": text for number, text in enumerate(texts[:_TURNS], 1)}
