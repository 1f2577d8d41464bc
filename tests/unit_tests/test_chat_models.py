"""`MoAChatModel` as any chat model: copies, caches, wrappers, identity, repr."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tracers.context import register_configure_hook
from pydantic import BaseModel

from langchain_moa import (
    ChatMoA,
    CircuitBreaker,
    MoAChatModel,
    MoAConfigurationError,
    create_moa_graph,
)
from langchain_moa.config.build import build_mixture
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.testing import ScriptedChatModel


def saying(text: str, **fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel.saying(text, **fields)


def mixture(**fields: Any) -> MoAChatModel:
    defaults: dict[str, Any] = {
        "reference_models": [saying("4", model="a"), saying("five", model="b")],
        "aggregator": saying("It is 4.", model="judge"),
    }
    return MoAChatModel(**{**defaults, **fields})


def layers_of(answer: Any) -> int:
    layers: int = answer.response_metadata["moa"]["layers"]
    return layers


# --- fields ---


def test_misspelt_and_impossible_fields() -> None:
    for fields, message in (
        ({"layer": 3}, "did you mean layers"),
        ({"layers": "many"}, "layers='many'"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"min_proposals": 3}, "min_proposals=3 must be from 1 to 2"),
        ({"reference_models": []}, "reference_models=\\[\\] is empty"),
    ):
        with pytest.raises(MoAConfigurationError, match=message):
            mixture(**fields)
    with pytest.raises(MoAConfigurationError, match="aggregator: Field required"):
        MoAChatModel(reference_models=[saying("x")])  # type: ignore[call-arg]
    with pytest.raises(MoAConfigurationError, match="samples=0"):
        MoAChatModel.self_moa(saying("x"), samples=0)


def test_layers_is_known_after_construction() -> None:
    assert (mixture().layers, mixture().num_layers) == (None, 2)
    nested = [[saying("a")], [saying("b"), saying("c")]]
    llm = mixture(reference_models=nested)
    assert llm.num_layers == 3
    assert llm.model_copy(update={"reference_models": [[saying("a")]]}).num_layers == 2
    field = ConfigurableField("members")
    config: Any = {"configurable": {"members": [[saying("z")]]}}
    assert layers_of(llm.configurable_fields(reference_models=field).invoke("Go", config)) == 2


def test_arguments_that_a_member_cannot_take() -> None:
    plain: Any = RunnableLambda(lambda _: "text", name="plain")
    with pytest.raises(MoAConfigurationError, match="temperature: 'plain'"):
        mixture(aggregator=plain, temperature=0)
    with pytest.raises(MoAConfigurationError, match="temperature: 'plain'"):
        mixture(reference_models=[plain], proposal_temperature=0)
    assert mixture(aggregator=plain, reference_models=[plain]).invoke("Go").text == "text"


def test_secrets_and_members_stay_out_of_repr_and_dumps() -> None:
    class Keyed(ScriptedChatModel):
        default_headers: dict[str, str]

    headers = {"Authorization": "sk-header"}
    keyed = Keyed(script=lambda _: "ok", model="keyed", default_headers=headers)
    llm = mixture(reference_models=[keyed], aggregator=keyed, api_key="sk-argument")
    shown = repr(llm) + str(llm) + dumps(llm) + str(llm._identifying_params)
    assert "sk-" not in shown
    assert "keyed" in repr(llm)


# --- copies ---


def test_a_changed_copy_runs_what_it_says() -> None:
    llm = mixture()
    assert layers_of(llm.model_copy(update={"layers": 3}).invoke("Go")) == 3
    assert layers_of(llm.invoke("Go")) == 2
    other = llm.model_copy(update={"aggregator": saying("Other.")})
    assert other.invoke("Go").text == "Other."
    assert other.graph.invoke({"messages": ["Go"]})["messages"][-1].text == "Other."
    assert llm.graph is llm.graph


def test_configurable_fields() -> None:
    llm = mixture().configurable_fields(
        layers=ConfigurableField("layers"), aggregator=ConfigurableField("aggregator")
    )
    assert layers_of(llm.invoke("Go")) == 2
    config: Any = {"configurable": {"layers": 4, "aggregator": saying("Other.")}}
    answer = llm.invoke("Go", config)
    assert (layers_of(answer), answer.content) == (4, "Other.")


def test_with_config_and_bind() -> None:
    aggregator = saying("ok")
    llm = mixture(aggregator=aggregator).bind(temperature=0).with_config(tags=["x"])
    llm.invoke("Go")
    assert aggregator.calls[-1][1] == {"temperature": 0}


# --- cache, limits ---


def test_llm_cache_tells_mixtures_apart() -> None:
    cache = InMemoryCache()
    first = mixture(cache=cache)
    second = mixture(cache=cache, aggregator=saying("Another."))
    assert first.invoke("Go").text == "It is 4."
    assert second.invoke("Go").text == "Another."
    asked = len(first.aggregator.calls)  # type: ignore[union-attr]
    again = first.invoke("Go")
    assert again.text == "It is 4."
    assert len(first.aggregator.calls) == asked  # type: ignore[union-attr]
    assert again.usage_metadata is not None
    assert again.usage_metadata["output_tokens"] == 3


def test_rate_limiter_counts_one_call_of_the_mixture() -> None:
    limiter = InMemoryRateLimiter(requests_per_second=0.001, max_bucket_size=1)
    limiter.available_tokens = 1
    mixture(rate_limiter=limiter).invoke("Go")
    assert limiter.available_tokens < 1
    assert not limiter.acquire(blocking=False)


# --- what the aggregator does ---


class Tokenizing(ScriptedChatModel):
    """Counts three tokens whatever the text."""

    def get_token_ids(self, _: str) -> list[int]:
        return [1, 2, 3]

    def get_num_tokens(self, _: str) -> int:
        return 3

    def get_num_tokens_from_messages(self, *_: Any, **__: Any) -> int:
        return 33


def test_tokens_are_counted_by_the_aggregator() -> None:
    llm = mixture(aggregator=Tokenizing(script=lambda _: "ok").bind(temperature=0))
    assert llm.get_num_tokens("some text") == 3
    assert llm.get_token_ids("some text") == [1, 2, 3]
    assert llm.get_num_tokens_from_messages([HumanMessage("x")]) == 33


def test_tokens_without_a_chat_model_are_the_base_classs_business() -> None:
    llm = mixture(
        aggregator=RunnableLambda(lambda _: "ok"), custom_get_token_ids=lambda text: [7] * len(text)
    )
    assert llm.get_num_tokens("four") == 4
    assert llm.get_token_ids("ab") == [7, 7]
    assert llm.get_num_tokens_from_messages([HumanMessage("x")]) > 0


def test_profile() -> None:
    members = [saying("x", profile={"max_input_tokens": 10_000}), saying("y")]
    judge = saying("z", profile={"max_input_tokens": 50_000, "tool_calling": True})
    llm = mixture(reference_models=members, aggregator=judge, proposal_max_tokens=1_000)
    assert llm.profile == {"max_input_tokens": 9_000, "tool_calling": True}
    assert judge.profile == {"max_input_tokens": 50_000, "tool_calling": True}
    assert mixture().profile is None
    assert mixture(aggregator=RunnableLambda(lambda _: "ok")).profile is None
    assert mixture(aggregator=saying("z", profile={"tool_calling": True})).profile == {
        "tool_calling": True
    }
    given = mixture(aggregator=judge, profile={"max_input_tokens": 7})
    assert given.profile == {"max_input_tokens": 7}
    copies = [given.model_copy(update={"aggregator": saying("z")}), deepcopy(given)]
    assert [copy.profile for copy in copies] == [{"max_input_tokens": 7}] * 2


def test_profile_is_that_of_the_current_members() -> None:
    able: Any = {"max_input_tokens": 100_000, "image_inputs": True, "structured_output": True}
    llm = mixture(aggregator=saying("x", profile=able))
    assert llm.profile is not None
    assert llm.profile["image_inputs"]
    small = saying("y", profile={"max_input_tokens": 4_000, "image_inputs": False})
    expected = mixture(aggregator=small).profile
    assert expected is not None
    assert (expected["image_inputs"], expected.get("structured_output")) == (False, None)
    swappable = llm.configurable_fields(aggregator=ConfigurableField(id="aggregator"))
    swapped, _ = swappable.prepare({"configurable": {"aggregator": small}})  # type: ignore[attr-defined]
    assert swapped.profile == expected
    assert llm.model_copy(update={"aggregator": small}).profile == expected
    llm.aggregator = small
    assert llm.profile == expected


def test_profile_of_several_aggregators() -> None:
    able: Any = {
        "name": "Able",
        "max_input_tokens": 100_000,
        "max_output_tokens": 9_000,
        "image_inputs": True,
        "tool_calling": True,
        "structured_output": True,
    }
    plain: Any = {
        "name": "Plain",
        "max_input_tokens": 50_000,
        "max_output_tokens": 4_000,
        "image_inputs": False,
        "tool_calling": True,
    }
    profile = mixture(
        aggregator=[saying("x", profile=able), saying("y", profile=plain)], proposal_max_tokens=100
    ).profile
    assert profile is not None
    assert 44_000 < profile.pop("max_input_tokens") < 45_000
    assert profile == {"image_inputs": False, "tool_calling": True, "max_output_tokens": 4_000}


class Wordy(ScriptedChatModel):
    """Has a limit of its own."""

    max_tokens: int = 3_000


@pytest.mark.parametrize(
    ("proposers", "fields", "kept"),
    [
        ([saying("x")] * 2, {}, 2 * 1_000),
        ([saying("x"), Wordy(script=lambda _: "x")], {}, 4_000),
        ([Wordy(script=lambda _: "x")] * 2, {"proposal_max_tokens": 500}, 1_000),
        ([saying("x", model="a")], {"fallbacks": {"a": Wordy(script=lambda _: "x")}}, 3_000),
    ],
)
def test_room_for_proposals(proposers: Any, fields: Any, kept: int) -> None:
    llm = mixture(
        reference_models=proposers,
        aggregator=saying("z", profile={"max_input_tokens": 100_000}),
        **fields,
    )
    shorter = llm.model_copy(update={"proposal_max_tokens": 1})  # one token for each proposal
    assert llm.profile is not None
    assert shorter.profile is not None
    room = shorter.profile["max_input_tokens"] + len(proposers)
    assert 80_000 < room < 90_000
    assert llm.profile == {"max_input_tokens": room - kept}


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("size", [2_000, 20_000])
@pytest.mark.parametrize("by_argument", [False, True])
def test_what_the_profile_says_fits_beside_the_proposals(
    size: int,
    layers: int,
    by_argument: bool,  # noqa: FBT001
) -> None:
    judge, text = saying("ok", model="judge"), "word " * 150
    members = [saying(text, model="a"), saying(text, model="b")]
    known = dict.fromkeys(("a", "b", "judge"), size)
    profiles = {name: {"max_input_tokens": limit} for name, limit in known.items()}
    fields = {"max_input_tokens": known} if by_argument else {"profiles": profiles}
    llm = mixture(reference_models=members, aggregator=judge, layers=layers, **fields)
    assert llm.profile is not None
    longest = "x" * 4 * (llm.profile["max_input_tokens"] - 4)  # and 4 tokens of the message
    record = llm.invoke(longest).response_metadata["moa"]
    ((read, _),) = judge.calls
    assert str(read[-1].content).count(text.strip()) == 2
    assert [p["left_out"] for p in record["proposals"]] == [[]] * len(record["proposals"])
    assert record["aggregator"]["left_out"] == []


def test_profile_of_max_input_tokens_alone() -> None:
    profile = mixture(max_input_tokens=5_000, proposal_max_tokens=100).profile
    assert profile is not None
    assert 4_000 < profile["max_input_tokens"] < 4_300
    assert mixture(max_input_tokens=1).profile == {"max_input_tokens": 1}


def lookup(city: str) -> str:
    """Look a city up."""
    return city


class Answer(BaseModel):
    """An answer."""

    city: str


@pytest.mark.parametrize("wrap", ["plain", "bind", "retry"])
def test_tools_are_bound_to_the_aggregator_alone(wrap: str) -> None:
    judge = saying("ok")
    aggregator = {"plain": judge, "bind": judge.bind(temperature=0), "retry": judge.with_retry()}
    proposer = saying("4")
    llm = mixture(reference_models=[proposer], aggregator=aggregator[wrap])
    bound = llm.bind_tools([lookup])
    answer = bound.invoke("Go")
    assert answer.response_metadata["moa"]["layers"] == 2
    (_, given) = judge.calls[-1]
    assert [tool["function"]["name"] for tool in given["tools"]] == ["lookup"]
    assert given.get("temperature") == (0 if wrap == "bind" else None)
    assert proposer.calls[-1][1] == {}


def test_tools_need_a_chat_model_that_binds_itself() -> None:
    with pytest.raises(MoAConfigurationError, match="bind_tools needs"):
        mixture(aggregator=RunnableLambda(lambda _: "ok")).bind_tools([lookup])
    with pytest.raises(MoAConfigurationError, match="with_structured_output needs"):
        mixture(aggregator=RunnableLambda(lambda _: "ok")).with_structured_output(Answer)

    class Stranger(ScriptedChatModel):
        def bind_tools(self, *_: Any, **__: Any) -> Any:
            return RunnableLambda(lambda _: AIMessage("bare"))

    with pytest.raises(MoAConfigurationError, match="does not hold the model itself"):
        mixture(aggregator=Stranger(script=lambda _: "ok")).bind_tools([lookup])


class Closed(BaseModel):
    """Can be voted on."""

    good: bool


def test_a_cached_answer_is_not_taken_for_a_vote() -> None:
    def answering(*, good: bool) -> ScriptedChatModel:
        call = {"name": "Closed", "args": {"good": good}, "id": "1"}
        return ScriptedChatModel(script=lambda _: AIMessage("", tool_calls=[call]))

    proposers = [answering(good=False), saying("Bad.")]
    llm = mixture(
        reference_models=proposers, aggregator=answering(good=True), cache=InMemoryCache()
    )
    assert llm.with_structured_output(Closed).invoke("Good?") == Closed(good=True)
    for _ in range(2):
        assert llm.with_structured_output(Closed, vote=True).invoke("Good?") == Closed(good=False)
    assert len(proposers[0].calls) == 2


class Picky(ScriptedChatModel):
    """Takes no tools as others do."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        msg = "only three tools"
        raise ValueError(msg)


