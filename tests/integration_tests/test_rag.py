"""Retrieval chains and LangChain's compositions with a mixture as the model, over real HTTP.

What a mixture does with a context does not depend on who found it, so most tests take every source,
with LangChain's `DeterministicFakeEmbedding`; those at the end retrieve by meaning, with trained
vectors.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

import pytest
from langchain_community.vectorstores import FAISS
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_moa import AggregationError, MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.testing.replies import Reply, ToolCall
from tests.embeddings import WordVectors
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, bodies, mixture, says, together

QUESTION = "When was the bridge of Remagen built?"
FACTS = (
    "The bridge of Remagen was built from 1916 to 1919.",
    "The cathedral of Köln was finished in 1880.",
    "Bonn was the capital until 1990.",
)
PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from the context only, and cite as [n].\n\n{context}"),
        ("human", "{question}"),
    ]
)


def cites(body: Mapping[str, Any]) -> str:
    """What a model says that answers from the first source it is given."""
    read = "\n".join(str(message["content"]) for message in body["messages"])
    found = re.search(r"\[(\d)\] The bridge of Remagen was (built [^.]+)\.", read)
    return f"It was {found[2]} [{found[1]}]." if found else "I have no source."


MODELS = {name: ModelBehavior(reply=cites) for name in (ALPHA, BETA, GAMMA, AGGREGATOR)}
CITED = "It was built from 1916 to 1919 [1]."


def numbered(documents: list[Document]) -> str:
    ranked = sorted(documents, key=lambda document: FACTS.index(document.page_content))
    return "\n".join(f"[{n}] {document.page_content}" for n, document in enumerate(ranked, 1))


class Trigrams(Embeddings):
    """Counts of a text's trigrams of letters, hashed into so many dimensions."""

    size = 512

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        letters = text.lower()
        found = (letters[place : place + 3] for place in range(len(letters) - 2))
        counts = Counter(crc32(trigram.encode()) % self.size for trigram in found)
        return [float(counts[place]) for place in range(self.size)]


def sources(embedding: Embeddings | None = None, count: int = len(FACTS)) -> Runnable[str, str]:
    store = InMemoryVectorStore(embedding or DeterministicFakeEmbedding(size=64))
    return found_in(store, FACTS, count)


def found_in(store: VectorStore, texts: Sequence[str], count: int) -> Runnable[str, str]:
    """The texts that a store finds for a question, numbered."""
    store.add_texts(list(texts))
    return store.as_retriever(search_kwargs={"k": count}) | numbered


def chain_of(llm: Runnable[Any, Any]) -> Runnable[str, str]:
    given = {"context": sources(), "question": RunnablePassthrough()}
    return given | PROMPT | llm | StrOutputParser()


@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream"])
def test_context_reaches_every_member_and_citations_survive(path: str) -> None:
    with LoopbackServer(MODELS) as server:
        chain = chain_of(mixture(server, layers=3))
        match path:
            case "invoke":
                assert chain.invoke(QUESTION) == CITED
            case "ainvoke":
                assert asyncio.run(chain.ainvoke(QUESTION)) == CITED
            case _:
                pieces = list(chain.stream(QUESTION))
                assert "".join(pieces) == CITED
                assert len([piece for piece in pieces if piece]) > 1
        sent = [*bodies(server, ALPHA), *bodies(server, BETA), *bodies(server, AGGREGATOR)]
        assert len(sent) == 5
        for body in sent:
            system, question = body["messages"]
            assert all(fact in system["content"] for fact in FACTS)
            assert question["content"].startswith(QUESTION)
        (final,) = bodies(server, AGGREGATOR)
        assert final["messages"][1]["content"].count(CITED) == 2


def test_only_the_sources_that_were_found_reach_the_members() -> None:
    """The retrieved context and its citation, for a store that ranks."""
    with LoopbackServer(MODELS) as server:
        given = {"context": sources(Trigrams(), 1), "question": RunnablePassthrough()}
        chain = given | PROMPT | mixture(server, layers=3) | StrOutputParser()
        assert chain.invoke(QUESTION) == CITED
        for name, count in ((ALPHA, 2), (BETA, 2), (AGGREGATOR, 1)):
            systems = [body["messages"][0]["content"] for body in bodies(server, name)]
            assert len(systems) == count
            for system in systems:
                assert [fact in system for fact in FACTS] == [True, False, False]
        assert chain.invoke("When was the cathedral of Köln finished?") == "I have no source."


