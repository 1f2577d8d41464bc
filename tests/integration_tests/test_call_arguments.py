"""Arguments of calls either reach the model or are refused before anything is paid."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.testing import LoopbackServer, ScriptedChatModel
from tests.dialects import CLIENTS
from tests.wire import AGGREGATOR, ALPHA, BETA, bodies, mixture, says, together


async def _all(chunks: Any) -> None:
    async for _ in chunks:
        pass


WAYS: dict[str, Callable[..., object]] = {
    "invoke": lambda llm, **given: llm.invoke("Hi", **given),
    "stream": lambda llm, **given: list(llm.stream("Hi", **given)),
    "ainvoke": lambda llm, **given: asyncio.run(llm.ainvoke("Hi", **given)),
    "astream": lambda llm, **given: asyncio.run(_all(llm.astream("Hi", **given))),
    "bind": lambda llm, **given: llm.bind(**given).invoke("Hi"),
    "generate": lambda llm, **given: llm.generate([[HumanMessage("Hi")]], **given),
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "several answers": ({"n": 2}, "n=2: a mixture gives one answer"),
    "in other words": ({"best_of": 3}, "best_of=3: a mixture gives one answer"),
    "a setting": ({"quorum": 1}, "quorum is a setting of the mixture"),
    "another": ({"proposal_temperature": 0.1}, r"llm\.replace\(proposal_temperature=\.\.\.\)"),
    "the time": ({"timeout": 5}, "timeout is a setting of the mixture"),
    "a typo": ({"temprature": 0.1}, "temprature is not an argument of .*did you mean temperature"),
    "several in the body": ({"extra_body": {"n": 2}}, "extra_body: n=2: a mixture gives one"),
    "what makes up a model": ({"verbose": True}, "verbose is not an argument of"),
    "its clients": ({"max_retries": 3}, "max_retries is a setting"),
    "its own arguments": ({"model_kwargs": {"seed": 1}}, "model_kwargs is not an argument of"),
    "its cache": ({"cache": False}, "cache is"),
    "no tool": ({"tools": [5]}, r"tools\[0\]=5 is no tool"),
    "no tools": ({"tools": "look_up"}, "tools='look_up' is not a list of tools"),
    "a tool's name": ({"tools": [{"type": "function"}]}, r"tools\[0\]=<dict> is no tool"),
    "a tool of no JSON": ({"tools": [{"type": "x", "x": {1}}]}, r"tools\[0\]=<dict> is no tool"),
    "a function": ({"tools": [print]}, r"by bind_tools\(\[\.\.\.\]\)"),
    "a tool without an end": (
        {"tools": [{"type": "x", "x": math.inf}]},
        r"tools\[0\]=<dict> is no",
    ),
    "half a character": (
        {"tools": [{"type": "x", "x": "\ud800"}]},
        r"tools\[0\]=<dict> is no tool",
    ),
    "a body of no JSON": ({"extra_body": {"x": math.nan}}, "extra_body=<dict> cannot be sent"),
    "an empty tool": ({"tools": [{}]}, r"tools\[0\]=<dict> is no tool"),
    "no choice": ({"tool_choice": 5}, "tool_choice=5 is not a tool's name or a dict"),
    "no number": ({"temperature": "hot"}, "temperature='hot' is not a number"),
    "not a number": ({"temperature": math.nan}, "temperature=nan is not a number"),
    "a number without an end": ({"top_p": -math.inf}, "top_p=-inf is not a number"),
    "half an answer": ({"n": 1.0}, r"n=1\.0 is not a whole number"),
    "a flag for a number": ({"seed": True}, "seed=True is not a whole number"),
    "no body": ({"extra_body": 5}, "extra_body=5 is not a dict"),
    "no headers": ({"extra_headers": ["x"]}, "extra_headers=<list> is not a dict"),
    "no format": ({"response_format": "json"}, "response_format='json' is not a dict or a class"),
    "no stop": ({"stop": 5}, "stop=5 is not a text or a list of texts"),
    "unknown": ({"top_k": 5}, "top_k is not an argument of .*extra_body={'top_k': ...}"),
}


def models() -> dict[str, Any]:
    return {name: says("Hi.") for name in (ALPHA, BETA, AGGREGATOR)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", REFUSED)
def test_an_argument_of_no_use_is_refused_before_a_request(case: str, way: str) -> None:
    given, said = REFUSED[case]
    with LoopbackServer(models()) as server:
        with pytest.raises(MoAConfigurationError, match=said):
            WAYS[way](mixture(server), **given)
        assert server.requests == []


SENT: dict[str, Any] = {
    "temperature": 0.3,
    "max_tokens": 7,
    "stop": ["x"],
    "stream_usage": True,
    "top_p": 0.5,
    "seed": 3,
    "n": 1,
    "logprobs": True,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "user": "me",
    "extra_body": {"top_k": 5},
    "extra_headers": {"x-a": "b"},
    "model": AGGREGATOR,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_client_takes_is_sent_to_the_aggregator_alone(way: str) -> None:
    with LoopbackServer(models()) as server:
        for members in ({}, {"aggregator": together(server, AGGREGATOR)}):
            server.requests.clear()
            WAYS[way](mixture(server, **members), **SENT)
            (sent,) = bodies(server, AGGREGATOR)
            beyond = {"extra_body", "extra_headers", "stream_usage"}
            assert {name: sent[name] for name in SENT if name not in beyond} == {
                name: value for name, value in SENT.items() if name not in beyond
            }
            assert sent["top_k"] == 5
            assert not {"seed", "top_p", "logprobs"} & {*bodies(server, ALPHA)[0]}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_every_client_takes(client: str) -> None:
    with LoopbackServer(models()) as server:
        llm = mixture(server, aggregator=CLIENTS[client](server, AGGREGATOR))
        assert llm.invoke("Hi", temperature=0.5, stop=["x"]).text == "Hi."
        server.requests.clear()
        with pytest.raises(MoAConfigurationError, match="temperatur is not an argument"):
            llm.invoke("Hi", temperatur=0.5)
        assert server.requests == []


@pytest.mark.parametrize("client", ["mistral", "gemini"])
@pytest.mark.parametrize("name", ["extra_headers", "extra_query", "extra_body"])
def test_what_a_client_would_put_into_the_question(client: str, name: str) -> None:
    with LoopbackServer(models()) as server:
        llm = mixture(server, aggregator=CLIENTS[client](server, AGGREGATOR))
        with pytest.raises(MoAConfigurationError, match=f"{name} is not an argument of"):
            llm.bind(**{name: {"x-a": "b"}}).invoke("Hi")
        assert server.requests == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("tool", [5, None, "look_up", [], {}, True])
def test_what_is_no_tool_for_any_client(client: str, tool: object) -> None:
    with LoopbackServer(models()) as server:
        llm = mixture(server, aggregator=CLIENTS[client](server, AGGREGATOR))
        for call in (llm.invoke, llm.bind(tools=[tool]).invoke):
            with pytest.raises(MoAConfigurationError, match=r"tools\[0\]=.* is no tool"):
                call("Hi", tools=[tool])
        assert server.requests == []


def test_a_fallback_and_a_mixture_inside_take_it_too() -> None:
    with LoopbackServer(models()) as server:
        second = CLIENTS["anthropic"](server, BETA)
        llm = mixture(server, aggregator=[together(server, AGGREGATOR), second])
        with pytest.raises(MoAConfigurationError, match="seed is not an argument of aggregator"):
            llm.invoke("Hi", seed=1)
        outer = mixture(server, aggregator=mixture(server))
        with pytest.raises(MoAConfigurationError, match="temprature is not an argument"):
            outer.invoke("Hi", temprature=0.1)
        assert server.requests == []
        assert outer.invoke("Hi", seed=1).text == "Hi."


def test_members_that_would_make_several_answers_are_refused() -> None:
    with LoopbackServer(models()) as server:
        several = together(server, ALPHA, n=2)
        said = "n=2: a mixture gives one answer"
        with pytest.raises(MoAConfigurationError, match=rf"reference_models\[0\]\.{said}"):
            mixture(server, reference_models=[several])
        with pytest.raises(MoAConfigurationError, match=said):
            mixture(server, aggregator=together(server, ALPHA).bind(n=2))
        with pytest.raises(MoAConfigurationError, match=said):
            mixture(server, reference_models=[{"model": ALPHA, "n": 2}])
        with pytest.raises(MoAConfigurationError, match=said):
            mixture(server, proposal_kwargs={"n": 2})
        with pytest.raises(MoAConfigurationError, match="did you mean top_p"):
            mixture(server, proposal_kwargs={"topp": 0.5})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tools": [print]}, r"tools\[0\]=.* is no tool"),
        ({"tools": [{"type": "x", "x": math.nan}]}, r"tools\[0\]=<dict> is no tool"),
        ({"temperature": "hot"}, "temperature='hot' is not a number"),
        ({"response_format": {"x": math.inf}}, "response_format=<dict> cannot be sent"),
    ],
)
def test_members_to_which_is_bound_what_cannot_be_sent(given: dict[str, Any], said: str) -> None:
    with LoopbackServer(models()) as server:
        bound = together(server, ALPHA).bind(**given)
        with pytest.raises(MoAConfigurationError, match=rf"reference_models\[0\]\.{said}"):
            mixture(server, reference_models=[bound])
        with pytest.raises(MoAConfigurationError, match=rf"aggregator\.{said}"):
            mixture(server, aggregator=bound)


def scripted(**fields: Any) -> MoAChatModel:
    member = ScriptedChatModel.saying("4")
    return MoAChatModel(reference_models=[member, member], aggregator=member, **fields)


def test_a_class_that_tells_no_list_gets_what_is_no_misspelling() -> None:
    assert scripted().invoke("Hi", guidance=3).text == "4"
    with pytest.raises(MoAConfigurationError, match="did you mean temperature"):
        scripted().invoke("Hi", temperatur=0.1)


def test_copies_with_other_settings() -> None:
    llm = scripted(quorum=2)
    assert (llm.replace(quorum=1, temperature=0.5).quorum, llm.quorum) == (1, 2)
    assert llm.replace(quorum=1).invoke("Hi").text == "4"
    assert repr(llm.replace(api_key="secret-value").api_key) == "SecretStr('**********')"
    assert llm.replace(streaming=True).streaming
    assert llm.replace(layers=3).num_layers == 3
    with pytest.raises(MoAConfigurationError, match=r"quorm is not .* did you mean quorum"):
        llm.replace(quorm=1)
    with pytest.raises(MoAConfigurationError, match=r"quorm is not .* did you mean quorum"):
        llm.model_copy(update={"quorm": 1})
    with pytest.raises(MoAConfigurationError, match="quorum"):
        llm.replace(quorum=9)
    with pytest.raises(MoAConfigurationError, match="layer_timeout"):
        llm.replace(layer_timeout=-1)
