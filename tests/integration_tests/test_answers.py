"""The answer and its record, on every path, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import (
    AGGREGATOR,
    ALPHA,
    BETA,
    GAMMA,
    PROPOSERS,
    bodies,
    counted,
    mixture,
    says,
    served,
    together,
)

MODELS = {
    ALPHA: says("Paris."),
    BETA: says("It is Paris."),
    GAMMA: says("Paris, France."),
    AGGREGATOR: says("The capital of France is Paris."),
}


def by_invoke(llm: MoAChatModel) -> AIMessage:
    return llm.invoke("Capital of France?")


def by_stream(llm: MoAChatModel) -> AIMessage:
    whole = AIMessageChunk(content="")
    for chunk in llm.stream("Capital of France?"):
        whole += chunk
    return whole


def by_ainvoke(llm: MoAChatModel) -> AIMessage:
    return asyncio.run(llm.ainvoke("Capital of France?"))


def by_astream(llm: MoAChatModel) -> AIMessage:
    async def collect() -> AIMessage:
        whole = AIMessageChunk(content="")
        async for chunk in llm.astream("Capital of France?"):
            whole += chunk
        return whole

    return asyncio.run(collect())


def by_graph(llm: MoAChatModel) -> AIMessage:
    messages: list[AIMessage] = llm.graph.invoke({"messages": ["Capital of France?"]})["messages"]
    return messages[-1]


def by_async_graph(llm: MoAChatModel) -> AIMessage:
    state = asyncio.run(llm.graph.ainvoke({"messages": ["Capital of France?"]}))
    answer: AIMessage = state["messages"][-1]
    return answer


PATHS: Mapping[str, Callable[[MoAChatModel], AIMessage]] = {
    "invoke": by_invoke,
    "stream": by_stream,
    "ainvoke": by_ainvoke,
    "astream": by_astream,
    "graph": by_graph,
    "async graph": by_async_graph,
}


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs from call to call."""
    known = json.loads(json.dumps(record))  # it must be JSON
    for call in [*known["proposals"], known["aggregator"]]:
        assert call.pop("seconds") > 0
        call.pop("first_token", None)  # streams alone have one
        for request in call["requests"]:
            assert request.pop("seconds") > 0
            assert request.pop("started") >= 0
    return dict(known)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("layers", [2, 3])
def test_same_answer_record_and_requests_on_every_path(path: str, layers: int) -> None:
    with LoopbackServer(MODELS) as server:
        reference = by_invoke(mixture(server, layers=layers))
        sent = [bodies(server, model) for model in (ALPHA, BETA, AGGREGATOR)]
        server.requests.clear()

        answer = PATHS[path](mixture(server, layers=layers))

        assert answer.content == "The capital of France is Paris."
        assert answer.usage_metadata == reference.usage_metadata
        assert answer.response_metadata["model_name"] == AGGREGATOR
        assert answer.response_metadata["finish_reason"] == "stop"
        record = answer.response_metadata["moa"]
        assert untimed(record) == untimed(reference.response_metadata["moa"])
        again = [bodies(server, model) for model in (ALPHA, BETA, AGGREGATOR)]
        for body in [body for model in again for body in model]:
            body.pop("stream", None)
            body.pop("stream_options", None)
        for body in [body for model in sent for body in model]:
            body.pop("stream", None)
        assert again == sent


@pytest.mark.parametrize("path", PATHS)
def test_every_call_is_counted_once(path: str) -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server, reference_models=[ALPHA, ALPHA, BETA], layers=3)
        with get_usage_metadata_callback() as callback:
            answer = PATHS[path](llm)
        usage = answer.response_metadata["moa"]["usage"]
        assert {name: counted(part) for name, part in usage["by_model"].items()} == served(server)
        assert usage["total_tokens"] == sum(
            r.usage["total_tokens"] for r in server.requests if r.usage
        )
        assert {n: counted(u) for n, u in callback.usage_metadata.items()} == served(server)
        assert answer.usage_metadata is not None
        assert counted(answer.usage_metadata) == served(server)[AGGREGATOR]


def test_record() -> None:
    models = {**MODELS, BETA: says("It is Paris.", answers_as="acme/beta-0613")}
    with LoopbackServer(models) as server:
        answer = mixture(server, include_proposals=True).invoke("Capital of France?")
        record = answer.response_metadata["moa"]
        assert record["layers"] == 2
        assert record["degraded"] is False
        first, second = record["proposals"]
        assert first["text"] == "Paris."
        assert (first["layer"], first["index"], first["status"]) == (1, 0, "ok")
        assert (second["model"], second["model_name"]) == (BETA, "acme/beta-0613")
        assert "acme/beta-0613" in record["usage"]["by_model"]
        plain = mixture(server).invoke("Capital of France?").response_metadata["moa"]
        assert "text" not in plain["proposals"][0]


