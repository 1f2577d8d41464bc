"""Judges over the wire against recorded ones: every prompt, every preference, every score."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.conftest import Cli
from tests.evaluations import lines, recorded

JUDGE = "acme/judge"
Shape = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def judged(cli: Cli, server: LoopbackServer, suite: str, *words: str) -> dict[str, Any]:
    """The JSON of `eval judge`, which must end well."""
    cli.environment.setenv("JUDGES_KEY", server.api_key)
    at = (
        "--judge",
        JUDGE,
        "--judge-base-url",
        server.base_url,
        "--judge-api-key-env",
        "JUDGES_KEY",
    )
    ran = cli("eval", "judge", suite, *at, *words, "--yes", "--json")
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def as_openai(logprobs: Mapping[str, Any]) -> Mapping[str, Any]:
    return logprobs


def as_together(logprobs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same in Together's own shape."""
    tops = logprobs["content"][0]["top_logprobs"]
    return {
        "tokens": [logprobs["content"][0]["token"]],
        "token_logprobs": [logprobs["content"][0]["logprob"]],
        "top_logprobs": [{top["token"]: top["logprob"] for top in tops}],
    }


class AlpacaEvalJudge:
    """Answers each of upstream's prompts with the completion that was recorded for it."""

    def __init__(self, annotations: list[dict[str, Any]], template: str, shape: Shape) -> None:
        self._rows = {self._prompt(row, template): row for row in annotations}
        self._shape = shape

    def _prompt(self, row: dict[str, Any], template: str) -> tuple[str, str]:
        """Both messages as upstream makes them of its file."""
        chance = random.Random("is_switched_outputs" + row["instruction"] + "0")  # noqa: S311
        outputs = [row["output_1"], row["output_2"]]
        if chance.choices([False, True], k=1)[0]:
            outputs.reverse()
        for name, text in (
            ("instruction", row["instruction"]),
            ("output_1", outputs[0]),
            ("output_2", outputs[1]),
        ):
            template = template.replace("{" + name + "}", text, 1)
        parts = template.strip().split("<|im_start|>")[1:]
        contents = [part.split("\n", 1)[1].split("<|im_end|>", 1)[0].strip() for part in parts]
        return contents[0], contents[1]

    def __call__(self, body: Mapping[str, Any]) -> Reply:
        system, user = body["messages"]
        row = self._rows[system["content"], user["content"]]
        completion = row["raw_completion"]
        return Reply(
            text=completion["message"]["content"],
            finish_reason="length",
            logprobs=self._shape(completion["logprobs"]),
        )


@pytest.mark.parametrize("shape", [as_openai, as_together])
def test_every_recorded_preference_of_alpaca_eval(cli: Cli, tmp_path: Path, shape: Shape) -> None:
    path = recorded("alpaca_eval/annotations/claude-2.1.json")
    annotations = json.loads(path.read_text("utf-8"))
    if shape is as_together:  # once over all rows is enough
        annotations = annotations[:60]
    template = recorded("alpaca_eval/alpaca_eval_clf_prompt.txt").read_text("utf-8")
    answers = tmp_path / "model_outputs.json"
    answers.write_text(
        json.dumps(
            [
                {
                    "instruction": r["instruction"],
                    "output": r["output_2"],
                    "generator": "claude-2.1",
                }
                for r in annotations
            ]
        ),
        "utf-8",
    )
    judge = AlpacaEvalJudge(annotations, template, shape)
    different = sum(row["output_1"] != row["output_2"] for row in annotations)
    words = ("--answers", str(answers), "--data", str(recorded()), "--out", str(tmp_path / "run"))
    with LoopbackServer({JUDGE: ModelBehavior(reply=judge)}) as server:
        first = judged(cli, server, "alpaca_eval", *words)
        assert len(server.requests) == different
        body = server.requests[-1].body
        assert (body["max_tokens"], body["temperature"], body["top_logprobs"]) == (1, 1.0, 5)
        again = judged(cli, server, "alpaca_eval", *words)
        assert len(server.requests) == different
    expected = {row["instruction"]: row["preference"] for row in annotations}
    written = json.loads((tmp_path / "run" / "annotations.json").read_text("utf-8"))
    assert len(written) == len(annotations)
    for row in written:
        assert row["preference"] == pytest.approx(expected[row["instruction"]], abs=1e-9)
    assert again["results"] == first["results"]
    if shape is as_openai:
        [result] = first["results"]
        assert result["win_rate"] == pytest.approx(15.733506736409938, abs=1e-7)
        assert (result["n_wins"], result["n_wins_base"], result["n_draws"]) == (115, 688, 2)


def replaying(told: Mapping[str, str]) -> ModelBehavior:
    """A judge that says what was recorded for exactly this prompt."""
    return ModelBehavior(reply=lambda body: told[body["messages"][-1]["content"]])