def test_members_that_take_no_tools_or_schemas() -> None:
    """One without the method answers in text, one that refuses is named."""
    texts = FakeListChatModel(responses=["Paris"])
    call = {"name": "Answer", "args": {"city": "Paris"}, "id": "1"}
    judge = ScriptedChatModel(script=lambda _: AIMessage("", tool_calls=[call]))
    llm = mixture(
        reference_models=[texts],
        aggregator=judge,
        tools_for="all",
        structured_proposals=True,
        include_proposals=True,
    )
    (proposal,) = llm.bind_tools([lookup]).invoke("Go").response_metadata["moa"]["proposals"]
    assert proposal["text"] == "Paris"
    assert llm.with_structured_output(Answer).invoke("Where?") == Answer(city="Paris")
    with pytest.raises(MoAConfigurationError, match=r"aggregator='\w+' has no bind_tools"):
        mixture(aggregator=texts).bind_tools([lookup])
    with pytest.raises(MoAConfigurationError, match=r"aggregator='\w+' has no with_structured"):
        mixture(aggregator=texts).with_structured_output(Answer)
    picky = mixture(reference_models=[saying("x"), Picky(script=lambda _: "x")], tools_for="all")
    with pytest.raises(MoAConfigurationError, match=r"reference_models\[1\].*only three tools"):
        picky.bind_tools([lookup])


