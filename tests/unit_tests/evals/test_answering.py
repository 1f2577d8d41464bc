"""Answers: second turns, what is asked again and what is not, failures that lose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import MoAChatModel
from langchain_moa.evals.contestants import alone
from langchain_moa.evals.records import read_answers
from langchain_moa.evals.steps import answer
from langchain_moa.evals.types import Answer, GenerationSettings, Row
from langchain_moa.testing import ScriptedChatModel
from tests.evaluations import lines, row


class Model:
    """A runnable that keeps the conversations it was asked."""

    def __init__(self, says: Mapping[str, str | Exception] | None = None) -> None:
        self.says = dict(says or {})
        self.asked: list[list[str]] = []
        self.runnable = RunnableLambda(self.__call__)

    def __call__(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append([f"{message.type}: {message.text}" for message in messages])
        said = self.says.get(messages[-1].text, f"re {messages[-1].text}")
        if isinstance(said, Exception):
            raise said
        return AIMessage(said)


def ask(rows: list[Row], model: Model, folder: Path | None = None, **options: Any) -> list[Answer]:
    return answer(rows, [alone(model.runnable, "m")], folder=folder, **options)


TWO_TURNS = row("1", "First?", follow_ups=["Second?"])


def test_the_second_turn_has_the_first_in_its_history() -> None:
    model = Model()
    found = ask([TWO_TURNS], model)
    assert model.asked == [
        ["human: First?"],
        ["human: First?", "ai: re First?", "human: Second?"],
    ]
    assert [(a["turn"], a["output"]) for a in found] == [(1, "re First?"), (2, "re Second?")]


def test_system_and_earlier_messages_of_a_row_are_asked_too() -> None:
    model = Model()
    messages = [("system", "Be short."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    given = [{"role": role, "content": text} for role, text in messages]
    ask([row("1", messages=given)], model)
    assert model.asked == [["system: Be short.", "human: Hi", "ai: Hello", "human: Bye"]]


def test_what_is_recorded_is_not_asked_again(tmp_path: Path) -> None:
    model = Model()
    rows = [row(str(number)) for number in range(5)]
    first = ask(rows[:3], model, tmp_path)
    again = ask(rows, model, tmp_path)
    assert [a["row"] for a in again] == ["0", "1", "2", "3", "4"]
    assert again[:3] == first
    assert len(model.asked) == 5
    told: list[bool] = []
    ask(rows, model, tmp_path, on_answer=lambda _, recorded: told.append(recorded))
    assert told == [True] * 5
    assert len(lines(tmp_path / "answers.jsonl")) == 5


@pytest.mark.parametrize(
    "changed", [{"temperature": 0.5, "max_tokens": 10}, {"temperature": 0.0, "max_tokens": 11}]
)
def test_changed_settings_are_new_rows_and_old_ones_come_back(
    tmp_path: Path, changed: GenerationSettings
) -> None:
    model = ScriptedChatModel.saying("4")
    before: GenerationSettings = {"temperature": 0.0, "max_tokens": 10}

    def asked(settings: GenerationSettings) -> str:
        [found] = answer(
            [row("1")], [alone(model, "m")], folder=tmp_path, settings=lambda _: settings
        )
        return found["settings"]

    first, second, third = asked(before), asked(changed), asked(before)
    assert first == third != second
    assert [a["settings"] for a in read_answers(tmp_path)] == [first]


def test_a_changed_question_under_the_same_id_is_asked(tmp_path: Path) -> None:
    model = Model()
    ask([row("1", "Old?")], model, tmp_path)
    [found] = ask([row("1", "New?")], model, tmp_path)
    assert found["output"] == "re New?"


def test_failures_are_kept_and_asked_again_only_when_wanted(tmp_path: Path) -> None:
    model = Model({"First?": ValueError("the row is bad")})
    rows = [TWO_TURNS, row("2")]
    found = ask(rows, model, tmp_path)
    assert [(a["row"], a["turn"], a["output"]) for a in found] == [
        ("1", 1, None),
        ("2", 1, "re Question 2?"),
    ]
    assert "the row is bad" in (found[0]["error"] or "")
    asked = len(model.asked)
    assert ask(rows, model, tmp_path) == found
    assert len(model.asked) == asked
    model.says.clear()
    mended = ask(rows, model, tmp_path, retry_failed=True)
    assert [a["output"] for a in mended] == ["re First?", "re Second?", "re Question 2?"]
    assert len(model.asked) == asked + 2


def test_a_mixtures_record_and_what_it_took_are_kept() -> None:
    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("3"), ScriptedChatModel.saying("4")],
        aggregator=ScriptedChatModel.saying("It is 4."),
    )
    [found] = answer([row("1")], llm)
    assert (found["model"], found["output"], found["usd"]) == ("moa", "It is 4.", None)
    moa: Any = found["moa"]
    assert [proposal["status"] for proposal in moa["proposals"]] == ["ok", "ok"]


def test_a_mixture_without_an_answer_keeps_its_proposals() -> None:
    def fails(_: Any) -> str:
        msg = "the aggregator is down"
        raise RuntimeError(msg)

    llm = MoAChatModel(
        reference_models=[ScriptedChatModel.saying("3")], aggregator=RunnableLambda(fails)
    )
    [found] = answer([row("1")], llm)
    moa: Any = found["moa"]
    assert "the aggregator is down" in (found["error"] or "")
    assert [proposal["text"] for proposal in moa["proposals"]] == ["3"]


def test_two_models_of_one_name_are_two() -> None:
    models = [ScriptedChatModel.saying("3"), ScriptedChatModel.saying("4")]
    found = answer([row("1")], models)
    assert [(a["model"], a["output"]) for a in found] == [
        ("scripted", "3"),
        ("scripted #2", "4"),
    ]
