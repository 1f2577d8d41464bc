"""Fingerprints tell members apart, so that no cache gives another model's answer."""

from __future__ import annotations

import gc
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM, GenericFakeChatModel
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from langchain_moa import MoAChatModel
from langchain_moa.members.identity import fingerprint
from langchain_moa.testing import ScriptedChatModel

Step = Runnable[Any, Any]


def shout(messages: Any) -> str:
    return str(messages).upper()


def scripted(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(script=shout, **fields)


def openai(key: str = "sk-one", **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model=fields.pop("model", "gpt-4o-mini"), api_key=SecretStr(key), **fields)


def fake(*answers: str) -> FakeListChatModel:
    return FakeListChatModel(responses=list(answers))


def question(text: str) -> Step:
    return PromptTemplate.from_template(text) | scripted()


class Style:
    """What a tool or a client could be: it has no description."""


class Styled(ScriptedChatModel):
    """A model with a runnable and a nested value among its fields."""

    before: Any = None
    options: dict[str, Any] = {}  # noqa: RUF012 - a pydantic field


@pytest.mark.parametrize(
    "make",
    [
        scripted,
        openai,
        lambda: openai(temperature=0.5).bind(stop=["x"]),
        lambda: fake("a"),
        lambda: question("{q}"),
        lambda: ChatPromptTemplate([("human", "{q}")]) | fake("a"),
        lambda: scripted().bind(stop=["x"]),
        lambda: ScriptedChatModel.saying("a"),
        lambda: MoAChatModel(reference_models=["a/b"], aggregator="a/b", api_key="sk-one"),
        lambda: scripted().with_config(tags=["t"]),
        lambda: Styled(script=shout, before=scripted(), options={"a": [1]}),
        lambda: MoAChatModel(reference_models=[fake("a")], aggregator=fake("b")),
        lambda: [1, "two", None, [3.0, (4,)]],
    ],
)
def test_what_is_made_alike_is_equal(make: Callable[[], Any]) -> None:
    assert fingerprint([make()]) == fingerprint([make()])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scripted(), scripted(model="acme/b")),
        (scripted(), scripted(seconds=0.5)),
        (scripted(), ScriptedChatModel(script=repr)),
        (scripted(), Styled(script=shout)),
        (ScriptedChatModel.saying("a"), ScriptedChatModel.saying("b")),
        (openai(), openai(model="gpt-4o")),
        (openai(), openai(temperature=0.5)),
        (openai(), openai(base_url="http://127.0.0.1:1")),
        (fake("a"), fake("b")),
        (fake("a"), FakeListLLM(responses=["a"])),
        (scripted(), scripted().bind(stop=["x"])),
        (scripted().bind(stop=["x"]), scripted().bind(stop=["y"])),
        (scripted().bind(stop=["x"]), scripted(model="b").bind(stop=["x"])),
        (scripted().with_config(tags=["t"]), scripted().with_config(tags=["u"])),
        (question("{q}"), question("Please: {q}")),
        (question("{q}"), PromptTemplate.from_template("{q}") | scripted(model="acme/b")),
        (question("{q}"), scripted()),
        (RunnableLambda(shout), RunnableLambda(shout)),
        (Styled(script=shout), Styled(script=shout, before=scripted())),
        (Styled(script=shout, before=fake("a")), Styled(script=shout, before=fake("b"))),
        (Styled(script=shout, options={"a": 1}), Styled(script=shout, options={"a": 2})),
        (
            MoAChatModel(reference_models=[fake("a")], aggregator=fake("b")),
            MoAChatModel(reference_models=[fake("a")], aggregator=fake("c")),
        ),
        (
            MoAChatModel(reference_models=[fake("a")], aggregator=fake("b")),
            MoAChatModel(reference_models=[fake("c")], aggregator=fake("b")),
        ),
        (1, "1"),
        (None, "None"),
        ([1, 2], [[1], 2]),
        ([1, 2], [2, 1]),
    ],
)
def test_what_differs_is_not_equal(one: Any, other: Any) -> None:
    assert fingerprint([one]) != fingerprint([other])


def test_a_key_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint([openai("sk-one")]) == fingerprint([openai("sk-two")])
    members: dict[str, Any] = {"reference_models": ["a/b"], "aggregator": "a/b"}
    given = MoAChatModel(**members, api_key="sk-one")
    monkeypatch.setenv("TOGETHER_API_KEY", "sk-two")
    assert fingerprint([given]) == fingerprint([MoAChatModel(**members)])


def test_the_same_function_is_recognised() -> None:
    chain = RunnableLambda(shout)
    assert fingerprint([chain]) == fingerprint([chain])


def test_a_later_function_is_another_one() -> None:
    seen = set()
    gc.collect()
    gc.freeze()  # what there is already need not be looked through 20 times
    try:
        for _ in range(20):  # the next one often gets the address of the last one
            seen.add(fingerprint([ScriptedChatModel(script=lambda _: "a")]))
            gc.collect()
    finally:
        gc.unfreeze()
    assert len(seen) == 20


def test_what_cannot_be_recognised_is_never_equal() -> None:
    class Slotted:
        __slots__ = ()

    value, recognised = Slotted(), Style()
    assert fingerprint([value]) != fingerprint([value])
    assert fingerprint([recognised]) == fingerprint([recognised])
    assert fingerprint([recognised]) != fingerprint([Style()])


def test_fingerprints_are_short_and_hold_no_key() -> None:
    printed = fingerprint([openai("sk-one"), scripted()])
    assert len(printed) == 16
    assert int(printed, 16) >= 0


CONDITION: Step = RunnableLambda(lambda _: True)
BACKUP = ScriptedChatModel.saying("x")


def answering(number: int) -> Any:
    return RunnableLambda(lambda _: f"answer {number}")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner.with_retry(),
        lambda inner: inner.with_fallbacks([BACKUP]),
        lambda inner: RunnableParallel(a=inner),
        lambda inner: RunnablePassthrough.assign(a=inner),
        lambda inner: RunnableBranch((CONDITION, inner), BACKUP),
        lambda inner: RunnableBranch((inner, BACKUP), BACKUP),
        lambda inner: inner.with_config(tags=["t"]),
    ],
)
def test_wrappers_tell_what_is_inside(wrap: Any) -> None:
    """Their own dumps hold a repr, which is the same for any two lambdas of one line."""
    first, second = answering(1), answering(2)
    assert fingerprint(wrap(first)) == fingerprint(wrap(first))
    assert fingerprint(wrap(first)) != fingerprint(wrap(second))


def test_fields_of_any_type_count() -> None:
    first, second = (GenericFakeChatModel(messages=iter([text])) for text in "ab")
    assert fingerprint(first) != fingerprint(second)
    for one, other in (({1, 2}, {1, 3}), (Color.RED, Color.BLUE), (Paint(tone=1), Paint(tone=2))):
        assert fingerprint([one]) != fingerprint([other])
        assert fingerprint([one]) == fingerprint([one])


class Color(Enum):
    """A plain value that is no built-in one."""

    RED = 1
    BLUE = 2


class Paint(BaseModel):
    """A nested value."""

    tone: int