def test_a_mixture_inside_keeps_its_tools_when_copied() -> None:
    judge = saying("ok")
    bound = mixture(aggregator=mixture(aggregator=[saying("no"), judge])).bind_tools([lookup])
    assert deepcopy(bound).invoke("Go").text == "no"
    swapped = bound.bound.model_copy(update={"aggregator": judge})  # type: ignore[attr-defined]
    swapped.bind(**bound.kwargs).invoke("Go")  # type: ignore[attr-defined]
    ((_, given),) = judge.calls
    assert [tool["function"]["name"] for tool in given["tools"]] == ["lookup"]


@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output_goes_through_the_mixture(include_raw: bool) -> None:  # noqa: FBT001
    call = {"name": "Answer", "args": {"city": "Paris"}, "id": "1"}
    judge = ScriptedChatModel(script=lambda _: AIMessage("", tool_calls=[call]))
    proposer = saying("Paris, I think.")
    llm = mixture(reference_models=[proposer], aggregator=judge)
    result: Any = llm.with_structured_output(Answer, include_raw=include_raw).invoke("Where?")
    assert (result["parsed"] if include_raw else result) == Answer(city="Paris")
    assert len(proposer.calls) == 1


# --- kinds of aggregators ---


def test_a_chain_as_aggregator_streams() -> None:
    chain = (
        ChatPromptTemplate([("placeholder", "{messages}")]) | saying("one two") | StrOutputParser()
    )
    llm = mixture(aggregator=chain, temperature=0.3)
    chunks = list(llm.stream("Go"))
    assert [chunk.text for chunk in chunks if chunk.text] == ["one", " two"]
    whole = sum(chunks[1:], chunks[0])
    record = whole.response_metadata["moa"]
    assert record["usage"]["by_model"].keys() == {"a", "b", "scripted"}
    assert whole.usage_metadata == record["aggregator"]["usage"]