def test_proposers_of_a_layer_run_at_the_same_time() -> None:
    """No proposer is answered before all have been asked, or the server answers 500."""
    count = 8
    asked: dict[str, threading.Barrier] = {}

    def once_all_have_come(_: Any) -> str:
        asked["now"].wait()
        return "met"

    models = {
        **{f"acme/{n}": ModelBehavior(reply=once_all_have_come) for n in range(count)},
        AGGREGATOR: says("ok"),
    }
    with LoopbackServer(models) as server:
        llm = mixture(server, reference_models=[f"acme/{n}" for n in range(count)])
        for path in (by_invoke, by_ainvoke, by_stream):
            asked["now"] = threading.Barrier(count, timeout=20)
            assert path(llm).response_metadata["moa"]["degraded"] is False


async def test_sync_call_inside_a_running_loop() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        assert llm.invoke("Capital of France?").text == "The capital of France is Paris."
        assert (await llm.ainvoke("Capital of France?")).text == "The capital of France is Paris."


def is_answered(server: LoopbackServer, model: str) -> bool:
    return any(request.finished for request in server.requests_for(model))


def test_records_are_in_order_whatever_comes_first() -> None:
    with LoopbackServer({BETA: says("fast"), AGGREGATOR: says("ok")}) as server:
        server.models[GAMMA] = says("medium", once=lambda: is_answered(server, BETA))
        server.models[ALPHA] = says("slow", once=lambda: is_answered(server, GAMMA))
        llm = mixture(server, reference_models=PROPOSERS, include_proposals=True, shuffle=False)
        record = llm.invoke("Go").response_metadata["moa"]
        assert [p["text"] for p in record["proposals"]] == ["slow", "fast", "medium"]
        final = bodies(server, AGGREGATOR)[0]["messages"][-1]["content"]
        assert final.index("slow") < final.index("fast") < final.index("medium")


def test_batch() -> None:
    with LoopbackServer(MODELS) as server:
        llm = mixture(server)
        answers = llm.batch(["a", "b", "c"], config={"max_concurrency": 2})
        assert [a.response_metadata["moa"]["degraded"] for a in answers] == [False] * 3
        assert len(server.requests_for(AGGREGATOR)) == 3

        async def abatch() -> list[AIMessage]:
            return await mixture(server).abatch(["a", "b"], config={"max_concurrency": 1})

        assert len(asyncio.run(abatch())) == 2
        assert len(server.requests_for(AGGREGATOR)) == 5


def test_the_four_kinds_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's example, with only the base URL changed."""
    llama, gpt = "meta-llama/Llama-3.3-70B-Instruct-Turbo", "gpt-5-mini"
    models = {name: says(f"{name} says hello.") for name in (llama, gpt, ALPHA, BETA, AGGREGATOR)}
    with LoopbackServer(models) as server:
        monkeypatch.setenv("TOGETHER_API_KEY", server.api_key)
        monkeypatch.setenv("TOGETHER_API_BASE", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        prompt = ChatPromptTemplate([("system", "Be bold."), ("placeholder", "{messages}")])
        other_model = init_chat_model(BETA, model_provider="together")
        llm = MoAChatModel(
            reference_models=[
                llama,
                together(server, ALPHA),
                f"openai:{gpt}",
                prompt | other_model | StrOutputParser(),
            ],
            aggregator=AGGREGATOR,
            layers=3,
        )
        answer = llm.invoke("What are 3 fun things to do in SF?")
        assert answer.content == f"{AGGREGATOR} says hello."
        record = answer.response_metadata["moa"]
        assert [p["model"] for p in record["proposals"]] == [llama, ALPHA, gpt, BETA] * 2
        assert {p["status"] for p in record["proposals"]} == {"ok"}
        by_model = {name: counted(usage) for name, usage in record["usage"]["by_model"].items()}
        assert by_model == served(server)
        assert bodies(server, BETA)[0]["messages"] == [
            {"role": "system", "content": "Be bold."},
            {"role": "user", "content": "What are 3 fun things to do in SF?"},
        ]


def test_self_moa() -> None:
    with LoopbackServer(MODELS) as server:
        llm = MoAChatModel.self_moa(
            ALPHA, samples=6, api_key=server.api_key, base_url=server.base_url
        )
        record = llm.invoke("Go").response_metadata["moa"]
        assert len(record["proposals"]) == 6
        assert len(server.requests_for(ALPHA)) == 7
        names = list(llm.graph.get_graph(xray=1).nodes)
        assert [name for name in names if "alpha" in name] == [
            f"layer_1:alpha-{n}" for n in range(1, 7)
        ]


def test_mixture_of_mixtures_counts_each_call_once() -> None:
    with LoopbackServer(MODELS) as server:
        inner = mixture(server, reference_models=[ALPHA, BETA], aggregator=GAMMA)
        llm = mixture(server, reference_models=[inner, ALPHA])
        with get_usage_metadata_callback() as callback:
            record = llm.invoke("Go").response_metadata["moa"]
        by_model = {name: counted(usage) for name, usage in record["usage"]["by_model"].items()}
        assert by_model == served(server)
        assert {n: counted(u) for n, u in callback.usage_metadata.items()} == served(server)