def test_context_in_the_users_message() -> None:
    prompt = ChatPromptTemplate([("human", "{context}\n\n{question}")])
    with LoopbackServer(MODELS) as server:
        given = {"context": sources(), "question": RunnablePassthrough()}
        chain = given | prompt | mixture(server, placement="system") | StrOutputParser()
        assert chain.invoke(QUESTION) == CITED
        for name in (ALPHA, BETA, AGGREGATOR):
            assert FACTS[0] in json.dumps(bodies(server, name)[0], ensure_ascii=False)


def test_braces_in_sources_are_left_alone() -> None:
    strange = "Use {proposals} and {{braces}} as they are."
    with LoopbackServer({**MODELS, AGGREGATOR: says("ok")}) as server:
        chain = PROMPT | mixture(server) | StrOutputParser()
        assert chain.invoke({"context": strange, "question": QUESTION}) == "ok"
        for name in (ALPHA, AGGREGATOR):
            assert strange in bodies(server, name)[0]["messages"][0]["content"]


def test_in_parallel() -> None:
    with LoopbackServer(MODELS) as server:
        both: Runnable[str, dict[str, Any]] = RunnableParallel(
            answer=chain_of(mixture(server)), sources=sources()
        )
        result = both.invoke(QUESTION)
        assert result["answer"] == CITED
        assert all(fact in result["sources"] for fact in FACTS)


def test_batch() -> None:
    with LoopbackServer(MODELS) as server:
        chain = chain_of(mixture(server))
        assert chain.batch([QUESTION] * 3, {"max_concurrency": 2}) == [CITED] * 3
        assert asyncio.run(chain.abatch([QUESTION] * 2)) == [CITED] * 2
        assert len(bodies(server, AGGREGATOR)) == 5
        assert len(bodies(server, ALPHA)) == 5


def test_with_fallbacks() -> None:
    models = {**MODELS, AGGREGATOR: ModelBehavior(status=400)}
    with LoopbackServer(models) as server:
        llm = mixture(server).with_fallbacks([together(server, GAMMA)])
        assert chain_of(llm).invoke(QUESTION) == CITED
        assert "".join(chain_of(llm).stream(QUESTION)) == CITED
        assert FACTS[0] in json.dumps(bodies(server, GAMMA)[0])


def test_with_retry() -> None:
    flaky = ModelBehavior(reply=cites, status=503, fail_first=1)
    with LoopbackServer({**MODELS, AGGREGATOR: flaky}) as server:
        llm = mixture(server).with_retry(
            retry_if_exception_type=(AggregationError,),
            wait_exponential_jitter=False,
            stop_after_attempt=2,
        )
        assert chain_of(llm).invoke(QUESTION) == CITED
        assert len(bodies(server, AGGREGATOR)) == 2


def test_aggregator_and_layers_are_swapped_at_run_time() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server).configurable_fields(
            aggregator=ConfigurableField(id="aggregator"),
            layers=ConfigurableField(id="layers"),
        )
        chain = chain_of(llm)
        other: Any = {"configurable": {"aggregator": together(server, GAMMA), "layers": 3}}
        assert chain.invoke(QUESTION, other) == CITED
        assert [len(bodies(server, n)) for n in (ALPHA, BETA, GAMMA, AGGREGATOR)] == [2, 2, 1, 0]
        server.requests.clear()
        assert chain.invoke(QUESTION) == CITED
        assert [len(bodies(server, n)) for n in (ALPHA, BETA, GAMMA, AGGREGATOR)] == [1, 1, 0, 1]


def test_an_agents_loop_with_configurable_fields_reuses_proposals() -> None:
    """A configurable model is made anew in each turn; what it has paid for must not be lost."""
    calls = Reply(text=None, tool_calls=(ToolCall(name="add", arguments={"a": 1, "b": 2}),))

    def acts(body: Mapping[str, Any]) -> Reply:
        return Reply(text="3") if body["messages"][-1]["role"] == "tool" else calls

    def add(a: int, b: int) -> int:
        """Add two whole numbers."""
        return a + b

    with LoopbackServer({**MODELS, AGGREGATOR: ModelBehavior(reply=acts)}) as server:
        llm = mixture(server).configurable_fields(layers=ConfigurableField(id="layers"))
        config: Any = {"configurable": {"layers": 3}}
        bound = llm.bind(tools=[convert_to_openai_tool(add)])
        called: Any = bound.invoke(QUESTION, config)
        result = {"role": "tool", "content": "3", "tool_call_id": called.tool_calls[0]["id"]}
        answer = bound.invoke([("human", QUESTION), called, result], config)
        assert len(bodies(server, ALPHA)) == 2
        assert answer.response_metadata["moa"]["fan_out"] == "reused"


