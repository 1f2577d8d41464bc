"""A prompt that does not fit, as endpoints say: once more with shorter proposals, or the error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError

from langchain_moa import AggregationError, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.dialects import CLIENTS
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says

LONG = "Rome was not built in a day. " * 120
"""About 870 tokens as the server counts."""


def streamed(llm: Any) -> Any:
    first, *others = llm.stream("Hi")
    return sum(others, first)


async def astreamed(llm: Any) -> Any:
    first, *others = [chunk async for chunk in llm.astream("Hi")]
    return sum(others, first)


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda llm: llm.invoke("Hi"),
    "ainvoke": lambda llm: asyncio.run(llm.ainvoke("Hi")),
    "stream": streamed,
    "astream": lambda llm: asyncio.run(astreamed(llm)),
}


def models(window: int, **aggregator: Any) -> dict[str, ModelBehavior]:
    said = says("Here it is.", window=window, **aggregator)
    return {ALPHA: says(LONG), BETA: says(LONG), AGGREGATOR: said}


PAIRS = [
    (client, way)
    for client in (*CLIENTS, "string")
    for way in WAYS
    # google-genai's async code leaves a coroutine unawaited where it reads an error
    if client != "gemini" or not way.startswith("a")
]


@pytest.mark.parametrize(("client", "way"), PAIRS)
def test_once_more_with_half_of_the_proposals(client: str, way: str) -> None:
    with LoopbackServer(models(window=1600)) as server:
        given = AGGREGATOR if client == "string" else CLIENTS[client](server, AGGREGATOR)
        answer = WAYS[way](mixture(server, aggregator=given))
        assert answer.text == "Here it is."
        record = answer.response_metadata["moa"]["aggregator"]
        assert (record["attempts"], record["left_out"]) == (2, ["proposal text"])
        first, second = (len(str(body)) for body in bodies(server, AGGREGATOR))
        assert second < 0.7 * first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [ALPHA, AGGREGATOR])
def test_of_what_is_far_too_long_as_much_as_fits_by_the_endpoints_numbers(
    place: str, way: str
) -> None:
    with LoopbackServer(models(window=9999)) as server:
        server.models[BETA] = says(LONG * 3)
        server.models[place] = says(LONG, window=1200)
        answer = WAYS[way](mixture(server, layers=3))
        record = answer.response_metadata["moa"]
        assert answer.text == (LONG if place == AGGREGATOR else "Here it is.")
        assert [p["status"] for p in record["proposals"]] == ["ok"] * 4
        refused, taken = (len(str(body)) for body in bodies(server, place)[-2:])
        assert taken < 0.5 * refused


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_fit_even_so_is_an_overflow_that_keeps_the_proposals(way: str) -> None:
    with LoopbackServer(models(window=50)) as server:
        with pytest.raises(ContextOverflowError) as caught:
            WAYS[way](mixture(server, max_retries=2))
        assert isinstance(caught.value, AggregationError)
        assert [p.usable for p in caught.value.proposals] == [True, True]
        assert not caught.value.is_retryable
        assert len(bodies(server, AGGREGATOR)) == 2


IN_A_GRAPH: dict[str, Callable[[Any], Any]] = {
    "graph": lambda llm: llm.graph.invoke({"messages": "Hi"}),
    "graph, async": lambda llm: asyncio.run(llm.graph.ainvoke({"messages": "Hi"})),
}


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("way", [*WAYS, *IN_A_GRAPH])
def test_a_conversation_that_no_reference_model_takes_is_an_overflow(way: str, layers: int) -> None:
    short = {name: says("Hi.", window=1) for name in (ALPHA, BETA)}
    with LoopbackServer({**short, AGGREGATOR: says("Hi.")}) as server:
        ask, llm = {**WAYS, **IN_A_GRAPH}[way], mixture(server, layers=layers)
        for _ in range(2):  # a graph knows each run's failures as that run's
            with pytest.raises(ContextOverflowError) as caught:
                ask(llm)
            assert isinstance(caught.value, NotEnoughProposalsError)
            assert len(caught.value.causes) == 2
        server.models[BETA] = says("Hi.", status=500)
        with pytest.raises(NotEnoughProposalsError) as other:
            ask(llm)
        assert not isinstance(other.value, ContextOverflowError)


LLAMA = "request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it"


@pytest.mark.parametrize("way", WAYS)
def test_llama_cpps_own_error(way: str) -> None:
    failing = says(
        "no",
        status=400,
        error=LLAMA,
        error_code=400,
        error_type="exceed_context_size_error",
        error_fields={"n_ctx": 4096, "n_prompt_tokens": 9000},
    )
    with LoopbackServer({**models(window=9999), AGGREGATOR: failing}) as server:
        llm = mixture(server)
        with pytest.raises(ContextOverflowError, match="available context size"):
            WAYS[way](llm)
