"""The same mixture by other means: Together's SDK, and the floors, bare HTTP clients.

All of them send the mixture's own prompt, so that everybody moves the same bytes. LangChain is not
imported here: a heap full of it would burden the floors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

from benchmarks.roster import Call, Job
from langchain_moa.proposals.fences import fence

CONNECTIONS: Final = 1000
"""As many as LangChain's clients open."""
PATIENCE: Final = 600.0
"""Seconds that a request may take, as with LangChain's clients."""

Messages = list[dict[str, str]]
Ask = Callable[[str, Messages], Awaitable[str]]


async def _mixed(job: Job, ask: Ask) -> str:
    messages = _with_proposals(job, [])
    for _ in range(job.layers - 1):
        texts = await asyncio.gather(*(ask(name, messages) for name in job.proposers))
        messages = _with_proposals(job, texts)
    return await ask(job.aggregator, messages)


def _with_proposals(job: Job, texts: list[str]) -> Messages:
    messages = [{"role": role, "content": text} for role, text in job.messages]
    if texts:
        messages[-1]["content"] += f"\n\n{job.prompt.format(proposals=fence(texts))}"
    return messages


def together_sdk(job: Job) -> Call:
    """Together's SDK and `asyncio.gather`, as its reference scripts do it."""
    sdk: Any = import_module("together")
    client = sdk.AsyncTogether(api_key=job.api_key, base_url=job.base_url.removesuffix("/v1"))

    async def ask(model: str, messages: Messages) -> str:
        answer = await client.chat.completions.create(model=model, messages=messages)
        return str(answer.choices[0].message.content)

    return partial(_mixed, job, ask)


def bare_httpx(job: Job) -> Call:
    """The floor of what is built on `httpx`, as Together's SDK is."""
    return _bare("httpx", job)


def bare_httpx2(job: Job) -> Call:
    """The floor of what is built on `httpx2`, as OpenAI's SDK and with it LangChain's model is."""
    return _bare("httpx2", job)


def _bare(package: str, job: Job) -> Call:
    httpx: Any = import_module(package)
    client = httpx.AsyncClient(
        headers=_headers(job),
        limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=100),
        timeout=PATIENCE,
    )

    async def ask(model: str, messages: Messages) -> str:
        body = {"model": model, "messages": messages}
        answer = await client.post(f"{job.base_url}/chat/completions", json=body)
        return _text(answer.raise_for_status().json())

    return partial(_mixed, job, ask)


def bare_aiohttp(job: Job) -> Call:
    """The floor of what a fast client can do."""
    aiohttp: Any = import_module("aiohttp")
    session = aiohttp.ClientSession(
        headers=_headers(job),
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        raise_for_status=True,
    )

    async def ask(model: str, messages: Messages) -> str:
        body = {"model": model, "messages": messages}
        async with session.post(f"{job.base_url}/chat/completions", json=body) as answer:
            return _text(await answer.json())

    return partial(_mixed, job, ask)


def _headers(job: Job) -> dict[str, str]:
    return {"Authorization": f"Bearer {job.api_key}"}


def _text(body: Any) -> str:
    return str(body["choices"][0]["message"]["content"])