async def test_a_graph_as_aggregator_gives_one_piece() -> None:
    inner = mixture(aggregator=saying("From within."))
    llm = mixture(aggregator=inner.graph)
    assert llm.invoke("Go").text == "From within."
    assert [c.text for c in llm.stream("Go") if c.text] == ["From within."]
    assert [c.text async for c in llm.astream("Go") if c.text] == ["From within."]


def test_streaming_can_be_left_early() -> None:
    closed: list[str] = []

    class Watched(ScriptedChatModel):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            try:
                yield from super()._stream(*args, **kwargs)
            finally:
                closed.append("closed")

    stream = mixture(aggregator=Watched(script=lambda _: "a b c d")).stream("Go")
    assert next(stream).text == "a"
    stream.close()  # type: ignore[attr-defined]
    assert closed == ["closed"]


def test_disabled_streaming_gives_one_message() -> None:
    chunks = list(mixture(disable_streaming=True).stream("Go"))
    assert [chunk.text for chunk in chunks] == ["It is 4."]
    assert chunks[0].usage_metadata is not None


def test_caller_gets_the_message_id_of_the_outer_run() -> None:
    run_id = uuid4()
    assert str(run_id) in str(mixture().invoke("Go", {"run_id": run_id}).id)
    ids = {chunk.id for chunk in mixture().stream("Go", {"run_id": run_id})}
    assert ids == {f"lc_run--{run_id}"}


