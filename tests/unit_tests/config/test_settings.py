"""A setting stands once: everything else follows from its declaration."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from langchain_core.prompts import PromptTemplate
from pydantic import BaseModel

from langchain_moa import CircuitBreaker, MoAChatModel, MoAConfigurationError, create_moa_graph
from langchain_moa.cli.setting_options import TABLE
from langchain_moa.config.settings import GROUPS, SETTING_NAMES, MixtureSettings
from langchain_moa.settings import own_settings
from langchain_moa.testing import ScriptedChatModel
from tests.settings_table import PAGE, options, page

MODEL = ScriptedChatModel.saying("ok", model="acme/a")
MAKERS: list[Any] = [MoAChatModel, create_moa_graph]


def test_the_reference_is_that_of_the_declarations() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: make readme"
    assert TABLE.read_text("utf-8") == options(), "write it anew: make readme"


def test_each_setting_has_one_owner_and_a_sentence() -> None:
    owned = [name for group in GROUPS for name in own_settings(group)]
    assert sorted(owned) == sorted(set(owned)) == sorted(MixtureSettings.model_fields)
    sentences = [MixtureSettings.model_fields[name].description or "" for name in owned]
    assert [text for text in sentences if not text.strip().endswith(".")] == []


def test_help_and_signatures_tell_of_each_setting() -> None:
    documented, signature = inspect.getdoc(MoAChatModel) or "", inspect.signature(create_moa_graph)
    assert [name for name in SETTING_NAMES if f"{name}: " not in documented] == []
    assert [name for name in SETTING_NAMES if name not in signature.parameters] == []
    places = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert places == ["reference_models", "aggregator"]


def test_defaults_are_those_of_the_declaration() -> None:
    llm: BaseModel = MoAChatModel(reference_models=[MODEL], aggregator=MODEL)
    fields = {n: f for n, f in MixtureSettings.model_fields.items() if not f.is_required()}
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in fields.items()
    }
    assert {name: getattr(llm, name) for name in fields} == defaults


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"quorom": 1}, "quorom is not an argument of a mixture; did you mean quorum?"),
        ({"placement": "top"}, "placement='top' is unknown; give 'user' or 'system'."),
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"tools_for": None}, "tools_for=None is unknown; give 'aggregator' or 'all'."),
    ],
)
def test_wrong_settings_are_refused_alike(make: Any, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        make(reference_models=[MODEL], aggregator=MODEL, **wrong)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "update",
    [{"placement": "top"}, {"timeout": -1}, {"fan_out": "x"}, {"proposal_filter": 3}],
)
def test_changed_copies_are_checked_as_new_ones(update: dict[str, Any]) -> None:
    """LangChain's `model_copy(update=...)` validates nothing by itself."""
    copy = MoAChatModel(reference_models=[MODEL], aggregator=MODEL).model_copy(update=update)
    with pytest.raises(MoAConfigurationError, match=next(iter(update))):
        copy.invoke("Go")


HUGE = 16**6000  # Python writes no such number as text
ODD: list[Any] = [math.nan, math.inf, -math.inf, True, False, HUGE, -HUGE, -1, "nan", "9" * 5000]
"""No setting is any of them."""
NAMES = ("nan", "inf", "-inf", "True", "False", "huge", "-huge", "-1", "'nan'", "'999...'")
TAKES_NUMBERS = {
    name: field
    for name, field in MixtureSettings.model_fields.items()
    if re.search(r"\b(int|float)\b", str(field.annotation)) and "Callable" not in str(field)
}
INSIDE: dict[str, Callable[[Any], dict[str, Any]]] = {
    "circuit_breaker.failures": lambda odd: {"circuit_breaker": CircuitBreaker(failures=odd)},
    "circuit_breaker.reset_after": lambda odd: {"circuit_breaker": CircuitBreaker(reset_after=odd)},
    "prices['acme/a'][0]": lambda odd: {"prices": {"acme/a": (odd, 1)}},
    "prices['acme/a'][1]": lambda odd: {"prices": {"acme/a": (1, odd)}},
    "max_input_tokens['acme/a']": lambda odd: {"max_input_tokens": {"acme/a": odd}},
    "member_concurrency['acme/a']": lambda odd: {"member_concurrency": {"acme/a": odd}},
    "profiles['acme/a'].max_input_tokens": lambda odd: {
        "profiles": {"acme/a": {"max_input_tokens": odd}}
    },
}
"""Numbers that stand inside of settings."""


