"""AlpacaEval's judge: which of two outputs is better, as a number from 1 to 2.

The prompt, the seeded order of the outputs and the formula are upstream's (tatsu-lab/alpaca_eval,
`weighted_alpaca_eval_gpt4_turbo`): the two tokens' probabilities where the judge gives them. A
judge that gives none is asked several times, and one that does not answer with a single token for
a structured verdict; each judgment says how it was read.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from langchain_moa.evals.judges.base import (
    Answers,
    Effort,
    Judging,
    Outcome,
    Question,
    Result,
    outcome,
)
from langchain_moa.evals.judges.model import Judge, Said
from langchain_moa.evals.spending import Spent, added
from langchain_moa.evals.suites import JudgePrompt
from langchain_moa.evals.types import JSON, HowRead, Judgment, Row
from langchain_moa.proposals.fitting import estimated_tokens
from langchain_moa.types import AnyMapping

Method: TypeAlias = Literal["auto", "logprobs", "samples", "verdict"]
"""How a preference is got: `auto` takes the first of the others that the judge is able to."""

SAMPLES: Final = 5
FIRST, SECOND = "m", "M"
"""What the judge calls the outputs, in the order in which it sees them."""
_ONE_TOKEN: Final[AnyMapping] = {"max_tokens": 1, "temperature": 1.0}
_VERDICT: Final[AnyMapping] = {
    "title": "verdict",
    "description": "Which output is the best.",
    "type": "object",
    "properties": {"best_model": {"type": "string", "enum": [FIRST, SECOND]}},
    "required": ["best_model"],
    "additionalProperties": False,
}

_IN_SCHEMA: Final = Effort(1, 20, estimated_tokens(json.dumps(_VERDICT)))
"""What a verdict in a schema takes."""


def is_switched(instruction: str) -> bool:
    """Whether the judge sees the model's output before the baseline's.

    It is drawn by chance, as upstream draws it: from a seed that is made of the instruction.

    Example:
        >>> is_switched("What is the capital of France?")
        False
    """
    seed = f"is_switched_outputs{instruction}0"
    return random.Random(seed).choices([False, True], k=1)[0]  # noqa: S311 - upstream's order


def preference_of(first: float | None, second: float | None) -> float | None:
    """The preference, from 1 (the first output) to 2, of two tokens' log-probabilities.

    Args:
        first: Log-probability of the first output's token; `None` where it is not among the most
            likely ones.
        second: Likewise, of the second output's.

    Returns:
        `None` where neither is known.

    Example:
        >>> preference_of(-0.7, -0.7), preference_of(None, -0.1), preference_of(None, None)
        (1.5, 2.0, None)
    """
    if first is None and second is None:
        return None
    one = -math.inf if first is None else first
    other = -math.inf if second is None else second
    most = max(one, other)
    if most == -math.inf:
        return None
    weights = math.exp(one - most), math.exp(other - most)
    return 1 + weights[1] / (weights[0] + weights[1])


def top_logprobs(given: AnyMapping) -> dict[str, float]:
    """The log-probabilities of the most likely first tokens, in OpenAI's shape or in Together's.

    Example:
        >>> top_logprobs({"content": [{"top_logprobs": [{"token": "M", "logprob": -0.1}]}]})
        {'M': -0.1}
        >>> top_logprobs({"tokens": ["M"], "token_logprobs": [-0.1], "top_logprobs": [{"M": -0.1}]})
        {'M': -0.1}
    """
    content = given.get("content")
    if isinstance(content, Sequence) and content and isinstance(content[0], Mapping):
        tops = content[0].get("top_logprobs") or ()
        return _numbers({top.get("token"): top.get("logprob") for top in tops})
    together = given.get("top_logprobs")
    if isinstance(together, Sequence) and together:
        together = together[0]
    return _numbers(together) if isinstance(together, Mapping) else {}


def _numbers(found: Mapping[object, object]) -> dict[str, float]:
    return {
        token: float(value)
        for token, value in found.items()
        if isinstance(token, str) and isinstance(value, int | float) and not math.isnan(value)
    }


class AlpacaEvalJudging(Judging):
    """One question for each answer, but none where the outputs are the same.

    Args:
        prompt: The judge's prompt, from the fetched file.
        method: How preferences are got.
        samples: How often a judge without log-probabilities is asked.
    """

    def __init__(
        self, prompt: JudgePrompt, *, method: Method = "auto", samples: int = SAMPLES
    ) -> None:
        self._prompt = prompt
        self._samples = samples
        self.wants = f"{method} {samples}" if method in ("samples", "auto") else method
        self._method: Method = method
        self._finding = asyncio.Lock()

    @property
    def prompt(self) -> str:
        """Hash of upstream's prompt file."""
        return self._prompt.sha256

    def questions(self, rows: Sequence[Row], answers: Answers) -> Iterator[Question]:
        """For each answer, whether it or the baseline's is better."""
        for row in rows:
            for model in answers.models:
                output = answers.get(row, model)
                if output is not None:
                    yield self._question(row, model, output)

    def _question(self, row: Row, model: str, output: str) -> Question:
        baseline = row["baseline"]
        instruction = row["messages"][-1]["content"]
        swapped = is_switched(instruction)
        shown = (baseline["output"], output)
        one, other = reversed(shown) if swapped else shown
        text = self._prompt.filled(instruction=instruction, output_1=one, output_2=other)
        same = baseline["output"] == output
        return Question(
            row=row,
            turn=1,
            model=model,
            baseline=baseline["model"],
            swapped=swapped,
            messages=(("system", self._prompt.system), ("user", text)),
            prompt=self._prompt.sha256,
            known=outcome(None, preference=1.5, read="identical") if same else None,
        )

    @property
    def effort(self) -> tuple[Effort, Effort]:
        """One token for each request; a judge of unknown abilities may be asked in every way."""
        once, sampled, verdict = Effort(1, 1), Effort(self._samples, 1), _IN_SCHEMA
        ways = {"logprobs": once, "samples": sampled, "verdict": verdict}
        if self._method != "auto":
            return ways[self._method], ways[self._method]
        # no log-probabilities, samples that cannot be read, and a verdict at last
        return once, Effort(self._samples + 1, verdict.output_tokens, verdict.input_tokens)

    @property
    def recipe(self) -> dict[str, JSON]:
        """The same, with the way in which this judge is read by now."""
        return {**super().recipe, "method": self._method}

    def learn(self, judgment: Judgment) -> None:
        """Read this judge as it was read before."""
        if self._method == "auto" and judgment["read"] in ("logprobs", "samples", "verdict"):
            self._method = judgment["read"]

    async def judged(self, judge: Judge, question: Question) -> Result:
        """Ask in the way that this judge is able to; the first answer that can be read tells."""
        if self._method == "auto":
            async with self._finding:
                if self._method == "auto":
                    return await self._found(judge, question)
        return await self._asked(judge, question, self._method)

    async def _found(self, judge: Judge, question: Question) -> Result:
        """Try one way after the other."""
        first = await self._with_logprobs(judge, question)
        if top_logprobs(first.logprobs):
            self._method = "logprobs"
        if top_logprobs(first.logprobs) or first.may_help:
            return self._weighed(question, first)
        tried = await self._sampled(judge, question, [first] if first.message else [])
        if tried.outcome["read"] is not None:
            self._method = "samples"
            return tried
        last = await self._structured(judge, question)
        if last.outcome["read"] is not None:
            self._method = "verdict"
        told = last if last.outcome["read"] or not tried.outcome["raw"] else tried
        return Result(
            told.outcome, told.error, added(tried.spent, last.spent), tried.seconds + last.seconds
        )

    async def _asked(self, judge: Judge, question: Question, method: Method) -> Result:
        if method == "logprobs":
            return self._weighed(question, await self._with_logprobs(judge, question))
        if method == "samples":
            return await self._sampled(judge, question, [])
        return await self._structured(judge, question)

    async def _with_logprobs(self, judge: Judge, question: Question) -> Said:
        trying = self._method == "auto"
        arguments = {**_ONE_TOKEN, **judge.asks_for_logprobs()}
        return await judge.ask(question.messages, trying=trying, **arguments)

    def _weighed(self, question: Question, said: Said) -> Result:
        """The preference by upstream's formula."""
        found = top_logprobs(said.logprobs)
        preference = preference_of(found.get(FIRST), found.get(SECOND))
        raw = _completion(said) if said.message else None
        return Result(_preferred(question, preference, "logprobs", raw), *_cost(said))

    async def _sampled(self, judge: Judge, question: Question, had: list[Said]) -> Result:
        """The mean of several answers of one token."""
        count = self._samples - len(had)
        more = [judge.ask(question.messages, **_ONE_TOKEN) for _ in range(count)]
        said = [*had, *await asyncio.gather(*more)]
        named = [s.text.strip() for s in said]
        votes = [float(name == SECOND) for name in named if name in (FIRST, SECOND)]
        preference = 1 + sum(votes) / len(votes) if votes else None
        spent: Spent = said[0].spent
        for each in said[1:]:
            spent = added(spent, each.spent)
        answered = [s.text for s in said if s.message]
        error = None if answered else said[0].error
        raw: JSON = list(answered) or None
        found = _preferred(question, preference, "samples", raw)
        return Result(found, error, spent, sum(s.seconds for s in said))

    async def _structured(self, judge: Judge, question: Question) -> Result:
        """The verdict in a schema."""
        said = await judge.ask_in(question.messages, dict(_VERDICT), temperature=0.0)
        best = said.parsed.get("best_model") if said.parsed else None
        preference = {FIRST: 1.0, SECOND: 2.0}.get(best) if isinstance(best, str) else None
        raw: JSON = {"best_model": str(best)} if said.parsed else (said.text or None)
        return Result(_preferred(question, preference, "verdict", raw), *_cost(said))


def _cost(said: Said) -> tuple[str | None, Spent, float]:
    return said.error, said.spent, said.seconds


def _preferred(question: Question, preference: float | None, read: HowRead, raw: JSON) -> Outcome:
    """A preference as the judge gave it, turned to the model's: 2 is for the model."""
    if preference is None:
        return outcome(raw)
    value = 3 - preference if question.swapped else preference
    return outcome(raw, preference=value, read=read)


def _completion(said: Said) -> JSON:
    """The judge's completion as upstream's files keep it."""
    metadata = said.message.response_metadata if said.message else {}
    usage = said.spent["usage"]
    return {
        "finish_reason": metadata.get("finish_reason"),
        "index": 0,
        "logprobs": dict(said.logprobs),
        "message": {"content": said.text, "role": "assistant"},
        "text": said.text,
        "total_tokens": usage["total_tokens"] if usage else None,
    }
