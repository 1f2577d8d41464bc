"""A layer of reference models: its nodes, as a LangGraph graph or asked together."""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import lru_cache, partial
from time import monotonic
from typing import Annotated, Any, NamedTuple, TypeAlias, cast

from langchain_core.messages import AnyMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from langchain_moa.engine.call import CallInProgress, own_proposals
from langchain_moa.engine.deciding import require_messages
from langchain_moa.engine.proposer import Proposing
from langchain_moa.engine.renewal import renewing
from langchain_moa.errors import TellsOneLine
from langchain_moa.mixture import FILTER_NODE, Mixture
from langchain_moa.proposals.outliers import without_outliers
from langchain_moa.reliability.threads import in_thread
from langchain_moa.reliability.waiting import Plan, WaitFor, acarried_out, carried_out
from langchain_moa.tracing.callbacks import Setting
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable, Proposal

logger = logging.getLogger(__name__)


class LayerState(TypedDict, total=False):
    """What a layer's graph keeps. `add_messages` would write ids into the caller's messages."""

    messages: list[AnyMessage]
    moa_proposals: Annotated[dict[str, AnyDict], operator.or_]


class LayerOutput(TypedDict):
    """What a layer's graph gives: its own proposals, by slot."""

    moa_proposals: Annotated[dict[str, AnyDict], operator.or_]


CompiledGraph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]
Conversation: TypeAlias = Sequence[BaseMessage]
_Resolve: TypeAlias = Callable[[RunnableConfig], AbstractContextManager[CallInProgress]]
_Update: TypeAlias = AnyMapping | Command[str]

_call: ContextVar[CallInProgress] = ContextVar("moa_call")
"""The call in progress, for the nodes of a graph that all calls share."""


class LayerShape(NamedTuple):
    """What the graph of one layer depends on."""

    names: tuple[str, ...]
    in_turn: bool
    filters: bool


def shape_of(mixture: Mixture, layer: int) -> LayerShape:
    """What the graph of a mixture's layer depends on."""
    one_by_one = mixture.policy.max_concurrency == 1
    return LayerShape(mixture.names[layer - 1], one_by_one, mixture.keep is not None)


class Node(AnyRunnable):
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

    def invoke(self, input: object, config: RunnableConfig | None = None, **_: object) -> _Update:
        """Run the node in a thread."""
        with TellsOneLine():
            return self._run(input, config or RunnableConfig())

    async def ainvoke(
        self, input: object, config: RunnableConfig | None = None, **_: object
    ) -> _Update:
        """Run the node in an event loop."""
        with TellsOneLine():
            return await self._arun(input, config or RunnableConfig())


def run_graph(
    call: CallInProgress,
    layer: int,
    messages: Conversation,
    before: Sequence[Proposal],
    config: RunnableConfig,
) -> list[Proposal]:
    """A layer's proposals, asked for as a graph, which listeners see.

    Args:
        call: The call in progress.
        layer: The layer, counted from 1.
        messages: The caller's conversation.
        before: All proposals of the layers before.
        config: The configuration of the graph's run.
    """
    graph = _shared_layer_graph(layer, shape_of(call.mixture, layer))
    with Setting([(_call, call)]):
        output = graph.invoke(_state_of(messages, before), config)
    return _of_layer(call, layer, output)


async def arun_graph(
    call: CallInProgress,
    layer: int,
    messages: Conversation,
    before: Sequence[Proposal],
    config: RunnableConfig,
) -> list[Proposal]:
    """The async twin of `run_graph`."""
    graph = _shared_layer_graph(layer, shape_of(call.mixture, layer))
    with Setting([(_call, call)]):
        output = await graph.ainvoke(_state_of(messages, before), config)
    return _of_layer(call, layer, output)


