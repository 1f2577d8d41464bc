"""Reasoning of reference models, shown to the aggregator where that is wanted, over real HTTP."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from langchain_moa import MoAChatModel
from langchain_moa.proposals.fitting import estimated_tokens
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.dialects import CLIENTS
from tests.strategies import shown_to
from tests.wire import AGGREGATOR, ALPHA, BETA, says, together

THOUGHT: Final = "Lyon was it once. So it is Paris now."
DRAFTS: Final = ("It is Paris.", "It is Lyon.")
_SHARED: Final = re.compile(r'reasoning="(\d)">\n(.*?)\n</proposal', re.DOTALL)


def written_for(server: LoopbackServer, llm: MoAChatModel) -> tuple[dict[str, str], Any]:
    """The reasoning that the aggregator reads, by the proposals' numbers, and the record."""
    server.requests.clear()
    record = llm.invoke("What is the capital?").response_metadata["moa"]
    (written,) = server.requests_for(AGGREGATOR)
    assert list(shown_to(written.body).values()) == list(DRAFTS)
    text = "\n".join(str(message["content"]) for message in written.body["messages"])
    assert THOUGHT not in _SHARED.sub("", text)
    return dict(_SHARED.findall(text)), record


@pytest.mark.parametrize("provider", ["tags", *CLIENTS])
def test_reasoning_is_fenced_apart_where_it_is_wanted(provider: str) -> None:
    """In tags as a server leaves it, beside the content, and in blocks as clients give it."""
    reply = Reply(text=DRAFTS[0], reasoning=THOUGHT)
    if provider == "tags":
        reply, provider = Reply(text=f"<think>{THOUGHT}</think>{DRAFTS[0]}"), "together"
    models = {ALPHA: ModelBehavior(reply=reply), BETA: says(DRAFTS[1]), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        llm = MoAChatModel(
            reference_models=[CLIENTS[provider](server, ALPHA), together(server, BETA)],
            aggregator=together(server, AGGREGATOR),
            shuffle=False,
        )
        assert written_for(server, llm)[0] == {}
        shared, record = written_for(server, llm.replace(share_reasoning=True))
        assert shared == {"1": THOUGHT}
        assert record["aggregator"]["left_out"] == []


def test_reasoning_is_cut_before_proposals_are() -> None:
    long = f"<think>{THOUGHT * 100}</think>{DRAFTS[0]}"
    models = {ALPHA: says(long), BETA: says(DRAFTS[1]), AGGREGATOR: says("Paris.")}
    with LoopbackServer(models) as server:
        llm = MoAChatModel(
            reference_models=[together(server, ALPHA), together(server, BETA)],
            aggregator=together(server, AGGREGATOR),
            shuffle=False,
            share_reasoning=True,
            max_input_tokens={AGGREGATOR: 700},
        )
        shared, record = written_for(server, llm)
        assert shared["1"].startswith(THOUGHT)
        assert shared["1"].endswith("[... shortened]")
        assert estimated_tokens(shared["1"]) < 700
        assert record["aggregator"]["left_out"] == ["proposal text"]
        none, _ = written_for(server, llm.replace(max_input_tokens={AGGREGATOR: 338}))
        assert none == {}
