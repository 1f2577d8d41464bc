"""What a call's record says of requests, tokens and failures is what the server saw."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_core.tracers.langchain import LangChainTracer

from langchain_moa import AggregationError, MoAChatModel, MoAConfigurationError
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.ingest import IngestServer
from tests.wire import (
    AGGREGATOR,
    ALPHA,
    BETA,
    GAMMA,
    LIMITS,
    Stage,
    asked_for,
    mixture,
    says,
    served,
    together,
    until,
)

INNER, OUTER = "acme/inner", AGGREGATOR
MEMBERS: Final = (ALPHA, BETA, GAMMA, INNER, OUTER)
PROPOSERS: Final = (ALPHA, BETA, GAMMA)
HANGS: Final = ModelBehavior(hang=True)
FAILS: Final = ModelBehavior(status=500)
MODELS: Final = {name: says(f"{name} says Paris.") for name in MEMBERS}
PRICES: Final = dict.fromkeys(MEMBERS, (1.0, 1.0))
LONG: Final = 20.0
"""Seconds that nothing in these tests takes unless it is broken."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, MEMBERS)


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over: until then hangs what a thread asked, which nobody can end."""
    event = threading.Event()
    yield event
    event.set()


# --- ways to call, which all give the whole answer ---


async def invoked(llm: MoAChatModel) -> AIMessage:
    return await asyncio.to_thread(llm.invoke, "Go")


async def ainvoked(llm: MoAChatModel) -> AIMessage:
    return await llm.ainvoke("Go")


async def chunks_of(llm: MoAChatModel) -> list[AIMessageChunk]:
    chunks: Any = await asyncio.to_thread(lambda: list(llm.stream("Go")))
    return list(chunks)


async def achunks_of(llm: MoAChatModel) -> list[AIMessageChunk]:
    chunks: Any = [chunk async for chunk in llm.astream("Go")]
    return list(chunks)


async def streamed(llm: MoAChatModel) -> AIMessage:
    first, *others = await chunks_of(llm)
    return sum(others, start=first)


async def astreamed(llm: MoAChatModel) -> AIMessage:
    first, *others = await achunks_of(llm)
    return sum(others, start=first)


async def through_the_graph(llm: MoAChatModel) -> AIMessage:
    state = await asyncio.to_thread(llm.graph.invoke, {"messages": [("user", "Go")]})
    answer: AIMessage = state["messages"][-1]
    return answer


Way = Callable[[MoAChatModel], Awaitable[AIMessage]]


def ways(*chosen: Way) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", chosen, ids=lambda way: way.__name__)


every_way = ways(invoked, ainvoked, streamed, astreamed)
both_ways = ways(invoked, ainvoked)


async def record_of(llm: MoAChatModel, way: Way) -> Any:
    async with asyncio.timeout(2 * LONG):
        return (await way(llm)).response_metadata["moa"]


def asked(server: LoopbackServer) -> list[str]:
    """Reference models that were asked, in the order of their requests."""
    return [request.model for request in server.requests if request.model in PROPOSERS]


# --- one after the other ---


@both_ways
@pytest.mark.parametrize("in_turn", [{"sequential": True}, {"max_concurrency": 1}], ids=str)
async def test_who_comes_after_the_quorum_is_not_asked(
    stage: Stage, in_turn: dict[str, Any], way: Way
) -> None:
    server = stage.plays(MODELS)
    record = await record_of(stage.mixture(PROPOSERS, quorum=1, grace=0, **in_turn), way)
    assert asked(server) == [ALPHA]
    assert [(p["status"], p["attempts"]) for p in record["proposals"]] == [
        *(("ok", 1), ("cut", 0), ("cut", 0)),
    ]
    assert record["usage"]["unknown"] == []


class Counter:
    """Models that hold their answer back for a while, and count who is there with them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._now = 0
        self._lock = threading.Lock()
        self.most = 0

    def reply(self, _: Mapping[str, Any]) -> str:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return "Paris."


def patient(server: LoopbackServer, name: str) -> Any:
    """A member whose client waits longer than the mixture does, so that its thread goes on."""
    return together(server, name, timeout=LONG)


