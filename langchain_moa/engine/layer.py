"""A layer of reference models: its nodes, as a LangGraph graph or asked together."""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache, partial
from time import monotonic
from typing import Annotated, Any, NamedTuple, TypeAlias

from langchain_core.messages import AnyMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from langchain_moa.engine.call import CallInProgress, own_proposals, require_enough
from langchain_moa.engine.proposer import Proposing
from langchain_moa.mixture import FILTER_NODE, Mixture
from langchain_moa.proposals.outliers import without_outliers
from langchain_moa.reliability.threads import in_thread
from langchain_moa.reliability.waiting import WaitFor
from langchain_moa.tracing.callbacks import CALL_KEY
from langchain_moa.types import Proposal

logger = logging.getLogger(__name__)


class LayerState(TypedDict, total=False):
    """What a layer's graph keeps. `add_messages` would write ids into the caller's messages."""

    messages: list[AnyMessage]
    moa_proposals: Annotated[dict[str, dict[str, Any]], operator.or_]


class LayerOutput(TypedDict):
    """What a layer's graph gives: its own proposals, by slot."""

    moa_proposals: Annotated[dict[str, dict[str, Any]], operator.or_]


CompiledGraph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]


_Resolve: TypeAlias = Callable[[RunnableConfig], CallInProgress]


_Update: TypeAlias = dict[str, Any] | Command[str]


class LayerShape(NamedTuple):
    """What the graph of one layer depends on."""

    names: tuple[str, ...]
    in_turn: bool
    filters: bool


def shape_of(mixture: Mixture, layer: int) -> LayerShape:
    """What the graph of a mixture's layer depends on."""
    one_by_one = mixture.policy.max_concurrency == 1
    return LayerShape(mixture.names[layer - 1], one_by_one, mixture.keep is not None)


class Node(Runnable[Any, Any]):
    """A graph node with a sync and an async body that opens no run of its own."""

    def __init__(
        self,
        name: str,
        run: Callable[[Any, RunnableConfig], _Update],
        arun: Callable[[Any, RunnableConfig], Awaitable[_Update]],
    ) -> None:
        self.name = name
        self._run = run
        self._arun = arun

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> _Update:
        """Run the node in a thread."""
        return self._run(input, config or RunnableConfig())

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> _Update:
        """Run the node in an event loop."""
        return await self._arun(input, config or RunnableConfig())


@lru_cache(maxsize=256)
def _shared_layer_graph(layer: int, shape: LayerShape) -> CompiledGraph:
    return layer_graph(_call_of, layer, shape, checkpointer=False)


def shared_layer_graph(mixture: Mixture, layer: int) -> CompiledGraph:
    """A layer's graph for the chat model; compiling costs as much as running it."""
    return _shared_layer_graph(layer, shape_of(mixture, layer))


def _call_of(config: RunnableConfig) -> CallInProgress:
    call: CallInProgress = config["configurable"][CALL_KEY]
    return call


def layer_graph(
    resolve: _Resolve, layer: int, shape: LayerShape, *, checkpointer: bool | None
) -> CompiledGraph:
    """A layer as a graph: a node per reference model, and one for the filter."""
    graph = StateGraph(LayerState, output_schema=LayerOutput)
    before = START
    for index, name in enumerate(shape.names):
        graph.add_node(name, _proposer_node(resolve, layer, index, name))
        graph.add_edge(before, name)
        if shape.in_turn:  # LangGraph would start them in the order of their names
            before = name
    if shape.filters:
        graph.add_node(FILTER_NODE, _filter_node(resolve, layer))
        graph.add_edge(before if shape.in_turn else list(shape.names), FILTER_NODE)
    return graph.compile(checkpointer=checkpointer, name=f"layer_{layer}")


def _proposer_node(resolve: _Resolve, layer: int, index: int, name: str) -> Node:
    def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
        return _slot(Proposing(resolve(config), layer, index).run(state, config))

    async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
        return _slot(await Proposing(resolve(config), layer, index).arun(state, config))

    return Node(name, run, arun)


def _filter_node(resolve: _Resolve, layer: int) -> Node:
    def start(state: Any, config: RunnableConfig) -> tuple[list[Proposal], WaitFor, Future[Any]]:
        call = resolve(config)
        mixture = call.mixture
        own = [p for p in own_proposals(mixture, state["moa_proposals"]) if p.layer == layer]
        keep = mixture.keep or (lambda texts: range(len(texts)))
        filtered = in_thread(partial(without_outliers, own, keep))  # it may take its time
        # it comes after the layer's time, so it has some of its own
        policy = mixture.policy
        own_time = min(policy.layer_timeout, policy.proposer_timeout)
        until = min(call.until, monotonic() + own_time)
        return own, WaitFor(ticket=filtered, until=until), filtered

    def slots(own: list[Proposal], filtered: Future[Any]) -> dict[str, Any]:
        if not filtered.done():
            logger.warning("the proposal filter took too long; all proposals are kept")
        kept = filtered.result() if filtered.done() else own
        return {"moa_proposals": {proposal.key: proposal.to_state() for proposal in kept}}

    def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
        own, wait, filtered = start(state, config)
        wait.do()
        return slots(own, filtered)

    async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
        own, wait, filtered = start(state, config)
        await wait.ado()
        return slots(own, filtered)

    return Node(FILTER_NODE, run, arun)


def _slot(proposal: Proposal) -> dict[str, Any]:
    return {"moa_proposals": {proposal.key: proposal.to_state()}}


Conversation = Sequence[BaseMessage]


class LayersInTurn:
    """The state that one layer's graph hands to the next, and all proposals so far."""

    def __init__(self, call: CallInProgress, messages: Conversation) -> None:
        self.state: dict[str, Any] = {"messages": list(messages), "moa_proposals": {}}
        self.proposals: list[Proposal] = []
        self._call = call

    def take(self, layer: int, output: dict[str, Any]) -> None:
        """Keep a layer's proposals.

        Raises:
            NotEnoughProposalsError: They are too few.
        """
        slots = output["moa_proposals"]
        own = [p for p in own_proposals(self._call.mixture, slots) if p.layer == layer]
        self.proposals += own
        require_enough(self._call, own, self.proposals)
        self.state["moa_proposals"] = {p.key: slots[p.key] for p in self.proposals}


async def asked_together(
    turns: Sequence[Proposing], state: dict[str, Any], config: RunnableConfig
) -> dict[str, Any]:
    """A layer's proposals as its graph would give them; the first error ends all turns."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(turn.arun(state, config)) for turn in turns]
    except ExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__  # freed of its group, with its own cause
    own = {task.result().key: task.result().to_state() for task in tasks}
    return {"moa_proposals": {**state["moa_proposals"], **own}}
