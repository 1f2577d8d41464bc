"""Our judges as evaluators of single examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import MoAConfigurationError
from langchain_moa.evals.evaluators import as_evaluator
from langchain_moa.evals.judges.alpaca_eval import AlpacaEvalJudging
from langchain_moa.evals.judges.metrics import MetricJudging
from langchain_moa.evals.judges.pairwise import PairwiseJudging
from langchain_moa.evals.judging import judging_of
from tests.evaluations import made_up


def saying(text: str, seen: list[str] | None = None) -> RunnableLambda[Any, Any]:
    def judge(messages: list[BaseMessage]) -> AIMessage:
        if seen is not None:
            seen.append(messages[-1].text)
        return AIMessage(text)

    return RunnableLambda(judge)


INPUTS = {"question": "Capital of France?"}
OUTPUTS, REFERENCE = {"output": "It is Paris."}, {"output": "Paris"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "reference"),
    [
        (INPUTS, OUTPUTS, REFERENCE),
        (
            {"messages": [HumanMessage("Capital?")]},
            {"messages": [AIMessage("It is Paris.")]},
            "Paris",
        ),
        (
            {"messages": [{"role": "user", "content": "Capital?"}]},
            "It is Paris.",
            {"answer": "Paris"},
        ),
        (
            "Capital?",
            {"text": "It is Paris."},
            {"messages": [{"role": "assistant", "content": "Paris"}]},
        ),
    ],
)
def test_examples_of_the_usual_shapes(inputs: Any, outputs: Any, reference: Any) -> None:
    evaluate = as_evaluator(MetricJudging("contains"), key="right")
    found = evaluate(inputs=inputs, outputs=outputs, reference_outputs=reference, run=None)
    assert found == {"key": "right", "score": 1.0, "comment": None}


def test_a_rating_with_what_the_judge_said(tmp_path: Path) -> None:
    judging = judging_of("mt_bench", data=made_up(tmp_path))
    evaluate = as_evaluator(judging, saying("Fine. [[8]]"))
    assert evaluate(inputs=INPUTS, outputs=OUTPUTS) == {
        "key": "rating",
        "score": 8.0,
        "comment": "Fine. [[8]]",
    }
    unread = as_evaluator(judging, saying("Fine."))
    assert unread(inputs=INPUTS, outputs=OUTPUTS) == {
        "key": "rating",
        "score": None,
        "comment": "Fine.",
    }


def test_a_comparison_with_the_reference_in_both_orders() -> None:
    seen: list[str] = []
    evaluate = as_evaluator(PairwiseJudging(), saying("[[A]]", seen))
    found: Any = evaluate(inputs=INPUTS, outputs=OUTPUTS, reference_outputs=REFERENCE)
    assert (found["key"], found["score"]) == ("preference", 0.5)
    assert len(seen) == 2


def test_alpaca_evals_preference_of_the_outputs_to_the_reference(tmp_path: Path) -> None:
    prompt = made_up(tmp_path) / "alpaca_eval"
    assert prompt.is_dir()
    judging = judging_of("alpaca_eval", data=tmp_path)
    assert isinstance(judging, AlpacaEvalJudging)

    def prefers_ours(messages: list[BaseMessage]) -> AIMessage:
        return AIMessage("m" if "m: It is" in messages[-1].text else "M")

    evaluate = as_evaluator(judging, RunnableLambda(prefers_ours))
    found: Any = evaluate(inputs=INPUTS, outputs=OUTPUTS, reference_outputs=REFERENCE)
    assert (found["key"], found["score"]) == ("preference", 1.0)


def test_a_feedback_for_each_skill(tmp_path: Path) -> None:
    judging = judging_of("flask", data=made_up(tmp_path))
    evaluate = as_evaluator(
        judging, saying("{'Readability': 5, 'Logical Robustness': 'N/A'}"), skills=["Readability"]
    )
    found: Any = evaluate(inputs=INPUTS, outputs=OUTPUTS, reference_outputs=REFERENCE)
    assert {each["key"]: each["score"] for each in found["results"]} == {
        "readability": 5.0,
        "logical robustness": None,
    }


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ({"a": 1, "b": 2}, OUTPUTS, "hold no question; give one of the keys messages, input"),
        (INPUTS, {"output": 4}, "outputs=4 hold no text"),
    ],
)
def test_examples_that_cannot_be_read_are_refused(inputs: Any, outputs: Any, says: str) -> None:
    with pytest.raises(MoAConfigurationError, match=says):
        as_evaluator(MetricJudging("exact"))(inputs=inputs, outputs=outputs)
