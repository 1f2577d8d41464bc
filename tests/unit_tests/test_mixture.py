"""What makes a mixture, and the errors that a wrong one gives."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import SecretStr

from langchain_moa import MoAChatModel, MoAConfigurationError, Proposal, create_moa_graph
from langchain_moa.config.build import build_mixture
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.engine.reading import read_by
from langchain_moa.mixture import Mixture
from langchain_moa.testing import ScriptedChatModel

A, B, C = (ScriptedChatModel.saying(name, model=f"acme/{name}") for name in "abc")
CHAIN: Runnable[Any, Any] = RunnableLambda(lambda _: "fixed")


def mixture(reference_models: Any = (A, B), aggregator: Any = C, **options: Any) -> Mixture:
    return build_mixture(
        MixtureSettings(reference_models=reference_models, aggregator=aggregator, **options)
    )


def models(made: Mixture) -> list[list[str]]:
    return [[member.model for member in layer] for layer in made.proposers]


WRONG: list[tuple[Any, dict[str, Any], list[str]]] = [
    ([A], {"layer": 2}, ["layer is not an argument", "did you mean layers?"]),
    ([A], {"agregator_prompt": "x"}, ["did you mean aggregator_prompt?"]),
    ([A], {"zzz": 1}, ["zzz is not an argument", "see help(MoAChatModel)"]),
    ([], {}, ["reference_models=[] is empty", "at least one reference model"]),
    ((), {}, ["reference_models=[] is empty"]),
    ([[A], []], {}, ["reference_models[1]=[] is empty", "each layer"]),
    ([[]], {}, ["reference_models[0]=[] is empty"]),
    ([A, [B]], {}, ["reference_models[1]=<list>", "mixed", "one flat list"]),
    ([[A], B], {}, ["reference_models[1]=<ScriptedChatModel>", "mixed"]),
    ("acme/a", {}, ["reference_models='acme/a' is not a list"]),
    (A, {}, ["reference_models=<ScriptedChatModel> is not a list"]),
    (None, {}, ["reference_models=None is not a list"]),
    ({A.model: A}, {}, ["reference_models=<dict> is not a list"]),
    ((model for model in [A]), {}, ["reference_models=<generator> is not a list"]),
    ([A], {"layers": 1}, ["layers=1 must be a whole number from 2", "layer counts"]),
    ([A], {"layers": 0}, ["layers=0"]),
    ([[A], [B]], {"layers": 2}, ["layers=2 contradicts", "2 lists make 3 layers", "leave layers"]),
    ([A, B], {"min_proposals": 0}, ["min_proposals=0 must be a whole number from 1"]),
    ([A, B], {"min_proposals": 3}, ["min_proposals=3 must be from 1 to 2"]),
    ([[A, B], [C]], {"min_proposals": 2}, ["min_proposals=2 must be from 1 to 1", "smallest"]),
    ([A], {"placement": "assistant"}, ["placement='assistant' is unknown", "'user' or 'system'"]),
    ([A], {"aggregator_prompt": "no place"}, ["aggregator_prompt='no place'", "{proposals}"]),
    (
        [A],
        {"proposal_temperature": 0.7, "proposal_kwargs": {"temperature": 1}},
        ["proposal_kwargs=<dict> repeats temperature", "proposal_temperature, not both"],
    ),
    (
        [A],
        {"proposal_max_tokens": 7, "proposal_kwargs": {"max_tokens": 8}},
        ["repeats max_tokens", "proposal_max_tokens, not both"],
    ),
    ([{"temperature": 1}], {}, ["reference_models[0]: ['temperature'] holds no model"]),
    ([{"model": A}], {}, ["reference_models[0]: model=<ScriptedChatModel> is no name", "alone"]),
    ([A, 7], {}, ["reference_models[1]=7 is neither a chat model", "give one of these"]),
    ([A, len], {}, ["reference_models[1]=<builtin_function_or_method>", "RunnableLambda"]),
    ([[A], [None]], {}, ["reference_models[1][0]=None is neither"]),
    ([[A], [""]], {}, ["reference_models[1][0]='' names no model"]),
    ([CHAIN], {"proposal_temperature": 0.7}, ["temperature: ", "without a chat model"]),
]


@pytest.mark.parametrize(("reference_models", "options", "told"), WRONG)
def test_a_wrong_mixture_is_an_error(
    reference_models: Any, options: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        create_moa_graph(reference_models, C, **options)
    for part in told:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("aggregator", "options", "told"),
    [
        (None, {}, "aggregator=None is neither a chat model"),
        ([], {}, "aggregator=[] is empty"),
        ([A, 3], {}, "aggregator[1]=3 is neither"),
        (str.upper, {}, "wrap it in RunnableLambda"),
        (" ", {}, "aggregator=' ' names no model"),
        (CHAIN, {"max_tokens": 5, "stop": ["x"]}, "max_tokens, stop: "),
    ],
)
def test_a_wrong_aggregator_is_an_error(
    aggregator: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        mixture([A], aggregator, **options)
    assert told in str(caught.value)


@pytest.mark.parametrize(("reference_models", "options", "told"), WRONG)
def test_the_chat_model_tells_the_same(
    reference_models: Any, options: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        MoAChatModel(reference_models=reference_models, aggregator=C, **options)
    for part in told:
        assert part in str(caught.value)


def test_secrets_of_members_stay_out_of_errors() -> None:
    class Keyed(ScriptedChatModel):
        api_key: SecretStr = SecretStr("sk-one-two-three")
        headers: tuple[str, ...] = ("Bearer sk-one-two-three",)

    keyed = Keyed(script=lambda _: "ok")
    for wrong in (keyed, [keyed, [keyed]], [keyed, 7]):
        with pytest.raises(MoAConfigurationError) as caught:
            mixture(wrong)
        assert "sk-one" not in str(caught.value)


@pytest.mark.parametrize(
    ("reference_models", "options", "expected"),
    [
        ([A, B], {}, [["acme/a", "acme/b"]]),
        ((A, B), {"layers": 2}, [["acme/a", "acme/b"]]),
        ([A], {"layers": None}, [["acme/a"]]),
        ([A, B], {"layers": 4}, [["acme/a", "acme/b"]] * 3),
        ([[A, B], [C]], {}, [["acme/a", "acme/b"], ["acme/c"]]),
        ([(A,), (B,)], {"layers": 3}, [["acme/a"], ["acme/b"]]),
        ([[A, A]], {}, [["acme/a", "acme/a"]]),
    ],
)
def test_layers_of_proposers(
    reference_models: Any, options: dict[str, Any], expected: list[list[str]]
) -> None:
    made = mixture(reference_models, **options)
    assert models(made) == expected
    assert made.layers == len(expected) + 1


def named(*names: str) -> list[ScriptedChatModel]:
    return [ScriptedChatModel.saying("x", model=name) for name in names]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["acme/a", "other/b"], ("a", "b")),
        (["a", "a", "a"], ("a-1", "a-2", "a-3")),
        (["acme/a", "other/a"], ("a-1", "a-2")),
        (["a", "b", "a"], ("a-1", "b", "a-2")),
        (["acme/a:free"], ("a-free",)),
        (["acme/a b|c"], ("a-b-c",)),
        (["acme/a/"], ("a",)),
        (["/"], ("model",)),
    ],
)
def test_proposers_get_short_unique_names(given: list[str], names: tuple[str, ...]) -> None:
    assert tuple(mixture(named(*given)).names[0]) == names


@pytest.mark.parametrize(
    "given",
    [
        ["a", "a", "a-1"],
        ["a-1", "a", "a"],
        ["a", "a", "a-2"],
        ["a", "a-2", "a-2", "a"],
        ["m", "/", "model", "/"],
    ],
)
def test_names_never_repeat(given: list[str]) -> None:
    (names,) = mixture(named(*given)).names
    assert len(set(names)) == len(given)


def test_each_layer_has_its_own_names() -> None:
    assert mixture([[A, B], [A]]).names == (("a", "b"), ("a",))


@pytest.mark.parametrize(
    ("options", "proposal", "final"),
    [
        ({}, {}, {}),
        ({"temperature": None, "stop": None, "proposal_temperature": None}, {}, {}),
        ({"temperature": 0.0}, {}, {"temperature": 0.0}),
        ({"max_tokens": 9, "stop": ["x"]}, {}, {"max_tokens": 9, "stop": ["x"]}),
        (
            {"proposal_temperature": 0.7, "proposal_max_tokens": 5, "proposal_kwargs": {"seed": 1}},
            {"temperature": 0.7, "max_tokens": 5, "seed": 1},
            {},
        ),
    ],
)
def test_call_arguments(
    options: dict[str, Any], proposal: dict[str, Any], final: dict[str, Any]
) -> None:
    made = mixture(**options)
    assert (made.proposal_arguments, made.final_arguments) == (proposal, final)


def test_runnables_without_a_model_are_members_too() -> None:
    assert mixture([CHAIN], CHAIN).aggregator.runnable is CHAIN


def test_defaults() -> None:
    made = mixture()
    given = made.settings
    assert (given.placement, given.min_proposals, given.include_proposals) == ("user", 1, False)


def test_the_next_layer_reads_usable_proposals_only() -> None:
    proposals = [
        Proposal(layer=1, index=0, model="a", text="first"),
        Proposal(layer=1, index=1, model="b", status="failed", error="lost", text="broken"),
        Proposal(layer=1, index=2, model="c", text="third"),
    ]
    made = mixture(placement="system", aggregator_prompt="Read:\n{proposals}")
    (system, human), left_out, _ = read_by(made, made.aggregator, [HumanMessage("q")], proposals)
    assert left_out == []
    assert (system.type, human.text) == ("system", "q")
    assert system.text.startswith("Read:\n")
    assert [word in system.text for word in ("first", "broken", "third")] == [True, False, True]


CHANGES: dict[str, dict[str, Any]] = {
    "another reference model": {"reference_models": [A, C]},
    "one more reference model": {"reference_models": [A, B, C]},
    "the same one twice": {"reference_models": [A, B, B]},
    "another order": {"reference_models": [B, A]},
    "other layers": {"layers": 3},
    "other lists": {"reference_models": [[A], [B]]},
    "another aggregator": {"aggregator": A},
    "a bound aggregator": {"aggregator": C.bind(stop=["x"])},
    "a chain": {"reference_models": [A, PromptTemplate.from_template("{q}") | B]},
    "a function": {"reference_models": [A, CHAIN]},
    "another prompt": {"aggregator_prompt": "{proposals}"},
    "a prompt with partial values": {
        "aggregator_prompt": PromptTemplate.from_template("{a}{proposals}").partial(a="1")
    },
    "other partial values": {
        "aggregator_prompt": PromptTemplate.from_template("{a}{proposals}").partial(a="2")
    },
    "another placement": {"placement": "system"},
    "more proposals": {"min_proposals": 2},
    "texts in the record": {"include_proposals": True},
    "proposal temperature": {"proposal_temperature": 0.7},
    "another proposal temperature": {"proposal_temperature": 0.8},
    "proposal tokens": {"proposal_max_tokens": 7},
    "proposal arguments": {"proposal_kwargs": {"seed": 1}},
}


def test_any_change_changes_the_fingerprint() -> None:
    prints = {"none": mixture().fingerprint}
    prints |= {change: mixture(**options).fingerprint for change, options in CHANGES.items()}
    assert len(set(prints.values())) == len(CHANGES) + 1


@pytest.mark.parametrize("change", CHANGES)
def test_equal_mixtures_have_equal_fingerprints(change: str) -> None:
    assert mixture(**CHANGES[change]).fingerprint == mixture(**CHANGES[change]).fingerprint