async def test_a_given_up_thread_keeps_its_place_until_it_ends(stage: Stage) -> None:
    members = [patient(stage.server, name) for name in PROPOSERS]
    for seconds in LIMITS:
        counter = Counter(2 * seconds)
        server = stage.plays(dict.fromkeys(MEMBERS, ModelBehavior(reply=counter.reply)))
        llm = stage.mixture(
            reference_models=members,
            sequential=True,
            proposer_timeout=seconds,
            on_no_proposals="aggregate_alone",
        )
        record = await record_of(llm, invoked)
        assert [p["status"] for p in record["proposals"]] == ["timed_out"] * 3
        await until(lambda: not stage.server.open_requests)
        assert counter.most == 1
        if len(asked(server)) == len(PROPOSERS):
            break
    assert asked(server) == [*PROPOSERS]


@pytest.mark.parametrize("calls", [1, 3])
async def test_a_fallback_waits_for_the_place_of_the_given_up_thread(
    stage: Stage, calls: int
) -> None:
    """The thread that ends gives its own place back, and not what its fallback waits for."""
    primary, fallback = patient(stage.server, ALPHA), patient(stage.server, BETA)
    for seconds in LIMITS:
        counter = Counter(1.5 * seconds)
        server = stage.plays(dict.fromkeys(MEMBERS, ModelBehavior(reply=counter.reply)))
        llm = stage.mixture(
            reference_models=[primary],
            fallbacks={ALPHA: fallback},
            max_concurrency=1,
            proposer_timeout=seconds,
            layer_timeout=60 * seconds,
            on_no_proposals="aggregate_alone",
        )
        records = await asyncio.gather(*(record_of(llm, invoked) for _ in range(calls)))
        await until(lambda: not stage.server.open_requests)
        assert counter.most == 1
        if len(asked(server)) == 2 * calls:
            break
    reasons = [proposal["error"] for record in records for proposal in record["proposals"]]
    assert sorted(asked(server)) == [ALPHA] * calls + [BETA] * calls, reasons


# --- time ---


async def test_a_member_that_was_given_up_before_its_request_is_not_asked(stage: Stage) -> None:
    """Its context filter took all its time; a request now would be in no record."""
    server = stage.plays(MODELS)
    answered, threads = threading.Event(), list[threading.Thread]()

    def dawdles(messages: Any) -> Any:
        threads.append(threading.current_thread())
        answered.wait(LONG)
        return messages

    llm = stage.mixture(
        proposer_timeout=0.2,
        context_filter={ALPHA: dawdles},
        on_no_proposals="aggregate_alone",
    )
    record = await record_of(llm, invoked)
    late = record["proposals"][0]
    assert (late["status"], late["attempts"]) == ("timed_out", 0)
    assert ALPHA not in record["usage"]["unknown"]
    answered.set()
    await until(lambda: threads and not threads[0].is_alive())
    assert ALPHA not in asked(server)


@pytest.mark.parametrize(
    ("limit", "hanging"), [("layer_timeout", ALPHA), ("timeout", ALPHA), ("timeout", OUTER)]
)
async def test_the_client_ends_what_the_layer_or_the_call_has_no_time_for(
    stage: Stage, limit: str, hanging: str
) -> None:
    """A request in a thread can't be ended from outside: its client has to know."""
    server = stage.plays({**MODELS, hanging: HANGS})
    for seconds in LIMITS:
        limits: dict[str, Any] = {limit: seconds}
        # a busy machine may leave the other one no time either
        llm = stage.mixture(**limits, on_no_proposals="aggregate_alone")
        if hanging == OUTER:
            with pytest.raises(AggregationError):
                await invoked(llm)
        else:
            record = await record_of(llm, invoked)
            assert record["proposals"][0]["status"] in ("cut", "timed_out")
        await until(lambda: not server.open_requests)
        if server.requests_for(hanging):
            break
    assert server.requests_for(hanging)


