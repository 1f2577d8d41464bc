"""Metrics: answers held against their references by a function, without a judge."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Final, TypeAlias

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals.judges.base import Answers, Judging, Question, Result, outcome
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.reading import DataFileError
from langchain_moa.evals.records import digest
from langchain_moa.evals.types import Row
from langchain_moa.proposals.similarity import in_one_form

Metric: TypeAlias = Callable[[str, str | None], bool | float]
"""Takes an answer and its reference (`None` where the row has none), gives a score from 0 to 1."""


def exact(output: str, reference: str | None) -> bool:
    """Whether the answer is the reference, spaces around it and forms of Unicode aside.

    Example:
        >>> exact(" Paris ", "Paris"), exact("Paris.", "Paris")
        (True, False)
    """
    return in_one_form(output).strip() == in_one_form(reference or "").strip()


def contains(output: str, reference: str | None) -> bool:
    """Whether the reference stands somewhere in the answer, in any form of Unicode.

    Example:
        >>> contains("It is Paris.", "Paris"), contains("It is paris.", "Paris")
        (True, False)
    """
    return in_one_form(reference or "").strip() in in_one_form(output)


def regex(output: str, reference: str | None) -> bool:
    """Whether the reference, a regular expression, matches somewhere in the answer.

    Example:
        >>> regex("The answer is 42.", "answer is 4[0-9]")
        True
    """
    return re.search(reference or "", output) is not None


_NAMED: Final[dict[str, Metric]] = {"exact": exact, "contains": contains, "regex": regex}


def get_metric(name: str) -> Metric:
    """A metric by name, or a function of one's own as `module:function`.

    Raises:
        MoAConfigurationError: There is none.

    Example:
        >>> get_metric("exact") is exact
        True
        >>> get_metric("operator:eq")("a", "a")
        True
    """
    if name in _NAMED:
        return _NAMED[name]
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        msg = f"metric={name!r} is unknown; give {', '.join(_NAMED)}, or MODULE:FUNCTION."
        raise MoAConfigurationError(msg)
    if "" not in sys.path:  # a module beside the user's prompts
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"metric={name!r} can't be imported: {error}."
        raise MoAConfigurationError(msg) from error
    if not callable(found) or inspect.iscoroutinefunction(found):
        msg = f"metric={name!r} is no plain function of an answer and its reference."
        raise MoAConfigurationError(msg)
    metric: Metric = found
    return metric


class MetricJudging(Judging):
    """Each answer's score by a metric.

    Args:
        name: What `get_metric` takes.
        rows: The rows that are scored.
        source: Their file.

    Raises:
        MoAConfigurationError: There is no such metric.
        DataFileError: A row lacks the reference that it needs.
    """

    def __init__(self, name: str, rows: Sequence[Row] = (), *, source: str = "") -> None:
        self._metric = get_metric(name)
        self.name = f"metric:{name}"
        self.wants = self.name
        if name in _NAMED:
            _check_references(name, rows, source)

    @property
    def prompt(self) -> str:
        """None: nobody is told anything."""
        return ""

    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """Each answer, in place of the judge's messages."""
        for row in rows:
            for model in answers.models:
                output = answers.get(row, model)
                if output is not None:
                    shown = tuple(("reference", text) for text in row["references"][:1])
                    yield Question(
                        row=row,
                        turn=1,
                        model=model,
                        baseline=None,
                        swapped=False,
                        messages=(("output", output), *shown),
                        prompt="",
                    )

    async def scored(self, question: Question) -> Result:
        """Call the metric, in a thread: it may take its time."""
        texts = dict(question.messages)
        try:
            given = await asyncio.to_thread(self._metric, texts["output"], texts.get("reference"))
            score = _checked(given)
        except Exception as error:  # noqa: BLE001 - the user's function
            return Result(outcome(None), f"{type(error).__name__}: {error}")
        return Result(outcome(None, score=score, read="metric"))

    def settings(self, judge: Judge | None, question: Question) -> str:
        """Hash of the metric's name, the answer and its reference."""
        del judge
        return digest(self.name, question.messages)


def _checked(given: object) -> float:
    if isinstance(given, bool | int | float) and 0 <= given <= 1:
        return float(given)
    msg = f"the metric gave {given!r}; it must give a number from 0 to 1, or True or False."
    raise ValueError(msg)


def _check_references(name: str, rows: Sequence[Row], source: str) -> None:
    for row in rows:
        if not row["references"]:
            problem = f"row {row['id']!r} has no field 'reference', which metric={name!r} needs."
            raise DataFileError(source, problem)
        if name == "regex":
            try:
                re.compile(row["references"][0])
            except re.error as error:
                problem = f"row {row['id']!r}: field 'reference' is no regular expression: {error}."
                raise DataFileError(source, problem) from None
