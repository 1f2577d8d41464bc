"""One tree per call, on every path, read back from what the real LangSmith client posted."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import START, MessagesState, StateGraph
from langsmith import tracing_context

from langchain_moa import MoAChatModel, NotEnoughProposalsError
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.ingest import IngestServer, Run
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, counted, mixture, says, served, until

MODELS = {
    ALPHA: says("Paris."),
    BETA: says("It is Paris."),
    GAMMA: says("Paris, France."),
    AGGREGATOR: says("The capital of France is Paris."),
}
QUESTION = "Capital of France?"


def layer(number: int, *members: str) -> list[Any]:
    return [
        f"chain layer_{number}",
        *([f"chain {member}", "llm ChatTogether"] for member in members),
    ]


MOA = ["llm MoAChatModel", layer(1, "alpha", "beta"), layer(2, "alpha", "beta"), "llm aggregator"]
NESTED = [
    "llm MoAChatModel",
    [
        "chain layer_1",
        ["chain alpha", "llm ChatTogether"],
        ["chain moa", ["llm MoAChatModel", layer(1, "gamma"), "llm aggregator"]],
    ],
    "llm aggregator",
]


# --- ways to call, each given a runnable, its input and a config ---


def drain_v3(run: Any, value: Any, config: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 is in beta
        list(run.stream_events(value, config, version="v3"))


async def adrain_v3(run: Any, value: Any, config: Any) -> None:
    before = asyncio.all_tasks()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v3 is in beta
        stream = await run.astream_events(value, config, version="v3")
        async for _ in stream:
            pass
        # langchain-core ends the run after the last event
        await until(lambda: asyncio.all_tasks() <= before)


async def adrain_v2(run: Any, value: Any, config: Any) -> None:
    async for _ in run.astream_events(value, config, version="v2"):
        pass


async def adrain(run: Any, value: Any, config: Any) -> None:
    async for _ in run.astream(value, config):
        pass


WAYS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda run, value, config: run.invoke(value, config),
    "stream": lambda run, value, config: list(run.stream(value, config)),
    "batch": lambda run, value, config: run.batch([value], config),
    "stream_events v3": drain_v3,
    "ainvoke": lambda run, value, config: run.ainvoke(value, config),
    "astream": adrain,
    "abatch": lambda run, value, config: run.abatch([value], config),
    "astream_events v2": adrain_v2,
    "astream_events v3": adrain_v3,
}


# --- places where the mixture is called ---


def in_chain(llm: MoAChatModel, way: str) -> tuple[Any, Any]:  # noqa: ARG001
    return ChatPromptTemplate([("human", "{q}")]) | llm | StrOutputParser(), {"q": QUESTION}


def in_node(llm: MoAChatModel, way: str) -> tuple[Any, Any]:
    def node(state: MessagesState) -> Any:
        return {"messages": [llm.invoke(state["messages"])]}

    async def anode(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("mixture", anode if way.startswith("a") else node)
    builder.add_edge(START, "mixture")
    return builder.compile(), {"messages": [("user", QUESTION)]}


def in_agent(llm: MoAChatModel, way: str) -> tuple[Any, Any]:  # noqa: ARG001
    return create_agent(llm, tools=[]), {"messages": [("user", QUESTION)]}


PLACES: dict[str, Callable[[MoAChatModel, str], tuple[Any, Any]]] = {
    "bare": lambda llm, _: (llm, QUESTION),
    "chain": in_chain,
    "node": in_node,
    "agent": in_agent,
}


@contextmanager
def traced(where: str, ingest: IngestServer) -> Iterator[Any]:
    """A config whose calls are traced, by callbacks in it or by the tracing context."""
    client = ingest.client()
    about = {"tags": ["mine"], "metadata": {"customer": "7"}}
    if where == "callbacks":
        yield {"callbacks": [LangChainTracer(client=client)], **about}
    else:
        with tracing_context(enabled=True, client=client):
            yield about
    client.flush()


def check(runs: list[Run]) -> None:
    """What is true of every run of every tree."""
    for run in runs:
        assert run.fields.get("end_time"), f"{run.name} is still open"
        assert run.error is None
        assert "mine" in run.fields["tags"]
        assert run.metadata["customer"] == "7"
        if run.run_type == "chain" and run.name != "RunnableSequence":
            assert not {"ls_provider", "ls_model_name"} & run.metadata.keys()


# langchain-core gives no v3 events of a chain
PATHS = [(way, place) for way in WAYS for place in PLACES if (place, way[-2:]) != ("chain", "v3")]


@pytest.mark.parametrize("where", ["callbacks", "context"])
@pytest.mark.parametrize(("way", "place"), PATHS)
async def test_one_tree_on_every_path(way: str, place: str, where: str) -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        run, value = PLACES[place](mixture(server, layers=3), way)
        with traced(where, ingest) as config:
            result = WAYS[way](run, value, config)
            if asyncio.iscoroutine(result):
                await result
        (trace,) = ingest.traces()
        runs = trace.walk()
        (moa,) = [one for one in runs if one.name == "MoAChatModel"]
        assert moa.outline() == MOA
        assert len([one for one in runs if one.run_type == "llm"]) == 6
        check(runs)


@pytest.mark.parametrize("way", WAYS)
async def test_a_mixture_inside_a_mixture(way: str) -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        inner = mixture(server, reference_models=[GAMMA])
        llm = mixture(server, reference_models=[ALPHA, inner])
        with traced("callbacks", ingest) as config:
            result = WAYS[way](llm, QUESTION, config)
            if asyncio.iscoroutine(result):
                await result
        (trace,) = ingest.traces()
        assert trace.outline() == NESTED
        check(trace.walk())


def test_what_the_runs_say_of_themselves() -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        with traced("callbacks", ingest) as config:
            mixture(server, layers=3, temperature=0.5).invoke(QUESTION, config)
        (trace,) = ingest.traces()
        of_moa = {k: v for k, v in trace.metadata.items() if k.startswith("ls_")}
        assert (of_moa["ls_provider"], of_moa["ls_model_name"]) == ("together", "moa")
        assert of_moa["ls_temperature"] == 0.5
        members = [run for run in trace.walk() if run.metadata.get("moa_role") == "proposer"]
        assert sorted(
            (r.metadata["moa_layer"], r.metadata["moa_index"], r.metadata["ls_model_name"])
            for r in members
        ) == [(1, 0, ALPHA), (1, 1, BETA), (2, 0, ALPHA), (2, 1, BETA)]
        assert {run.metadata["ls_provider"] for run in members} == {"together"}
        assert {run.metadata["ls_temperature"] for run in members} == {None}
        (final,) = [run for run in trace.walk() if run.metadata.get("moa_role") == "aggregator"]
        assert (final.name, final.metadata["ls_model_name"]) == ("aggregator", AGGREGATOR)
        assert (final.metadata["moa_layer"], final.metadata["moa_index"]) == (3, 0)


def test_an_inner_mixture_says_nothing_of_the_outer_one() -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        inner = mixture(server, reference_models=[GAMMA], layers=3)
        with traced("callbacks", ingest) as config:
            mixture(server, reference_models=[ALPHA, ALPHA, inner]).invoke(QUESTION, config)
        (trace,) = ingest.traces()
        (nested,) = [run for run in trace.walk() if run.name == "MoAChatModel" and run is not trace]
        assert (nested.metadata["moa_layer"], nested.metadata["moa_index"]) == (1, 2)
        below = [
            (run.metadata.get("moa_layer"), run.metadata.get("moa_index"))
            for child in nested.children
            for run in child.walk()
        ]
        assert below == [(1, None), (1, None), (1, 0), (2, None), (2, None), (2, 0), (3, 0)]


def test_the_public_graphs_runs() -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        with traced("callbacks", ingest) as config:
            mixture(server).graph.invoke({"messages": [QUESTION]}, config)
        (trace,) = ingest.traces()
        assert trace.name == "moa"
        members = [run for run in trace.walk() if run.run_type == "llm"]
        assert sorted(
            (r.metadata["moa_role"], r.metadata["moa_layer"], r.metadata["moa_index"])
            for r in members
        ) == [("aggregator", 2, 0), ("proposer", 1, 0), ("proposer", 1, 1)]
        layers = [run for run in trace.walk() if run.name == "layer_1"]
        assert layers[-1].metadata["moa_layer"] == 1


def usage_in(run: Run) -> dict[str, int] | None:
    """The usage that LangSmith reads from a run of a model."""
    generation = run.fields["outputs"]["generations"][0][0]
    usage = generation["message"]["kwargs"].get("usage_metadata")
    return counted(usage) if usage else None


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "astream_events v3"])
async def test_only_members_report_usage(way: str) -> None:
    """LangSmith adds up the usage of the leaves; a sum on the outer run would count twice."""
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        with traced("callbacks", ingest) as config:
            result = WAYS[way](mixture(server, layers=3), QUESTION, config)
            if asyncio.iscoroutine(result):
                await result
        (trace,) = ingest.traces()
        assert usage_in(trace) is None
        leaves = [run for run in trace.walk() if run.run_type == "llm" and run is not trace]
        total = sum((usage_in(run) or {})["total_tokens"] for run in leaves)
        assert total == sum(usage["total_tokens"] for usage in served(server).values())


def test_a_failed_members_run_ends_with_its_error() -> None:
    models = {**MODELS, BETA: ModelBehavior(status=500, error="out of order")}
    with IngestServer() as ingest, LoopbackServer(models) as server:
        with traced("callbacks", ingest) as config:
            mixture(server).invoke(QUESTION, config)
        (trace,) = ingest.traces()
        errors = {run.metadata["ls_model_name"]: run.error for run in trace.walk() if run.error}
        assert errors.keys() == {BETA}
        assert "out of order" in str(errors[BETA])


@pytest.mark.parametrize("hanging", [BETA, AGGREGATOR])
@pytest.mark.parametrize("way", ["ainvoke", "astream", "abatch"])
async def test_a_cancelled_call_leaves_no_run_open(way: str, hanging: str) -> None:
    models = {**MODELS, hanging: ModelBehavior(hang=True)}
    with IngestServer() as ingest, LoopbackServer(models) as server:
        with traced("callbacks", ingest) as config:
            call = asyncio.ensure_future(WAYS[way](mixture(server), QUESTION, config))
            await until(lambda: server.requests_for(hanging))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        (trace,) = ingest.traces()
        assert [run.name for run in trace.walk() if not run.fields.get("end_time")] == []
        assert "Cancelled" in str(trace.error)
        by_model = {r.metadata.get("ls_model_name"): r.error for r in trace.walk()}
        assert "Cancelled" in str(by_model[hanging])
        await until(lambda: not server.open_requests)


async def test_too_few_proposals_end_the_trace_with_the_error() -> None:
    models = {name: ModelBehavior(status=500) for name in MODELS}
    with IngestServer() as ingest, LoopbackServer(models) as server:
        with traced("callbacks", ingest) as config, pytest.raises(NotEnoughProposalsError):
            await mixture(server).ainvoke(QUESTION, config)
        (trace,) = ingest.traces()
        assert "NotEnoughProposalsError" in str(trace.error)
        assert [run.name for run in trace.walk() if not run.fields.get("end_time")] == []


# --- the environment decides; a process of its own, for the client reads it once ---

PROGRAM = """
import asyncio, sys
from langchain_core.tracers.langchain import wait_for_all_tracers
from langchain_moa import MoAChatModel
llm = MoAChatModel(reference_models=["acme/alpha", "acme/beta"], aggregator="acme/aggregator")
llm.invoke("Capital of France?")
list(llm.stream("Capital of France?"))
asyncio.run(llm.ainvoke("Capital of France?"))
wait_for_all_tracers()
"""


def run_program(server: LoopbackServer, ingest: IngestServer, **environment: str) -> None:
    """Run the program with no other settings than these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LANG", "LC_"))}
    settings = {
        "TOGETHER_API_KEY": server.api_key,
        "TOGETHER_API_BASE": server.base_url,
        "LANGSMITH_ENDPOINT": ingest.url,
        "LANGSMITH_API_KEY": "ls-secret-key",
        **environment,
    }
    command = [sys.executable, "-c", PROGRAM]
    root = Path(__file__).parents[2]
    subprocess.run(command, env={**kept, **settings}, cwd=root, check=True, timeout=240)  # noqa: S603 - ours