@both_ways
async def test_a_filter_that_takes_too_long_is_not_waited_for(stage: Stage, way: Way) -> None:
    stage.plays(MODELS)
    free, began, ended = threading.Event(), threading.Event(), threading.Event()

    def sleeps(_: list[str]) -> list[int]:
        began.set()
        free.wait(LONG)
        ended.set()
        return [0]

    for seconds in LIMITS:
        llm = stage.mixture(proposal_filter=sleeps, layer_timeout=seconds)
        record = await record_of(llm, way)
        statuses = [p["status"] for p in record["proposals"]]
        if statuses == ["ok", "ok"]:
            break
    assert (began.is_set(), ended.is_set()) == (True, False)
    free.set()
    assert statuses == ["ok", "ok"]
    assert record["degraded"] is False


# --- mixtures of mixtures ---


@every_way
@pytest.mark.parametrize("role", ["reference model", "aggregator"])
async def test_what_an_inner_mixture_lacked_is_handed_on(
    stage: Stage, over: threading.Event, role: str, way: Way
) -> None:
    server = stage.plays({**MODELS, ALPHA: ModelBehavior(once=over.is_set)})
    server.models[BETA] = says("Paris.", once=asked_for(server, ALPHA))
    inner = stage.mixture((ALPHA, BETA), INNER, quorum=1, grace=0, prices=PRICES)
    gamma = stage.members[GAMMA]
    members: dict[str, Any] = (
        {"reference_models": [inner, gamma], "aggregator": stage.members[OUTER]}
        if role == "reference model"
        else {"reference_models": [gamma], "aggregator": inner}
    )
    record = await record_of(mixture(server, prices=PRICES, **members), way)
    assert [p["status"] for p in record["proposals"]] == ["ok"] * len(record["proposals"])
    assert record["usage"]["unknown"] == [ALPHA]
    assert record["cost"]["unknown"] == [ALPHA]
    assert record["degraded"] is True
    known = {k: v["total_tokens"] for k, v in record["usage"]["by_model"].items()}
    assert known == {k: v["total_tokens"] for k, v in served(server).items()}


@every_way
async def test_an_inner_mixture_that_lacked_nothing(stage: Stage, way: Way) -> None:
    server = stage.plays(MODELS)
    inner = stage.mixture((ALPHA, BETA), INNER)
    outer = stage.mixture(reference_models=[inner, stage.members[GAMMA]], prices=PRICES)
    record = await record_of(outer, way)
    assert (record["usage"]["unknown"], record["cost"]["unknown"]) == ([], [])
    assert record["degraded"] is False
    assert record["usage"]["total_tokens"] == sum(
        usage["total_tokens"] for usage in served(server).values()
    )


@both_ways
async def test_what_a_cut_inner_mixture_has_used_is_known_in_part(
    stage: Stage, over: threading.Event, way: Way
) -> None:
    server = stage.plays({**MODELS, INNER: ModelBehavior(once=over.is_set)})
    server.models[GAMMA] = says("Paris.", once=asked_for(server, INNER))
    inner = stage.mixture([BETA], INNER)
    outer = stage.mixture(
        reference_models=[inner, stage.members[GAMMA]], quorum=1, grace=0, prices=PRICES
    )
    record = await record_of(outer, way)
    cut = record["proposals"][0]
    assert (cut["status"], cut["model"]) == ("cut", "moa")
    assert cut["usage"]["total_tokens"] == served(server)[BETA]["total_tokens"]
    assert record["usage"]["by_model"].keys() == {BETA, GAMMA, OUTER}
    assert record["usage"]["unknown"] == ["moa"]
    assert record["cost"]["unknown"] == ["moa"]
    over.set()
    await until(lambda: not server.open_requests)


