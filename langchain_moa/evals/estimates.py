"""What a run would take, before anybody is asked anything: calls, tokens, and USD.

Tokens are estimated from bytes. An answer that is not there yet is taken to be `TYPICAL_ANSWER`
tokens long, or as long as it may be if that is less; retries are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypedDict

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.prices import Prices, cost_of
from langchain_moa.chat_models import MoAChatModel
from langchain_moa.evals.answering import Asked
from langchain_moa.evals.contestants import member_layers
from langchain_moa.evals.judges.base import Effort, Question
from langchain_moa.evals.records import failed_answer
from langchain_moa.evals.types import Answer
from langchain_moa.proposals.fitting import MESSAGE_TOKENS, estimated_tokens

TYPICAL_ANSWER: Final = 600
"""Tokens, about 420 English words. Those of AlpacaEval's baseline are 513 on average, by the same
measure."""
_INSTRUCTIONS: Final = 200
"""Tokens of what a mixture says around proposals."""
_BYTES_PER_TOKEN: Final = 4


class Part(TypedDict):
    """What one contestant, or the judge, would take."""

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """`None` where a price is not known."""


class Estimate(TypedDict):
    """What a run would take."""

    answers: list[Part]
    """One for each contestant."""
    judge: Part | None
    judge_at_most: Part | None
    """What the judge would take at most, where it is not known yet in which way it can be read."""
    judgments: int
    """How many there will be, those that are recorded among them."""
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """`None` where a price is not known."""
    unpriced: list[str]
    """The models whose prices are not known."""


class _Bill:
    """Calls, added up by model."""

    def __init__(self, prices: Prices | None) -> None:
        self._prices = prices
        self._calls: dict[str, list[int]] = {}

    def add(self, model: str, read: int, written: int, calls: int = 1) -> None:
        total = self._calls.setdefault(model, [0, 0, 0])
        for place, count in enumerate((1, read, written)):
            total[place] += calls * count

    def _usd(self, model: str) -> float | None:
        _, read, written = self._calls[model]
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return cost_of({model: usage}, self._prices, model)

    @property
    def unpriced(self) -> list[str]:
        return [model for model in self._calls if self._usd(model) is None]

    def part(self, name: str) -> Part:
        calls, read, written = (sum(c[place] for c in self._calls.values()) for place in range(3))
        costs = [self._usd(model) for model in self._calls]
        known = [usd for usd in costs if usd is not None]
        return {
            "name": name,
            "calls": calls,
            "input_tokens": read,
            "output_tokens": written,
            "usd": sum(known) if len(known) == len(costs) else None,
        }


def estimate(
    asked: Iterable[Asked],
    questions: Iterable[Question] = (),
    *,
    judge: str | None = None,
    judge_prices: Prices | None = None,
    effort: tuple[Effort, Effort] = (Effort(), Effort()),
    judgments: int = 0,
) -> Estimate:
    """What answers and judgments would take.

    Args:
        asked: What would be asked of contestants.
        questions: What would be asked of the judge.
        judge: The judge's name; `None` where nobody judges.
        judge_prices: What the judge's tokens cost.
        effort: What a question takes, at least and at most.
        judgments: How many there will be in all.
    """
    bills: dict[str, _Bill] = {}
    for each in asked:
        bill = bills.setdefault(each.model, _Bill(each.asked.known_prices))
        _add_answer(bill, each)
    read = [_tokens(question.messages) for question in questions]
    judging, most = (_judging_bill(judge or "", judge_prices, read, each) for each in effort)
    parts = [bill.part(name) for name, bill in bills.items()]
    judged = judging.part(judge) if judge is not None else None
    known = judged is None or effort[0] == effort[1]
    every = [*parts, *([judged] if judged else [])]
    unpriced = [model for bill in (*bills.values(), judging) for model in bill.unpriced]
    return {
        "answers": parts,
        "judge": judged,
        "judge_at_most": None if known else most.part(judge or ""),
        "judgments": judgments,
        **_sum(every),
        "unpriced": list(dict.fromkeys(unpriced)),
    }


def _tokens(messages: Iterable[tuple[str, str]]) -> int:
    return sum(estimated_tokens(text) + MESSAGE_TOKENS for _, text in messages)


def _judging_bill(judge: str, prices: Prices | None, read: Iterable[int], effort: Effort) -> _Bill:
    bill = _Bill(prices)
    for tokens in read:
        bill.add(judge, tokens + effort.input_tokens, effort.output_tokens, effort.calls)
    return bill


class _Sum(TypedDict):
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float | None


def _sum(parts: Sequence[Part]) -> _Sum:
    known = [part["usd"] for part in parts if part["usd"] is not None]
    return {
        "calls": sum(part["calls"] for part in parts),
        "input_tokens": sum(part["input_tokens"] for part in parts),
        "output_tokens": sum(part["output_tokens"] for part in parts),
        "usd": sum(known) if len(known) == len(parts) else None,
    }


def _add_answer(bill: _Bill, asked: Asked) -> None:
    """One answer: each layer reads the conversation, and what the layer before wrote."""
    conversation = _tokens((m["role"], m["content"]) for m in asked.messages)
    written = _length(asked.asked)
    proposals = 0
    for layer in member_layers(asked.asked):
        for model in layer:
            bill.add(model, conversation + proposals, written)
        proposals = _INSTRUCTIONS + written * len(layer)


def _length(model: MoAChatModel) -> int:
    return min(model.max_tokens or TYPICAL_ANSWER, TYPICAL_ANSWER)


def stand_ins(asked: Iterable[Asked]) -> list[Answer]:
    """Answers of the length that is reckoned with, for estimates of what judging them takes."""
    answers = []
    for each in asked:
        text = "x" * (_BYTES_PER_TOKEN * _length(each.asked))
        bare = failed_answer(each.row["suite"], each.row["id"], each.turn, each.model, "")
        answers.append(Answer(**{**bare, "output": text, "error": None}))
    return answers


def described(found: Estimate) -> list[str]:
    """An estimate in lines of text."""
    named = [(part["name"], part) for part in found["answers"]]
    if found["judge"]:
        named.append((f"{found['judge']['name']} (judge)", found["judge"]))
    width = max((len(name) for name, _ in named), default=0)
    lines = [f"{name:{width}}  {_counts(part)}" for name, part in named]
    lines.append(f"{'all':{width}}  {_counts(_sum([part for _, part in named]))}")
    most = found["judge_at_most"]
    if most:
        lines += [
            f"If the judge gives no log-probabilities, it takes {_counts(most)} at most,",
            f"and all takes {_counts(_sum([*found['answers'], most]))}.",
        ]
    if found["unpriced"]:
        names = ", ".join(found["unpriced"])
        lines.append(f"USD are not known without the prices of {names} (--prices FILE).")
    return lines


def _counts(part: Part | _Sum) -> str:
    usd = part["usd"]
    cost = f"about {usd:.2f} USD" if usd is not None else "USD not known"
    return (
        f"{part['calls']:,} calls, about {part['input_tokens']:,} tokens in and "
        f"{part['output_tokens']:,} out, {cost}"
    )