def test_chains_around_the_mixture() -> None:
    chain = ChatPromptTemplate([("human", "{question}")]) | mixture() | StrOutputParser()
    assert chain.invoke({"question": "2 + 2?"}) == "It is 4."
    assert "".join(chain.stream({"question": "2 + 2?"})) == "It is 4."
    assert asyncio.run(chain.ainvoke({"question": "2 + 2?"})) == "It is 4."


def test_it_is_a_chat_model() -> None:
    assert issubclass(ChatMoA, BaseChatModel)
    assert mixture()._llm_type == "moa"
    assert mixture().model_name == "moa"
    params = mixture()._get_ls_params()
    # the aggregator's own provider: middleware compares it with that of the message
    own = ScriptedChatModel.saying("a")._get_ls_params()["ls_provider"]
    assert (params["ls_provider"], params["ls_model_name"]) == (own, "moa")
    assert AIMessageChunk in {type(chunk) for chunk in mixture().stream("Go")}


def test_a_members_cached_answer_is_recorded_and_costs_nothing() -> None:
    cache = InMemoryCache()
    members = [saying("4", model="a", cache=cache), saying("five", model="b")]
    llm = mixture(reference_models=members, aggregator=saying("ok", model="judge", cache=cache))
    llm.invoke("Go")
    answer = llm.invoke("Go")
    record = answer.response_metadata["moa"]
    assert [p["status"] for p in record["proposals"]] == ["cached", "ok"]
    assert record["proposals"][0]["usage"] is None
    assert record["aggregator"]["status"] == "cached"
    assert record["usage"]["by_model"].keys() == {"b"}
    assert record["degraded"] is False
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 1


def test_cached_answers_of_models_that_report_no_usage() -> None:
    def fake(text: str) -> FakeListChatModel:
        return FakeListChatModel(responses=[text], cache=InMemoryCache())

    llm = mixture(reference_models=[fake("x")], aggregator=fake("y"))
    llm.invoke("Go")
    record = llm.invoke("Go").response_metadata["moa"]
    assert record["usage"]["total_tokens"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "three"}, "layers='three'"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"proposal_kwargs": None}, "proposal_kwargs"),
        ({"max_retries": "x"}, "max_retries='x'"),
        ({"api_key": 123456789}, "api_key: Input"),
    ],
)
@pytest.mark.parametrize("make", [MoAChatModel, create_moa_graph])
def test_options_of_a_wrong_type(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MoAConfigurationError, match=message) as caught:
        make(reference_models=[saying("x")], aggregator=saying("y"), **options)
    assert "123456789" not in str(caught.value)


