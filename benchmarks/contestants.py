"""Who is measured: the mixture, and what one would write with plain LangChain instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tracers.context import register_configure_hook
from langchain_together import ChatTogether
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import SecretStr

from benchmarks.roster import ANALYST, CHOOSER, Call, Job
from langchain_moa import MoAChatModel
from langchain_moa.proposals.prompt import parse_prompt, with_proposals
from langchain_moa.strategies.compare import PROMPT as COMPARE_PROMPT
from langchain_moa.strategies.compare import SCHEMA as COMPARE_SCHEMA
from langchain_moa.strategies.select import PROMPT as SELECT_PROMPT
from langchain_moa.strategies.select import SCHEMA as SELECT_SCHEMA

_handler: ContextVar[UsageMetadataCallbackHandler | None] = ContextVar("handler", default=None)
register_configure_hook(_handler, inheritable=True)

Answer = Callable[[list[AnyMessage]], Awaitable[Any]]
"""Makes a conversation's answer."""


def conversation(job: Job) -> list[AnyMessage]:
    """A job's conversation as messages."""
    return [HumanMessage(t) if role == "user" else AIMessage(t) for role, t in job.messages]


@cache
def _together(model: str, *, base_url: str, api_key: str) -> ChatTogether:
    """A model for all jobs of this process; to make one takes a tenth of a second."""
    return ChatTogether(
        model=model, api_key=SecretStr(api_key), base_url=base_url, stream_usage=True
    )


class Members:
    """The `ChatTogether` objects of a job, and its conversation."""

    def __init__(self, job: Job) -> None:
        together = partial(_together, base_url=job.base_url, api_key=job.api_key)
        self.layers = job.layers
        self.template = parse_prompt(job.prompt)
        self.proposers = [together(name) for name in job.proposers]
        self.aggregator = together(job.aggregator)
        self.messages = conversation(job)

    def mixture(self) -> MoAChatModel:
        """The mixture of them."""
        return MoAChatModel(
            reference_models=self.proposers, aggregator=self.aggregator, layers=self.layers
        )

    async def gathered(self) -> list[Any]:
        """The last conversation of a mixture made by `asyncio.gather`."""
        messages: list[Any] = self.messages
        for _ in range(self.layers - 1):
            answers = await asyncio.gather(*(model.ainvoke(messages) for model in self.proposers))
            messages = with_proposals(
                self.messages, [a.text for a in answers], self.template, "user"
            )
        return messages

    async def plain_invoke(self) -> AIMessage:
        """Plain LangChain: gather, then the aggregator."""
        return await self.aggregator.ainvoke(await self.gathered())

    async def plain_stream(self) -> AsyncIterator[Any]:
        """Plain LangChain: gather, then stream the aggregator."""
        async for chunk in self.aggregator.astream(await self.gathered()):
            yield chunk

    def advised(self, drafts: list[str], prompt: str) -> list[Any]:
        """The conversation with the drafts, for who is consulted about them."""
        return with_proposals(self.messages, drafts, parse_prompt(prompt), "user")

    async def drafts(self) -> list[str]:
        """The proposals of one layer."""
        answers = await asyncio.gather(*(one.ainvoke(self.messages) for one in self.proposers))
        return [answer.text for answer in answers]


def in_graph(answer: Answer) -> Any:
    """A parent graph with one node, which calls the mixture or its peer."""

    async def node(state: MessagesState) -> Any:
        return {"messages": [await answer(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", node)
    builder.add_edge(START, "answer")
    return builder.compile()


def given(job: Job) -> Call:
    """The mixture of the user's own `ChatTogether` objects."""
    members = Members(job)
    return _maybe_heard(job, partial(_asked, members.mixture(), members.messages))


def our(job: Job) -> Call:
    """The mixture of members given as strings, which the package builds itself."""
    return _maybe_heard(job, partial(_asked, our_mixture(job), conversation(job)))


def our_mixture(job: Job) -> MoAChatModel:
    """The mixture of `our`."""
    return MoAChatModel(
        reference_models=list(job.proposers),
        aggregator=job.aggregator,
        layers=job.layers,
        base_url=job.base_url,
        api_key=SecretStr(job.api_key),
    )


def plain(job: Job) -> Call:
    """Plain LangChain with the same objects."""
    members = Members(job)

    async def call() -> str:
        return (await members.plain_invoke()).text

    return _maybe_heard(job, call)


def compare(job: Job) -> Call:
    """The mixture with an analyst."""
    llm = our_mixture(job).replace(strategy="compare", analyst=ANALYST)
    return partial(_asked, llm, conversation(job))


def select(job: Job) -> Call:
    """The mixture with a judge."""
    llm = our_mixture(job).replace(strategy="select", judge=CHOOSER)
    return partial(_asked, llm, conversation(job))


def plain_compare(job: Job) -> Call:
    """Plain LangChain: gather, an analyst, then the aggregator, who reads the analysis, too."""
    members = Members(job)
    analyst = _consulted(job, ANALYST, COMPARE_SCHEMA)

    async def call() -> str:
        drafts = await members.drafts()
        asked = members.advised(drafts, COMPARE_PROMPT)
        analysis = json.loads((await analyst.ainvoke(asked)).text)
        told = [*drafts, json.dumps(analysis, indent=1)]
        read = with_proposals(members.messages, told, members.template, "user")
        answer: AIMessage = await members.aggregator.ainvoke(read)
        return answer.text

    return call


def plain_select(job: Job) -> Call:
    """Plain LangChain: gather, then a judge, whose choice is the answer."""
    members = Members(job)
    judge = _consulted(job, CHOOSER, SELECT_SCHEMA)

    async def call() -> str:
        drafts = await members.drafts()
        chosen = await judge.ainvoke(members.advised(drafts, SELECT_PROMPT))
        number: int = json.loads(chosen.text)["number"]
        return drafts[number - 1]

    return call


def _consulted(job: Job, model: str, schema: dict[str, Any]) -> Any:
    """A model with a schema bound to it as a tool, as the mixture binds it."""
    client = _together(model, base_url=job.base_url, api_key=job.api_key)
    return client.bind_tools([schema], tool_choice=schema["title"])


def _maybe_heard(job: Job, call: Call) -> Call:
    """The call with a usage handler, where the job has one."""

    async def heard() -> str:
        token = _handler.set(UsageMetadataCallbackHandler())
        try:
            return await call()
        finally:
            _handler.reset(token)

    return heard if job.heard else call


async def _asked(llm: MoAChatModel, messages: list[AnyMessage]) -> str:
    return (await llm.ainvoke(messages)).text
