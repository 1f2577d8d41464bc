"""Errors keep what was paid for, survive pickling and show no keys."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.exceptions import ModelError
from pydantic import BaseModel, ValidationError, field_validator

import langchain_moa
from langchain_moa import (
    AggregationError,
    CircuitBreaker,
    MissingExtraError,
    MoAChatModel,
    MoAConfigurationError,
    MoAError,
    NotEnoughProposalsError,
    Proposal,
    create_moa_graph,
    explain,
    moa_tool,
)
from langchain_moa.errors import from_validation
from langchain_moa.evals import aanswer, ajudge, answer, contestant, read_run
from langchain_moa.local import LocalServer, local_mixture, settings_of
from langchain_moa.middleware import MoAMiddleware
from langchain_moa.testing import LoopbackServer, ScriptedChatModel

PaidFor = type[AggregationError] | type[NotEnoughProposalsError]

PROPOSALS = (
    Proposal(layer=1, index=0, model="a", text="kept"),
    Proposal(layer=1, index=1, model="b", status="failed", error="ValueError: lost"),
    Proposal(layer=1, index=2, model="c", status="empty"),
)


class BusyError(ModelError):
    """A failure that says of itself that a retry may help."""

    is_retryable = True


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (MoAConfigurationError, ValueError),
        (MissingExtraError, ImportError),
        (AggregationError, ModelError),
        (NotEnoughProposalsError, ModelError),
    ],
)
def test_errors_are_caught_by_familiar_names(kind: type[MoAError], base: type[Exception]) -> None:
    error = kind("wrong")
    assert isinstance(error, MoAError)
    assert isinstance(error, base)
    assert str(error) == "wrong"


@pytest.mark.parametrize("kind", [AggregationError, NotEnoughProposalsError])
def test_pickling_keeps_proposals_and_drops_causes(kind: PaidFor) -> None:
    error = kind(
        "too few", proposals=PROPOSALS, causes={"1.1": BusyError("lock"), "1.2": ValueError("lost")}
    )
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert type(again) is kind
    assert str(again) == "too few"
    assert again.proposals == PROPOSALS
    assert again.causes == {}
    assert again.is_retryable is True
    assert len(error.causes) == 2


@pytest.mark.parametrize("kind", [AggregationError, NotEnoughProposalsError])
@pytest.mark.parametrize(
    ("causes", "retryable"),
    [
        ([], False),
        ([ValueError("lost")], False),
        ([BusyError("later")], True),
        ([ValueError("lost"), BusyError("later")], True),
        ([NotEnoughProposalsError("inner", causes={"1.0": BusyError("later")})], True),
        ([NotEnoughProposalsError("inner", causes={"1.0": ValueError("lost")})], False),
    ],
)
def test_a_retry_helps_where_a_cause_says_so(
    kind: PaidFor, causes: list[Exception], *, retryable: bool
) -> None:
    by_slot = {str(place): cause for place, cause in enumerate(causes)}
    assert kind("failed", causes=by_slot).is_retryable is retryable


def shown(errors: tuple[Exception, ...]) -> list[tuple[str, str]]:
    return [(type(error).__name__, str(error)) for error in errors]


FAILED, EMPTY = ("MoAError", "b: failed: ValueError: lost"), ("MoAError", "c: empty")


@pytest.mark.parametrize(
    ("proposals", "causes", "members"),
    [
        (PROPOSALS, {"1.1": ValueError("lost")}, [("ValueError", "lost"), EMPTY]),
        (PROPOSALS, {"1.2": ValueError("odd")}, [FAILED, ("ValueError", "odd")]),
        (PROPOSALS, {}, [FAILED, EMPTY]),
        (PROPOSALS[:2], {"1.1": ValueError("lost")}, [("ValueError", "lost")]),
        (PROPOSALS[:1], {}, [("NotEnoughProposalsError", "too few")]),
        ((), {}, [("NotEnoughProposalsError", "too few")]),
    ],
)
def test_failures_as_a_group(
    proposals: tuple[Proposal, ...],
    causes: dict[str, Exception],
    members: list[tuple[str, str]],
) -> None:
    group = NotEnoughProposalsError("too few", proposals=proposals, causes=causes).as_group()
    assert group.message == "too few"
    assert shown(group.exceptions) == members


def test_a_group_after_pickling_tells_the_recorded_reasons() -> None:
    causes = {"1.1": ValueError("lost")}
    error = NotEnoughProposalsError("too few", proposals=PROPOSALS, causes=causes)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert shown(again.as_group().exceptions) == [FAILED, EMPTY]


class Settings(BaseModel):
    """Fields that can be wrong in every way that is told."""

    number: int = 1
    names: list[int] = []
    checked: str = ""

    @field_validator("checked")
    @classmethod
    def refuse(cls, value: str) -> str:
        if value == "ours":
            msg = "checked='ours' is taken; give another."
            raise MoAConfigurationError(msg)
        if value == "plain":
            msg = "not plain"
            raise ValueError(msg)
        return value


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"number": "x"}, "number='x': Input should be a valid integer"),
        ({"number": 0.5}, "number=0.5: "),
        ({"number": object()}, "number: Input should be a valid integer"),
        ({"names": [1, "x"]}, "names.1='x': "),
        ({"names": {"key": "sk-one"}}, "names: Input should be a valid list"),
        ({"checked": "plain"}, "checked='plain': Value error, not plain."),
        ({"checked": "ours"}, "checked='ours' is taken; give another."),
    ],
)
def test_validation_errors_name_field_and_value(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    error = from_validation(caught.value)
    assert type(error) is MoAConfigurationError
    assert str(error).startswith(told)
    assert "sk-one" not in str(error)


def test_a_validation_error_without_a_field_names_the_model() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(7)
    assert str(from_validation(caught.value)).startswith("MoAChatModel=7: ")


FOUR = ScriptedChatModel.saying("4")
LLM = MoAChatModel(reference_models=[FOUR], aggregator=FOUR)
GRAPH = create_moa_graph([FOUR], FOUR)
UNUSED: Any = None


def called(function: Any, *args: Any, **kwargs: Any) -> Callable[[], object]:
    return lambda: function(*args, **kwargs)


async def _all_of(chunks: AsyncIterator[object]) -> list[object]:
    return [chunk async for chunk in chunks]


WRONG_CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "place": (called(MoAChatModel, [FOUR]), "give reference_models=..."),
    "samples": (called(MoAChatModel, samples=3), "self_moa(model, samples=...)"),
    "sampels": (called(MoAChatModel.self_moa, FOUR, sampels=3), "did you mean samples?"),
    "preset": (called(MoAChatModel.from_preset, "wrong"), "give one of: default"),
    "preset's file": (called(MoAChatModel.from_preset, "a.toml"), "give from_config('a.toml')"),
    "preset's setting": (called(MoAChatModel.from_preset, "moa", layrs=2), "mean layers?"),
    "config": (called(MoAChatModel.from_config, 3), "give one of them"),
    "key": (called(MoAChatModel.self_moa, "openai:gpt-5-mini"), "OPENAI_API_KEY, or give"),
    "package": (called(MoAChatModel.self_moa, "cohere:x"), "`pip install langchain-cohere`"),
    "replace": (called(LLM.replace, layers=1), "a whole number from 2"),
    "nothing": (called(LLM.invoke, []), "give at least one message"),
    "nothing, async": (lambda: asyncio.run(LLM.ainvoke([])), "give at least one message"),
    "nothing, generated": (called(LLM.generate, [[]]), "give at least one message"),
    "nothing, in a batch": (called(LLM.batch, ["Hi", []]), "give at least one message"),
    "argument": (called(LLM.invoke, "Hi", layers=3), "llm.replace(layers=...)"),
    "argument, streamed": (lambda: list(LLM.stream("Hi", tempratur=1)), "mean temperature?"),
    "argument, async stream": (
        lambda: asyncio.run(_all_of(LLM.astream("Hi", tempratur=1))),
        "mean temperature?",
    ),
    "pickle": (
        called(pickle.dumps, LLM.replace(on_progress=lambda _: None)),
        "give a function that a module defines",
    ),
    "tools": (called(LLM.bind_tools, 3), "ScriptedChatModel.bind_tools takes"),
    "estimate": (called(LLM.estimate, []), "give at least one message"),
    "reusing": (called(LLM.reusing, "x"), "give the .proposals of an error"),
    "graph": (called(create_moa_graph, [FOUR], agregator=FOUR), "mean aggregator?"),
    "graph's input": (called(GRAPH.invoke, {}), "give at least one message"),
    "explain": (called(explain, FOUR.invoke("Hi")), "give an answer of a mixture"),
    "breaker": (called(CircuitBreaker, failures=0), "a whole number from 1"),
    "middleware": (called(MoAMiddleware, "x"), "give a MoAChatModel"),
    "tool": (called(moa_tool, FOUR), "give a MoAChatModel"),
    "copy": (called(LLM.model_copy, update={"layerz": 3}), "mean layers?"),
    "script": (called(ScriptedChatModel, "4"), "ScriptedChatModel.saying(text)"),
    "server": (called(LoopbackServer, ["a"]), "ModelBehavior(reply=...)"),
    "local": (called(settings_of, "olama"), "ollama"),
    "gguf": (called(LocalServer, Path(__file__)), "give a model's file for llama.cpp"),
    "gguf, served": (called(local_mixture("none.gguf").__enter__), "No such file"),
    "run": (called(read_run, Path("nowhere")), "there is no such file"),
    "contestant": (called(contestant, "openai:gpt-5-mini"), "OPENAI_API_KEY, or give"),
    "answers": (called(answer, [], "openai:gpt-5-mini"), "OPENAI_API_KEY, or give"),
    "answers, async": (
        lambda: asyncio.run(aanswer([], "openai:gpt-5-mini")),
        "OPENAI_API_KEY, or give",
    ),
    "judge, async": (
        lambda: asyncio.run(ajudge([], [], UNUSED, "openai:gpt-5-mini")),
        "OPENAI_API_KEY, or give",
    ),
}


@pytest.mark.parametrize(("wrong", "mend"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_wrong_call_shows_one_line_of_ours_and_what_to_give(
    wrong: Callable[[], object], mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises((MoAConfigurationError, MissingExtraError)) as caught:
        wrong()
    told = "".join(traceback.format_exception(caught.value))
    assert told.count(f'File "{Path(langchain_moa.__file__).parent}') == 1
    assert mend in str(caught.value).splitlines()[-1]


def test_ollamas_package_is_missed_where_another_one_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LangChain looks for its class in `langchain-community`, too, which has it no more."""

    def missed(*_: object, **__: object) -> None:
        msg = "module langchain_community.chat_models has no attribute ChatOllama"
        raise AttributeError(msg)

    monkeypatch.setattr("langchain.chat_models.init_chat_model", missed)
    with pytest.raises(MissingExtraError, match="pip install langchain-ollama"):
        MoAChatModel.self_moa("ollama:x")


def test_a_public_name_that_is_misspelt() -> None:
    with pytest.raises(AttributeError, match=r"did you mean MoAChatModel\?"):
        _ = langchain_moa.MoaChatModel
