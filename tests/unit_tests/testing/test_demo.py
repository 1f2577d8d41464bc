"""The demo's scripted models, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from langchain_moa import MoAChatModel, explain
from langchain_moa.evals.contestants import contestants
from langchain_moa.testing import LoopbackServer
from langchain_moa.testing.demo_answers import SCRIPTS, Script
from langchain_moa.testing.demo_models import AGGREGATOR, DEMO_MODELS, PROPOSERS


@pytest.fixture(scope="module")
def demo() -> Iterator[MoAChatModel]:
    with LoopbackServer(DEMO_MODELS) as server:
        yield MoAChatModel(
            reference_models=list(PROPOSERS),
            aggregator=AGGREGATOR,
            layers=3,
            base_url=server.base_url,
            api_key=server.api_key,
            include_proposals=True,
        )


@pytest.mark.parametrize("script", SCRIPTS[2:4], ids=lambda script: script.question)
def test_drafts_differ_and_the_second_ones_have_read_the_first(
    demo: MoAChatModel, script: Script
) -> None:
    answer = demo.invoke(script.question)
    proposals = answer.response_metadata["moa"]["proposals"]
    texts = {(p["layer"], p["index"]): p.get("text") or "" for p in proposals}
    assert answer.text == script.answer
    assert [texts[1, place] for place in range(4)] == list(script.first)
    assert [texts[2, place] for place in range(4)] == list(script.second)
    assert answer.response_metadata["moa"]["degraded"] is ("" in script.first)
    assert explain(answer).influence is not None


def test_one_member_fails_to_one_question_and_no_more() -> None:
    lost = [draft for script in SCRIPTS for draft in (*script.first, *script.second) if not draft]
    assert len(lost) == 2
    said = [draft for script in SCRIPTS for draft in (*script.first, *script.second) if draft]
    assert len(set(said)) == len(said) == 38


def test_other_questions_are_answered_honestly(demo: MoAChatModel) -> None:
    answer = demo.invoke("Who are you?").text
    assert answer.startswith("I am scripted, and know answers to these alone: ")
    assert all(script.question in answer for script in SCRIPTS)


async def test_an_evaluation_of_the_demo_has_answers_to_compare(demo: MoAChatModel) -> None:
    who = contestants(demo, ["members", "self-moa"])
    said = await asyncio.gather(*(each.model.ainvoke("What is a quorum?") for each in who))
    assert len({answer.text for answer in said}) == len(said) == 7
