"""Our judges as evaluators for `langsmith.evaluate`, `aevaluate`, and wherever openevals' go.

Example:
    >>> from langchain_moa.evals.judges.metrics import MetricJudging
    >>> check = as_evaluator(MetricJudging("contains"))
    >>> check(inputs={"input": "Capital of France?"}, outputs={"output": "It is Paris."},
    ...       reference_outputs={"output": "Paris"})
    {'key': 'metric:contains', 'score': 1.0, 'comment': None}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final, Literal, TypeAlias

from langchain_core.messages import convert_to_messages

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.evals.judges.alpaca_eval import AlpacaEvalJudging
from langchain_moa.evals.judges.base import Judging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judges.mt_bench import PairJudging, RatingJudging
from langchain_moa.evals.judges.pairwise import PairwiseJudging
from langchain_moa.evals.records import failed_answer
from langchain_moa.evals.steps import judge
from langchain_moa.evals.types import Answer, Baseline, ChatMessage, Judgment, Row
from langchain_moa.types import AnyDict

Feedback: TypeAlias = AnyDict
"""`key`, `score` and `comment`, or `results`, a list of such."""
Evaluator: TypeAlias = Callable[..., Feedback]
"""Takes `inputs`, `outputs` and `reference_outputs`, and gives a feedback."""

OURS: Final = "outputs"
REFERENCE: Final = "reference_outputs"
_ROLES: Final[Mapping[str, Literal["system", "user", "assistant"]]] = {
    "human": "user",
    "ai": "assistant",
    "system": "system",
}
_KEYS: Final[Mapping[type[Judging], str]] = {
    AlpacaEvalJudging: "preference",
    PairJudging: "preference",
    PairwiseJudging: "preference",
    RatingJudging: "rating",
}
_INPUTS: Final = ("messages", "input", "question", "instruction", "prompt")
_OUTPUTS: Final = ("output", "answer", "text", "content", "messages")


def as_evaluator(
    judging: Judging, model: object = None, *, key: str = "", skills: Sequence[str] = ()
) -> Evaluator:
    """A judge as an evaluator of single examples.

    Args:
        judging: The way of judging. One that compares is given the reference outputs as the other
            answer: for it, `PairwiseJudging("outputs")` or `PairJudging(prompts, "outputs")`.
        model: Who judges: a `Judge`, a chat model, or a member string; none for a metric.
        key: The feedback's key; by default what is judged.
        skills: FLASK: the skills of an example that names none in its inputs.

    Returns:
        A function of `inputs`, `outputs` and `reference_outputs`, each a dict (or a text) as
        LangSmith's datasets have them. Its feedback's score is a preference from 0 to 1, a rating,
        or a metric's; `None` where the judge's answer could not be read. FLASK gives
        `{"results": [...]}`, a feedback for each skill.

    Example:
        >>> from langchain_moa.evals import get_suite, judging_of
        >>> suite = get_suite([{"id": "sum", "input": "2 + 2?", "reference": "4"}])
        >>> rows = suite.rows()
        >>> judging = judging_of(suite, metric="contains", rows=rows)
        >>> evaluator = as_evaluator(judging)
        >>> told = {"inputs": {"input": "2 + 2?"}, "reference_outputs": {"output": "4"}}
        >>> evaluator(outputs={"output": "It is 4."}, **told)["score"]
        1.0
    """
    who = model if model is None or isinstance(model, Judge) else Judge(model)

    def evaluate(
        *,
        inputs: object,
        outputs: object,
        reference_outputs: object = None,
        **_: object,
    ) -> Feedback:
        reference = _text(reference_outputs, REFERENCE)
        row = _row(inputs, reference, skills)
        answers = [_answer(row, OURS, _text(outputs, OURS) or "")]
        if reference is not None and isinstance(judging, PairJudging | PairwiseJudging):
            answers.append(_answer(row, REFERENCE, reference))
        judgments = judge([row], answers, judging, who)
        return _feedback(judgments, key or _KEYS.get(type(judging), judging.name))

    return evaluate


def _row(inputs: object, reference: str | None, skills: Sequence[str]) -> Row:
    given = inputs if isinstance(inputs, Mapping) else {}
    row = Row(
        suite="custom",
        id="1",
        messages=_messages(inputs),
        follow_ups=[],
        category="",
        references=[reference] if reference is not None else [],
        skills=[*(given.get("skills") or given.get("skill") or skills)],
    )
    if reference is not None:
        row["baseline"] = Baseline(model=REFERENCE, output=reference)
    return row


def _messages(inputs: object) -> list[ChatMessage]:
    """The conversation in an example's inputs, as text."""
    given = inputs
    if isinstance(inputs, Mapping):
        given = next((inputs[name] for name in _INPUTS if name in inputs), None)
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Sequence) and given:
        messages = convert_to_messages(given)
        return [{"role": _ROLES.get(m.type, "user"), "content": m.text} for m in messages]
    msg = f"inputs={shown(inputs)} hold no question; give one of the keys {', '.join(_INPUTS)}."
    raise MoAConfigurationError(msg)


def _text(given: object, field: str) -> str | None:
    """The text of an answer: itself, a message's, or what one of the usual keys holds."""
    if isinstance(given, Mapping):
        given = next((given[name] for name in _OUTPUTS if name in given), None)
    if isinstance(given, list) and given:  # a conversation ends on its answer
        given = given[-1]
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, Mapping):
        given = given.get("content")
    found = getattr(given, "text", given)
    if isinstance(found, str):
        return found
    msg = f"{field}={shown(given)} hold no text; give one of the keys {', '.join(_OUTPUTS)}."
    raise MoAConfigurationError(msg)


def _answer(row: Row, model: str, output: str) -> Answer:
    return Answer(**{**failed_answer(row["suite"], row["id"], 1, model, ""), "output": output})


def _feedback(judgments: Sequence[Judgment], key: str) -> Feedback:
    skills = [j["scores"] for j in judgments if j["scores"]]
    if skills:
        made = [_made(skill, _number(score), judgments) for skill, score in skills[0].items()]
        return {"results": made}
    scores = [score for j in judgments if (score := _score(j)) is not None]
    # one order alone says little of a comparison
    whole = scores and len(scores) == len(judgments)
    return _made(key, fmean(scores) if whole else None, judgments)


def _made(key: str, score: float | None, judgments: Sequence[Judgment]) -> Feedback:
    texts = [j["raw"] or j["error"] for j in judgments]
    comment = "\n\n".join(text for text in texts if isinstance(text, str))
    return {"key": key, "score": score, "comment": comment or None}


def _score(judgment: Judgment) -> float | None:
    if judgment["preference"] is not None:
        return judgment["preference"] - 1
    return judgment["score"]


def _number(score: float | str) -> float | None:
    return None if isinstance(score, str) else float(score)
