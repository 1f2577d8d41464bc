"""How hard members think, each in its provider's words, over the wire of its provider."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_moa import MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.wire import AGGREGATOR, says

MODEL = "thinker"
THOUGHT = "Two and two."
_NESTED = ("generationConfig", "reasoning")


@pytest.mark.parametrize(
    ("member", "address", "sent"),
    [
        pytest.param(
            {"model": f"openai:{MODEL}", "reasoning_effort": "low", "use_responses_api": True},
            "base_url",
            {"reasoning": {"effort": "low"}},
            id="openai, responses",
        ),
        pytest.param(
            {"model": f"openai:{MODEL}", "reasoning_effort": "high", "use_responses_api": False},
            "base_url",
            {"reasoning_effort": "high"},
            id="openai, chat completions",
        ),
        pytest.param(
            {"model": f"acme/{MODEL}", "reasoning_effort": "medium"},
            "base_url",
            {"reasoning_effort": "medium"},
            id="together",
        ),
        pytest.param(
            {"model": f"anthropic:{MODEL}", "reasoning_effort": "low"},
            "anthropic_url",
            {"output_config": {"effort": "low"}},
            id="anthropic, effort",
        ),
        pytest.param(
            {
                "model": f"anthropic:{MODEL}",
                "thinking": {"type": "enabled", "budget_tokens": 1024},
                "max_tokens": 4096,
            },
            "anthropic_url",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            id="anthropic, budget",
        ),
        pytest.param(
            {"model": f"google_genai:{MODEL}", "thinking_level": "low"},
            "gemini_url",
            {"generationConfig": {"thinkingConfig": {"thinking_level": "LOW"}}},
            id="gemini",
        ),
    ],
)
def test_a_members_effort_reaches_its_provider(
    member: dict[str, Any], address: str, sent: dict[str, Any]
) -> None:
    name = member["model"].rpartition(":")[2]
    thinks = ModelBehavior(reply=Reply(text="Four.", reasoning=THOUGHT))
    with LoopbackServer({name: thinks, AGGREGATOR: says("Four.")}) as server:
        given = {**member, "base_url": getattr(server, address), "api_key": server.api_key}
        llm = MoAChatModel(
            reference_models=[given],
            aggregator=AGGREGATOR,
            base_url=server.base_url,
            api_key=server.api_key,
            include_proposals=True,
        )
        record = llm.invoke("2 + 2?").response_metadata["moa"]
        assert record["proposals"][0]["text"] == "Four."
        assert record["proposals"][0]["usage"]["output_tokens"] > 0
        (asked,) = server.requests_for(name)
        for key, value in sent.items():
            found = asked.body[key]
            inside = {k: v for k, v in found.items() if k in value} if key in _NESTED else found
            assert inside == value


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_an_aggregator_by_the_responses_api_thinks_and_answers(way: str) -> None:
    thinks = ModelBehavior(reply=Reply(text="It is four.", reasoning=THOUGHT))
    with LoopbackServer({MODEL: thinks, "acme/alpha": says("4")}) as server:
        aggregator = {
            "model": f"openai:{MODEL}",
            "reasoning": {"effort": "low", "summary": "auto"},
            "use_responses_api": True,
            "base_url": server.base_url,
            "api_key": server.api_key,
        }
        llm = MoAChatModel(
            reference_models=["acme/alpha"],
            aggregator=aggregator,
            base_url=server.base_url,
            api_key=server.api_key,
        )
        if way == "invoke":
            answer: Any = llm.invoke("2 + 2?")
        else:
            first, *others = llm.stream("2 + 2?")
            answer = sum(others, first)
        assert answer.text == "It is four."
        assert answer.usage_metadata["output_tokens"] > 0
        assert not answer.response_metadata["moa"]["degraded"]
