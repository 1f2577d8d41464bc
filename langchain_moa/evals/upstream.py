"""Records as the files of upstream's tools have them, so that those tools can read a run.

Of a second judge in the same folder, AlpacaEval's and FLASK's judgments, whose files do not name the
judge, are in a folder of that judge's name.

| suite | file in the run's folder |
|---|---|
| `alpaca_eval` | `annotations.json` (all models), `model_outputs.json` (or, of several models, `model_outputs/<model>.json`) |
| `mt_bench` | `<judge>_single.jsonl`, `<judge>_pair.jsonl`, `model_answer/<model>.jsonl` |
| `flask` | `<model>_review.jsonl`, `model_output/<model>.jsonl` |

The functions are pure: records in, rows out.
"""  # noqa: E501 - a table

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from langchain_moa.evals.judges.base import Answers, Question
from langchain_moa.evals.records import digest, write_text
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.evals.upstream_types import (
    Annotation,
    PairJudgment,
    Review,
    SingleJudgment,
)
from langchain_moa.types import AnyDict

FAILED: Final = "$ERROR$"
"""What FastChat writes for a judgment that failed."""
NO_RATING: Final = -1
_NOT_IN_FILE_NAMES: Final = re.compile(r"[^\w.+-]+")

Prompts = Mapping[tuple[str, int, str, str | None, bool], str]
"""What the judge was told, by row, turn, model, baseline and order."""


def prompts_of(questions: Iterable[Question]) -> Prompts:
    """What the judge was told in each question."""
    return {
        (q.row["id"], q.turn, q.model, q.baseline, q.swapped): q.messages[-1][1] for q in questions
    }


def _place(judgment: Judgment) -> tuple[str, int, str, str | None, bool]:
    j = judgment
    return (j["row"], j["turn"], j["model"], j["baseline"], j["swapped"])


def alpaca_eval_annotations(
    rows: Sequence[Row], answers: Sequence[Answer], judgments: Sequence[Judgment]
) -> list[Annotation]:
    """AlpacaEval's `annotations.json`, model by model, in the order of the rows.

    An answer that failed, and a judgment that cannot be read, has the preference `None`.

    Example:
        >>> row = {
        ...     "id": "1",
        ...     "messages": [{"role": "user", "content": "2 + 2?"}],
        ...     "category": "",
        ...     "baseline": {"model": "baseline", "output": "Four."},
        ... }
        >>> answered = {"row": "1", "model": "mine", "output": "4"}
        >>> [annotation] = alpaca_eval_annotations([row], [answered], [])
        >>> annotation["output_1"], annotation["output_2"], annotation["preference"]
        ('Four.', '4', None)
    """
    judged = {(j["row"], j["model"]): j for j in judgments if j["suite"] == "alpaca_eval"}
    judge = judgments[0]["judge"] if judgments else ""
    models = dict.fromkeys(answer["model"] for answer in answers)
    answered = {(a["row"], a["model"]): a for a in answers}
    return [
        _annotation(row, answered[row["id"], model], judged.get((row["id"], model)), judge)
        for model in models
        for row in rows
        if (row["id"], model) in answered
    ]


def _annotation(row: Row, answer: Answer, judgment: Judgment | None, judge: str) -> Annotation:
    annotation: AnyDict = {
        "instruction": row["messages"][-1]["content"],
        "output_1": row["baseline"]["output"],
        "generator_1": row["baseline"]["model"],
        "dataset": row["category"],
        "output_2": answer["output"],
        "generator_2": answer["model"],
        "annotator": judge,
        "preference": None,
        "raw_completion": None,
    }
    if judgment is not None:
        annotation |= {
            "preference": judgment["preference"],
            "raw_completion": judgment["raw"],
            "read": judgment["read"],
            "price_per_example": judgment["usd"],
            "time_per_example": judgment["seconds"],
        }
    return cast("Annotation", annotation)


