"""Selecting among recorded answers of real models, whose worth was recorded, too."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from langchain_moa import MoAChatModel
from langchain_moa.proposals.similarity import most_central
from langchain_moa.testing import ScriptedChatModel
from tests.evaluations import recorded
from tests.strategies import shown_to

_FOLDER: Final = "alpaca_eval"
POOL: Final = {
    "FuseChat-Gemma-2-9B-Instruct": "annotations/FuseChat-Gemma-2-9B-Instruct.json",
    "FuseChat-Llama-3.2-3B-Instruct": "model_outputs/FuseChat-Llama-3.2-3B-Instruct.json",
    "claude-2": "model_outputs/claude-2.json",
    "claude-2.1": "annotations/claude-2.1.json",
    "vicuna-13b-v1.5": "annotations/vicuna-13b-v1.5.json",
}
"""Models whose answers are there as texts, and where."""


class Row:
    """One instruction, with each model's answer and the recorded preference for it (1 to 2)."""

    def __init__(self, instruction: str, answers: Mapping[str, tuple[str, float]]) -> None:
        self.instruction = instruction
        self.texts = [text for text, _ in answers.values()]
        self.worth = {text.strip(): worth for text, worth in answers.values()}

    def worth_of(self, text: str) -> float:
        """What an answer is worth: how likely it is preferred to the baseline's."""
        return self.worth[text.strip()] - 1


def rows(step: int = 1) -> list[Row]:
    """Every so manieth instruction for which all answers are there and say something."""
    folder = recorded(_FOLDER)
    with (folder / "derived_recorded_preferences.csv").open(encoding="utf-8") as table:
        preferences = list(csv.DictReader(table))
    asked = json.loads((folder / "gpt4_1106_preview.json").read_text("utf-8"))
    outputs = {name: _outputs(folder / path) for name, path in POOL.items()}
    found = []
    for line in preferences[::step]:
        instruction = asked[int(line["index"])]["instruction"]
        answers = {
            name: (outputs[name][instruction], float(line[name]))
            for name in POOL
            if line[name] and instruction in outputs[name]
        }
        if len(answers) == len(POOL) and all(text.strip() for text, _ in answers.values()):
            found.append(Row(instruction, answers))
    return found


def _outputs(path: Path) -> dict[str, str]:
    lines: list[Any] = json.loads(path.read_text("utf-8"))
    return {line["instruction"]: line.get("output_2") or line.get("output", "") for line in lines}


def medoid(texts: Sequence[str]) -> str:
    """What `best_proposal` would take."""
    return texts[most_central(texts)]


def selected(row: Row, *, least: float) -> str:
    """What the mixture answers whose judge knows which answers are worth at least so much.

    It takes the first such that it is shown; where it sees none, the aggregator answers with the
    draft that is most like the others.
    """

    def choose(messages: list[Any]) -> str:
        shown = shown_to({"messages": [{"content": messages[-1].text}]})
        places = {text.strip(): place for place, text in enumerate(row.texts)}
        known = [n for n, text in shown.items() if text.strip() in places]
        good = [n for n in known if row.worth_of(shown[n]) >= least]
        return json.dumps({"number": good[0] if good else 0, "reason": "As recorded."})

    members = [ScriptedChatModel.saying(text, model=f"m{p}") for p, text in enumerate(row.texts)]
    llm = MoAChatModel(
        reference_models=members,
        aggregator=ScriptedChatModel.saying(medoid(row.texts)),
        judge=ScriptedChatModel(script=choose),
        strategy="select",
    )
    return llm.invoke(row.instruction).text


def figures(sample: Sequence[Row]) -> dict[str, float]:
    """Win rates in per cent of the ways to take one answer."""
    ways = {
        "medoid": [row.worth_of(medoid(row.texts)) for row in sample],
        "select": [row.worth_of(selected(row, least=0.5)) for row in sample],
        "ceiling": [max(map(row.worth_of, row.texts)) for row in sample],
    }
    return {name: 100 * fmean(worth) for name, worth in ways.items()}


def test_a_judge_that_knows_what_wins_lands_between_medoid_and_ceiling() -> None:
    found = figures(rows(step=20))
    assert found["medoid"] + 10 < found["select"] < found["ceiling"]
