"""The LangGraph graph: layers of reference models, then the aggregator.

Layers are graphs of their own: the chat model runs them in turn and makes the final call
itself (so that the answer streams at the aggregator's own speed and closes at once), and
`create_moa_graph` puts the same layers and an `aggregator` node into one public graph.
"""

from __future__ import annotations

import inspect
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, Final, ParamSpec, TypeVar

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command
from pydantic import Field, SkipValidation

# typing.TypedDict below Python 3.12 leaves graph schemas empty
from typing_extensions import TypedDict

from langchain_moa.accounting.budget import Ledger
from langchain_moa.accounting.usage import with_usage
from langchain_moa.config.build import build_mixture
from langchain_moa.config.lineup import Aggregators, ReferenceModels
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.engine.aggregator import FinalCall
from langchain_moa.engine.call import (
    CallInProgress,
    LayerInProgress,
    own_proposals,
    require_enough,
    usable_by_slot,
)
from langchain_moa.engine.consulting import Consulting
from langchain_moa.engine.deciding import deciding
from langchain_moa.engine.drawing import drawn
from langchain_moa.engine.layer import CompiledGraph, Node, layer_graph, shape_of
from langchain_moa.engine.renewal import Failures, renewing
from langchain_moa.engine.request import require_no_recursion
from langchain_moa.errors import without_variables
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.mixture import Mixture
from langchain_moa.reliability.waiting import Plan, acarried_out, carried_out
from langchain_moa.strategies.base import NO_FINDINGS, Findings, Strategy
from langchain_moa.strategies.known import CONSULTING
from langchain_moa.tracing.callbacks import aggregator_config, proposer_config
from langchain_moa.tracing.progress import Progress
from langchain_moa.types import AnyDict, AnyRunnable, FanOutDecision, Proposal

_MOST_LAYERS: Final = 4096
AGGREGATOR_NODE: Final = "aggregator"
FAN_OUT_NODE: Final = "fan_out"
_LAYER: Final = "layer_"
_ROLES: Final = [strategy.role for strategy in CONSULTING.values()]
"""Nodes between the last layer and the aggregator's."""


def _add_copies(left: Any, right: Any) -> object:
    """`add_messages` on copies, for it writes ids into the messages that it is given."""
    given = right if isinstance(right, list) else [right]
    copies = [m.model_copy() if isinstance(m, BaseMessage) else m for m in given]
    return add_messages(left, copies)


class MoAGraph(CompiledGraph):
    """A mixture's compiled graph; a notebook shows it as text.

    LangGraph's own graphs are shown as a picture that a web service draws: to look at one would
    send the members' names away.
    """

    def _repr_mimebundle_(self, **_: object) -> AnyDict:
        """What a notebook shows, made here: the drawing that `langchain-moa graph` prints."""
        layers = [
            [name for name in getattr(spec.runnable, "nodes", {}) if not name.startswith("__")]
            for node, spec in self.builder.nodes.items()
            if node.startswith(_LAYER)
        ]
        found = [role for role in _ROLES if role in self.builder.nodes]
        consulted = (found[0], found[0]) if found else None
        return {"text/plain": drawn([*layers, [AGGREGATOR_NODE]], consulted)}


class _MoAStateGraph(StateGraph[Any, Any, Any, Any]):
    """The builder of a mixture's graph, for it to be one whenever it is compiled."""

    def compile(self, *args: Any, **kwargs: Any) -> MoAGraph:
        """Compile the graph, with a checkpointer for one; see `StateGraph.compile`."""
        compiled = super().compile(*args, **kwargs)
        return MoAGraph(**{k: v for k, v in vars(compiled).items() if k != "__orig_class__"})


class MoAInput(TypedDict):
    """What the graph takes and gives: a conversation, as any agent's graph does."""

    messages: Annotated[list[AnyMessage], _add_copies]


class MoAState(MoAInput, total=False):
    """What the graph keeps while it runs: plain JSON beside the conversation."""

    moa_proposals: Annotated[dict[str, AnyDict], operator.or_]
    moa_fan_out: FanOutDecision
    moa_findings: AnyDict