def test_alternatives() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server).configurable_alternatives(
            ConfigurableField(id="model"), default_key="mixture", plain=together(server, GAMMA)
        )
        chain = chain_of(llm)
        assert chain.invoke(QUESTION, {"configurable": {"model": "plain"}}) == CITED
        assert [len(bodies(server, n)) for n in (ALPHA, GAMMA, AGGREGATOR)] == [0, 1, 0]
        assert chain.invoke(QUESTION) == CITED
        assert [len(bodies(server, n)) for n in (ALPHA, GAMMA, AGGREGATOR)] == [1, 1, 1]


def test_bound_arguments_reach_the_aggregator_alone() -> None:
    with LoopbackServer(MODELS) as server:
        llm: MoAChatModel = mixture(server)
        assert chain_of(llm.bind(temperature=0.3, stop=["END"])).invoke(QUESTION) == CITED
        (final,) = bodies(server, AGGREGATOR)
        assert (final["temperature"], final["stop"]) == (0.3, ["END"])
        for name in (ALPHA, BETA):
            assert bodies(server, name)[0].keys().isdisjoint({"temperature", "stop"})


OTHERS = tuple(f"In the year {year} the Rhine froze." for year in range(1700, 1720))


@pytest.mark.parametrize(
    ("asked", "answer"), [(0, CITED), (1, "I have no source."), (2, "I have no source.")]
)
def test_members_get_what_was_retrieved_and_nothing_else(asked: int, answer: str) -> None:
    """Asked in a document's own words, of which the vector is the same, the store finds it."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=64))
    store.add_texts([*OTHERS[:10], *FACTS, *OTHERS[10:]])
    found = store.as_retriever(search_kwargs={"k": 1}) | numbered
    with LoopbackServer(MODELS) as server:
        given = {"context": found, "question": RunnablePassthrough()}
        chain = given | PROMPT | mixture(server) | StrOutputParser()
        assert chain.invoke(FACTS[asked]) == answer
        for name in (ALPHA, BETA, AGGREGATOR):
            (body,) = bodies(server, name)
            context = body["messages"][0]["content"]
            assert [fact in context for fact in FACTS] == [n == asked for n in range(3)]
            assert not any(other in context for other in OTHERS)


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    return WordVectors()


def in_memory(vectors: WordVectors) -> VectorStore:
    return InMemoryVectorStore(vectors)


def faiss(vectors: WordVectors) -> VectorStore:
    return FAISS.from_texts([OTHERS[0]], vectors)


@pytest.mark.parametrize("store", [in_memory, faiss])
@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("In which years was the crossing over the Rhine near Remagen erected?", 0),
        ("Since when is the great church complete?", 1),
        ("Which town was the political centre of the country?", 2),
    ],
)
def test_sources_are_found_by_their_meaning(
    vectors: WordVectors, store: Callable[[WordVectors], VectorStore], question: str, fact: int
) -> None:
    """Questions are in other words than sources; members read the one that is meant, alone."""
    found = found_in(store(vectors), [*OTHERS[:10], *FACTS, *OTHERS[10:]], 1)
    with LoopbackServer(MODELS) as server:
        given = {"context": found, "question": RunnablePassthrough()}
        chain = given | PROMPT | mixture(server, layers=3) | StrOutputParser()
        assert chain.invoke(question) == (CITED if fact == 0 else "I have no source.")
        for name, count in ((ALPHA, 2), (BETA, 2), (AGGREGATOR, 1)):
            contexts = [body["messages"][0]["content"] for body in bodies(server, name)]
            assert len(contexts) == count
            for context in contexts:
                assert [text in context for text in FACTS] == [n == fact for n in range(3)]
                assert not any(other in context for other in OTHERS)
