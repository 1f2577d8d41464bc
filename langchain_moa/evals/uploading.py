"""A finished run as a dataset and experiments in LangSmith.

Nothing is posted while a run is under way, and nothing at all without `upload`: neither the
answers' runs nor the judge's. `langsmith.evaluate(upload_results=False)` posts those of the models
that it calls.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.evals.manifest import versions
from langchain_moa.evals.records import digest
from langchain_moa.evals.types import Answer, Judgment, Row
from langchain_moa.types import AnyDict, AnyMapping

if TYPE_CHECKING:
    from langsmith import Client

_KEY_VARIABLES: Final = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
_PATH: Final = "/datasets/upload-experiment"
Score: TypeAlias = tuple[str, float, str]
"""Key, score and comment of a feedback."""


def check_key() -> None:
    """Refuse an upload that could not be, before a run is paid for.

    Raises:
        MoAConfigurationError: There is no key for LangSmith.
    """
    if not any(os.environ.get(name, "").strip() for name in _KEY_VARIABLES):
        msg = f"langsmith: no key; set the environment variable {_KEY_VARIABLES[0]}."
        raise MoAConfigurationError(msg)


def upload(
    project: str,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    judgments: Sequence[Judgment] = (),
    *,
    client: Client | None = None,
) -> list[str]:
    """Upload a run: one dataset of its rows, one experiment for each model that answered.

    Args:
        project: What the experiments' names begin with; the dataset is called `<project>-<suite>`.
        rows: The rows.
        answers: The answers.
        judgments: The judgments, whose scores become feedback.
        client: The client; by default one from the environment.

    Returns:
        The experiments' names.

    Raises:
        MoAConfigurationError: There is no key for LangSmith.
        MoAError: LangSmith refused it, or could not be reached.
    """
    from langsmith import Client as NewClient  # noqa: PLC0415 - slow to import

    if client is None:
        check_key()
        client = NewClient(auto_batch_tracing=False)
    names = []
    for model in dict.fromkeys(answer["model"] for answer in answers):
        own = [answer for answer in answers if answer["model"] == model]
        scores = _scores(model, judgments)
        name = f"{project}-{model}-{digest(own, scores)[:8]}"
        body = _experiment(name, f"{project}-{rows[0]['suite']}", rows, own, scores)
        _post(client, name, body)
        names.append(name)
    return names


def _post(client: Client, name: str, body: AnyMapping) -> None:
    try:
        client.request_with_retries("POST", _PATH, data=json.dumps(body).encode())
    except Exception as error:
        msg = (
            f"langsmith: {name} was not uploaded ({type(error).__name__}: {error}); the run is "
            "recorded, the same command uploads it again and asks nobody."
        )
        raise MoAError(msg) from error


def _experiment(
    name: str,
    dataset: str,
    rows: Sequence[Row],
    answers: Sequence[Answer],
    scores: Mapping[str, Sequence[Score]],
) -> AnyDict:
    times = [datetime.fromisoformat(answer["at"]) for answer in answers]
    grouped: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        grouped[answer["row"]].append(answer)
    model = answers[0]["model"]
    return {
        "experiment_name": name,
        "experiment_description": f"{model} on {rows[0]['suite']}",
        "experiment_start_time": min(times).isoformat(),
        "experiment_end_time": max(times).isoformat(),
        "experiment_metadata": {"model": model, "suite": rows[0]["suite"], **versions()},
        "dataset_name": dataset,
        "dataset_description": f"Rows of {rows[0]['suite']}, by langchain-moa.",
        "summary_experiment_scores": list(_summary(scores)),
        "results": [
            _result(row, grouped[row["id"]], scores.get(row["id"], ()))
            for row in rows
            if row["id"] in grouped
        ],
    }


def _result(row: Row, answers: Sequence[Answer], scores: Sequence[Score]) -> AnyDict:
    last = max(answers, key=lambda answer: answer["turn"])
    end = datetime.fromisoformat(last["at"])
    outputs = [answer["output"] for answer in answers]
    return {
        "row_id": str(uuid5(NAMESPACE_URL, f"langchain-moa/{row['suite']}/{row['id']}")),
        "inputs": {"messages": row["messages"], "follow_ups": row["follow_ups"]},
        "expected_outputs": _expected(row),
        "actual_outputs": {"output": outputs[0] if len(outputs) == 1 else outputs},
        "evaluation_scores": [
            {"key": key, "score": score, "comment": comment} for key, score, comment in scores
        ],
        "start_time": (end - timedelta(seconds=sum(a["seconds"] for a in answers))).isoformat(),
        "end_time": end.isoformat(),
        "run_name": last["model"],
        "error": last["error"],
        "run_metadata": {"usage": last["usage"], "usd": last["usd"], "moa": last["moa"]},
    }


def _expected(row: Row) -> AnyDict:
    if "baseline" in row:
        return {"output": row["baseline"]["output"], "model": row["baseline"]["model"]}
    return {"output": row["references"][0]} if row["references"] else {}


def _scores(model: str, judgments: Sequence[Judgment]) -> dict[str, list[Score]]:
    """A model's scores by row; a comparison counts for both of its models."""
    found: dict[str, list[Score]] = defaultdict(list)
    wins: dict[tuple[str, str], list[float]] = defaultdict(list)
    for judgment in judgments:
        row, judge = judgment["row"], judgment["judge"]
        if judgment["model"] == model:
            found[row] += [(key, score, judge) for key, score in _single(judgment)]
        won = _won(model, judgment)
        if won is not None:
            wins[row, won[0]].append(won[1])
    for (row, key), parts in wins.items():
        found[row].append((key, sum(parts) / len(parts), f"{len(parts)} judgments"))
    return dict(found)


def _single(judgment: Judgment) -> Iterator[tuple[str, float]]:
    if judgment["score"] is not None:
        name = "metric" if judgment["read"] == "metric" else f"rating_turn_{judgment['turn']}"
        yield name, judgment["score"]
    for skill, score in (judgment["scores"] or {}).items():
        if isinstance(score, int | float):
            yield skill, float(score)


def _won(model: str, judgment: Judgment) -> tuple[str, float] | None:
    """How far a model's answer was preferred, from 0 to 1, and to whose."""
    other, preference = judgment["baseline"], judgment["preference"]
    if preference is None or other is None or model not in (judgment["model"], other):
        return None
    ours = model == judgment["model"]
    share = preference - 1 if ours else 2 - preference
    return f"preferred_to_{other if ours else judgment['model']}", share


def _summary(scores: Mapping[str, Sequence[Score]]) -> Iterator[AnyDict]:
    """The mean of each key over the rows that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in scores.values():
        for key, score, _ in row:
            values[key].append(score)
    for key, found in values.items():
        comment = f"mean of {len(found)} rows"
        yield {"key": f"mean_{key}", "score": sum(found) / len(found), "comment": comment}
