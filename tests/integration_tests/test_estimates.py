"""Estimates against what a server then counts, and list prices by who serves a model."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_moa import (
    Estimate,
    MissingExtraError,
    MoAChatModel,
    MoAConfigurationError,
    Proposal,
)
from langchain_moa.accounting.list_prices import ListPrices
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, ToolCall
from tests.commands import MIXTURE
from tests.conftest import Cli
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA, Stage, mixture, says

NAMES = (ALPHA, BETA, GAMMA, AGGREGATOR)
BUSY = "acme/busy"
"""A model that never answers."""
TEXTS = (
    "Why is the sky blue? ", "天空为什么是蓝色的？", "Почему небо голубое? ", "سماء زرقاء لماذا؟ ",
    "မိုးကောင်းကင် ", "def f(x):\n    return x * 2  # 42\n", "😀🎉 ", "1234567890 ",
)  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with LoopbackServer({}) as server:
        yield Stage(server, (*NAMES, BUSY))


ANALYSIS: dict[str, Any] = {
    name: [] for name in ("contradictions", "partial_coverage", "blind_spots")
}
ANALYSIS |= {"consensus": ["x"], "unique_insights": []}
WHAT = (
    *("compare", "select", "quorum", "tools", "picture", "a mixture inside", "kept", "streamed"),
    *("Self-MoA", "a retry", "a fallback", "the best proposal"),
)
"""What is drawn in some mixtures; each is seen to be drawn."""
FAULTS = ("a retry", "a fallback", "the best proposal")


def search(words: str, place: str) -> str:
    """Look something up in a place, and say what was found there."""
    return words + place


def drawn(stage: Stage, rng: random.Random) -> tuple[Any, set[str]]:
    """A mixture that nobody chose, and what there is about it."""
    strategy = rng.choice(["synthesize", "synthesize", "compare", "select"])
    proposers = [rng.choice(NAMES) for _ in range(rng.randint(1, 5))]
    settings: dict[str, Any] = {
        "layers": rng.choice([2, 2, 3, 4]),
        "strategy": strategy,
        "placement": rng.choice(["user", "system"]),
        "max_tokens": rng.choice([None, 20, 300]),
        "proposal_max_tokens": rng.choice([None, 20, 300]),
        "sequential": rng.choice([True, False]),
        "quorum": rng.choice([None, None, 1, len(proposers), 0.5]),
        "tools_for": rng.choice(["aggregator", "all"]),
        "prices": dict.fromkeys((*NAMES, BUSY), (1.0, 3.0)),
    }
    fault = rng.choice((*FAULTS, "", "", ""))
    adviser = {"compare": "analyst", "select": "judge"}.get(strategy)
    if adviser is not None:  # by default it is the aggregator, which fails in some
        settings[adviser] = rng.choice([stage.members[GAMMA], *([] if fault else [None])])
    what = {strategy, fault, *(["quorum"] if settings["quorum"] is not None else [])}
    if rng.random() < 0.2:
        proposers = proposers[:1] * len(proposers)
        what.add("Self-MoA")
    settings["max_retries"] = 1 if fault == "a retry" else 0
    settings["on_aggregator_failure"] = "best_proposal" if fault == FAULTS[-1] else "raise"
    answering = {"a fallback": (BUSY, AGGREGATOR), "the best proposal": (BUSY,)}
    llm: Any = stage.mixture(proposers, *answering.get(fault, ()), **settings)
    if rng.random() < 0.2:
        priced = {"layers": rng.choice([2, 3]), "prices": settings["prices"]}
        inner = stage.mixture([ALPHA, BETA], GAMMA, **priced)
        llm = llm.replace(reference_models=[*(stage.members[name] for name in proposers), inner])
        what.add("a mixture inside")
    if rng.random() < 0.2:
        llm = llm.reusing([Proposal(layer=1, index=0, model=ALPHA, text="An early draft. " * 9)])
        what.add("kept")
    if rng.random() < 0.3:
        llm = llm.bind_tools([search])
        what.add("tools")
    return llm, what


def answered(body: Any, reply: str) -> str | Reply:
    """What a model says: an analyst and a judge give what they are asked for."""
    asked = {tool["function"]["name"] for tool in body.get("tools") or ()}
    form = (body.get("response_format") or {}).get("json_schema", {}).get("name")
    advice: dict[str, dict[str, Any]] = {
        "Analysis": ANALYSIS,
        "Choice": {"number": 1, "reason": "It is short."},
    }
    for name, given in advice.items():
        if form == name:
            return json.dumps(given)
        if name in asked:
            return Reply(text=None, tool_calls=(ToolCall(name=name, arguments=given),))
    return " ".join(reply.split()[: body.get("max_tokens")])  # a word is a token there


def conversation(rng: random.Random) -> list[Any]:
    """A conversation that nobody chose, in any script, some with a picture."""
    text = "".join(rng.choice(TEXTS) for _ in range(rng.randint(1, 40)))
    picture = {"type": "image", "mime_type": "image/png"}
    picture["base64"] = base64.b64encode(bytes(rng.randint(1500, 4500))).decode()
    said: Any = [{"type": "text", "text": text}, picture] if rng.random() < 0.2 else text
    before = [("system", "Be brief."), ("user", "Hi"), ("ai", "Hello.")]
    return [*(before if rng.random() < 0.5 else []), HumanMessage(said)]


def counted_by(server: LoopbackServer) -> tuple[int, float]:
    """Tokens and USD of all requests by the server's count, which leaves out tools."""
    tokens, usd = 0, 0.0
    for request in server.requests:
        usage, tools = request.usage or {}, request.body.get("tools") or []
        read = usage.get("prompt_tokens", 0) + len(json.dumps(tools)) // 4
        written = usage.get("completion_tokens", 0)  # of one that was cut nothing may be known
        tokens += read + written
        usd += (read * 1.0 + written * 3.0) / 1e6
    return tokens, usd


