"""Two mixtures share cached answers only where each would give the other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langchain_openrouter import ChatOpenRouter
from langchain_together import ChatTogether
from pydantic import SecretStr

from langchain_moa import CircuitBreaker, MoAChatModel
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.wire import AGGREGATOR, ALPHA, BETA

HERE = {"api_key": "the-key", "base_url": "http://127.0.0.1:9/v1"}


def made(**settings: Any) -> MoAChatModel:
    members: dict[str, Any] = {"reference_models": [ALPHA, BETA], "aggregator": AGGREGATOR}
    return MoAChatModel(**{**HERE, **members, **settings})


def key(llm: MoAChatModel) -> str:
    return llm._get_llm_string()


def _keep_first(texts: list[str]) -> list[int]:
    return [0] if texts else []


def _no_fan_out(_: Any) -> bool:
    return False


def _passes(text: str) -> bool:
    return text.isascii()


def _see_nothing(_: str, __: Any) -> list[Any]:
    return []


SHAPING: dict[str, Any] = {
    "reference_models": [ALPHA],
    "aggregator": BETA,
    "layers": 3,
    "fallbacks": {ALPHA: BETA},
    "base_url": "http://127.0.0.1:8/v1",
    "temperature": 0.1,
    "max_tokens": 7,
    "stop": ["x"],
    "profiles": {ALPHA: {"image_inputs": False}},
    "context_filter": _see_nothing,
    "on_unsupported": "raise",
    "placement": "system",
    "aggregator_prompt": "Read {proposals}",
    "proposal_temperature": 0.1,
    "proposal_max_tokens": 7,
    "proposal_kwargs": {"seed": 1},
    "proposal_filter": _keep_first,
    "max_input_tokens": 4000,
    "fan_out": _no_fan_out,
    "reuse_proposals": False,
    "describe_tools": False,
    "tools_for": "all",
    "structured_proposals": True,
    "quorum": 1,
    "grace": 9.0,
    "min_proposals": 2,
    "on_no_proposals": "aggregate_alone",
    "on_aggregator_failure": "best_proposal",
    "prices": {ALPHA: (1.0, 1.0)},
    "max_calls": 9,
    "max_total_tokens": 10_000,
    "max_cost": 1.0,
    "on_budget": "raise",
    "include_proposals": True,
    "strategy": "compare",
    "analyst": BETA,
    "judge": BETA,
    "check": _passes,
    "shuffle": False,
    "share_reasoning": True,
}
ALL_PRICES = dict.fromkeys((ALPHA, BETA, AGGREGATOR), (1.0, 1.0))
NEEDED: dict[str, dict[str, Any]] = {
    "max_cost": {"prices": ALL_PRICES},
    "analyst": {"strategy": "compare"},
    "judge": {"strategy": "select"},
    "check": {"strategy": "select"},
}
"""Other settings that one needs."""

OTHERWISE: dict[str, Any] = {
    "api_key": "another-key",
    "proposer_timeout": 5.0,
    "aggregator_timeout": 5.0,
    "layer_timeout": 5.0,
    "timeout": 5.0,
    "analyst_timeout": 5.0,
    "max_answer_bytes": 5_000,
    "hedge_after": 5.0,
    "max_retries": 0,
    "circuit_breaker": CircuitBreaker(),
    "max_concurrency": 2,
    "member_concurrency": 2,
    "sequential": True,
    "stream_proposals": True,
    "on_progress": print,
    "stream_requests": True,
    "streaming": True,
    "cache": False,
    "tags": ["mine"],
    "metadata": {"a": 1},
    "verbose": True,
    "name": "mine",
}
"""Who pays, how long it may take, and who is told: they change no answer."""


@pytest.mark.parametrize("name", SHAPING)
def test_what_shapes_answers_changes_the_key(name: str) -> None:
    needed = NEEDED.get(name, {})
    assert key(made(**needed)) != key(made(**needed, **{name: SHAPING[name]}))
    assert key(made(**needed, **{name: SHAPING[name]})) == key(
        made(**needed, **{name: SHAPING[name]})
    )


def test_each_setting_has_a_key_of_its_own() -> None:
    keys = [key(made(**NEEDED.get(name, {}), **{name: value})) for name, value in SHAPING.items()]
    assert len(set(keys)) == len(SHAPING)


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_shapes_no_answer_leaves_the_key(name: str) -> None:
    assert key(made()) == key(made(**{name: OTHERWISE[name]}))


def test_every_setting_is_tried() -> None:
    of_langchain = set(BaseChatModel.model_fields) - OTHERWISE.keys()
    assert of_langchain == {
        *("callbacks", "custom_get_token_ids", "disable_streaming", "output_version"),
        *("profile", "rate_limiter"),
    }
    assert SHAPING.keys() | OTHERWISE.keys() == MoAChatModel.model_fields.keys() - of_langchain


# --- members ------------------------------------------------------------------------------------

KINDS: dict[str, Callable[..., BaseChatModel]] = {
    "together": lambda **o: ChatTogether(
        **{"model": "a/b", "api_key": SecretStr("the-key"), "stream_usage": True, **o}
    ),
    "openai": lambda **o: ChatOpenAI(**{"model": "a", "api_key": SecretStr("the-key"), **o}),
    "anthropic": lambda **o: ChatAnthropic(
        **{"model_name": "a", "api_key": SecretStr("the-key"), **o}
    ),
    "openrouter": lambda **o: ChatOpenRouter(
        **{"model": "a", "api_key": SecretStr("the-key"), **o}
    ),
}
OF_THE_PROGRAM = {
    *("name", "cache", "verbose", "callbacks", "tags", "metadata", "custom_get_token_ids"),
    *("rate_limiter", "client", "async_client", "root_client", "root_async_client"),
    *("http_client", "http_async_client", "http_socket_options"),
}
"""Attributes of members that change nothing of what is asked or answered."""
ANOTHER: dict[str, Any] = {
    "profile": {"image_inputs": False},
    "output_version": "v1",
    "model_kwargs": {"user": "me"},
    "disable_streaming": True,
    "default_headers": {"x": "y"},
    "default_query": {"x": "y"},
}


def another(value: Any, name: str) -> Any:
    """Another value of an attribute."""
    match value:
        case _ if name in ANOTHER:
            return ANOTHER[name]
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case dict():
            return {**value, "x": 1}
    return [*value, "x"] if isinstance(value, list | tuple) else "x"


@pytest.mark.parametrize("kind", ["together", "openai", "openrouter"])
def test_every_attribute_of_a_member_is_in_the_key(kind: str) -> None:
    model = KINDS[kind]()
    plain = key(made(aggregator=model))
    tried = 0
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        hidden = bool(field.exclude) and name not in ANOTHER  # no part of a model's state
        # a mixture refuses several answers
        if name in (*OF_THE_PROGRAM, "n") or hidden or isinstance(value, SecretStr):
            continue
        changed = model.model_copy(update={name: another(value, name)})
        assert key(made(aggregator=changed)) != plain, name
        assert key(made(reference_models=[changed])) != key(made(reference_models=[model])), name
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_member_has_of_its_program_is_not_in_the_key(kind: str) -> None:
    plain = key(made(aggregator=KINDS[kind]()))
    own = {"tags": ["a"], "metadata": {"a": 1}, "verbose": True, "cache": False}
    assert key(made(aggregator=KINDS[kind](**own))) == plain
    assert key(made(aggregator=KINDS[kind](api_key=SecretStr("another")))) == plain


def _model(**options: Any) -> Any:
    return KINDS["together"](**options)


COMPOSED: dict[str, tuple[Any, Any]] = {
    "exceptions of fallbacks": (
        _model().with_fallbacks([_model(temperature=1)], exceptions_to_handle=(ValueError,)),
        _model().with_fallbacks([_model(temperature=1)], exceptions_to_handle=(Exception,)),
    ),
    "who falls back": (
        _model().with_fallbacks([_model(temperature=1)]),
        _model().with_fallbacks([_model(temperature=2)]),
    ),
    "exceptions of retries": (
        _model().with_retry(retry_if_exception_type=(ValueError,)),
        _model().with_retry(retry_if_exception_type=(KeyError,)),
    ),
    "bound arguments": (_model().bind(stop=["a"]), _model().bind(stop=["b"])),
    "bound headers": (_model().bind(extra_headers={"a": "b"}), _model().bind(extra_headers={})),
    "a mixture inside": (made(aggregator=BETA), made(aggregator=ALPHA)),
}


@pytest.mark.parametrize("what", COMPOSED)
def test_what_members_are_composed_of_is_in_the_key(what: str) -> None:
    one, other = COMPOSED[what]
    for place in ({"reference_models": [one]}, {"aggregator": one}):
        name, value = next(iter(place.items()))
        changed = [other] if isinstance(value, list) else other
        assert key(made(**place)) != key(made(**{name: changed}))
        assert key(made(**place)) == key(made(**place))


async def test_another_members_answer_is_not_taken_from_the_cache() -> None:
    def see(body: Any) -> str:
        return "I see the image" if "image_url" in str(body) else "I got no image"

    image = HumanMessage(
        [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ]
    )
    with LoopbackServer({"v/eye": ModelBehavior(reply=see)}) as server:

        def mixture(profile: Any) -> MoAChatModel:
            member = ChatTogether(
                model="v/eye",
                api_key=SecretStr(server.api_key),
                base_url=server.base_url,
                profile=profile,
            )
            return MoAChatModel(reference_models=[member], aggregator=member, cache=cache)

        cache = InMemoryCache()
        blind, seeing = mixture({"image_inputs": False}), mixture({"image_inputs": True})
        assert blind.invoke([image]).text == "I got no image"
        assert (await seeing.ainvoke([image])).text == "I see the image"
        assert (await mixture({"image_inputs": True}).ainvoke([image])).text == "I see the image"
        assert len(server.requests) == 4
