"""Runs one call of the chat model: the layers' graphs in turn, then the final call itself.

The final call is made outside the graph, so that the answer streams at the aggregator's own
speed, closes at once, and has the same run tree in `invoke`, `stream` and `batch`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa.answer import AnswerStream, aggregation_errors, final_call, finished_answer
from langchain_moa.callbacks import (
    RunManager,
    caller_configurable,
    final_config,
    isolated,
    layers_config,
)
from langchain_moa.calls import MemberCall
from langchain_moa.graph import shared_layer_graph
from langchain_moa.layers import CallInProgress, layer_proposals, require_enough
from langchain_moa.members import as_chunk, as_message
from langchain_moa.mixture import Mixture
from langchain_moa.stepping import astepped, stepped
from langchain_moa.types import Proposal

Conversation = Sequence[BaseMessage]


@dataclass(frozen=True)
class MoARun:
    """One call of the chat model.

    Attributes:
        mixture: The mixture that is called.
        manager: The run that the chat model opened, or `None` when nobody listens.
        arguments: Call arguments of the final answer.
        configurable: The caller's own `configurable` keys, for members that have use for them.
    """

    mixture: Mixture
    manager: RunManager | None
    arguments: dict[str, Any]
    configurable: dict[str, Any] = field(default_factory=caller_configurable)

    def invoke(self, messages: Conversation) -> AIMessage:
        """The answer, each layer's members asked in threads.

        Raises:
            NotEnoughProposalsError: A layer gave too few usable proposals.
            AggregationError: The aggregator failed.
        """
        with isolated():
            proposals = self._run_layers(messages)
            call = self._final_call(messages, proposals)
            with aggregation_errors(call, proposals):
                message = as_message(call.runnable.invoke(call.input, call.config))
        return finished_answer(self.mixture, call, message, proposals)

    async def ainvoke(self, messages: Conversation) -> AIMessage:
        """The async twin of `invoke`: each layer's members are asked concurrently."""
        with isolated():
            proposals = await self._arun_layers(messages)
            call = self._final_call(messages, proposals)
            with aggregation_errors(call, proposals):
                message = as_message(await call.runnable.ainvoke(call.input, call.config))
        return finished_answer(self.mixture, call, message, proposals)

    def stream(self, messages: Conversation) -> Generator[AIMessageChunk, None, None]:
        """The answer's chunks as the aggregator gives them; the last one has the record."""
        with isolated():
            proposals = self._run_layers(messages)
        call = self._final_call(messages, proposals)
        answer = AnswerStream(self.mixture, call, proposals)
        pieces = stepped(_pieces(call), isolated)
        with aggregation_errors(call, proposals), closing(pieces):
            for piece in pieces:
                yield from answer.passed_on(as_chunk(piece))
        yield answer.last()

    async def astream(self, messages: Conversation) -> AsyncGenerator[AIMessageChunk, None]:
        """The async twin of `stream`."""
        with isolated():
            proposals = await self._arun_layers(messages)
        call = self._final_call(messages, proposals)
        answer = AnswerStream(self.mixture, call, proposals)
        with aggregation_errors(call, proposals):
            async with aclosing(astepped(_apieces(call), isolated)) as pieces:
                async for piece in pieces:
                    for chunk in answer.passed_on(as_chunk(piece)):
                        yield chunk
        yield answer.last()

    def _run_layers(self, messages: Conversation) -> list[Proposal]:
        layers = _LayersInTurn(self._call, messages)
        for layer, names in enumerate(self.mixture.names, start=1):
            config = self._layer_config(layer, names)
            layers.take(layer, shared_layer_graph(layer, names).invoke(layers.state, config))
        return layers.proposals

    async def _arun_layers(self, messages: Conversation) -> list[Proposal]:
        layers = _LayersInTurn(self._call, messages)
        for layer, names in enumerate(self.mixture.names, start=1):
            config = self._layer_config(layer, names)
            output = await shared_layer_graph(layer, names).ainvoke(layers.state, config)
            layers.take(layer, output)
        return layers.proposals

    @cached_property
    def _call(self) -> CallInProgress:
        return CallInProgress(self.mixture)

    def _layer_config(self, layer: int, names: tuple[str, ...]) -> RunnableConfig:
        config = layers_config(self.manager, self.configurable, self._call)
        config["run_name"] = f"layer_{layer}"
        config["metadata"] = {"moa_layer": layer}
        # LangGraph sizes its pool by the machine's cores, but members only wait
        config["max_concurrency"] = len(names)
        return config

    def _final_call(self, messages: Conversation, proposals: Sequence[Proposal]) -> MemberCall:
        config = final_config(self.manager, self.configurable)
        return final_call(self.mixture, messages, proposals, config, self.arguments)


class _LayersInTurn:
    """The state that one layer's graph hands to the next, and all proposals so far."""

    def __init__(self, call: CallInProgress, messages: Conversation) -> None:
        self.state: dict[str, Any] = {"messages": list(messages), "moa_proposals": {}}
        self.proposals: list[Proposal] = []
        self._call = call

    def take(self, layer: int, output: dict[str, Any]) -> None:
        """Keep a layer's proposals; the next layer is shown these and no earlier ones.

        Raises:
            NotEnoughProposalsError: They are too few.
        """
        slots = output["moa_proposals"]
        own = layer_proposals(slots, layer)
        self.proposals += own
        require_enough(self._call, own, self.proposals)
        self.state["moa_proposals"] = {proposal.key: slots[proposal.key] for proposal in own}


def _pieces(call: MemberCall) -> Iterator[Any]:
    """The aggregator's output piece by piece; a graph's all at once."""
    if not call.member.streams:
        yield call.runnable.invoke(call.input, call.config)
        return
    yield from call.runnable.stream(call.input, call.config)


async def _apieces(call: MemberCall) -> AsyncIterator[Any]:
    """The async twin of `_pieces`."""
    if not call.member.streams:
        yield await call.runnable.ainvoke(call.input, call.config)
        return
    async with aclosing(
        cast("AsyncGenerator[Any, None]", call.runnable.astream(call.input, call.config))
    ) as pieces:
        async for piece in pieces:
            yield piece