class Listening(BaseCallbackHandler):
    """Keeps the tokens it hears."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []
        self.ended = 0

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.ended += 1


class AsyncListening(AsyncCallbackHandler):
    """The same in an event loop."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)


async def ask(llm: MoAChatModel, way: str, config: Any) -> None:
    """Call a mixture in one of the four ways."""
    match way:
        case "invoke":
            llm.invoke("Go", config)
        case "stream":
            list(llm.stream("Go", config))
        case "ainvoke":
            await llm.ainvoke("Go", config)
        case _:
            _ = [chunk async for chunk in llm.astream("Go", config)]


async def test_a_handler_of_tokens_hears_each_token_once() -> None:
    llm = mixture(aggregator=saying("one two"), streaming=True)
    for way in ("invoke", "stream", "ainvoke", "astream"):
        sync, other = Listening(), AsyncListening()
        config: Any = {"callbacks": [sync] if way in ("invoke", "stream") else [sync, other]}
        await ask(llm, way, config)
        assert [token for token in sync.tokens if token] == ["one", " two"]
        assert sync.ended == 4  # two proposers, the aggregator, the mixture
        assert [token for token in other.tokens if token] == (
            ["one", " two"] if way.startswith("a") else []
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1}, "temperature=-1"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"proposal_max_tokens": -5}, "proposal_max_tokens=-5"),
        ({"proposal_temperature": float("nan")}, "proposal_temperature=nan"),
        ({"timeout": -1}, "timeout=-1"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"stop": "END"}, "stop='END'.*give a list"),
        (
            {"aggregator_prompt": "{proposals!x}"},
            "aggregator_prompt has {proposals!x}, with a width or a form; write",
        ),
        ({"aggregator": ScriptedChatModel}, "that is a class, so construct it"),
        ({"aggregator": "llama3:8b"}, "'llama3' is no provider .* 'ollama:llama3:8b'"),
        ({"aggregator": "Together:m", "api_key": "  "}, "no key for Together"),
    ],
)
def test_impossible_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MoAConfigurationError, match=message):
        mixture(**fields)


def test_self_moa_arguments() -> None:
    with pytest.raises(MoAConfigurationError, match="samples='3' must be a whole number"):
        MoAChatModel.self_moa(saying("x"), samples="3")  # type: ignore[arg-type]
    with pytest.raises(MoAConfigurationError, match="reference_models: in Self-MoA"):
        MoAChatModel.self_moa(saying("x"), reference_models=[saying("y")])


def test_repr_never_fails() -> None:
    llm = mixture()
    llm.layers = 1
    assert repr(llm) == "MoAChatModel()"
    with pytest.raises(MoAConfigurationError, match="layers=1"):
        llm.invoke("Go")


def test_dumps_name_members_and_hold_no_headers() -> None:
    class Keyed(ScriptedChatModel):
        default_headers: dict[str, str]

    headers = {"Authorization": "sk-header"}
    keyed = Keyed(script=lambda _: "ok", model="keyed", default_headers=headers)
    llm = mixture(reference_models=[[keyed], [keyed]], aggregator=keyed)
    dumped = llm.model_dump(include={"reference_models", "aggregator"})
    assert dumped == {"reference_models": [["keyed"], ["keyed"]], "aggregator": "keyed"}
    settings = MixtureSettings(reference_models=[[keyed], [keyed]], aggregator=keyed)
    assert "sk-header" not in repr(llm) + repr(build_mixture(settings))


def test_arguments_that_the_aggregator_cannot_take_are_found_before_anything_is_paid() -> None:
    proposer = saying("4")
    aggregator: Any = RunnableLambda(lambda _: "text")
    llm = mixture(reference_models=[proposer], aggregator=aggregator)
    with pytest.raises(MoAConfigurationError, match="temperature"):
        llm.invoke("Go", temperature=0)
    assert not proposer.calls


