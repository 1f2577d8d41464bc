"""Estimates against what a server then counts, and list prices by who serves a model."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import Estimate, MissingExtraError, MoAChatModel, MoAConfigurationError
from langchain_moa.accounting.list_prices import ListPrices
from langchain_moa.testing import LoopbackServer
from tests.commands import MIXTURE
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, Stage, mixture, says, served

NAMES = (ALPHA, BETA, GAMMA, AGGREGATOR)
TEXTS = (
    "Why is the sky blue? ", "天空为什么是蓝色的？", "Почему небо голубое? ", "سماء زرقاء لماذا؟ ",
    "မိုးကောင်းကင် ", "def f(x):\n    return x * 2  # 42\n", "😀🎉 ", "1234567890 ",
)  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, NAMES)


def drawn(stage: Stage, rng: random.Random) -> MoAChatModel:
    """A mixture that nobody chose."""
    settings: dict[str, Any] = {
        "layers": rng.choice([2, 2, 3, 4]),
        "strategy": rng.choice(["synthesize", "synthesize", "compare"]),
        "placement": rng.choice(["user", "system"]),
        "max_tokens": rng.choice([None, 20, 300]),
        "proposal_max_tokens": rng.choice([None, 20, 300]),
        "sequential": rng.choice([True, False]),
        "prices": dict.fromkeys(NAMES, (1.0, 3.0)),
    }
    proposers = [rng.choice(NAMES) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.2:
        inner = stage.mixture([ALPHA, BETA], GAMMA, layers=rng.choice([2, 3]))
        return stage.mixture(proposers, **settings).replace(
            reference_models=[*(stage.members[name] for name in proposers), inner]
        )
    return stage.mixture(proposers, **settings)


@pytest.mark.parametrize("block", range(10))
def test_what_the_server_counts_is_within_the_estimate(stage: Stage, block: int) -> None:
    """Ten mixtures each, of any settings, with conversations in any script."""
    for seed in range(10 * block, 10 * block + 10):
        rng = random.Random(seed)  # noqa: S311 - any will do
        words = [rng.choice(TEXTS) for _ in range(rng.randint(1, 40))]
        analysis = {"consensus": ["x"], "contradictions": [], "partial_coverage": []}
        analysis |= {"unique_insights": [], "blind_spots": []}
        reply = " ".join(
            rng.choices(("short", "words", "that", "mean", "little"), k=rng.randint(1, 90))
        )

        def answers(body: Any, reply: str = reply, analysis: Any = analysis) -> str:
            asks = body.get("response_format") or body.get("tools")
            return json.dumps(analysis) if asks else reply

        server = stage.plays({name: says("").__class__(reply=answers) for name in NAMES})
        llm = drawn(stage, rng)
        messages = [("user", "".join(words))]
        if rng.random() < 0.5:
            messages = [("system", "Be brief."), ("user", "Hi"), ("ai", "Hello."), *messages]
        estimate = llm.estimate(messages)
        record = llm.invoke(messages).response_metadata["moa"]
        counted = sum(usage["total_tokens"] for usage in served(server).values())
        assert estimate.calls == len(server.requests), seed
        assert estimate.tokens_low <= counted <= estimate.tokens_high, (seed, str(estimate))
        if record["cost"]["unknown"] == [] and estimate.usd_low is not None:
            assert estimate.usd_high is not None
            assert estimate.usd_low <= record["cost"]["usd"] <= estimate.usd_high, seed


@pytest.mark.parametrize(
    ("settings", "calls", "waits"),
    [
        ({}, 4, 2),
        ({"layers": 3}, 7, 3),
        ({"sequential": True}, 4, 4),
        ({"max_concurrency": 2, "layers": 3}, 7, 5),
        ({"strategy": "compare"}, 5, 3),
        ({"strategy": "select"}, 4, 2),
    ],
)
def test_calls_and_the_path_of_waiting(
    stage: Stage, settings: dict[str, Any], calls: int, waits: int
) -> None:
    estimate = stage.mixture([ALPHA, BETA, GAMMA], **settings).estimate("Why?")
    assert (estimate.calls, estimate.waits) == (calls, waits)
    assert (estimate.usd_low, estimate.usd_high) == (None, None)
    assert "unknown USD" in str(estimate)


def test_a_step_in_which_nobody_else_is_asked_is_one_call(stage: Stage) -> None:
    llm = stage.mixture([ALPHA, BETA])
    call: Any = {"name": "f", "args": {}, "id": "1"}
    conversation: list[Any] = [
        ("user", "Look it up."),
        {"role": "assistant", "content": "", "tool_calls": [call | {"type": "tool_call"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    assert llm.estimate(conversation).calls == 1


def test_the_limit_that_is_assumed_is_told(stage: Stage) -> None:
    llm = stage.mixture([ALPHA, BETA], proposal_max_tokens=50)
    told = llm.estimate("Why?", output_tokens=1000)
    assert [one.limit for one in told.members] == [True, True, False]
    assert [one.output_high for one in told.members] == [50, 50, 1000]
    assert "at most 1,000 assumed" in str(told)
    assert isinstance(told, Estimate)


def test_list_prices_are_those_of_who_serves_a_model() -> None:
    """What is asked for at another address has no price, whatever its name."""
    key = SecretStr("k")
    gpt = ChatOpenAI(model="gpt-4o", api_key=key)
    claude = ChatAnthropic(model="claude-sonnet-4-5", api_key=key)  # type: ignore[call-arg]
    here = ChatOpenAI(model="gpt-4.1", api_key=key, base_url="http://127.0.0.1:9/v1")
    llm = MoAChatModel(
        reference_models=[gpt, claude, here, "meta-llama/Llama-3.3-70B-Instruct-Turbo"],
        aggregator="acme/unheard-of",
        api_key="k",
        base_url="https://api.together.ai/v1",
        prices=True,
        max_tokens=10,
        proposal_max_tokens=10,
    )
    known = {one.model: one.usd_high is not None for one in llm.estimate("Why?").members}
    assert known == {
        "gpt-4o": True,
        "claude-sonnet-4-5": True,
        "gpt-4.1": False,
        "meta-llama/Llama-3.3-70B-Instruct-Turbo": True,
        "acme/unheard-of": False,
    }
    assert MoAChatModel.from_config(mixture_of(llm), api_key="k").prices is True


def mixture_of(llm: MoAChatModel) -> dict[str, Any]:
    return {"reference_models": ["acme/a"], "aggregator": "acme/b", "prices": llm.prices}


def test_a_list_price_is_what_the_list_says() -> None:
    prices = ListPrices({"gpt-4o": "openai", "acme/x": "openai"})
    usage: Any = {"input_tokens": 1_000_000, "output_tokens": 0, "total_tokens": 1_000_000}
    cached: Any = {**usage, "input_token_details": {"cache_read": 1_000_000}}
    whole, reread = prices("gpt-4o", usage), prices("gpt-4o-2024-08-06", cached)
    assert whole == 2.5
    assert reread == 1.25
    assert (prices("acme/x", usage), prices("gpt-4", usage)) == (None, None)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    with pytest.raises(MissingExtraError, match=r"langchain-moa\[prices\]"):
        mixture(SimpleNamespace(api_key="k", base_url="http://127.0.0.1:9/v1"), prices=True)  # type: ignore[arg-type]
    with pytest.raises(MoAConfigurationError, match="or True for list prices"):
        mixture(SimpleNamespace(api_key="k", base_url="http://127.0.0.1:9/v1"), prices=3)  # type: ignore[arg-type]


def test_the_command_tells_what_it_would_take_and_asks_nothing(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('"acme/alpha" = [1, 2]\n"acme/beta" = [1, 2]\n"acme/aggregator" = [3, 4]\n')
    cli.environment.delenv("TOGETHER_API_KEY", raising=False)
    words = ("ask", "Why?", *MIXTURE, "--prices", str(path), "--max-tokens", "100", "--estimate")
    ran = cli(*words)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1].startswith("3 calls, 2 calls one after the other · ")
    assert not ran.out.endswith("unknown USD\n")
    told = json.loads(cli(*words, "--json").out)
    assert [told["calls"], told["waits"], len(told["members"])] == [3, 2, 3]
    path.write_text("x = 3\n")
    assert "prices['x']=3 is not a price" in cli(*words).err
    assert "none.toml: No such file" in cli(*words, "--prices", "none.toml").err
