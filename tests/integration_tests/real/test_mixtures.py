"""Mixtures of a real model, whatever it says: their shapes, and what the server counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnablePassthrough
from pydantic import BaseModel

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import ScriptedChatModel
from tests.integration_tests.real.asking import QUESTION, TOKENS, Real

pytestmark = pytest.mark.real

WAYS = ["invoke", "ainvoke", "stream", "astream"]
NUMBERS = 'root ::= "one two three four"'
LONG = "It is a long story with many words. " * 30
"""Some 270 tokens: three of them are more than the server's 768 of a slot."""


def asked(llm: MoAChatModel, way: str, question: str = QUESTION, **options: Any) -> AIMessage:
    """The answer, whole, in one of four ways."""

    async def streamed() -> Any:
        return [chunk async for chunk in llm.astream(question, **options)]

    match way:
        case "invoke":
            return llm.invoke(question, **options)
        case "ainvoke":
            return asyncio.run(llm.ainvoke(question, **options))
        case "stream":
            chunks: Any = list(llm.stream(question, **options))
        case _:
            chunks = asyncio.run(streamed())
    assert len([chunk for chunk in chunks if chunk.text]) > 1
    whole: AIMessage = sum(chunks[1:], chunks[0])
    return whole


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("layers", [2, 3])
def test_each_layer_each_way_each_token(smol: Real, layers: int, way: str) -> None:
    """The record tells of every token that the server has written, and of no other."""
    for _ in range(6):  # once more where a busy machine lost a connection, which is asked again
        before = smol.written()
        answer = asked(smol.mixture(layers=layers), way)
        record = answer.response_metadata["moa"]
        calls = [*record["proposals"], record["aggregator"]]
        lost = [r for call in calls for r in call["requests"] if r["outcome"] != "answered"]
        assert bool(record["usage"]["unknown"]) is bool(lost)  # and nothing else is unknown
        if not lost:
            break
    proposals = record["proposals"]
    assert [p["status"] for p in proposals] == ["ok"] * 2 * (layers - 1)
    assert {p["layer"] for p in proposals} == set(range(1, layers))
    assert {p["model_name"] for p in proposals} == {smol.server.model_name}
    assert answer.text.strip()
    assert answer.response_metadata["finish_reason"] == "length"
    assert not record["degraded"]
    assert record["usage"]["unknown"] == []
    assert record["usage"]["output_tokens"] == TOKENS * (len(proposals) + 1)
    assert smol.written() - before == record["usage"]["output_tokens"]
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == TOKENS


CHOICE = r"""root ::= "So: {\"number\": 2, \"reason\": \"It\"}" """


@pytest.mark.parametrize("way", ["invoke", "astream"])
def test_a_judge_chooses_a_real_draft(smol: Real, way: str) -> None:
    """A grammar makes the model choose; it is told in words alone what to answer in."""
    judge = smol.member(2 * TOKENS, grammar=CHOICE, ignore_eos=False) | RunnablePassthrough()
    llm = smol.mixture(strategy="select", judge=judge, include_proposals=True)
    before = smol.written()
    answer = asked(llm, way)
    record = answer.response_metadata["moa"]
    assert not record["degraded"]
    chosen = record["proposals"][record["selection"]["index"]]
    assert answer.text == chosen["text"]
    assert answer.usage_metadata == chosen["usage"]
    assert smol.written() - before == record["usage"]["output_tokens"]


@pytest.mark.parametrize("role", ["analyst", "judge"])
def test_who_gives_no_json_costs_the_strategy_and_not_the_answer(smol: Real, role: str) -> None:
    strategy = "compare" if role == "analyst" else "select"
    llm = smol.mixture(strategy=strategy, **{role: smol.member()})
    answer = asked(llm, "invoke")
    record = answer.response_metadata["moa"]
    assert record["degraded_reasons"] == [{"stage": role, "reason": "invalid_json"}]
    assert record["consulted"]["attempts"] == 2
    assert record["consulted"]["usage"]["output_tokens"] == 2 * TOKENS
    assert answer.text.strip()