def test_what_the_server_counts_is_within_the_estimate(stage: Stage) -> None:
    """A hundred mixtures, of any settings, with conversations in any script."""
    told: Counter[str] = Counter()
    for seed in range(100):
        rng = random.Random(seed)  # noqa: S311 - any will do
        messages = conversation(rng)
        words = ("short", "words", "that", "mean", "little")
        reply = " ".join(rng.choices(words, k=rng.randint(1, 90)))
        llm, what = drawn(stage, rng)
        how = rng.choice(["streamed", "whole"])
        behavior = ModelBehavior(reply=partial(answered, reply=reply))
        first_fails = replace(behavior, status=503, fail_first=1, retry_after=0.01)
        models = dict.fromkeys(NAMES, first_fails if "a retry" in what else behavior)
        server = stage.plays({**models, BUSY: ModelBehavior(status=503)})
        estimate = llm.estimate(messages)
        assert list(llm.stream(messages)) if how == "streamed" else llm.invoke(messages)
        tokens, usd = counted_by(server)
        heard = [one for one in server.requests if one.model != BUSY]
        requests = [one for one in heard if one.usage or "quorum" in what]
        # who is not waited for any more may never have been asked, and who fails counts nothing
        exact = not {"quorum", *FAULTS[1:]} & what
        case = (seed, what, how, str(estimate))
        assert len(requests) <= estimate.calls or "a retry" in what, case
        assert not exact or len(requests) == estimate.calls, case
        assert tokens <= estimate.tokens_high, case
        assert usd <= estimate.usd_high, case
        assert estimate.tokens_low <= tokens or FAULTS[-1] in what, case
        assert estimate.usd_low <= usd or FAULTS[-1] in what, case
        pictures = isinstance(messages[-1].content, list)
        told.update({*what, how, *(["picture"] if pictures else [])})
    assert min(told[name] for name in WHAT) >= 10, told


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
    """It is one where the mixture has the tool that was called, as in a call."""
    llm: Any = stage.mixture([ALPHA, BETA])
    call: Any = {"name": "search", "args": {}, "id": "1"}
    said: list[Any] = [
        ("user", "Look it up."),
        {"role": "assistant", "content": "", "tool_calls": [call | {"type": "tool_call"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    server = stage.plays(dict.fromkeys(NAMES, says("42.")))
    for asked, calls in ((llm.bind_tools([search]), 1), (llm, 3)):
        server.requests.clear()
        asked.invoke(said)
        assert asked.estimate(said).calls == len(server.requests) == calls


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