_P = ParamSpec("_P")
_SettingsT = TypeVar("_SettingsT")
_T = TypeVar("_T")


def _taking(
    settings: Callable[_P, _SettingsT],
) -> Callable[[Callable[[_SettingsT], _T]], Callable[_P, _T]]:
    """Give a function of settings the arguments of their class, for type checkers, too."""

    def decorate(function: Callable[[_SettingsT], _T]) -> Callable[_P, _T]:
        signature = _signature(settings)
        make: Any = settings

        @wraps(function)
        def with_settings(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return function(make(**signature.bind_partial(*args).arguments, **kwargs))

        with_settings.__dict__["__signature__"] = signature
        return with_settings

    return decorate


def _signature(settings: Any) -> inspect.Signature:
    """The arguments of a class of settings, made without building it."""
    required, optional = list[Parameter](), list[Parameter]()
    for name, given in settings.model_fields.items():
        if given.kw_only is False:
            kind = Parameter.POSITIONAL_OR_KEYWORD
            required.append(Parameter(name, kind, annotation=given.annotation))
        else:
            default = given.get_default(call_default_factory=True)
            keyword = Parameter(name, Parameter.KEYWORD_ONLY, annotation=given.annotation)
            optional.append(keyword.replace(default=default))
    return inspect.Signature([*required, *optional], return_annotation=CompiledGraph)


class _GraphSettings(MixtureSettings):
    """What `create_moa_graph` takes; the members may be given by place, too."""

    reference_models: SkipValidation[ReferenceModels] = Field(kw_only=False)
    aggregator: SkipValidation[Aggregators] = Field(kw_only=False)
    name: str = "moa"


@without_variables
@_taking(_GraphSettings)
def create_moa_graph(settings: _GraphSettings) -> CompiledGraph:
    """Build a mixture of agents as a LangGraph graph.

    It takes and gives `{"messages": [...]}` and appends exactly one `AIMessage`, so that it is
    a subgraph for any graph over `MessagesState`. Compile `graph.builder` again for a
    checkpointer of its own or for breakpoints before `aggregator`.

    Args:
        settings: The settings of `MoAChatModel`, as keyword arguments; `reference_models` and
            `aggregator` may come first without their names. And `name`, that of the graph, seen in
            traces and drawings.

    Returns:
        The compiled graph.

    Raises:
        MoAConfigurationError: An argument is wrong; the message names it and what to give.
        MissingExtraError: A string names a provider whose package is not installed.

    Example:
        >>> from langchain_moa import create_moa_graph
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> graph = create_moa_graph(
        ...     [ScriptedChatModel.saying("4"), ScriptedChatModel.saying("four")],
        ...     aggregator=ScriptedChatModel.saying("It is 4."),
        ... )
        >>> graph.invoke({"messages": ["2 + 2?"]})["messages"][-1].content
        'It is 4.'
    """
    return mixture_graph(build_mixture(settings), settings.name)


def mixture_graph(mixture: Mixture, name: str, kept: Sequence[Proposal] = ()) -> CompiledGraph:
    """The public graph of a checked mixture, some of whose proposals may have been made before."""
    resolve = _LayerCalls(mixture, kept)
    graph = _MoAStateGraph(MoAState, input_schema=MoAInput, output_schema=MoAInput)
    before = _entrance(graph, mixture)
    for layer in range(1, mixture.layers):
        node = f"{_LAYER}{layer}"
        graph.add_node(
            node, layer_graph(resolve, layer, shape_of(mixture, layer), checkpointer=None)
        )
        if before is not None:
            graph.add_edge(before, node)
        before = node
    last = f"{_LAYER}{mixture.layers - 1}"
    if mixture.strategy is not None and mixture.adviser is not None:
        role = mixture.strategy.role
        graph.add_node(
            role, _adviser_node(mixture, mixture.strategy, mixture.adviser, resolve.failures)
        )
        graph.add_edge(last, role)
        last = role
    graph.add_node(AGGREGATOR_NODE, _aggregator_node(mixture, resolve.failures))
    graph.add_edge(last, AGGREGATOR_NODE)
    graph.add_edge(AGGREGATOR_NODE, END)
    return graph.compile(name=name)


def _may_skip_layers(mixture: Mixture) -> bool:
    """Whether the layers may be passed by: no tools are bound, so each turn is a user's."""
    return mixture.settings.fan_out not in ("always", "user_turns")


def _entrance(graph: _MoAStateGraph, mixture: Mixture) -> str | None:
    """What comes before the first layer; `None` where that is a node that says who is next.

    It decides once for all nodes, before anything is paid, and the state keeps the decision where
    a run is resumed elsewhere.
    """
    if not _may_skip_layers(mixture) and mixture.settings.on_unsupported == "drop_content":
        return START

    def plan(state: Any, config: RunnableConfig) -> Plan[bool]:
        return deciding(_node_call(mixture, config), state["messages"], ())

    def run(state: Any, config: RunnableConfig) -> Command[str]:
        return decided(asked=carried_out(plan(state, config)))

    async def arun(state: Any, config: RunnableConfig) -> Command[str]:
        return decided(asked=await acarried_out(plan(state, config)))

    def decided(*, asked: bool) -> Command[str]:
        decision: FanOutDecision = "layers" if asked else "alone"
        goto = "layer_1" if asked else AGGREGATOR_NODE
        return Command(update={"moa_fan_out": decision}, goto=goto)

    node = Node(FAN_OUT_NODE, run, arun)
    ways = ("layer_1", AGGREGATOR_NODE) if _may_skip_layers(mixture) else ("layer_1",)
    graph.add_node(FAN_OUT_NODE, node, destinations=ways)
    graph.add_edge(START, FAN_OUT_NODE)
    return None


@dataclass(eq=False, slots=True)
class _LayerRun:
    """What the nodes of one run of a layer share.

    Attributes:
        layers: The layer's state.
        ledger: What the layer has spent.
        renewals: What is renewed of the layer before, see `CallInProgress`.
        causes: The exceptions behind failed proposals, by slot.
        begun: Names of the nodes that have begun.
        broken: Whether one of them ended by an error, or was cancelled.
    """

    layers: dict[int, LayerInProgress] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    renewals: dict[int, Future[list[Proposal]]] = field(default_factory=dict)
    causes: dict[str, Exception] = field(default_factory=dict)
    begun: set[object] = field(default_factory=set)
    broken: bool = False


class _LayerCalls:
    """The calls in progress of the public graph's layers, for the nodes of a layer to share.

    Its nodes share graph state alone; but all of one run of a layer are in one checkpoint
    namespace. A run that is resumed has the namespace of the one that was broken off. It is told by
    a node that begins a second time; then nothing is kept of the run before: the layer begins anew,
    as it does in another process. The oldest are dropped: a
    layer that is that old has lost its quorum's count, and waits for all.
    """

    def __init__(self, mixture: Mixture, kept: Sequence[Proposal]) -> None:
        self.failures = Failures()
        self._mixture = mixture
        self._kept = usable_by_slot(kept)
        self._runs: OrderedDict[str, _LayerRun] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, config: RunnableConfig) -> Iterator[CallInProgress]:
        """The call as one node knows it, while the node is under way."""
        namespace = config.get("configurable", {}).get("checkpoint_ns", "").rpartition("|")[0]
        node = config.get("metadata", {}).get("langgraph_node")
        with self._lock:
            known = self._runs.get(namespace)
            again = known is not None and known.broken and node in known.begun
            run = _LayerRun() if known is None or again else known
            run.begun.add(node)
            self._runs[namespace] = run
            while len(self._runs) > _MOST_LAYERS:
                self._runs.popitem(last=False)
        try:
            own = _node_call(self._mixture, config, self.failures)
            shared = replace(own, layers=run.layers, ledger=run.ledger, renewals=run.renewals)
            yield replace(shared, causes=run.causes, kept=self._kept)
        except BaseException:
            run.broken = True
            raise