TIMES = ("proposer_timeout", "aggregator_timeout", "layer_timeout", "timeout", "hedge_after")
COUNTS = ("layers", "max_tokens", "max_calls", "max_retries", "min_proposals", "max_concurrency")


def test_the_settings_that_take_numbers_are_known() -> None:
    assert {*TIMES, *COUNTS, "grace", "quorum", "temperature", "max_cost"} <= TAKES_NUMBERS.keys()


@pytest.mark.parametrize("odd", ODD, ids=NAMES)
@pytest.mark.parametrize("name", [*TAKES_NUMBERS, *INSIDE])
def test_no_number_is_odd(name: str, odd: Any) -> None:
    make = INSIDE.get(name, lambda value: {name: value})
    with pytest.raises(MoAConfigurationError) as caught:
        MoAChatModel(reference_models=[MODEL], aggregator=MODEL, **make(odd))
    assert re.match(rf"{re.escape(name)}=.+ must be a .*\d", str(caught.value), re.DOTALL)
    assert len(str(caught.value)) < 1000


def test_odd_samples_and_steps_are_refused() -> None:
    for odd in ODD:
        with pytest.raises(MoAConfigurationError, match=r"^samples=.* must be a whole number"):
            MoAChatModel.self_moa(MODEL, samples=odd)
    with pytest.raises(MoAConfigurationError, match=r"^fan_out='every_9999"):
        MoAChatModel(reference_models=[MODEL], aggregator=MODEL, fan_out="every_" + "9" * 5000)


@pytest.mark.parametrize("name", ["grace", "temperature", "proposal_temperature"])
def test_there_is_no_negative_zero(name: str) -> None:
    negative: dict[str, Any] = {name: -0.0}
    llm = MoAChatModel(reference_models=[MODEL], aggregator=MODEL, **negative)
    assert str(getattr(llm, name)) == "0.0"


@pytest.mark.parametrize(
    ("given", "kept"),
    [(60, 60.0), ("60", 60.0), (Decimal("0.5"), 0.5), (Fraction(1, 2), 0.5)],
)
def test_numbers_of_any_type_are_taken(given: Any, kept: float) -> None:
    settings: dict[str, Any] = {"timeout": given, "max_tokens": "7", "max_calls": 3.0}
    llm = MoAChatModel(reference_models=[MODEL], aggregator=MODEL, **settings)
    assert (llm.timeout, llm.max_tokens, llm.max_calls) == (kept, 7, 3)


@pytest.mark.parametrize(
    "prompt",
    [
        "{proposals:99999999999}",
        "{proposals:>2000000000}",
        "{proposals!r:9}",
        PromptTemplate(template="{proposals:99999999999}", input_variables=["proposals"]),
    ],
)
def test_a_prompt_has_no_width(prompt: Any) -> None:
    with pytest.raises(
        MoAConfigurationError, match=r"aggregator_prompt has {proposals.*{proposals"
    ):
        MoAChatModel(reference_models=[MODEL], aggregator=MODEL, aggregator_prompt=prompt)


def test_members_may_come_first_without_names() -> None:
    graph = create_moa_graph([MODEL], MODEL, name="two")
    assert graph.invoke({"messages": ["Go"]})["messages"][-1].content == "ok"
    make: Any = create_moa_graph
    with pytest.raises(TypeError, match="too many positional arguments"):
        make([MODEL], MODEL, "two")
