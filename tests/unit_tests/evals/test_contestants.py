"""Who answers: the mixture, its members alone, Self-MoA with as many calls, other models."""

from __future__ import annotations

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.evals.contestants import (
    Contestant,
    alone,
    contestants,
    known_as,
    member_layers,
    named_members,
)
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.types import GenerationSettings
from tests.wire import AGGREGATOR, ALPHA, BETA, GAMMA

COLD: GenerationSettings = {"temperature": 0.0, "max_tokens": 64}


def mixture(**fields: object) -> MoAChatModel:
    given: dict[str, object] = {"reference_models": [ALPHA, BETA], "aggregator": AGGREGATOR}
    return MoAChatModel.from_config({**given, **fields}, api_key="k")


def names(found: list[Contestant]) -> list[tuple[str, str]]:
    return [(who.name, who.role) for who in found]


def test_addresses_that_are_others_in_each_run_are_left_out_of_hashes() -> None:
    def found(port: int, content: str) -> list[str]:
        here = f"http://127.0.0.1:{port}/v1"
        llm = mixture(
            reference_models=[{"model": ALPHA, "base_url": here}, BETA],
            aggregator=[{"model": GAMMA, "base_url": here}],
        )
        who = contestants(llm, ["members", "self-moa"])
        named = {here: f"http://127.0.0.1/{content}/v1"}
        return [known_as(each, named).asked_with(COLD)[1] for each in who]

    assert found(1111, "one") == found(2222, "one")
    same = [a == b for a, b in zip(found(1111, "one"), found(1111, "two"), strict=True)]
    assert same == [False, False, True, False, False]  # BETA is elsewhere
    assert known_as(alone(ALPHA, like=mixture()), {}).asked_with(None)[0] is not None


def test_a_name_of_a_member_means_that_member_with_its_address() -> None:
    here = "http://127.0.0.1:1234/v1"
    llm = mixture(
        reference_models=[[ALPHA], [{"model": "tiny", "base_url": here}]],
        aggregator=BETA,
    )
    judge = Judge("tiny", like=llm)
    assert judge.described()["model"] == {"model": "tiny", "base_url": here}
    [_, other] = contestants(llm, ["tiny"])
    assert other.described()["settings"]["model"] == {"model": "tiny", "base_url": here}
    assert alone(BETA, like=llm).name == BETA
    assert list(named_members(llm)) == [ALPHA, "tiny", BETA]
    assert list(named_members(llm.replace(fan_out="never"))) == [BETA]


def test_members_are_those_of_all_layers_and_the_aggregator_each_once() -> None:
    llm = mixture(reference_models=[[ALPHA, BETA], [BETA, GAMMA]], aggregator=[ALPHA, BETA])
    assert names(contestants(llm, ["members"], name="mine")) == [
        ("mine", "mixture"),
        (ALPHA, "member"),
        (BETA, "member"),
        (GAMMA, "member"),
    ]


def test_members_of_one_name_but_other_settings_are_two() -> None:
    warm = {"model": ALPHA, "temperature": 0.9}
    found = contestants(mixture(reference_models=[ALPHA, warm], aggregator=ALPHA), ["members"])
    assert [who.name for who in found[1:]] == [ALPHA, f"{ALPHA} #2"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"layers": 4}, {"reference_models": [[ALPHA], [ALPHA, BETA, GAMMA]]}],
)
def test_self_moa_takes_as_many_calls_in_each_layer(fields: dict[str, object]) -> None:
    llm = mixture(**fields)
    [_, sampled] = contestants(llm, ["self-moa"])
    [_, other] = contestants(llm, [f"self-moa:{GAMMA}"])
    sizes = [len(layer) for layer in member_layers(llm)]
    assert [len(layer) for layer in member_layers(sampled.model)] == sizes
    assert {name for layer in member_layers(sampled.model) for name in layer} == {AGGREGATOR}
    assert {name for layer in member_layers(other.model) for name in layer} == {GAMMA}


def test_samples_of_self_moa_differ_where_the_suite_wants_no_chance() -> None:
    [ours, sampled] = contestants(mixture(), ["self-moa"])
    assert ours.asked_with(COLD)[0].proposal_temperature == 0.0
    asked = sampled.asked_with(COLD)[0]
    assert (asked.temperature, asked.proposal_temperature, asked.max_tokens) == (0.0, 0.7, 64)


def test_a_model_that_is_a_member_too_answers_once() -> None:
    found = contestants(mixture(), ["members", ALPHA, GAMMA])
    assert [who.name for who in found] == ["moa", ALPHA, BETA, AGGREGATOR, GAMMA]


@pytest.mark.parametrize("against", ["members", "self-moa", f"self-moa:{GAMMA}"])
def test_a_single_model_has_no_members(against: str) -> None:
    with pytest.raises(MoAConfigurationError, match=f"against='{against}' needs a mixture"):
        contestants(alone(RunnableLambda(lambda _: "4")), [against])


def test_settings_tell_contestants_apart_and_deadlines_do_not() -> None:
    def told(**fields: object) -> str:
        return contestants(mixture(**fields))[0].asked_with(COLD)[1]

    assert told() == told() == told(max_retries=5)
    assert len({told(), told(layers=3), told(aggregator=GAMMA), told(placement="system")}) == 4


def test_the_manifest_holds_settings_and_no_key() -> None:
    llm = mixture(prices={ALPHA: (1, 2)})
    described = [who.described() for who in contestants(llm, ["members"])]
    assert described[0]["settings"]["reference_models"] == [ALPHA, BETA]
    assert described[1]["settings"]["model"] == ALPHA
    chain = alone(RunnableLambda(lambda _: "4"), "chain")
    assert chain.described()["settings"] == {"model": "RunnableLambda"}
    assert "'k'" not in repr(described)
