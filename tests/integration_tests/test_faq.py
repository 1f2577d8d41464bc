"""Each error that docs/faq.md has a heading for is raised in the words of its heading."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior, ScriptedChatModel
from tests.documents import ROOT
from tests.wire import ALPHA, BETA, says, together

_PAGE = (ROOT / "docs/faq.md").read_text("utf-8").partition("\n## Questions")[0]
HEADINGS = re.findall(r"^### (.+)$", _PAGE, re.MULTILINE)


def pattern(heading: str) -> str:
    """A heading's words; what is in italics may be anything, and so may numbers."""
    pieces = re.split(r"\*[^*]+\*|\d+", heading)
    return r"[\w\W]+?".join(re.escape(piece) for piece in pieces)


class Wrong:
    """The mistakes, each as a user makes it."""

    def __init__(self, server: LoopbackServer, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.server, self.folder, self.log = server, folder, log

    def model(self, name: str = ALPHA) -> Any:
        return together(self.server, name, max_retries=0)

    def mixture(self, **fields: Any) -> MoAChatModel:
        given = {"reference_models": [self.model()], "aggregator": self.model(), **fields}
        return MoAChatModel(**given)

    def ask(self, behavior: ModelBehavior, **fields: Any) -> object:
        self.server.models[BETA] = behavior
        given = {"reference_models": [self.model(BETA)] * 2, **fields}
        return self.mixture(**given).invoke("Hi")

    def endpoint(self, **fields: Any) -> dict[str, Any]:
        return {
            "model": f"openai:{ALPHA}",
            "base_url": self.server.base_url,
            "api_key": self.server.api_key,
            **fields,
        }

    def file(self) -> object:
        path = self.folder / "mixture.toml"
        path.write_text(
            'reference_models = [{model = "a/b", base_url = "https://models.example/v1"}]\n'
            'aggregator = "a/b"\n'
        )
        return MoAChatModel.from_config(path)

    def warned(self, make: Callable[..., object], *args: Any, **fields: Any) -> object:
        """What is no error but a line in the log."""
        make(*args, **fields)
        raise UserWarning(self.log.text)

    def loops(self) -> object:
        once = ChatOpenAI(**self.endpoint(model=ALPHA), max_retries=0)
        for _ in range(2):
            asyncio.run(once.ainvoke("Hi"))
        return None


MISTAKES: dict[str, Callable[[Wrong], object]] = {
    "there is no key for Together": lambda _: MoAChatModel.self_moa("openai/gpt-oss-20b"),
    "there is no key; set": lambda _: MoAChatModel.self_moa("openai:gpt-5-mini"),
    "Initializing": lambda _: MoAChatModel.self_moa("cohere:command-a"),
    "*quorom*": lambda wrong: wrong.mixture(quorom=2),
    "*top_p*": lambda wrong: wrong.mixture(top_p=0.9),
    "*gpt-4o*": lambda wrong: wrong.warned(MoAChatModel.self_moa, "gpt-4o", api_key="key"),
    "*opnai*": lambda _: MoAChatModel.self_moa("opnai:gpt-5-mini"),
    "*self-moa*": lambda _: MoAChatModel.from_config("self-moa"),
    "*quorum* is a setting": lambda wrong: wrong.mixture().invoke("Hi", quorum=2),
    "*n=2*": lambda wrong: wrong.mixture().invoke("Hi", n=2),
    "the key was refused": lambda wrong: wrong.mixture(
        reference_models=[wrong.endpoint(api_key="another")]
    ).invoke("Hi"),
    "no model": lambda wrong: wrong.mixture(
        reference_models=[wrong.endpoint(model="openai:retired")]
    ).invoke("Hi"),
    "layer 1 gave": lambda wrong: wrong.ask(says("")),
    "the aggregator": lambda wrong: wrong.ask(says("4"), aggregator=wrong.model("retired")),
    "no answer in time": lambda wrong: wrong.ask(ModelBehavior(hang=True), proposer_timeout=0.1),
    "maximum context": lambda wrong: wrong.ask(ModelBehavior(window=1)),
    "layer 1 does not fit": lambda wrong: wrong.mixture(
        max_total_tokens=1, on_budget="raise"
    ).invoke("Hi"),
    "max_cost": lambda wrong: wrong.mixture(max_cost=1),
    "*address* stands": lambda wrong: wrong.file(),
    "*member* can't": lambda _: MoAChatModel.self_moa(ScriptedChatModel.saying("4")).to_config(),
    "Event loop": lambda wrong: wrong.loops(),
}


@pytest.fixture
def wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[Wrong]:
    for owner in ("TOGETHER", "OPENAI", "ANTHROPIC"):
        for name in ("API_KEY", "API_BASE", "BASE_URL"):
            monkeypatch.delenv(f"{owner}_{name}", raising=False)
    with LoopbackServer({ALPHA: says("4"), BETA: says("4")}) as server:
        yield Wrong(server, tmp_path, caplog)


def test_each_heading_has_its_mistake() -> None:
    found = [h for start in MISTAKES for h in HEADINGS if h.startswith(start)]
    assert len(HEADINGS) >= 20
    assert sorted(found) == sorted(HEADINGS)


@pytest.mark.parametrize("start", MISTAKES)
def test_the_heading_is_what_the_error_says(
    start: str, wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    [heading] = [heading for heading in HEADINGS if heading.startswith(start)]
    if start == "*address* stands":
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
    with pytest.raises(Exception) as told:  # noqa: PT011 - of many classes
        MISTAKES[start](wrong)
    error: BaseException | None = told.value
    texts = []
    while error is not None:  # some versions of a client say in the cause what was wrong
        texts.append(str(error))
        error = error.__cause__
    assert any(re.search(pattern(heading), text) for text in texts), texts
