"""A setting stands once: everything else follows from its declaration."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_moa import MoAChatModel, MoAConfigurationError, create_moa_graph
from langchain_moa.cli.settings import TABLE
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


def test_members_may_come_first_without_names() -> None:
    graph = create_moa_graph([MODEL], MODEL, name="two")
    assert graph.invoke({"messages": ["Go"]})["messages"][-1].content == "ok"
    make: Any = create_moa_graph
    with pytest.raises(TypeError, match="too many positional arguments"):
        make([MODEL], MODEL, "two")
