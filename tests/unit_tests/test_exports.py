"""The public surface, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from inspect import isclass, isfunction

import pytest
from typing_extensions import is_typeddict

import langchain_moa
from langchain_moa import evals, local, testing


def test_all_names_exist_and_nothing_else_is_exposed() -> None:
    assert sorted(langchain_moa.__all__) == langchain_moa.__all__
    for name in langchain_moa.__all__:
        assert getattr(langchain_moa, name).__module__.startswith("langchain_moa.")
    assert dir(langchain_moa) == langchain_moa.__all__
    with pytest.raises(AttributeError, match="no attribute 'MoaChatModel'"):
        _ = langchain_moa.MoaChatModel


def test_testing_names_exist() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = testing.Server


def test_every_public_function_and_class_has_an_example() -> None:
    """Those of docs/record.md, which are dicts, are shown there."""
    rooms = (langchain_moa, testing, evals, local)
    named = {name: getattr(room, name) for room in rooms for name in room.__all__}
    code = {n: thing for n, thing in named.items() if isclass(thing) or isfunction(thing)}
    assert len(code) >= 80
    bare = {name: thing for name, thing in code.items() if ">>>" not in (thing.__doc__ or "")}
    assert [name for name, thing in bare.items() if not is_typeddict(thing)] == []


def test_alias() -> None:
    assert langchain_moa.ChatMoA is langchain_moa.MoAChatModel
    assert langchain_moa.MoAChatModel.__module__ == "langchain_moa.chat_models"


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return set(run.stdout.split())


def test_importing_the_package_costs_nothing() -> None:
    added = modules_after("import langchain_moa") - modules_after("import importlib, typing")
    assert {name for name in added if "langchain" in name} == {"langchain_moa"}


def test_importing_the_model_adds_only_our_own_package() -> None:
    """Members' packages are imported when they are used."""
    ours = modules_after("from langchain_moa import MoAChatModel, create_moa_graph")
    theirs = modules_after(
        "import langgraph.graph, langgraph.pregel\n"
        "from langchain_core.language_models import BaseChatModel\n"
        "from langchain_core.prompts import PromptTemplate"
    )
    added = {name.partition(".")[0] for name in ours} - {name.partition(".")[0] for name in theirs}
    assert added - set(sys.stdlib_module_names) == {"langchain_moa"}
