"""Chains as members, over real HTTP: their streams say what `invoke` says, whatever they yield."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from langchain_core.documents import Document
from langchain_core.output_parsers import (
    CommaSeparatedListOutputParser,
    JsonOutputParser,
    PydanticOutputParser,
    StrOutputParser,
)
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from pydantic import BaseModel

from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, Stage, says

NUMBERS, COLOURS, CITY = "acme/numbers", "acme/colours", "acme/city"
MODELS: Final = {
    ALPHA: says("Rome"),
    BETA: says("Rome or Paris"),
    AGGREGATOR: says("good"),
    NUMBERS: says('[{"n": 1}, {"n": 22}, 3]'),
    COLOURS: says("red, green, blue"),
    CITY: says('{"name": "Rome", "people": 3}'),
}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream")


class City(BaseModel):
    name: str
    people: int


def _whole(pieces: Iterator[Any]) -> Iterator[Any]:
    for _ in pieces:
        pass
    yield from ({"output": "half"}, {"output": "whole"})


async def _awhole(pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for _ in pieces:
        pass
    for piece in ({"output": "half"}, {"output": "whole"}):
        yield piece


def chain(name: str, stage: Stage) -> Runnable[Any, Any]:
    city, beta = stage.members[CITY], stage.members[BETA]
    asked: Any = RunnableLambda(lambda _: {"question": "Where?"})
    found: Any = RunnablePassthrough.assign(context=lambda _: [Document("a source")])
    written: Any = RunnableLambda(lambda known: known["question"]) | beta | StrOutputParser()
    chains: dict[str, Runnable[Any, Any]] = {
        "json": city | JsonOutputParser(),
        "json with fallbacks": (city | JsonOutputParser()).with_fallbacks([beta]),
        "list of values": stage.members[NUMBERS] | JsonOutputParser(),
        "list of texts": stage.members[COLOURS] | CommaSeparatedListOutputParser(),
        "schema": city | PydanticOutputParser(pydantic_object=City),
        "raw": city.with_structured_output(City, include_raw=True, method="json_mode"),
        "parallel": RunnableParallel(answer=city | StrOutputParser(), score=lambda _: 3),
        "retrieving": asked | found | RunnablePassthrough.assign(answer=written),
        "generator": city | RunnableGenerator(_whole, _awhole),
    }
    return chains[name]


SAID: Final = {
    "json": ['"Rome"', "3"],
    "json with fallbacks": ['"Rome"', "3"],
    "list of values": ['[{"n":1},{"n":22},3]'],
    "list of texts": ["red\ngreen\nblue"],
    "schema": ['{"name":"Rome","people":3}'],
    "raw": ['{"name":"Rome","people":3}'],
    "parallel": ['"score":3', "Rome"],
    "retrieving": ["Rome or Paris"],
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer(MODELS) as server:
        yield Stage(server, MODELS)


async def pieces_of(llm: Any, way: str) -> list[Any]:
    match way:
        case "invoke":
            return [llm.invoke("Where?")]
        case "ainvoke":
            return [await llm.ainvoke("Where?")]
        case "stream":
            return list(llm.stream("Where?"))
        case _:
            return [piece async for piece in llm.astream("Where?")]


@pytest.mark.parametrize("name", SAID)
async def test_a_chain_says_the_same_in_every_way(stage: Stage, name: str) -> None:
    member, good = chain(name, stage), stage.members[AGGREGATOR]
    told: dict[str, str] = {}
    for way in WAYS:
        llm = stage.mixture(reference_models=[good], aggregator=member)
        told[way] = "".join(piece.text for piece in await pieces_of(llm, way))
        streamed = way in ("stream", "astream")
        llm = stage.mixture(
            reference_models=[member],
            aggregator=good,
            stream_requests=streamed,
            include_proposals=True,
        )
        (*_, last) = await pieces_of(llm, way)
        told[f"proposed, {way}"] = last.response_metadata["moa"]["proposals"][0]["text"]
    state = stage.mixture(reference_models=[good], aggregator=member).graph.invoke(
        {"messages": ["Where?"]}
    )
    told["graph"] = state["messages"][-1].text
    assert len(told) == 9
    for text in told.values():
        assert {len(text), *map(text.count, SAID[name])} == {len(told["invoke"]), 1}


async def test_a_retrieving_chains_answer_is_streamed_as_it_is_written(stage: Stage) -> None:
    llm = stage.mixture(aggregator=chain("retrieving", stage))
    for way in ("stream", "astream"):
        assert len([p for p in await pieces_of(llm, way) if p.text]) > 1


async def test_of_plain_dicts_that_a_stream_yields_the_last_is_the_answer(stage: Stage) -> None:
    llm = stage.mixture(aggregator=chain("generator", stage))
    for way in ("stream", "astream"):
        assert "".join(piece.text for piece in await pieces_of(llm, way)) == "whole"