@pytest.mark.parametrize("kind", ["layers", "fallback", "retry", "sequential", "graph"])
async def test_an_inner_mixture_that_nobody_waits_for_asks_nobody_any_more(
    stage: Stage, kind: str
) -> None:
    given_up, ended = threading.Event(), threading.Event()
    first: dict[str, dict[str, Any]] = {
        "fallback": {"status": 500},
        "retry": {"status": 429, "retry_after": 0.01},
    }
    server = stage.plays(MODELS)
    server.models[ALPHA] = says("Paris.", once=given_up.is_set, **first.get(kind, {}))
    server.models[GAMMA] = says("Paris.", once=asked_for(server, ALPHA))
    options: dict[str, dict[str, Any]] = {
        "layers": {"layers": 3},
        "graph": {"layers": 3},
        "sequential": {"sequential": True},
        "fallback": {"fallbacks": {ALPHA: patient(server, BETA)}},
        "retry": {"max_retries": 3},
    }
    names = (ALPHA, BETA) if kind == "sequential" else (ALPHA,)
    inner = stage.mixture(
        reference_models=[patient(server, name) for name in names],
        aggregator=patient(server, INNER),
        **options[kind],
    )

    def asks(messages: Any) -> Any:
        try:
            if kind == "graph":
                return inner.graph.invoke({"messages": messages})
            return inner.invoke(messages)
        finally:
            ended.set()

    llm = stage.mixture(
        reference_models=[RunnableLambda(asks, name="inner"), stage.members[GAMMA]],
        quorum=1,
        grace=0,
    )
    record = await record_of(llm, invoked)
    assert [p["status"] for p in record["proposals"]] == ["cut", "ok"]
    given_up.set()
    await until(ended.is_set)
    assert sorted(asked(server)) == [ALPHA, GAMMA]
    assert not server.requests_for(INNER)


@ways(invoked, ainvoked, through_the_graph)
@pytest.mark.parametrize("called", ["the model", "a bound model", "its graph"])
async def test_a_mixture_that_its_member_calls_is_refused(
    stage: Stage, called: str, way: Way
) -> None:
    server = stage.plays(MODELS)
    depth = 0

    made: list[MoAChatModel] = []

    def recurses(messages: Any) -> Any:
        nonlocal depth
        depth += 1
        if depth > 3:
            return "deep enough"
        (llm,) = made
        if called == "its graph":
            return llm.graph.invoke({"messages": messages})["messages"][-1]
        return (llm if called == "the model" else llm.bind(stop=["x"])).invoke(messages)

    member = RunnableLambda(recurses, name="recurses")
    llm = stage.mixture(reference_models=[member, stage.members[ALPHA]])
    made.append(llm)
    record = await record_of(llm, way)
    assert depth == 1
    assert [p["status"] for p in record["proposals"]] == ["failed", "ok"]
    assert (
        "MoAConfigurationError: a member of the mixture calls the mixture itself"
        in (record["proposals"][0]["error"])
    )
    assert [request.model for request in server.requests] == [ALPHA, OUTER]


@both_ways
async def test_an_aggregator_that_is_the_mixture_itself(stage: Stage, way: Way) -> None:
    server = stage.plays(MODELS)
    llm = stage.mixture()
    llm.aggregator = llm
    with pytest.raises(MoAConfigurationError, match="aggregator holds the mixture itself"):
        await way(llm)
    assert not server.requests


# --- what is told of failures ---


@every_way
async def test_a_key_in_an_error_is_in_no_event(stage: Stage, way: Way) -> None:
    quotes = ModelBehavior(status=500, error=f"bad {stage.server.api_key}", retry_after=0.01)
    stage.plays({**MODELS, ALPHA: quotes, GAMMA: quotes})
    events: list[Any] = []
    llm = stage.mixture(
        (ALPHA, BETA), GAMMA, OUTER, max_retries=1, on_progress=events.append, layers=3
    )
    record = await record_of(llm, way)
    retried = [event for event in events if event["event"] == "member_retried"]
    assert {event["model"] for event in retried} == {ALPHA, GAMMA}  # and so not empty
    assert all("500" in event["error"] and "bad " in event["error"] for event in retried)
    assert stage.server.api_key not in str(events)
    assert stage.server.api_key not in str(record)


@both_ways
async def test_a_fallbacks_proposal_tells_who_failed_before(stage: Stage, way: Way) -> None:
    stage.plays({**MODELS, ALPHA: ModelBehavior(status=500, error="out of order")})
    record = await record_of(stage.mixture(fallbacks={ALPHA: stage.members[GAMMA]}), way)
    proposal = record["proposals"][0]
    assert (proposal["status"], proposal["model"], proposal["attempts"]) == ("ok", GAMMA, 2)
    assert proposal["error"].startswith(f"{ALPHA}: ")
    assert "out of order" in proposal["error"]
    assert record["proposals"][1]["error"] is None
    assert record["degraded"] is False
    assert record["usage"]["unknown"] == [ALPHA]


