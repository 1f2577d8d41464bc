"""What the tests over real HTTP share: members on a server, and mixtures of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import MoAChatModel
from langchain_moa.testing import BehaviorFunction, LoopbackServer, ModelBehavior

LIMITS: Final = (0.2, 1.0, 5.0)
"""Seconds that a member has whose time is to run out, and not before it was asked.

A test takes the next one where the machine was too slow for the one before.
"""
ALPHA, BETA, GAMMA = "acme/alpha", "acme/beta", "acme/gamma"
PROPOSERS = (ALPHA, BETA, GAMMA)
AGGREGATOR = "acme/aggregator"


def says(text: str, **behavior: Any) -> ModelBehavior:
    """A model that always says the same."""
    return ModelBehavior(reply=text, **behavior)


def together(server: LoopbackServer, model: str, **fields: Any) -> ChatTogether:
    """A `ChatTogether` on the server that repeats no failed request."""
    defaults: dict[str, Any] = {"stream_usage": True, "max_retries": 0}
    return ChatTogether(
        model=model,
        api_key=SecretStr(server.api_key),
        base_url=server.base_url,
        **{**defaults, **fields},
    )


def mixture(server: LoopbackServer, **fields: Any) -> MoAChatModel:
    """A mixture of the server's alpha and beta, unless told otherwise."""
    defaults: dict[str, Any] = {
        "reference_models": [ALPHA, BETA],
        "aggregator": AGGREGATOR,
        "api_key": server.api_key,
        "base_url": server.base_url,
        "max_retries": 0,
    }
    return MoAChatModel(**{**defaults, **fields})


def asked_for(server: LoopbackServer, *names: str) -> Callable[[], bool]:
    """Whether the server has been asked for these models: `once` of another one."""
    return lambda: {*names} <= {request.model for request in server.requests}


class Stage:
    """A server for many tests, and its models as members: a client takes a while to be made."""

    def __init__(self, server: LoopbackServer, names: Iterable[str]) -> None:
        self.server = server
        self.members = {name: together(server, name) for name in names}

    def plays(self, models: Mapping[str, ModelBehavior | BehaviorFunction]) -> LoopbackServer:
        """The server with other models, and no requests so far.

        A client that has given up may have sent a request that a busy server has not read yet: it
        would come as one of the next test's. What answers a new connection has read the old ones.
        """
        for _ in range(2):  # the first finds them accepted, the second read
            self._ask_for_models()
        self.server.models = dict(models)
        self.server.requests.clear()
        return self.server

    def _ask_for_models(self) -> None:
        with closing(HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)) as connection:
            connection.request("GET", "/v1/models")
            connection.getresponse().read()

    def mixture(
        self, proposers: Iterable[str] = (ALPHA, BETA), *aggregators: str, **fields: Any
    ) -> MoAChatModel:
        """A mixture of the members with these names."""
        answering = aggregators or (AGGREGATOR,)
        members: dict[str, Any] = {
            "reference_models": [self.members[name] for name in proposers],
            "aggregator": [self.members[name] for name in answering],
        }
        return mixture(self.server, **{**members, **fields})


def bodies(server: LoopbackServer, model: str) -> list[dict[str, Any]]:
    """The bodies of the requests for one model, in the order they came."""
    return [request.body for request in server.requests_for(model)]


def served(server: LoopbackServer) -> dict[str, dict[str, int]]:
    """The server's own count of tokens per model, in LangChain's words."""
    totals: dict[str, dict[str, int]] = {}
    for request in server.requests:
        if request.usage is None:
            continue
        total = totals.setdefault(
            request.model, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        )
        total["input_tokens"] += request.usage["prompt_tokens"]
        total["output_tokens"] += request.usage["completion_tokens"]
        total["total_tokens"] += request.usage["total_tokens"]
    return totals


def counted(usage: Mapping[str, Any]) -> dict[str, int]:
    """The three totals of a LangChain usage, without its details."""
    return {name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")}


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something becomes true; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the server is no task of this loop
            await asyncio.sleep(0.01)
