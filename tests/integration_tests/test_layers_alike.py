"""A layer is the same however it is run: heard, unheard, or as a part of the public graph.

The chat model runs its layers as graphs where somebody listens, and asks their members together
where nobody does; `create_moa_graph` has the same nodes in one graph. All three must send the same
requests and make the same record.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa import create_moa_graph
from langchain_moa.testing import LoopbackServer, ModelBehavior
from langchain_moa.types import ProgressEvent
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, Stage, says

DELTA: Final = "acme/delta"
"""It is the one that a quorum does not wait for, and that a budget does not admit."""
PROPOSERS: Final = (ALPHA, BETA, GAMMA, DELTA)
ENDS: Final = ("member_finished", "member_failed", "member_cut")
LONG: Final = 20.0
"""Seconds that nothing here takes unless it is broken."""


@dataclass(frozen=True)
class Cell:
    """What is set, and what comes of it."""

    layers: int
    quorum: bool
    budget: bool
    filtered: bool
    failing: bool

    @property
    def options(self) -> dict[str, Any]:
        rounds = self.layers - 1
        return {
            "layers": self.layers,
            # all that answer, so that the gate opens when the last of them has
            "quorum": (2 if self.failing else 3) if self.quorum else None,
            "grace": 0.0,
            # one call too few: the last proposer of the last layer
            "max_calls": rounds * len(PROPOSERS) if self.budget else None,
            "proposal_filter": (lambda texts: range(len(texts) - 1)) if self.filtered else None,
        }

    def statuses(self, layer: int) -> list[str]:
        """What becomes of a layer's proposals."""
        found = dict.fromkeys(PROPOSERS, "ok")
        if self.failing:
            found[BETA] = "failed"
        if self.quorum:
            found[DELTA] = "cut"
        if self.budget and layer == self.layers - 1:
            found[DELTA] = "over_budget"
        if self.filtered:
            found[[name for name, status in found.items() if status == "ok"][-1]] = "outlier"
        return list(found.values())


@dataclass
class Pace:
    """Has alpha answer last in each layer, and delta not at all where a quorum is waited for.

    What was asked and what became of it then does not hang on who is quicker.
    """

    server: LoopbackServer
    waits_for_delta: bool
    ended: set[tuple[int | None, int | None]] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def hear(self, event: ProgressEvent) -> None:
        """What `on_progress` is told."""
        if event["role"] == "proposer" and event["event"] in ENDS:
            with self.changed:
                self.ended.add((event["layer"], event["index"]))
                self.changed.notify_all()

    def alpha(self, _: Mapping[str, Any]) -> str:
        """Answers when all others have ended; delta need only have been asked."""
        layer = len(self.server.requests_for(ALPHA))
        with self.changed:
            assert self.changed.wait_for(lambda: self._is_last(layer), LONG)
        return "alpha says Paris."

    def delta(self, _: Mapping[str, Any]) -> str:
        with self.changed:
            self.changed.notify_all()
        if not self.waits_for_delta:
            self.over.wait(LONG)
        return "delta says Paris."

    def _is_last(self, layer: int) -> bool:
        asked = not self.waits_for_delta and len(self.server.requests_for(DELTA)) >= layer
        return {1, 2} <= {i for at, i in self.ended if at == layer} and (
            (layer, 3) in self.ended or asked
        )


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, (*PROPOSERS, AGGREGATOR))


HEARD: Final[RunnableConfig] = {"callbacks": [UsageMetadataCallbackHandler()]}


async def asked(stage: Stage, cell: Cell, assembly: str, way: str) -> tuple[Any, Any, Any]:
    """The answer, its record without times, and the requests that were sent for it."""
    pace = Pace(stage.server, waits_for_delta=not cell.quorum)
    server = stage.plays(
        {
            ALPHA: ModelBehavior(reply=pace.alpha),
            BETA: ModelBehavior(status=400) if cell.failing else says("beta says Paris."),
            GAMMA: says("gamma says Lyon."),
            DELTA: ModelBehavior(reply=pace.delta),
            AGGREGATOR: says("It is Paris."),
        }
    )
    options: dict[str, Any] = {
        **cell.options,
        "include_proposals": True,
        "max_retries": 0,
        "prices": dict.fromkeys((*PROPOSERS, AGGREGATOR), (1.0, 2.0)),
        "on_progress": pace.hear,
    }
    try:
        if assembly == "graph":
            members = [stage.members[name] for name in PROPOSERS]
            graph = create_moa_graph(members, stage.members[AGGREGATOR], **options)
            state: Any = {"messages": ["Capital of France?"]}
            state = await graph.ainvoke(state) if way == "async" else graph.invoke(state)
            answer: AIMessage = state["messages"][-1]
        else:
            llm = stage.mixture(PROPOSERS, **options)
            config = HEARD if assembly == "heard" else None
            question = "Capital of France?"
            if way == "async":
                answer = await llm.ainvoke(question, config)
            else:
                answer = llm.invoke(question, config)
    finally:
        pace.over.set()
    record = answer.response_metadata["moa"]
    for part in (*record["proposals"], record["aggregator"]):
        part["seconds"] = 0
        for request in part["requests"]:
            request["seconds"] = request["started"] = 0
    return answer.content, record, sorted(str(request.body) for request in server.requests)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("failing", [False, True], ids=["", "failing"])
@pytest.mark.parametrize("filtered", [False, True], ids=["", "filter"])
@pytest.mark.parametrize("budget", [False, True], ids=["", "budget"])
@pytest.mark.parametrize("quorum", [False, True], ids=["", "quorum"])
@pytest.mark.parametrize("layers", [2, 3])
async def test_the_same_requests_and_record(
    stage: Stage,
    layers: int,
    way: str,
    *,
    quorum: bool,
    budget: bool,
    filtered: bool,
    failing: bool,
) -> None:
    cell = Cell(layers, quorum, budget, filtered, failing)
    heard, unheard, graph = [
        await asked(stage, cell, assembly, way) for assembly in ("heard", "unheard", "graph")
    ]
    assert heard == unheard == graph
    answer, record, _ = heard
    assert answer == "It is Paris."
    by_layer = itertools.groupby(record["proposals"], key=lambda proposal: proposal["layer"])
    statuses = {layer: [p["status"] for p in proposals] for layer, proposals in by_layer}
    assert statuses == {layer: cell.statuses(layer) for layer in range(1, layers)}
