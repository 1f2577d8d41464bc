"""The demo's judge can be read in every way in which judges are asked."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_moa.evals.judges.alpaca_eval import preference_of, top_logprobs
from langchain_moa.evals.parsing import rating, skill_scores, winner
from langchain_moa.testing.demo_judge import judged


def said(text: str, **body: Any) -> Any:
    return judged({"messages": [{"role": "user", "content": text}], **body})


@pytest.mark.parametrize("text", ["one", "two", "three"])
def test_the_demos_judge_answers_in_the_form_that_is_asked_for(text: str) -> None:
    tops = top_logprobs(said(text, logprobs=True, max_tokens=1).logprobs)
    preference = preference_of(tops["m"], tops["M"])
    assert preference is not None
    assert 1 < preference < 2
    assert said(text, max_tokens=1).text in ("m", "M")
    found = rating(said(f"{text} [[rating]]").text)
    assert found is not None
    assert 1 <= found <= 10
    assert winner(said(f'{text} "[[A]]" or "[[B]]"').text) in ("A", "B", "tie")
    scores = skill_scores(said(f"{text} [[1]] [[A]] Readability, Logical Robustness").text)
    assert scores.keys() == {"readability", "logical robustness"}
    assert said(text) == said(text)