def test_the_record_names_what_was_asked_for() -> None:
    llm = mixture(proposal_kwargs={"model": "other"})
    record = llm.invoke("Go", model="judge-2").response_metadata["moa"]
    assert [p["model"] for p in record["proposals"]] == ["other", "other"]
    assert record["aggregator"]["model"] == "judge-2"


def test_members_that_say_nothing_of_their_usage_are_named() -> None:
    silent: Any = RunnableLambda(lambda _: "text", name="silent")
    usage = mixture(reference_models=[silent, saying("x")]).invoke("Go").response_metadata["moa"]
    assert usage["usage"]["unknown"] == ["silent"]


def filtered(**metadata: Any) -> ScriptedChatModel:
    return ScriptedChatModel(script=lambda _: AIMessage("I was", response_metadata=metadata))


def in_blocks(block: dict[str, Any]) -> ScriptedChatModel:
    return ScriptedChatModel(script=lambda _: AIMessage([block]))


@pytest.mark.parametrize(
    ("proposer", "status"),
    [
        (filtered(finish_reason="SAFETY"), "filtered"),
        (filtered(stop_reason="refusal"), "filtered"),
        (filtered(stopReason="guardrail_intervened"), "filtered"),
        (filtered(stop_reason="end_turn"), "ok"),
        (in_blocks({"type": "refusal", "refusal": "I can't"}), "filtered"),
        (in_blocks({"type": "thinking", "thinking": "hm"}), "reasoning_only"),
        (in_blocks({"type": "reasoning", "reasoning": "hm"}), "reasoning_only"),
    ],
)
def test_refusals_and_filters_of_other_providers(proposer: Any, status: str) -> None:
    llm = mixture(reference_models=[proposer, saying("x")])
    record = llm.invoke("Go").response_metadata["moa"]
    assert record["proposals"][0]["status"] == status


def test_the_graph_leaves_the_callers_messages_alone() -> None:
    question = HumanMessage("Go")
    mixture().graph.invoke({"messages": [question]})
    assert question.id is None


@pytest.mark.parametrize("name", ["__start__", "messages", "moa_proposals", "a:b|c d"])
def test_any_model_name_makes_a_graph(name: str) -> None:
    assert mixture(reference_models=[saying("x", model=name)]).invoke("Go").text == "It is 4."


_hooked: ContextVar[Any] = ContextVar("hooked", default=None)
register_configure_hook(_hooked, inheritable=True)


class Accountant(Listening):
    """Counts starts, as handlers of configure hooks do that add up costs."""

    started = 0

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.started += 1


@pytest.mark.parametrize("where", ["hook", "config and aggregator"])
async def test_a_handler_that_is_given_twice_hears_everything_once(where: str) -> None:
    for way in ("invoke", "stream", "ainvoke", "astream"):
        one = Accountant()
        hook = where == "hook"
        judge = saying("one two", callbacks=None if hook else [one])
        llm = mixture(aggregator=judge, streaming=True)
        config: Any = {} if hook else {"callbacks": [one]}
        token = _hooked.set(one if hook else None)
        await ask(llm, way, config)
        _hooked.reset(token)
        assert [piece for piece in one.tokens if piece] == ["one", " two"]
        assert (one.started, one.ended) == (4, 4)


async def test_configurable_members_are_configured_on_every_path() -> None:
    judge = saying("ok")
    model: Any = judge.bind(seed=1).configurable_fields(kwargs=ConfigurableField("judge_kwargs"))
    llm = mixture(aggregator=model)
    config: Any = {"configurable": {"judge_kwargs": {"seed": 7}}}
    for way in ("invoke", "stream", "ainvoke", "astream"):
        await ask(llm, way, config)
    llm.batch(["Go"], config)
    (RunnableLambda(lambda text: text) | llm).invoke("Go", config)
    assert [given["seed"] for _, given in judge.calls] == [7] * 6
    llm.invoke("Go")
    assert judge.calls[-1][1] == {"seed": 1}


def test_a_whole_answer_from_the_cache_says_so() -> None:
    llm = mixture(cache=InMemoryCache())
    assert llm.invoke("Go").response_metadata["moa"]["cached"] is False
    assert llm.invoke("Go").response_metadata["moa"]["cached"] is True
    assert llm.invoke("Other").response_metadata["moa"]["cached"] is False


