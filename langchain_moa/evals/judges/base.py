"""What every way of judging shares: questions to the judge, and what its answers mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypedDict

from langchain_moa.evals.judges.model import Judge, Messages, Said
from langchain_moa.evals.records import digest
from langchain_moa.evals.spending import Spent
from langchain_moa.evals.types import JSON, Answer, HowRead, Judgment, Row
from langchain_moa.types import AnyMapping


class Outcome(TypedDict):
    """What a judge's answer means; all `None` where it cannot be read."""

    preference: float | None
    score: float | None
    scores: dict[str, float | str] | None
    verdict: str | None
    read: HowRead | None
    raw: JSON


def outcome(
    raw: JSON,
    *,
    preference: float | None = None,
    score: float | None = None,
    scores: dict[str, float | str] | None = None,
    verdict: str | None = None,
    read: HowRead | None = None,
) -> Outcome:
    """An outcome; without `read`, one that cannot be read."""
    return {
        "preference": preference,
        "score": score,
        "scores": scores,
        "verdict": verdict,
        "read": read,
        "raw": raw,
    }


@dataclass(frozen=True)
class Question:
    """One question to a judge.

    Attributes:
        row: The row that was answered.
        turn: The turn, from 1.
        model: Whose answer is judged.
        baseline: The other model of a comparison.
        swapped: Whether the model's answer is shown before the other one.
        messages: What the judge is told.
        prompt: Hash of the prompt's file or template.
        known: What is known without asking.
    """

    row: Row
    turn: int
    model: str
    baseline: str | None
    swapped: bool
    messages: Messages
    prompt: str
    known: Outcome | None = None


@dataclass(frozen=True)
class Result:
    """What came of a question.

    Attributes:
        outcome: What the judge's answer means.
        error: Why there is no answer.
        spent: What it took.
        seconds: How long it took.
    """

    outcome: Outcome
    error: str | None = None
    spent: Spent = field(default_factory=lambda: Spent(usage=None, usd=0.0))
    seconds: float = 0.0


class Effort(NamedTuple):
    """What one question takes, for estimates.

    Attributes:
        calls: Requests to the judge.
        output_tokens: About how long each answer is.
        input_tokens: What each request holds beside the question.
    """

    calls: int = 1
    output_tokens: int = 300
    input_tokens: int = 0


class Judging(ABC):
    """A way of judging: which questions are asked, and how their answers are read."""

    arguments: ClassVar[AnyMapping] = {}
    """Arguments of each call."""
    name: str = ""
    """What takes the judge's place in records, where nobody judges."""
    made_with: Mapping[str, JSON] = {}
    """The arguments of `judging_of` that it was made with, for another process."""
    wants: str = ""
    """What else tells these judgments from others of the same judge on the same answers."""

    @property
    @abstractmethod
    def prompt(self) -> str:
        """Hash of the prompt's file or template; `""` for none."""

    @abstractmethod
    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """The questions about the answers that are there, row by row."""

    async def judged(self, judge: Judge, question: Question) -> Result:
        """Ask the judge, and read what it says.

        Raises:
            MoAConfigurationError: The judge's set-up is wrong: its key, or its name.
        """
        said = await judge.ask(question.messages, **self.arguments)
        return self.result(question, said)

    def result(self, question: Question, said: Said) -> Result:
        """What the judge's answer to a question means, or why there is none."""
        found = self.read(question, said.text) if said.message else outcome(None)
        return Result(found, said.error, said.spent, said.seconds)

    def read(self, question: Question, text: str) -> Outcome:
        """What the judge's text means."""
        raise NotImplementedError

    def learn(self, judgment: Judgment) -> None:
        """Take an earlier judgment into account: how this judge was read before."""
        del judgment

    @property
    def effort(self) -> tuple[Effort, Effort]:
        """What a question takes, as far as it is known: at least, and at most."""
        return Effort(), Effort()

    @property
    def recipe(self) -> dict[str, JSON]:
        """The arguments of `judging_of` that make it in another process."""
        return dict(self.made_with)

    def settings(self, judge: Judge | None, question: Question) -> str:
        """Hash of all that shapes a judgment."""
        fingerprint = judge.fingerprint if judge else ""
        return digest(
            fingerprint, dict(self.arguments), self.wants, question.prompt, question.messages
        )


class Answers:
    """Usable answers, found by row, turn and model.

    Args:
        answers: Answers; the last one to the same turn of a row counts.
    """

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._found: dict[tuple[str, int, str], str] = {}
        self.models: list[str] = list(dict.fromkeys(a["model"] for a in answers))
        for answer in answers:
            if answer["output"] is not None:
                self._found[answer["row"], answer["turn"], answer["model"]] = answer["output"]

    def get(self, row: Row, model: str, turn: int = 1) -> str | None:
        """A model's answer to a turn of a row."""
        return self._found.get((row["id"], turn, model))

    def turns(self, row: Row, model: str, turn: int) -> list[str] | None:
        """A model's answers to a row up to a turn, if all are there."""
        found = [self.get(row, model, n) for n in range(1, turn + 1)]
        outputs = [output for output in found if output is not None]
        return outputs if len(outputs) == turn else None