def mt_bench_judgments(
    rows: Sequence[Row], judgments: Sequence[Judgment], prompts: Prompts | None = None
) -> list[SingleJudgment]:
    """MT-Bench's `<judge>_single.jsonl`: what failed or cannot be read has the score -1.

    Args:
        rows: The questions.
        judgments: Ratings; comparisons are left out.
        prompts: What the judge was told, for the field `user_prompt`.

    Example:
        >>> row = {"id": "81", "references": []}
        >>> asked = {"suite": "mt_bench", "row": "81", "turn": 1, "model": "mine", "judge": "judge"}
        >>> told = {"score": 8.0, "raw": "Rating: [[8]]", "at": "2026-11-28T12:00:00+00:00"}
        >>> judgment = {**asked, **told, "baseline": None, "swapped": False}
        >>> [rating] = mt_bench_judgments([row], [judgment])
        >>> rating["question_id"], rating["turn"], rating["score"]
        (81, 1, 8.0)
    """
    known = {row["id"]: row for row in rows}
    return [
        {
            "question_id": int(judgment["row"]),
            "model": judgment["model"],
            "judge": [judgment["judge"], _kind("single", "v1", known[judgment["row"]], judgment)],
            "user_prompt": (prompts or {}).get(_place(judgment), ""),
            "judgment": _text(judgment),
            "score": NO_RATING if judgment["score"] is None else judgment["score"],
            "turn": judgment["turn"],
            "tstamp": _time(judgment["at"]),
        }
        for judgment in judgments
        if judgment["suite"] == "mt_bench" and judgment["baseline"] is None
    ]


def mt_bench_pairs(
    rows: Sequence[Row], judgments: Sequence[Judgment], prompts: Prompts | None = None
) -> list[PairJudgment]:
    """MT-Bench's `<judge>_pair.jsonl`: both orders in one row, the model's answer first in game 1.

    Args:
        rows: The questions.
        judgments: Comparisons; ratings are left out.
        prompts: What the judge was told, for the fields `g1_user_prompt` and `g2_user_prompt`.

    Example:
        >>> row = {"id": "81", "references": []}
        >>> asked = {"suite": "mt_bench", "row": "81", "turn": 1, "model": "mine", "judge": "judge"}
        >>> told = {"verdict": "model", "raw": "[[A]]", "at": "2026-11-28T12:00:00+00:00"}
        >>> judgment = {**asked, **told, "baseline": "theirs", "swapped": False}
        >>> both = [judgment, {**judgment, "swapped": True}]
        >>> [pair] = mt_bench_pairs([row], both)
        >>> pair["g1_winner"], pair["g2_winner"]
        ('model_1', 'model_1')
    """
    known = {row["id"]: row for row in rows}
    games: dict[tuple[str, int, str, str], dict[bool, Judgment]] = {}
    for j in judgments:
        if j["suite"] == "mt_bench" and j["baseline"] is not None:
            games.setdefault((j["row"], j["turn"], j["model"], j["baseline"]), {})[j["swapped"]] = j
    return [_pair(known[key[0]], key, both, prompts or {}) for key, both in games.items()]


def _pair(
    row: Row, key: tuple[str, int, str, str], both: Mapping[bool, Judgment], prompts: Prompts
) -> PairJudgment:
    last = max(both.values(), key=lambda judgment: judgment["at"])
    first, second = both.get(True), both.get(False)
    return {
        "question_id": int(key[0]),
        "model_1": key[2],
        "model_2": key[3],
        "g1_winner": _winner(first),
        "g2_winner": _winner(second),
        "judge": [last["judge"], _kind("pair", "v2", row, last)],
        "g1_user_prompt": prompts.get((*key, True), ""),
        "g1_judgment": _text(first) if first else FAILED,
        "g2_user_prompt": prompts.get((*key, False), ""),
        "g2_judgment": _text(second) if second else FAILED,
        "turn": key[1],
        "tstamp": _time(last["at"]),
    }


def _winner(judgment: Judgment | None) -> str:
    names = {"model": "model_1", "baseline": "model_2", "tie": "tie"}
    return names.get(judgment["verdict"] or "", "error") if judgment else "error"