def test_a_cached_answer_says_so_even_if_the_aggregator_reports_no_usage() -> None:
    llm = mixture(cache=InMemoryCache(), aggregator=FakeListChatModel(responses=["ok"]))
    found = [llm.invoke("Go").response_metadata["moa"]["cached"] for _ in range(2)]
    assert found == [False, True]


@pytest.mark.parametrize("place", ["aggregator", "reference_models", "fallbacks"])
def test_a_mixture_that_is_made_its_own_member(place: str) -> None:
    member = ScriptedChatModel.saying("4", model="m")
    llm = MoAChatModel(reference_models=[member], aggregator=ScriptedChatModel.saying("ok"))
    given: Any = {"aggregator": llm, "reference_models": [llm], "fallbacks": {"m": llm}}[place]
    setattr(llm, place, given)
    with pytest.raises(MoAConfigurationError, match=f"{place} holds the mixture itself"):
        llm.invoke("Go")
    assert member.calls == []


def test_a_function_as_member_may_name_what_is_made_later() -> None:
    def says(_: object) -> str:
        return later

    llm = MoAChatModel(
        reference_models=[RunnableLambda(says)], aggregator=ScriptedChatModel.saying("ok")
    )
    later = "4"
    (proposal,) = llm.invoke("Go").response_metadata["moa"]["proposals"]
    assert proposal["status"] == "ok"


def said(_: list[BaseMessage]) -> str:
    return "said"


def test_a_pickled_mixture_answers() -> None:
    members = [ScriptedChatModel(script=said)] * 2
    llm = MoAChatModel(reference_models=members, aggregator=members[0], max_concurrency=2)
    llm.invoke("Hi")
    assert pickle.loads(pickle.dumps(llm)).invoke("Hi").content == "said"  # noqa: S301 - ours


@pytest.mark.parametrize("copied", [deepcopy, lambda llm: llm.model_copy(deep=True)])
def test_deep_copies_answer(copied: Callable[[MoAChatModel], MoAChatModel]) -> None:
    llm = mixture(max_concurrency=2, circuit_breaker=CircuitBreaker())
    before = llm.invoke("Hi").content
    assert copied(llm).invoke("Hi").content == before


NAMES: dict[str, Any] = {"reference_models": ["a/b"], "aggregator": "a/c", "api_key": "k"}


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        ({"top_p": 1}, "{'model': ..., 'top_p': ...}"),
        ({"model": "a/c"}, "aggregator=... writes the answer"),
        ({"rounds": 1}, "it is rounds + 1"),
        ({"aggregator": "opnai:gpt-4o"}, "did you mean 'openai:gpt-4o'?"),
        ({"reference_models": ["antropic:claude-x"]}, "did you mean 'anthropic:claude-x'?"),
    ],
)
def test_wrong_arguments_name_the_mend_in_one_frame(settings: dict[str, Any], mend: str) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        MoAChatModel(**{**NAMES, **settings})
    assert mend in str(caught.value)
    assert len(caught.traceback) == 2  # the line above, and what it called


def test_arguments_are_given_by_name() -> None:
    make: Any = MoAChatModel
    with pytest.raises(MoAConfigurationError, match=r"give reference_models=\.\.\., aggregator="):
        make(["a/b"], "a/c")


def test_presets_by_name() -> None:
    with pytest.raises(MoAConfigurationError, match=r"give from_preset\('self-moa'\)"):
        MoAChatModel.from_config("self-moa")
    assert MoAChatModel.from_preset("self-moa", api_key="k", layers=3).num_layers == 3
    with pytest.raises(MoAConfigurationError, match="self-moa"):
        MoAChatModel.from_preset("selfmoa", api_key="k")


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        ("gpt-4o", "'openai:gpt-4o'"),
        ("claude-sonnet-4-5", "'anthropic:claude-sonnet-4-5'"),
        ("gpt-oss-20b", None),
        ("openai/gpt-oss-20b", None),
    ],
)
def test_an_id_of_another_provider_is_no_error(
    model: str, warned: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    MoAChatModel(**{**NAMES, "aggregator": model})
    assert (warned or "asked for at Together") in caplog.text or warned is None
    caplog.clear()
    MoAChatModel(**{**NAMES, "aggregator": model}, base_url="http://127.0.0.1:9/v1")
    assert "asked for at Together" not in caplog.text
