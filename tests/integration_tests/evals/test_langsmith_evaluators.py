"""Our judges inside `langsmith.evaluate`, with a judge over the wire; and uploads that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langsmith import Client, evaluate
from langsmith.schemas import Example

from langchain_moa import MoAConfigurationError, MoAError
from langchain_moa.evals import as_evaluator
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judges.pairwise import PairwiseJudging
from langchain_moa.evals.types import Judgment
from langchain_moa.evals.uploading import check_key, upload
from langchain_moa.testing import LoopbackServer
from tests.evaluations import answered, row
from tests.ingest import IngestServer
from tests.wire import says

JUDGE = "acme/judge"
AT = "2026-11-27T12:00:00+00:00"


def target(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"output": f"re {inputs['question']}"}


@pytest.mark.filterwarnings("ignore:'upload_.*' parameter is in beta")
def test_a_judge_gives_feedback_in_langsmiths_own_evaluation() -> None:
    data = [
        Example(
            id=uuid4(),
            inputs={"question": f"Question {n}?"},
            outputs={"output": f"re Question {n}?" if n else "another answer"},
            dataset_id=uuid4(),
            created_at=datetime.now(UTC),
        )
        for n in range(3)
    ]
    with LoopbackServer({JUDGE: says("No difference. [[C]]")}) as server, IngestServer() as ingest:
        judge = Judge(JUDGE, base_url=server.base_url, api_key=server.api_key)
        found = evaluate(
            target,
            data=data,
            evaluators=[as_evaluator(PairwiseJudging(), judge, key="as good")],
            client=ingest.client(),
            upload_results=False,
        )
        scores = [
            (result.key, result.score)
            for each in found
            for result in each["evaluation_results"]["results"]
        ]
        assert len(server.requests) == 2  # equal answers need no judge
        assert not ingest.traces()
    assert scores == [("as good", 0.5)] * 3


def judged(key: str, model: str, **fields: Any) -> Judgment:
    made: dict[str, Any] = {
        "suite": "custom", "row": key, "turn": 1, "model": model, "baseline": None,
        "swapped": False, "judge": JUDGE, "prompt": "p", "settings": "s", "preference": None,
        "score": None, "scores": None, "verdict": None, "read": None, "raw": None, "error": None,
        "usage": None, "usd": None, "seconds": 1.0, "at": AT,
    }  # fmt: skip
    return Judgment(**{**made, **fields})  # type: ignore[typeddict-item]


def test_an_upload_is_a_dataset_with_an_experiment_for_each_model() -> None:
    """A comparison counts for both of its models, and its two orders together."""
    base = {"output": "base", "model": "base"}
    rows = [row("1", references=["4"]), row("2"), row("3", baseline=base), row("4")]
    mine = [answered(key, "mine", f"re {key}", at=AT, seconds=2.0) for key in ("1", "3")]
    mine += [answered("2", "mine", f"turn {turn}", turn=turn, at=AT) for turn in (1, 2)]
    other = [answered("1", "other", "x", at=AT)]
    judgments = [
        judged("1", "mine", score=0.5, read="metric"),
        judged("2", "mine", score=9.0, read="text", turn=2),
        judged("3", "mine", scores={"readability": 4, "conciseness": "N/A"}),
        judged("1", "mine", baseline="other", preference=2.0),
        judged("1", "mine", baseline="other", preference=1.5, swapped=True),
        judged("1", "third", baseline="other", preference=1.0),
        judged("2", "mine", baseline="other"),
    ]
    with IngestServer() as ingest:
        names = upload("p", rows, [*mine, *other], judgments, client=ingest.client())
    ours, theirs = ingest.experiments
    assert [each["experiment_name"] for each in (ours, theirs)] == names
    assert {each["dataset_name"] for each in (ours, theirs)} == {"p-custom"}
    first, second, third = ours["results"]
    assert (first["expected_outputs"], second["expected_outputs"]) == ({"output": "4"}, {})
    assert third["expected_outputs"] == base
    assert first["actual_outputs"] == {"output": "re 1"}
    assert second["actual_outputs"] == {"output": ["turn 1", "turn 2"]}
    assert told(first) == {"metric": 0.5, "preferred_to_other": 0.75}
    assert told(second) == {"rating_turn_2": 9.0}
    assert told(third) == {"readability": 4.0}
    assert told(theirs["results"][0]) == {"preferred_to_mine": 0.25, "preferred_to_third": 1.0}
    means = {each["key"]: each["score"] for each in ours["summary_experiment_scores"]}
    assert means["mean_preferred_to_other"] == 0.75


def told(result: dict[str, Any]) -> dict[str, float]:
    return {each["key"]: each["score"] for each in result["evaluation_scores"]}


@pytest.mark.parametrize("key", [None, " "])
def test_without_a_key_nothing_is_begun(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if key is not None:
        monkeypatch.setenv("LANGSMITH_API_KEY", key)
    with pytest.raises(MoAConfigurationError, match="set the environment variable LANGSMITH"):
        upload("p", [row("1")], [answered("1", "m", "x")])
    monkeypatch.setenv("LANGSMITH_API_KEY", "ls-key")
    check_key()


def test_an_upload_that_is_refused_says_that_nothing_is_lost() -> None:
    rows = [row("1")]
    with IngestServer() as ingest:
        client = Client(api_url=ingest.url, api_key="wrong", auto_batch_tracing=False)
        with pytest.raises(MoAError, match=r"was not uploaded .*the run is recorded"):
            upload("mine", rows, [answered("1", "m", "x")], client=client)
    assert not ingest.experiments