def _kind(name: str, general: str, row: Row, judgment: Judgment) -> str:
    """The name of the prompt that the judge was given."""
    version = "math-v1" if row["references"] else general
    return f"{name}-{version}{'-multi-turn' if judgment['turn'] > 1 else ''}"


def _text(judgment: Judgment) -> str:
    return judgment["raw"] if isinstance(judgment["raw"], str) else FAILED


def _time(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def flask_reviews(
    rows: Sequence[Row], answers: Sequence[Answer], judgments: Sequence[Judgment]
) -> dict[str, list[Review]]:
    """FLASK's reviews of each model; what failed or cannot be read has no scores.

    Example:
        >>> row = {
        ...     "id": "81",
        ...     "messages": [{"role": "user", "content": "2 + 2?"}],
        ...     "references": ["4"],
        ...     "skills": ["Conciseness"],
        ...     "domains": ["Math"],
        ...     "difficulty": "1",
        ... }
        >>> asked = {"suite": "flask", "row": "81", "model": "mine", "judge": "judge"}
        >>> judgment = {**asked, "scores": {"conciseness": 4}, "raw": "Short.", "usage": None}
        >>> flask_reviews([row], [], [judgment])["mine"][0]["score"]
        {'conciseness': 4}
    """
    known = {row["id"]: row for row in rows}
    outputs = Answers(answers)
    reviews: dict[str, list[Review]] = {}
    for judgment in judgments:
        if judgment["suite"] in ("flask", "flask_hard") and judgment["row"] in known:
            review = _review(known[judgment["row"]], judgment, outputs)
            reviews.setdefault(judgment["model"], []).append(review)
    return reviews


def _review(row: Row, judgment: Judgment, outputs: Answers) -> Review:
    usage = judgment["usage"]
    review: AnyDict = {
        "idx": int(row["id"]),
        "instruction": row["messages"][-1]["content"],
        "answer": row["references"][0],
        "skill": row["skills"],
        "domain": row["domains"],
        "difficulty": row["difficulty"],
        "target_txt": outputs.get(row, judgment["model"]) or "",
        "review": judgment["raw"] if isinstance(judgment["raw"], str) else "",
        "score": judgment["scores"] or {},
        "total_tokens_step4": usage["total_tokens"] if usage else None,
        "model": judgment["model"],
        "judge": judgment["judge"],
    }
    return cast("Review", review)


def model_outputs(rows: Sequence[Row], answers: Sequence[Answer], model: str) -> list[object]:
    """AlpacaEval's `model_outputs.json` of a model; answers that failed are left out."""
    outputs = Answers(answers)
    return [
        {
            "dataset": row["category"],
            "instruction": row["messages"][-1]["content"],
            "output": output,
            "generator": model,
        }
        for row in rows
        if (output := outputs.get(row, model)) is not None
    ]


def mt_bench_answers(rows: Sequence[Row], answers: Sequence[Answer], model: str) -> list[Any]:
    """FastChat's answers of a model; questions that lack a turn are left out."""
    outputs = Answers(answers)
    times = {(a["row"], a["turn"]): _time(a["at"]) for a in answers if a["model"] == model}
    found = []
    for row in rows:
        turns = outputs.turns(row, model, 1 + len(row["follow_ups"]))
        if turns is not None:
            found.append(
                {
                    "question_id": int(row["id"]),
                    "answer_id": digest(row["id"], model, turns),
                    "model_id": model,
                    "choices": [{"index": 0, "turns": turns}],
                    "tstamp": times[row["id"], len(turns)],
                }
            )
    return found


def flask_outputs(rows: Sequence[Row], answers: Sequence[Answer], model: str) -> list[object]:
    """FLASK's model outputs; answers that failed are left out."""
    outputs = Answers(answers)
    return [
        {"question_id": int(row["id"]), "text": output, "model": model}
        for row in rows
        if (output := outputs.get(row, model)) is not None
    ]


def write_answers(folder: Path, rows: Sequence[Row], answers: Sequence[Answer]) -> list[Path]:
    """Write the answers in upstream's format; a user's own prompts have none.

    Returns:
        The files.

    Raises:
        DataFileError: One can't be written.
    """
    suite = rows[0]["suite"] if rows else ""
    models = list(dict.fromkeys(answer["model"] for answer in answers))
    paths = []
    for model, stem in zip(models, file_stems(models), strict=True):
        if suite == "alpaca_eval":
            name = f"model_outputs/{stem}.json" if len(models) > 1 else "model_outputs.json"
            paths.append(_list(folder / name, model_outputs(rows, answers, model)))
        elif suite == "mt_bench":
            name = f"model_answer/{stem}.jsonl"
            paths.append(_lines(folder / name, mt_bench_answers(rows, answers, model)))
        elif suite in ("flask", "flask_hard"):
            name = f"model_output/{stem}.jsonl"
            paths.append(_lines(folder / name, flask_outputs(rows, answers, model)))
    return paths


class JudgeFiles:
    """Where a judge's files of judgments are in a run's folder.

    Args:
        folder: The run's folder.
        judges: All judges of the folder, the first one first.
    """

    def __init__(self, folder: Path, judges: Sequence[str]) -> None:
        self._folder = folder
        self._stems = dict(zip(judges, file_stems(judges), strict=True))

    def stem(self, judge: str) -> str:
        """The judge's name as files are called."""
        return self._stems.get(judge) or file_stems([judge])[0]

    def beside_others(self, name: str) -> Path:
        """A file whose name tells the judge."""
        return self._folder / name

    def own(self, judge: str, name: str) -> Path:
        """A file whose name does not: the first judge's is in the folder itself."""
        first = next(iter(self._stems), judge) == judge
        return self._folder / name if first else self._folder / self.stem(judge) / name


def write_judgments(
    files: JudgeFiles,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    judgments: Sequence[Judgment],
    prompts: Prompts,
) -> list[Path]:
    """Write one judge's judgments in upstream's format; a user's own prompts have none.

    Args:
        files: Where they are.
        rows: The rows.
        answers: What was judged.
        judgments: The judge's judgments.
        prompts: What it was told.

    Returns:
        The files.

    Raises:
        DataFileError: One can't be written.
    """
    suite = rows[0]["suite"] if rows else ""
    if not judgments:
        return []
    judge = judgments[0]["judge"]
    if suite == "alpaca_eval":
        found = alpaca_eval_annotations(rows, answers, judgments)
        return [_list(files.own(judge, "annotations.json"), found)]
    if suite == "mt_bench":
        singles = mt_bench_judgments(rows, judgments, prompts)
        pairs = mt_bench_pairs(rows, judgments, prompts)
        kinds = {"single": list[Any](singles), "pair": list[Any](pairs)}
        return [
            _lines(files.beside_others(f"{files.stem(judge)}_{kind}.jsonl"), rows_of_kind)
            for kind, rows_of_kind in kinds.items()
            if rows_of_kind
        ]
    reviews = flask_reviews(rows, answers, judgments)
    stems = file_stems(list(reviews))
    return [
        _lines(files.own(judge, f"{stem}_review.jsonl"), reviews[model])
        for model, stem in zip(reviews, stems, strict=True)
    ]


def file_stems(names: Sequence[str]) -> list[str]:
    """Names as files are called, each once.

    Example:
        >>> file_stems(["acme/a", "acme:a", "self-moa (acme/a)"])
        ['acme_a', 'acme_a-2', 'self-moa_acme_a']
    """
    taken: list[str] = []
    for name in names:
        stem = _NOT_IN_FILE_NAMES.sub("_", name).strip("_.") or "model"
        found, number = stem, 1
        while found.lower() in (each.lower() for each in taken):
            number += 1
            found = f"{stem}-{number}"
        taken.append(found)
    return taken


def _list(path: Path, rows: Sequence[object]) -> Path:
    write_text(path, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    return path


def _lines(path: Path, rows: Sequence[object]) -> Path:
    write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return path