@both_ways
async def test_of_a_request_and_its_hedge_the_firsts_error_is_told(stage: Stage, way: Way) -> None:
    server = stage.plays({**MODELS, GAMMA: ModelBehavior(status=400, error="second")})
    first = ModelBehavior(status=500, error="first", once=asked_for(server, GAMMA))
    server.models[ALPHA] = first
    llm = stage.mixture(max_retries=0, hedge_after=0.1, fallbacks={ALPHA: stage.members[GAMMA]})
    record = await record_of(llm, way)
    proposal = record["proposals"][0]
    told_first = proposal["error"].split("; ")[0]
    assert told_first.startswith(f"{ALPHA}: ")
    assert "first" in told_first
    assert "second" not in told_first


@pytest.mark.parametrize("chunks", [chunks_of, achunks_of], ids=["stream", "astream"])
@pytest.mark.parametrize("fault", [ModelBehavior(status=400), says("")], ids=["fails", "empty"])
async def test_a_streamed_best_proposal_ends_with_one_record(
    stage: Stage, fault: ModelBehavior, chunks: Callable[[MoAChatModel], Awaitable[Any]]
) -> None:
    stage.plays({**MODELS, OUTER: fault})
    pieces = await chunks(stage.mixture(on_aggregator_failure="best_proposal"))
    assert ["moa" in piece.response_metadata for piece in pieces] == [
        *[False] * (len(pieces) - 1),
        True,
    ]
    assert [piece.chunk_position for piece in pieces] == [*[None] * (len(pieces) - 1), "last"]
    assert pieces[-1].response_metadata["moa"]["best_proposal"] is not None
    assert "".join(piece.text for piece in pieces) in {MODELS[ALPHA].reply, MODELS[BETA].reply}


@both_ways
async def test_who_read_shortened_proposals_is_told(stage: Stage, way: Way) -> None:
    server = stage.plays({**MODELS, BETA: says("Paris and more. " * 2000)})
    shorter = await record_of(stage.mixture(layers=3, max_input_tokens=1500), way)
    assert [p["left_out"] for p in shorter["proposals"]] == [
        *([], []),  # they read no proposals
        *(["proposal text"], ["proposal text"]),
    ]
    assert shorter["aggregator"]["left_out"] == ["proposal text"]
    assert "and more. " * 1000 not in str(server.requests_for(OUTER)[0].body)
    whole = await record_of(stage.mixture(layers=3), way)
    assert [p["left_out"] for p in whole["proposals"]] == [[]] * 4
    assert whole["aggregator"]["left_out"] == []


# --- traces ---


@pytest.mark.parametrize("end", ["quorum", "cancelled"])
async def test_a_cut_agents_tool_is_closed_in_the_trace(stage: Stage, end: str) -> None:
    calls = Reply(text=None, tool_calls=(ToolCall(name="look_up", arguments={"word": "x"}),))
    server = stage.plays({**MODELS, ALPHA: ModelBehavior(reply=calls)})
    began = asyncio.Event()

    @tool
    async def look_up(word: str) -> str:
        """Look a word up."""
        began.set()
        await asyncio.sleep(LONG)
        return word

    async def waits(_: Any) -> str:
        await asyncio.wait_for(began.wait(), LONG)
        if end == "cancelled":
            await asyncio.sleep(LONG)
        return "Paris."

    agent = create_agent(stage.members[ALPHA], tools=[look_up])
    llm = stage.mixture(
        reference_models=[agent, RunnableLambda(lambda _: "Paris.", afunc=waits)],
        quorum=1,
        grace=0,
    )
    with IngestServer() as ingest:
        client = ingest.client()
        call = asyncio.ensure_future(
            llm.ainvoke("Go", {"callbacks": [LangChainTracer(client=client)]})
        )
        await asyncio.wait_for(began.wait(), LONG)
        if end == "cancelled":
            call.cancel()
        await asyncio.wait([call], timeout=LONG)
        assert call.cancelled() == (end == "cancelled")
        client.flush()
        (trace,) = ingest.traces()
        runs = {run.name: run for run in trace.walk()}
        assert runs["look_up"].run_type == "tool"
        assert "Cancelled" in str(runs["look_up"].error)
        assert [run.name for run in trace.walk() if not run.fields.get("end_time")] == []
    await until(lambda: not server.open_requests)