async def asked_together(
    proposers: Sequence[Proposing],
    messages: Conversation,
    before: Sequence[Proposal],
    config: RunnableConfig,
) -> list[Proposal]:
    """The proposals that their layer's graph would give; the first error ends all of them."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.arun(messages, before, config)) for one in proposers]
    except ExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__  # freed of its group, with its own cause
    return [task.result() for task in tasks]


@lru_cache(maxsize=256)
def _shared_layer_graph(layer: int, shape: LayerShape) -> CompiledGraph:
    """A layer's graph for all chat models; compiling costs as much as running it."""
    return layer_graph(lambda _: nullcontext(_call.get()), layer, shape, checkpointer=False)


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
    compiled = graph.compile(checkpointer=checkpointer, name=f"layer_{layer}")
    # LangGraph sizes its pool by the machine's cores, but members only wait
    own = RunnableConfig(metadata={"moa_layer": layer}, max_concurrency=len(shape.names))
    return compiled.with_config(own)


def _proposer_node(resolve: _Resolve, layer: int, index: int, name: str) -> Node:
    def run(state: LayerState, config: RunnableConfig) -> LayerOutput:
        with resolve(config) as call:
            require_messages(state["messages"])
            proposer, known = Proposing(call, layer, index), _before(call, layer, state)
            before = carried_out(renewing(call, layer, state["messages"], known, config))
            return _given(call, before, known, proposer.run(state["messages"], before, config))

    async def arun(state: LayerState, config: RunnableConfig) -> LayerOutput:
        with resolve(config) as call:
            require_messages(state["messages"])
            proposer, known = Proposing(call, layer, index), _before(call, layer, state)
            before = await acarried_out(renewing(call, layer, state["messages"], known, config))
            own = await proposer.arun(state["messages"], before, config)
            return _given(call, before, known, own)

    return Node(name, run, arun)


def _given(
    call: CallInProgress, before: Sequence[Proposal], known: Sequence[Proposal], own: Proposal
) -> LayerOutput:
    """What a node gives: its proposal, and those of the layer before that were renewed."""
    if call.failures is not None:
        call.failures.note(own, call.causes.get(own.key))
    renewed = [new for new, old in zip(before, known, strict=True) if new is not old]
    return _output_of([*renewed, own])


def _filter_node(resolve: _Resolve, layer: int) -> Node:
    def run(state: LayerState, config: RunnableConfig) -> LayerOutput:
        with resolve(config) as call:
            return _output_of(carried_out(_filtered(call, layer, _of_layer(call, layer, state))))

    async def arun(state: LayerState, config: RunnableConfig) -> LayerOutput:
        with resolve(config) as call:
            own = _of_layer(call, layer, state)
            return _output_of(await acarried_out(_filtered(call, layer, own)))

    return Node(FILTER_NODE, run, arun)


def _filtered(
    call: CallInProgress, layer: int, own: Sequence[Proposal]
) -> Plan[Sequence[Proposal]]:
    """A layer's proposals without those that the user's filter leaves out.

    It comes after the layer's time, so it has some of its own; when that is over, all are kept.
    """
    policy, keep = call.mixture.policy, call.mixture.keep
    if keep is None:
        return own
    seconds = min(policy.layer_timeout, policy.proposer_timeout, call.share_of(layer))
    filtered = in_thread(partial(without_outliers, own, keep))
    yield WaitFor(ticket=filtered, until=monotonic() + seconds)
    if filtered.done():
        return filtered.result()
    logger.warning("the proposal filter took too long; all proposals are kept")
    return own


def _state_of(messages: Conversation, before: Sequence[Proposal]) -> LayerState:
    own = cast("list[AnyMessage]", list(messages))
    return LayerState(messages=own, **_output_of(before))


def _output_of(proposals: Sequence[Proposal]) -> LayerOutput:
    return LayerOutput(moa_proposals={p.key: p.to_state() for p in proposals})


def _before(call: CallInProgress, layer: int, state: AnyMapping) -> list[Proposal]:
    """The proposals of the layers before one."""
    known = own_proposals(call.mixture, state.get("moa_proposals", {}))
    return [p for p in known if p.layer < layer]


def _of_layer(call: CallInProgress, layer: int, state: AnyMapping) -> list[Proposal]:
    """The proposals of one layer."""
    known = own_proposals(call.mixture, state["moa_proposals"])
    return [p for p in known if p.layer == layer]
