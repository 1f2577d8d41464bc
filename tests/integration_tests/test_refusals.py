"""Refusals are typed errors, whoever refuses in which words, in every way to call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import SecretStr

from langchain_moa import AggregationError, MoAChatModel, NotEnoughProposalsError
from langchain_moa.errors import (
    AggregationRefusedError,
    ModelRefusalError,
    ProposalsRefusedError,
)
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ScriptedChatModel
from tests.wire import says

REFUSING, GOOD = "acme/refusing", "acme/good"
FIELD = ModelBehavior(reply=Reply(refusal="I can't help with that."))
FILTER = ModelBehavior(reply=Reply(text="", finish_reason="content_filter"))
AZURE = ModelBehavior(status=400, error="The response was filtered.", error_code="content_filter")
Make = Callable[[LoopbackServer, str], Any]


def together(server: LoopbackServer, name: str) -> Any:
    return {"model": name, "base_url": server.base_url, "api_key": server.api_key}


def openai(server: LoopbackServer, name: str) -> Any:
    return {"model": f"openai:{name}", "base_url": server.base_url, "api_key": server.api_key}


def anthropic(server: LoopbackServer, name: str) -> BaseChatModel:
    return ChatAnthropic(
        model_name=name,
        base_url=server.anthropic_url,
        api_key=SecretStr(server.api_key),
        max_retries=0,
        timeout=60,
        stop=None,
    )


def gemini(server: LoopbackServer, name: str) -> BaseChatModel:
    return ChatGoogleGenerativeAI(
        model=name,
        google_api_key=SecretStr(server.api_key),
        base_url=server.gemini_url,
        max_retries=1,
    )


REFUSALS: dict[str, tuple[Make, ModelBehavior]] = {
    "together: refusal": (together, FIELD),
    "openai: refusal": (openai, FIELD),
    "together: content_filter": (together, FILTER),
    "openai: content_filter": (openai, FILTER),
    "openai: 400 of a filter": (openai, AZURE),
    "anthropic: stop reason refusal": (anthropic, FILTER),
    "gemini: SAFETY": (gemini, FILTER),
}


def invoke(llm: MoAChatModel) -> Any:
    return llm.invoke("Hi")


def ainvoke(llm: MoAChatModel) -> Any:
    return asyncio.run(llm.ainvoke("Hi"))


def stream(llm: MoAChatModel) -> Any:
    return list(llm.stream("Hi"))


def astream(llm: MoAChatModel) -> Any:
    async def taken() -> list[Any]:
        return [chunk async for chunk in llm.astream("Hi")]

    return asyncio.run(taken())


every_way = pytest.mark.parametrize("call", [invoke, ainvoke, stream, astream])
every_refusal = pytest.mark.parametrize("kind", REFUSALS)


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer({GOOD: says("good")}) as running:
        yield running


@every_way
@every_refusal
def test_a_refusal_is_typed(
    kind: str, call: Callable[[MoAChatModel], Any], server: LoopbackServer
) -> None:
    make, behavior = REFUSALS[kind]
    server.models = {REFUSING: behavior, GOOD: says("good")}
    refusing, good = make(server, REFUSING), together(server, GOOD)
    aggregates = MoAChatModel(reference_models=[good], aggregator=refusing)
    with pytest.raises(AggregationRefusedError) as caught:
        call(aggregates)
    assert isinstance(caught.value, AggregationError | ModelRefusalError)
    assert not caught.value.is_retryable
    assert [proposal.text for proposal in caught.value.proposals] == ["good"]
    assert isinstance(caught.value.causes["aggregator"], ModelRefusalError)
    proposes = MoAChatModel(reference_models=[refusing] * 2, aggregator=good, stream_requests=True)
    for llm in (proposes, proposes.replace(stream_requests=False)):
        with pytest.raises(ProposalsRefusedError) as ended:
            call(llm)
        assert isinstance(ended.value, NotEnoughProposalsError | ModelRefusalError)
        assert [proposal.status for proposal in ended.value.proposals] == ["filtered"] * 2
        assert "(all 2 members)" in str(ended.value)
    assert {r.model for r in server.requests} == {REFUSING, GOOD}


@every_refusal
def test_a_layer_goes_on_without_who_refuses(kind: str, server: LoopbackServer) -> None:
    make, behavior = REFUSALS[kind]
    server.models = {REFUSING: behavior, GOOD: says("good")}
    server.requests.clear()
    refusing, good = make(server, REFUSING), together(server, GOOD)
    llm = MoAChatModel(reference_models=[refusing, good], aggregator=good, layers=3)
    answer = llm.invoke("Hi")
    record = answer.response_metadata["moa"]
    assert [p["status"] for p in record["proposals"]] == ["filtered", "ok"] * 2
    assert len(server.requests_for(REFUSING)) == 2  # once in each layer: it would refuse again
    with_other = llm.replace(fallbacks={REFUSING: [good]}, layers=2)
    assert [p["model"] for p in with_other.invoke("Hi").response_metadata["moa"]["proposals"]] == [
        GOOD,
        GOOD,
    ]


@every_way
def test_a_refusing_aggregator_is_replaced(
    call: Callable[[MoAChatModel], Any], server: LoopbackServer
) -> None:
    server.models = {REFUSING: FIELD, GOOD: says("good")}
    refusing, good = together(server, REFUSING), together(server, GOOD)
    two = MoAChatModel(reference_models=[good], aggregator=[refusing, good])
    best = MoAChatModel(
        reference_models=[good], aggregator=refusing, on_aggregator_failure="best_proposal"
    )
    for llm in (two, best):
        made = call(llm)
        text = made.text if isinstance(made, AIMessage) else "".join(c.text for c in made)
        assert text == "good"


def test_failures_of_other_kinds_are_no_refusal(server: LoopbackServer) -> None:
    server.models = {REFUSING: FIELD, GOOD: ModelBehavior(status=500)}
    members = [together(server, REFUSING), together(server, GOOD)]
    llm = MoAChatModel(reference_models=members, aggregator=members[1], max_retries=0)
    with pytest.raises(NotEnoughProposalsError) as caught:
        llm.invoke("Hi")
    assert not isinstance(caught.value, ModelRefusalError)


def test_what_the_aggregator_said_instead_is_kept() -> None:
    said = AIMessage("", additional_kwargs={"refusal": "No."})
    writer = ScriptedChatModel(script=lambda _: said)
    llm = MoAChatModel(reference_models=[ScriptedChatModel.saying("a")], aggregator=writer)
    with pytest.raises(ModelRefusalError, match="refused: No") as caught:
        llm.invoke("Hi")
    assert isinstance(caught.value, ModelError)
    assert caught.value.raw_message is not None
    assert caught.value.raw_message.additional_kwargs == {"refusal": "No."}


def test_a_question_that_gemini_blocks_is_refused() -> None:
    blocked = AIMessage(
        "", response_metadata={"prompt_feedback": {"block_reason": "PROHIBITED_CONTENT"}}
    )
    writer = ScriptedChatModel(script=lambda _: blocked)
    llm = MoAChatModel(reference_models=[ScriptedChatModel.saying("a")], aggregator=writer)
    with pytest.raises(ModelRefusalError, match="prohibited_content"):
        llm.invoke("Hi")


def test_a_refusal_that_a_client_raises_is_one() -> None:
    def refuse(_: Any) -> AIMessage:
        raise ModelRefusalError

    llm = MoAChatModel(
        reference_models=[ScriptedChatModel(script=refuse)],
        aggregator=ScriptedChatModel.saying("a"),
    )
    with pytest.raises(ProposalsRefusedError) as caught:
        llm.invoke("Hi")
    assert [proposal.status for proposal in caught.value.proposals] == ["filtered"]
