"""Functions of the user's that hang, raise, block or change what they are given, over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_moa import (
    BudgetExceededError,
    MoAChatModel,
    MoAConfigurationError,
    NotEnoughProposalsError,
)
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, LIMITS, bodies, mixture, says

MODELS: Final = {ALPHA: says("1"), BETA: says("2"), AGGREGATOR: says("It is Paris.")}
WAYS: Final = ("invoke", "ainvoke", "stream", "astream", "graph", "agraph")
QUESTION: Final = "Capital of France?"
QUICK: Final[dict[str, Any]] = {"timeout": 20.0, "proposer_timeout": 0.3}


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(MODELS) as running:
        yield running


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Lets go at the end what hangs, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


ENDINGS: Final = {
    "exits": SystemExit(3),
    "interrupts": KeyboardInterrupt(),
    "is cancelled": asyncio.CancelledError(),
    "closes": GeneratorExit(),
}
"""What ends more than the function that raises it."""


class Misbehaving:
    """A function of the user's that does what it must not; of each call it remembers the thread."""

    def __init__(self, how: str, released: threading.Event) -> None:
        self.how = how
        self.released = released
        self.threads: list[threading.Thread] = []

    def __call__(self, *given: Any) -> Any:
        self.threads.append(threading.current_thread())
        if self.how == "hangs":
            self.released.wait(60)
        if self.how == "raises":
            msg = "the user's own mistake"
            raise ValueError(msg)
        if self.how in ENDINGS:
            raise ENDINGS[self.how]
        for one in given:
            _spoil(one)
        return None


def _spoil(one: Any) -> None:
    if isinstance(one, list):
        for message in one:
            message.content = "spoilt"
        one.clear()
    elif isinstance(one, dict):
        if isinstance(one.get("usage"), dict):
            one["usage"].clear()
        one.clear()


async def answer(llm: MoAChatModel, way: str, messages: Any = QUESTION) -> AIMessage:
    given: Any = [HumanMessage(messages)] if isinstance(messages, str) else messages
    found: Any
    match way:
        case "invoke":
            found = llm.invoke(given)
        case "ainvoke":
            found = await llm.ainvoke(given)
        case "stream":
            found = list(llm.stream(given))[-1]
        case "astream":
            found = [chunk async for chunk in llm.astream(given)][-1]
        case "graph":
            found = llm.graph.invoke({"messages": given})["messages"][-1]
        case _:
            found = (await llm.graph.ainvoke({"messages": given}))["messages"][-1]
    answered: AIMessage = found
    return answered


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["hangs", "raises", "spoils"])
async def test_on_progress(
    server: LoopbackServer, released: threading.Event, how: str, way: str
) -> None:
    listener = Misbehaving(how, released)
    llm = mixture(server, on_progress=listener, timeout=10.0)
    record = (await answer(llm, way)).response_metadata["moa"]
    assert [proposal["status"] for proposal in record["proposals"]] == ["ok", "ok"]
    assert record["usage"]["unknown"] == []
    assert record["usage"]["total_tokens"] > 0
    assert listener.threads
    assert threading.current_thread() not in listener.threads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["hangs", "raises", "spoils"])