def _node_call(
    mixture: Mixture, config: RunnableConfig, failures: Failures | None = None
) -> CallInProgress:
    """The call as one node of the public graph knows it, whose run is its caller's.

    So it has no deadline as a whole.
    """
    require_no_recursion(mixture)
    callbacks = config.get("callbacks")
    manager = callbacks if isinstance(callbacks, BaseCallbackManager) else None
    run_id = manager.parent_run_id if manager else None
    patience = mixture.policy.patience
    progress = Progress(run_id, manager, mixture.settings.on_progress, patience)
    return CallInProgress(mixture, progress, failures=failures)


def _proposals_read(
    call: CallInProgress, state: Any, config: RunnableConfig
) -> Plan[list[Proposal]]:
    """The layers' proposals for who reads them last, those renewed that an earlier run lacked.

    Raises:
        NotEnoughProposalsError: The last layer gave too few.
    """
    layers = call.mixture.layers
    proposals = own_proposals(call.mixture, state.get("moa_proposals", {}))
    proposals = yield from renewing(call, layers, state["messages"], proposals, config)
    require_enough(call, [p for p in proposals if p.layer == layers - 1], proposals)
    return proposals


def _as_state(proposals: Sequence[Proposal]) -> dict[str, AnyDict]:
    return {p.key: p.to_state() for p in proposals}