def test_tracing_by_environment() -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        run_program(server, ingest, LANGSMITH_TRACING="true")
        two_layers = [MOA[0], MOA[1], MOA[3]]
        assert [trace.outline() for trace in ingest.traces()] == [two_layers] * 3
        posted = b"".join(ingest.raw)
        assert QUESTION.encode() in posted
        assert server.api_key.encode() not in posted
        assert b"ls-secret-key" not in posted
        assert b"__moa_call" not in posted


@pytest.mark.parametrize("switch", [{}, {"LANGSMITH_TRACING": "false"}])
def test_nothing_is_sent_unless_asked_for(switch: dict[str, str]) -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        run_program(server, ingest, **switch)
        assert ingest.requests == 0


def test_hidden_inputs_and_outputs() -> None:
    with IngestServer() as ingest, LoopbackServer(MODELS) as server:
        hide = {"LANGSMITH_HIDE_INPUTS": "true", "LANGSMITH_HIDE_OUTPUTS": "true"}
        run_program(server, ingest, LANGSMITH_TRACING="true", **hide)
        posted = b"".join(ingest.raw)
        assert len(ingest.traces()) == 3
        for hidden in (QUESTION, *(str(m.reply) for m in MODELS.values())):
            assert json.dumps(hidden).encode() not in posted
