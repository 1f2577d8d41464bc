"""Runs one call of the chat model: the layers in turn, then the final call itself.

The final call is made outside their graphs, so that the answer streams at the aggregator's own
speed, closes at once, and has the same run tree in `invoke`, `stream` and `batch`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import monotonic, perf_counter

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_moa.engine.aggregator import FinalCall
from langchain_moa.engine.call import (
    CallInProgress,
    require_enough,
    shown_proposals,
    usable_by_slot,
)
from langchain_moa.engine.consulting import Consulting
from langchain_moa.engine.deciding import deciding
from langchain_moa.engine.layer import Conversation, arun_graph, asked_together, run_graph
from langchain_moa.engine.proposer import Proposing
from langchain_moa.engine.request import require_no_recursion
from langchain_moa.engine.watch import Watch
from langchain_moa.members.adapters import as_chunk
from langchain_moa.members.bindings import Bindings, tools_of
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.tools import tool_names, tools_note
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.memory import SHARED_MEMORY
from langchain_moa.proposals.voting import voted
from langchain_moa.reliability.threads import in_thread, off_loop
from langchain_moa.reliability.waiting import Plan, acarried_out, carried_out
from langchain_moa.strategies.base import NO_FINDINGS, Findings
from langchain_moa.tracing.callbacks import (
    RunManager,
    caller_configurable,
    caller_thread,
    child_callbacks,
    final_config,
    heard_below,
    isolated,
    layers_config,
)
from langchain_moa.tracing.progress import Progress
from langchain_moa.types import RECORD_KEY, AnyDict, AnyRunnable, EventName, Proposal


@dataclass(frozen=True)
class MoARun:
    """One call of the chat model.

    Attributes:
        mixture: The mixture that is called.
        manager: The run that the chat model opened, or `None` when nobody listens.
        arguments: Call arguments of the final answer.
        bindings: What of them is otherwise for other members.
        kept: Proposals of an earlier try of this call, whose authors are not asked again.
        configurable: The caller's own `configurable` keys, for members that have use for them.
    """

    mixture: Mixture
    manager: RunManager | None
    arguments: AnyDict
    bindings: Bindings = field(default_factory=Bindings)
    kept: Sequence[Proposal] = ()
    configurable: AnyDict = field(default_factory=caller_configurable)

    def __post_init__(self) -> None:
        require_no_recursion(self.mixture)
        _ = self._called  # arguments that it can't take are found before anything is paid
        _ = self._thread  # while the caller's context is at hand

    @cached_property
    def _called(self) -> dict[Member, AnyRunnable]:
        """What is called for the answer, of the aggregator and its fallbacks."""
        candidates = self.mixture.aggregator.candidates
        return {member: self._bound(member, in_thread=False) for member in candidates}

    def _aggregating(self, member: Member, *, in_thread: bool) -> AnyRunnable:
        return self._bound(member, in_thread=True) if in_thread else self._called[member]

    def _bound(self, member: Member, *, in_thread: bool) -> AnyRunnable:
        place = self.mixture.aggregator.candidates.index(member)
        bound = self.bindings.aggregator(place)
        knowing = member if bound is None else member.on(bound.inside, of=bound.model)
        arguments = self.bindings.arguments(place, self.arguments)
        return self.mixture.aggregating(knowing, arguments, in_thread=in_thread)

    @cached_property
    def _thread(self) -> tuple[str, ...]:
        return caller_thread(self.manager.metadata if self.manager else {})

    def invoke(self, messages: Conversation) -> AIMessage:
        """The answer, each layer's members asked in threads.

        Raises:
            NotEnoughProposalsError: A layer gave too few usable proposals.
            AggregationError: The aggregator failed.
        """
        with self._watch() as watch:
            final = self._final_call(messages)
            return watch.answered(self._voted(final.invoke(), final.proposals))

    async def ainvoke(self, messages: Conversation) -> AIMessage:
        """The async twin of `invoke`: each layer's members are asked concurrently."""
        async with self._watch() as watch:
            final = await self._afinal_call(messages)
            answer, proposals = await final.ainvoke(), final.proposals
            counted = sum(len(proposal.text) for proposal in proposals)
            return watch.answered(await off_loop(partial(self._voted, answer, proposals), counted))

    def stream(self, messages: Conversation) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record."""
        if self.bindings.vote:  # the majority is known at the end only
            yield as_chunk(self.invoke(messages))
            return
        with self._watch() as watch:
            final = self._final_call(messages)
            with closing(final.stream()) as chunks:
                for chunk in chunks:
                    yield watch.answered(chunk)

    async def astream(self, messages: Conversation) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        if self.bindings.vote:
            yield as_chunk(await self.ainvoke(messages))
            return
        async with self._watch() as watch:
            final = await self._afinal_call(messages)
            async with aclosing(final.astream()) as chunks:
                async for chunk in chunks:
                    yield watch.answered(chunk)

    def _proposals(self, messages: Conversation) -> list[Proposal]:
        if not carried_out(self._deciding(messages)):
            return self._recalled(messages)
        return self._kept(messages, self._run_layers(messages))

    async def _aproposals(self, messages: Conversation) -> list[Proposal]:
        if not await acarried_out(self._deciding(messages)):
            return self._recalled(messages)
        return self._kept(messages, await self._arun_layers(messages))

    def _deciding(self, messages: Conversation) -> Plan[bool]:
        """Whether the reference models are asked, decided before anything is paid.

        Raises:
            MoAConfigurationError: There is nothing to answer.
            UnsupportedContentError: Who is asked cannot take the conversation.
        """
        own = tool_names(self._tools) if self._tools else ()
        return deciding(self._call, messages, own)

    def _kept(
        self, messages: Conversation, proposals: list[Proposal], notes: str = ""
    ) -> list[Proposal]:
        """The proposals, remembered where tool turns may follow, with an analyst's notes."""
        if self.mixture.settings.reuse_proposals and self._tools:
            mixture, thread = self.mixture.drafts_fingerprint, self._thread
            SHARED_MEMORY.keep(mixture, messages, proposals, thread, notes)
        return proposals

    def _recalled(self, messages: Conversation) -> list[Proposal]:
        """What was proposed for the same user's turn, where it is known."""
        wanted = self.mixture.settings.reuse_proposals and self._tools
        mixture, thread = self.mixture.drafts_fingerprint, self._thread
        known = SHARED_MEMORY.recall(mixture, messages, thread) if wanted else []
        self._call.fan_out = "reused" if known else "alone"
        return known

    @cached_property
    def _tools(self) -> object:
        return tools_of(self.mixture.aggregator, self.bindings, self.arguments)

    def _voted(self, answer: AIMessage, proposals: Sequence[Proposal]) -> AIMessage:
        schema = self.bindings.schema
        if schema is None or not self.bindings.vote:
            return answer
        texts = [p.text for p in shown_proposals(proposals, self.mixture.layers)]
        result, vote = voted(answer, texts, self.bindings.vote, schema)
        record = {**result.response_metadata[RECORD_KEY], "vote": vote}
        metadata = {**result.response_metadata, RECORD_KEY: record}
        return result.model_copy(update={"response_metadata": metadata})

    def _run_layers(self, messages: Conversation) -> list[Proposal]:
        call, proposals = self._call, list[Proposal]()
        for layer in range(1, self.mixture.layers):
            started = perf_counter()
            call.progress.emit("layer_started", layer=layer)
            config = layers_config(self.manager, self.configurable)
            own = self._interruptibly(
                layer, partial(run_graph, call, layer, messages, proposals, config)
            )
            proposals += own
            require_enough(call, own, proposals)
            call.progress.emit("layer_finished", layer=layer, seconds=_since(started))
        return proposals

    async def _arun_layers(self, messages: Conversation) -> list[Proposal]:
        call, proposals = self._call, list[Proposal]()
        for layer, members in enumerate(self.mixture.proposers, start=1):
            started = perf_counter()
            await call.progress.aemit("layer_started", layer=layer)
            if self._is_watched:
                config = layers_config(self.manager, self.configurable)
                own = await arun_graph(call, layer, messages, proposals, config)
            else:
                config = layers_config(None, self.configurable)
                proposers = [Proposing(call, layer, index) for index in range(len(members))]
                own = await asked_together(proposers, messages, proposals, config)
            proposals += own
            require_enough(call, own, proposals)
            await call.progress.aemit("layer_finished", layer=layer, seconds=_since(started))
        return proposals

    @property
    def _is_watched(self) -> bool:
        """Whether anybody could tell a layer's graph from its members asked together.

        All that a graph adds are runs for handlers to hear of, and it takes as much CPU as half of
        a member's call.
        """
        heard = self.manager is not None and bool(heard_below(self.manager))
        return heard or not self.mixture.is_plain

    def _interruptibly(self, layer: int, run: Callable[[], list[Proposal]]) -> list[Proposal]:
        """Run a layer in a thread, for Ctrl-C to end the wait for all its members at once.

        LangGraph would wait for every member before it hands the interrupt on.
        """
        running = in_thread(run)
        try:
            return running.result()
        except BaseException:
            self._call.layer(layer).gate.open("the call was interrupted")
            raise

    @cached_property
    def _call(self) -> CallInProgress:
        callbacks = child_callbacks(self.manager, streaming=True)
        run_id = self.manager.run_id if self.manager else None
        mixture = self.mixture
        listener, patience = mixture.settings.on_progress, mixture.policy.patience
        progress = Progress(run_id, callbacks, listener, patience)
        return CallInProgress(
            self.mixture,
            progress,
            monotonic() + self.mixture.policy.timeout,
            bindings=self.bindings,
            tools_note=tools_note(self._tools) if self.mixture.settings.describe_tools else None,
            kept=usable_by_slot(self.kept),
        )

    def _final_call(self, messages: Conversation) -> FinalCall:
        """The final call, ready to be made: the layers have run, and who is consulted was asked."""
        with isolated():
            proposals = self._proposals(messages)
            consulting = self._consulting(messages, proposals)
            found = None if consulting is None else consulting.invoke()
        return self._final(messages, proposals, found)

    async def _afinal_call(self, messages: Conversation) -> FinalCall:
        """The async twin of `_final_call`."""
        with isolated():
            proposals = await self._aproposals(messages)
            consulting = self._consulting(messages, proposals)
            found = None if consulting is None else await consulting.ainvoke()
        return self._final(messages, proposals, found)

    def _consulting(self, messages: Conversation, proposals: list[Proposal]) -> Consulting | None:
        """Who is consulted in the turns that ask the reference models."""
        strategy, adviser = self.mixture.strategy, self.mixture.adviser
        if strategy is None or adviser is None or self._call.fan_out != "layers":
            return None
        aggregator = self._called[self.mixture.aggregator]
        layers, role = self.mixture.layers, strategy.role
        return Consulting(
            call=self._call,
            strategy=strategy,
            adviser=adviser,
            messages=messages,
            proposals=proposals,
            config=final_config(self.manager, self.configurable, layers, role),
            arguments=model_and_arguments(aggregator)[1],
        )

    def _final(
        self, messages: Conversation, proposals: list[Proposal], found: Findings | None
    ) -> FinalCall:
        if found is not None and found.notes:
            self._kept(messages, proposals, found.notes)
        findings = self._recalled_findings(messages) if found is None else found
        config = final_config(self.manager, self.configurable, self.mixture.layers)
        return FinalCall(self._call, messages, proposals, config, self._aggregating, findings)

    def _recalled_findings(self, messages: Conversation) -> Findings:
        """What an analyst found in the proposals that are read again."""
        if self.mixture.strategy is None or self._call.fan_out != "reused":
            return NO_FINDINGS
        mixture, thread = self.mixture.drafts_fingerprint, self._thread
        return Findings(notes=SHARED_MEMORY.recall_notes(mixture, messages, thread))

    def _watch(self) -> Watch:
        return Watch(self._call.progress, partial(_outcome, perf_counter()), "call_started")


def _outcome(
    started: float, error: BaseException | None, answer: AIMessage | None
) -> tuple[EventName, AnyDict]:
    """The event that tells of the call's end."""
    seconds = _since(started)
    record = answer.response_metadata.get(RECORD_KEY) if answer is not None else None
    if record is not None:  # a stream may be left early, but after the last chunk
        return "call_finished", {"seconds": seconds, "usage": record["usage"]}
    if isinstance(error, Exception):
        return "call_failed", {"seconds": seconds, "error": f"{type(error).__name__}: {error}"}
    return "call_cut", {"seconds": seconds}


def _since(started: float) -> float:
    """Seconds since a reading of `perf_counter`, to the microsecond."""
    return round(perf_counter() - started, 6)
