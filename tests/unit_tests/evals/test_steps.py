"""From Python: rows, answers, judgments and a report in a few lines, in one folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda

from langchain_moa import MoAChatModel
from langchain_moa.errors import MoAConfigurationError
from langchain_moa.evals import (
    answer,
    get_suite,
    judge,
    judging_of,
    members_of,
    read_run,
    sample,
    write_report,
)
from langchain_moa.evals.records import read_answers
from langchain_moa.evals.types import GenerationSettings, Row
from langchain_moa.testing import ScriptedChatModel
from tests.evaluations import made_up, row


def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    rows = [{"input": f"Question {n}?", "id": f"q{n}", "reference": f"{n}"} for n in range(4)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def always(settings: GenerationSettings, _: Row) -> GenerationSettings:
    return settings


def mixture() -> MoAChatModel:
    one, other = (ScriptedChatModel.saying(f"Draft {n} of 1, 2 and 3.") for n in range(2))
    return MoAChatModel(
        reference_models=[one, other], aggregator=ScriptedChatModel.saying("It is 1, 2 or 3.")
    )


def test_five_lines_from_prompts_to_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    suite = get_suite(prompts(tmp_path))
    rows, llm = sample(suite.rows(), 3), mixture()
    answers = answer(rows, [llm, *members_of(llm)], folder=folder)
    judge(rows, answers, judging_of(suite, metric="contains", rows=rows), folder=folder)
    report = write_report(folder, tmp_path / "report", pictures=False)
    [run] = report["runs"]
    assert (run["run"]["source"], run["run"]["rows"]) == (str(prompts(tmp_path)), 3)
    assert [model["role"] for model in run["models"]] == ["mixture", "member", "member", "member"]
    assert [model["score"]["n"] for model in run["models"]] == [3] * 4
    assert run["comparisons"][0]["best_member"]
    assert (tmp_path / "report/report.md").read_text("utf-8").startswith('# Evaluation\n\n- "moa"')


@pytest.mark.parametrize("suite", ["alpaca_eval", "mt_bench", "flask"])
def test_suites_from_python_leave_what_the_commands_leave(tmp_path: Path, suite: str) -> None:
    data, folder = made_up(tmp_path / "data"), tmp_path / "run"

    def says(messages: list[BaseMessage]) -> AIMessage:
        text = messages[-1].text
        if text.endswith("Say m or M."):
            return AIMessage("M")
        return AIMessage("[[8]] {'Readability': 4}" if len(messages) > 1 else f"re {text}")

    rows = get_suite(suite).rows(data)[:2]
    answers = answer(rows, [RunnableLambda(says)], folder=folder)
    asker = judging_of(suite, data=data, method="samples", samples=1)
    judgments = judge(rows, answers, asker, RunnableLambda(says), folder=folder)
    assert all(judgment["read"] for judgment in judgments)
    [run] = write_report(str(folder), tmp_path / "report", data=data, pictures=False)["runs"]
    assert run["models"][0]["score"]["n"] == 2
    assert len(run["scores"]) == 1
    files = {path.name for path in folder.rglob("*.json*")} - {"run.json"}
    assert len(files) == 4  # records, and upstream's formats of both


def test_answers_from_elsewhere_are_recorded_with_their_judgments(tmp_path: Path) -> None:
    suite = get_suite(prompts(tmp_path))
    rows = suite.rows()
    answers = answer(rows, mixture())  # in memory
    judge(rows, answers, judging_of(suite, metric="contains"), folder=tmp_path / "run")
    found = read_run(tmp_path / "run")
    assert len(read_answers(tmp_path / "run")) == len(found.answers) == 4
    assert [model["name"] for model in found.run["models"]] == ["moa"]


def test_rows_of_two_suites_are_no_run(tmp_path: Path) -> None:
    rows = [row("1"), row("81", suite="mt_bench")]
    with pytest.raises(MoAConfigurationError, match="rows are of custom and mt_bench"):
        answer(rows, ScriptedChatModel.saying("x"), folder=tmp_path)


def test_an_older_second_turn_is_none_of_a_run_that_was_killed(tmp_path: Path) -> None:
    rows = [row("1", "First?", follow_ups=["Second?"])]
    for temperature in (0.1, 0.2):
        settings: GenerationSettings = {"temperature": temperature, "max_tokens": 9}
        model = ScriptedChatModel.saying("x")
        answer(rows, model, settings=partial(always, settings), folder=tmp_path)
    file = tmp_path / "answers.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    file.write_bytes(b"".join(lines[:3]))  # killed before the second answer of the second run
    assert [(a["turn"], a["settings"]) for a in read_run(tmp_path).answers] == [
        (1, json.loads(lines[2])["settings"])
    ]