@pytest.mark.parametrize("way", WAYS)
def test_stop_ends_the_answer_and_no_proposal(smol: Real, way: str) -> None:
    """A grammar makes the model say four words."""
    counts = smol.member(grammar=NUMBERS, ignore_eos=False)
    llm = smol.mixture(reference_models=[counts], aggregator=counts, include_proposals=True)
    answer = asked(llm, way, stop=["three"])
    assert answer.text == "one two "
    assert answer.response_metadata["finish_reason"] == "stop"
    (proposal,) = answer.response_metadata["moa"]["proposals"]
    assert proposal["text"] == "one two three four"


class Colour(BaseModel):
    """A colour, as a form that the server makes a grammar of."""

    warm: bool
    red: int


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_json_schema_is_kept(smol: Real, way: str) -> None:
    writer = smol.server.member(max_tokens=96, temperature=0.0)
    llm = smol.mixture(reference_models=[writer], aggregator=writer)
    structured = llm.with_structured_output(Colour, method="json_schema")
    found: Any = (
        structured.invoke(QUESTION)
        if way == "invoke"
        else asyncio.run(structured.ainvoke(QUESTION))
    )
    assert isinstance(found, Colour)


@pytest.mark.parametrize("way", ["invoke", "astream"])
def test_logprobs_of_each_token(smol: Real, way: str) -> None:
    answer = asked(smol.mixture(), way, logprobs=True, top_logprobs=2)
    found = answer.response_metadata["logprobs"]["content"]
    assert len(found) == TOKENS
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in found)


def test_an_id_that_the_server_does_not_have_is_answered_by_the_one_it_has(smol: Real) -> None:
    llm = smol.mixture(
        reference_models=["together:no/such-model"],
        aggregator=smol.member(),
        base_url=smol.server.base_url,
        api_key=smol.server.api_key,
        proposal_max_tokens=TOKENS,
    )
    (proposal,) = llm.invoke(QUESTION).response_metadata["moa"]["proposals"]
    assert (proposal["model"], proposal["model_name"]) == (
        "no/such-model",
        smol.server.model_name,
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_cannot_read_it_all_is_lost_alone(smol: Real, way: str) -> None:
    reader = ScriptedChatModel.saying("I have read it all.")
    llm = smol.mixture(reference_models=[smol.member(), reader], aggregator=reader)
    before = smol.written()
    record = asked(llm, way, LONG * 4).response_metadata["moa"]
    assert [p["status"] for p in record["proposals"]] == ["failed", "ok"]
    assert "768" in record["proposals"][0]["error"]
    assert record["degraded"]
    assert smol.written() == before


@pytest.mark.parametrize("way", WAYS)
def test_an_aggregator_that_cannot_read_it_all_gets_it_cut(smol: Real, way: str) -> None:
    writers = [ScriptedChatModel.saying(LONG) for _ in range(3)]
    llm = smol.mixture(reference_models=writers)
    answer = asked(llm, way)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == TOKENS
    assert 0 < answer.usage_metadata["input_tokens"] <= 768 - TOKENS
    assert answer.response_metadata["moa"]["aggregator"]["attempts"] == 2


def test_a_question_that_does_not_fit_is_an_overflow(smol: Real) -> None:
    llm = smol.mixture(reference_models=[ScriptedChatModel.saying("Yes.")])
    with pytest.raises(AggregationError) as caught:
        llm.invoke(LONG * 4)
    assert isinstance(caught.value, ContextOverflowError)
    assert caught.value.proposals[0].text == "Yes."


def test_the_prompt_that_everybody_gets(smol: Real) -> None:
    """The tests above have a shorter one, of which the model reads less."""
    llm = smol.mixture()
    llm = llm.replace(aggregator_prompt=type(llm).model_fields["aggregator_prompt"].default)
    answer = llm.invoke(QUESTION)
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == TOKENS