def _adviser_node(
    mixture: Mixture, strategy: Strategy, adviser: Member, failures: Failures
) -> Node:
    layers = mixture.layers

    def start(state: Any, config: RunnableConfig) -> Plan[Consulting]:
        call = _node_call(mixture, config, failures)
        return Consulting(
            call=call,
            strategy=strategy,
            adviser=adviser,
            messages=state["messages"],
            proposals=(yield from _proposals_read(call, state, config)),
            config=proposer_config(config, layer=layers, index=0, tokens=False, role=strategy.role),
            arguments=model_and_arguments(mixture.aggregator.runnable)[1],
        )

    def run(state: Any, config: RunnableConfig) -> AnyDict:
        consulting = carried_out(start(state, config))
        return given(consulting, consulting.invoke())

    async def arun(state: object, config: RunnableConfig) -> AnyDict:
        consulting = await acarried_out(start(state, config))
        return given(consulting, await consulting.ainvoke())

    def given(consulting: Consulting, findings: Findings) -> AnyDict:
        return {
            "moa_findings": findings.to_state(),
            "moa_proposals": _as_state(consulting.proposals),
        }

    return Node(strategy.role, run, arun)


def _aggregator_node(mixture: Mixture, failures: Failures) -> Node:
    called = {
        (member, in_thread): mixture.aggregating(member, {}, in_thread=in_thread)
        for member in mixture.aggregator.candidates
        for in_thread in (True, False)
    }

    def aggregating(member: Member, *, in_thread: bool) -> AnyRunnable:
        return called[member, in_thread]

    def start(state: Any, config: RunnableConfig) -> Plan[FinalCall]:
        call = _node_call(mixture, config, failures)
        proposals, findings = list[Proposal](), NO_FINDINGS
        if _may_skip_layers(mixture) and state.get("moa_fan_out") == "alone":
            call.fan_out = "alone"
        else:
            proposals = yield from _proposals_read(call, state, config)
            if mixture.strategy is not None:  # else they are of another mixture on this thread
                findings = Findings.from_state(state.get("moa_findings"))
        own = aggregator_config(config, mixture.layers)
        return FinalCall(call, state["messages"], proposals, own, aggregating, findings)

    def run(state: Any, config: RunnableConfig) -> AnyDict:
        final = carried_out(start(state, config))
        return given(final, final.invoke())

    async def arun(state: object, config: RunnableConfig) -> AnyDict:
        final = await acarried_out(start(state, config))
        return given(final, await final.ainvoke())

    def given(final: FinalCall, answer: AIMessage) -> AnyDict:
        return {
            "messages": [with_usage(answer)],
            "moa_proposals": _as_state(final.proposals),
        }

    return Node(AGGREGATOR_NODE, run, arun)
