"""Who can be measured, what each one needs, and what they are all asked to do.

Knows the standard library only: a peer may run in an environment that has nothing of ours.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

GIVEN, OUR, PLAIN = "given members", "our members", "plain LangChain"
SDK = "Together SDK"
HTTPX, HTTPX2, AIOHTTP = "bare httpx", "bare httpx2", "bare aiohttp"
OPTILLM, LLAMA_INDEX, SWARMS = "optillm", "LlamaIndex", "swarms"
QUESTION: Final = "What are 3 fun things to do in SF?"


@dataclass(frozen=True)
class Job:
    """One mixture that everybody makes in its own way.

    Attributes:
        base_url: Address of the model server, and `api_key` its key.
        proposers: Model ids of each layer but the last.
        aggregator: Model id of the last layer.
        prompt: What follows the question from the second layer on, with `{proposals}` in it.
        layers: Layers, the aggregator's included.
        messages: The conversation as pairs of role and text; it ends on the user's turn.
        heard: Whether a callback handler of LangChain's listens to each call.
    """

    base_url: str
    api_key: str
    proposers: tuple[str, ...]
    aggregator: str
    prompt: str
    layers: int = 2
    messages: tuple[tuple[str, str], ...] = (("user", QUESTION),)
    heard: bool = False

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Job:
        """A job from what JSON has made of it."""
        turns = tuple((role, text) for role, text in fields["messages"])
        return cls(**fields | {"proposers": tuple(fields["proposers"]), "messages": turns})


Call = Callable[[], Awaitable[str]]
"""Makes one call of a mixture and gives its answer."""
Builder = Callable[[Job], Call]


@dataclass(frozen=True)
class Entry:
    """A contestant.

    Attributes:
        builder: Where its builder is, as `"module:function"`.
        needs: Modules that it cannot do without, as they are imported.
        requirements: What an environment of its own is made of, for peers too heavy or too old
            to share ours.
        path: Model calls on its critical path, where that is not the number of layers.
    """

    builder: str
    needs: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    path: int | None = None

    @property
    def missing(self) -> list[str]:
        """Modules that are not installed here."""
        return [name for name in self.needs if find_spec(name.partition(".")[0]) is None]

    def load(self) -> Builder:
        """Import its builder.

        Raises:
            ImportError: It lacks something.
        """
        module, _, function = self.builder.partition(":")
        builder: Builder = getattr(import_module(module), function)
        return builder


ROSTER: Final = {
    GIVEN: Entry("benchmarks.contestants:given"),
    OUR: Entry("benchmarks.contestants:our"),
    PLAIN: Entry("benchmarks.contestants:plain"),
    SDK: Entry("benchmarks.peers:together_sdk", ("together",)),
    HTTPX: Entry("benchmarks.peers:bare_httpx", ("httpx",)),
    HTTPX2: Entry("benchmarks.peers:bare_httpx2", ("httpx2",)),
    AIOHTTP: Entry("benchmarks.peers:bare_aiohttp", ("aiohttp",)),
    OPTILLM: Entry("benchmarks.heavy_peers:optillm", ("optillm",), ("optillm",), path=3),
    LLAMA_INDEX: Entry(
        "benchmarks.heavy_peers:llama_index",
        ("llama_index",),
        (
            "llama-index-packs-mixture-of-agents<0.2",  # the last that runs
            "llama-index-core<0.11",
            "llama-index-llms-openai-like<0.2",
            "setuptools<81",
        ),
    ),
    SWARMS: Entry("benchmarks.heavy_peers:swarms", ("swarms",), ("swarms",)),
}
COMPARE, SELECT = "our members, compare", "our members, select"
PLAIN_COMPARE, PLAIN_SELECT = "plain LangChain, compare", "plain LangChain, select"
ANALYST, CHOOSER = "bench/analyst", "bench/chooser"
"""Who is consulted by these."""
STRATEGISTS: Final = {
    COMPARE: Entry("benchmarks.contestants:compare", path=3),
    PLAIN_COMPARE: Entry("benchmarks.contestants:plain_compare", path=3),
    SELECT: Entry("benchmarks.contestants:select", path=2),
    PLAIN_SELECT: Entry("benchmarks.contestants:plain_select", path=2),
}
"""The strategies of the mixture, and the same calls in plain LangChain; nobody else has any."""
EVERYBODY: Final = ChainMap(STRATEGISTS, ROSTER)
HEAVY: Final = tuple(name for name, entry in ROSTER.items() if entry.requirements)
