"""What tests of the command line share: models that tell how they were asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, says

KEY = "sk-very-secret"
MIXTURE = ("--reference-models", f"{ALPHA},{BETA}", "--aggregator", AGGREGATOR)
MODELS = {
    ALPHA: says("Draft of alpha."),
    BETA: says("Draft of beta."),
    GAMMA: says("Draft of gamma."),
    AGGREGATOR: says("The **answer**."),
}


def asked(server: LoopbackServer, option: str) -> list[Any]:
    """An option of every request, in the order they came."""
    return [request.body.get(option) for request in server.requests]


def asked_models(server: LoopbackServer) -> list[str]:
    """The models that were asked."""
    return [request.model for request in server.requests]


def user_turns(server: LoopbackServer, model: str) -> list[str]:
    """The roles and texts of the last request for a model, one line each."""
    messages = server.requests_for(model)[-1].body["messages"]
    return [f"{message['role']}: {message['content']}" for message in messages]


class Crowd:
    """Counts how many requests are answered at the same time.

    Args:
        meet: Nobody is answered before so many were there at once: else a slow machine would hide
            that they may be.
    """

    def __init__(self, meet: int) -> None:
        self._meet = meet
        self._changed = threading.Condition()
        self._now = 0
        self.most = 0

    def __call__(self, body: Mapping[str, Any]) -> str:
        """Answer a request slowly."""
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._meet, timeout=60)
        time.sleep(0.05)
        with self._changed:
            self._now -= 1
        return f"Draft of {body['model']}."
