"""Who is measured: the mixture, and what one would write with plain LangChain instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_together import ChatTogether
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from benchmarks.server import PROPOSERS, Address
from langchain_moa import MoAChatModel
from langchain_moa.prompts import AGGREGATOR_PROMPT, parse_prompt, with_proposals

QUESTION = [HumanMessage("What are 3 fun things to do in SF?")]
_TEMPLATE = parse_prompt(AGGREGATOR_PROMPT)


class Members:
    """The same `ChatTogether` objects for everybody."""

    def __init__(self, address: Address, aggregator: str) -> None:
        def together(model: str) -> ChatTogether:
            return ChatTogether(
                model=model,
                api_key=SecretStr(address.api_key),
                base_url=address.base_url,
                stream_usage=True,
            )

        self.proposers = [together(name) for name in PROPOSERS]
        self.aggregator = together(aggregator)


def mixture(members: Members, layers: int) -> MoAChatModel:
    """The mixture of the members."""
    return MoAChatModel(
        reference_models=members.proposers, aggregator=members.aggregator, layers=layers
    )


async def gathered(members: Members, layers: int) -> list[Any]:
    """The last conversation of a mixture made by `asyncio.gather`."""
    messages: list[Any] = QUESTION
    for _ in range(layers - 1):
        answers = await asyncio.gather(*(model.ainvoke(messages) for model in members.proposers))
        messages = with_proposals(QUESTION, [a.text for a in answers], _TEMPLATE, "user")
    return messages


async def plain_invoke(members: Members, layers: int) -> Any:
    """Plain LangChain: gather, then the aggregator."""
    return await members.aggregator.ainvoke(await gathered(members, layers))


async def plain_stream(members: Members, layers: int) -> AsyncIterator[Any]:
    """Plain LangChain: gather, then stream the aggregator."""
    async for chunk in members.aggregator.astream(await gathered(members, layers)):
        yield chunk


def in_graph(members: Members, *, naive: bool) -> Any:
    """A parent graph whose node calls the mixture, or all the models by itself."""
    llm = mixture(members, 2)

    async def answer(state: MessagesState) -> Any:
        if naive:
            return {"messages": [await plain_invoke(members, 2)]}
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile()
