"""Our judges inside `langsmith.evaluate`, with a judge over the wire; and uploads that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from langsmith import Client, evaluate
from langsmith.schemas import Example

from langchain_moa import MoAError
from langchain_moa.evals import as_evaluator
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judges.pairwise import PairwiseJudging
from langchain_moa.evals.uploading import upload
from langchain_moa.testing import LoopbackServer
from tests.evaluations import answered, row
from tests.ingest import IngestServer
from tests.wire import says

JUDGE = "acme/judge"


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


def test_an_upload_that_is_refused_says_that_nothing_is_lost() -> None:
    rows = [row("1")]
    with IngestServer() as ingest:
        client = Client(api_url=ingest.url, api_key="wrong", auto_batch_tracing=False)
        with pytest.raises(MoAError, match=r"was not uploaded .*the run is recorded"):
            upload("mine", rows, [answered("1", "m", "x")], client=client)
    assert not ingest.experiments