async def test_fan_out(
    server: LoopbackServer, released: threading.Event, how: str, way: str
) -> None:
    """What gives no decision in time is decided as by default; what gives none means no."""
    function = Misbehaving(how, released)
    asked = [HumanMessage(QUESTION)]
    server.requests.clear()
    found = await answer(mixture(server, fan_out=function, **QUICK), way, asked)
    expected = "alone" if how == "spoils" else "layers"
    assert found.response_metadata["moa"]["fan_out"] == expected
    assert asked[0].content == QUESTION
    assert QUESTION in str(bodies(server, AGGREGATOR)[0]["messages"])
    assert threading.current_thread() not in function.threads


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["hangs", "raises"])
@pytest.mark.parametrize("policy", ["drop_content", "skip_member"])
async def test_context_filter(
    server: LoopbackServer, released: threading.Event, how: str, way: str, policy: str
) -> None:
    """Its member has failed, for what it may see is not known; the others have not."""
    function = Misbehaving(how, released)
    for seconds in LIMITS:  # the next one where the other member had no answer in time either
        server.requests.clear()
        times = {"timeout": 20.0, "proposer_timeout": seconds}
        llm = mixture(server, context_filter={ALPHA: function}, on_unsupported=policy, **times)
        with suppress(NotEnoughProposalsError):
            record = (await answer(llm, way)).response_metadata["moa"]
            break
    first, second = record["proposals"]
    assert first["status"] == ("timed_out" if how == "hangs" else "failed")
    assert (second["status"], record["aggregator"]["status"]) == ("ok", "ok")
    assert not server.requests_for(ALPHA)
    assert threading.current_thread() not in function.threads
    assert how == "hangs" or "context_filter failed (" in first["error"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ENDINGS)
async def test_no_function_ends_more_than_itself(
    server: LoopbackServer, released: threading.Event, how: str, way: str
) -> None:
    """Neither the process nor the call nor the other members, whatever it raises."""
    function = Misbehaving(how, released)
    asked_once = mixture(server, fan_out=function, on_progress=function)
    assert (await answer(asked_once, way)).response_metadata["moa"]["fan_out"] == "layers"
    assert len(function.threads) > 5  # it is told of all events, although it fails at each
    record = (
        await answer(mixture(server, context_filter={ALPHA: function}), way)
    ).response_metadata
    assert [p["status"] for p in record["moa"]["proposals"]] == ["failed", "ok"]
    priced = mixture(server, prices=function)
    cost = (await answer(priced, way)).response_metadata["moa"]["cost"]
    assert cost["unknown"] == [AGGREGATOR, ALPHA, BETA]
    judged = mixture(server, strategy="select", check=function)
    record = (await answer(judged, way)).response_metadata
    assert record["moa"]["aggregator"]["status"] == "ok"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [5, None, "x", [None], {"messages": []}])
async def test_a_context_filter_that_gives_no_messages(
    server: LoopbackServer, given: Any, way: str
) -> None:
    server.requests.clear()
    llm = mixture(server, context_filter={ALPHA: lambda _: given}, **QUICK)
    first, second = (await answer(llm, way)).response_metadata["moa"]["proposals"]
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert "context_filter must give a list of messages" in first["error"]
    assert not server.requests_for(ALPHA)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["hangs", "raises", "spoils"])
async def test_prices(
    server: LoopbackServer, released: threading.Event, how: str, way: str
) -> None:
    function = Misbehaving(how, released)
    record = (await answer(mixture(server, prices=function, timeout=2.0), way)).response_metadata[
        "moa"
    ]
    assert record["cost"]["usd"] == 0
    assert record["cost"]["unknown"] == sorted(MODELS)
    assert record["usage"]["unknown"] == []
    assert len([proposal for proposal in record["proposals"] if proposal["usage"]]) == 2
    assert threading.current_thread() not in function.threads


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "astream"])
async def test_prices_of_a_budget(
    server: LoopbackServer, released: threading.Event, way: str
) -> None:
    """Nothing is asked whose price the function does not say in time."""
    function = Misbehaving("hangs", released)
    hangs = threading.Event()

    def prices(name: str, usage: Any) -> float:
        if hangs.is_set():
            function(name, usage)
        return 0.001

    server.requests.clear()
    llm = mixture(server, prices=prices, max_cost=1.0, timeout=2.0)
    hangs.set()
    with pytest.raises(BudgetExceededError, match="price is not known"):
        await answer(llm, way)
    assert not server.requests


def test_prices_that_hang_at_construction(
    server: LoopbackServer, released: threading.Event
) -> None:
    function = Misbehaving("hangs", released)
    with pytest.raises(MoAConfigurationError, match="max_cost=1 needs the price"):
        mixture(server, prices=function, max_cost=1.0, timeout=2.0)