def test_every_recorded_rating_of_mt_bench(cli: Cli, tmp_path: Path) -> None:
    folder = recorded("mt_bench/recorded/phi-3")
    rows = lines(folder / "gpt-4_single.jsonl")
    told = {row["user_prompt"]: row["judgment"] for row in rows}
    answers = folder / "model_answer/phi-3-dpo.jsonl"
    words = ("--answers", str(answers), "--data", str(recorded()), "--out", str(tmp_path))
    systems = {
        p["name"]: p["system_prompt"] for p in lines(recorded("mt_bench/judge_prompts.jsonl"))
    }
    with LoopbackServer({JUDGE: replaying(told)}) as server:
        found = judged(cli, server, "mt_bench", *words)
        assert len(server.requests) == len(rows) == 160
        sent = {r.body["messages"][1]["content"]: r.body for r in server.requests}
    for row in rows:
        body = sent[row["user_prompt"]]
        assert body["messages"][0]["content"] == systems[row["judge"][1]]
        assert (body["temperature"], body["max_tokens"]) == (0.0, 2048)
    written = lines(tmp_path / "acme_judge_single.jsonl")
    ours = {(row["question_id"], row["turn"]): row for row in written}
    for row in rows:
        same = ours[row["question_id"], row["turn"]]
        assert (same["score"], same["judgment"]) == (row["score"], row["judgment"])
        assert (same["judge"][1], same["user_prompt"]) == (row["judge"][1], row["user_prompt"])
    [result] = found["results"]
    assert (result["turn_1"], result["turn_2"], result["average"]) == (8.3625, 8.0375, 8.2)


def test_every_recorded_comparison_of_mt_bench(cli: Cli, tmp_path: Path) -> None:
    folder = recorded("mt_bench/recorded/phi-3")
    rows = lines(folder / "gpt-4_pair.jsonl")
    told = {
        row[f"g{game}_user_prompt"]: row[f"g{game}_judgment"] for row in rows for game in (1, 2)
    }
    names = ("phi-3", "phi-3-dpo")
    asked = {row["question_id"] for row in rows}
    words: list[str] = []
    for name in names:  # the first turns of those questions that were compared
        answers = [
            {**row, "choices": [{"index": 0, "turns": row["choices"][0]["turns"][:1]}]}
            for row in lines(folder / f"model_answer/{name}.jsonl")
            if row["question_id"] in asked
        ]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in answers), "utf-8")
        words += ["--answers", str(path)]
    words += ["--pairwise", "--data", str(recorded()), "--out", str(tmp_path / "run")]
    server = LoopbackServer({JUDGE: replaying(told)})
    with server:
        at = ("--judge", JUDGE, "--judge-base-url", server.base_url)
        cli.environment.setenv("TOGETHER_API_KEY", server.api_key)
        ran = cli("eval", "judge", "mt_bench", *at, *words, "--yes", "--json")
    assert ran.code == 3, ran.err  # two of the recorded comparisons could not be read
    ours = {row["question_id"]: row for row in lines(tmp_path / "run" / "acme_judge_pair.jsonl")}
    for row in rows:
        same = ours[row["question_id"]]
        for field in ("model_1", "model_2", "g1_winner", "g2_winner", "g1_judgment", "g2_judgment"):
            assert same[field] == row[field], (row["question_id"], field)
        assert (same["g1_user_prompt"], same["g2_user_prompt"]) == (
            row["g1_user_prompt"],
            row["g2_user_prompt"],
        )


def test_every_recorded_review_of_flask(cli: Cli, tmp_path: Path) -> None:
    rows = lines(recorded("flask/recorded_reviews_odd_idx.jsonl"))
    rubrics = {
        r["Skill"]: r
        for r in json.loads(recorded("flask/skillset_description.json").read_text("utf-8"))
    }
    by_answer = {(row["instruction"], row["target_txt"]): row for row in rows}
    assert len(by_answer) == len(rows)

    def review(body: Mapping[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        [row] = [
            row
            for (instruction, answer), row in by_answer.items()
            if f"[Instruction]\n{instruction}\n\n[Ground truth Answer]\n{row['answer']}\n\n" in text
            and f"[Assistant's Response]\n{answer}\n\n[The End of" in text
        ]
        for skill in row["skill"]:
            rubric = rubrics[skill]
            scale = "".join(f"\nScore {n}: {rubric['Scoring'][str(n)]}" for n in range(1, 6))
            assert f"\n{skill}: {rubric['Criteria']}{scale}\n\n" in text
        said: str = row["review"]
        return said

    answers = tmp_path / "gpt-x.jsonl"
    answers.write_text(
        "".join(
            f"{json.dumps({'question_id': row['idx'], 'text': row['target_txt']})}\n"
            for row in rows
        ),
        "utf-8",
    )
    words = ("--answers", str(answers), "--data", str(recorded()), "--out", str(tmp_path / "run"))
    with LoopbackServer({JUDGE: ModelBehavior(reply=review)}) as server:
        found = judged(cli, server, "flask", *words)
        assert len(server.requests) == len(rows)
        assert not {"temperature", "max_tokens"} & server.requests[0].body.keys()
    written = {row["idx"]: row for row in lines(tmp_path / "run" / "gpt-x_review.jsonl")}
    for row in rows:
        assert written[row["idx"]]["score"] == row["score"]
    [result] = found["results"]
    assert result["skills"]["comprehension"]["sum"] == 276
