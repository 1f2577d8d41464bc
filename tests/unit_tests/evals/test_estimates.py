"""What judging would take: as much as it then takes, or the least and the most of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.estimates import described
from langchain_moa.evals.judges.alpaca_eval import Method
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import judging_of
from langchain_moa.evals.plans import Plan
from langchain_moa.evals.running import estimated, run
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.work import run_blocking
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply, assistant_reply
from tests.evaluations import answered, made_up

JUDGE = "acme/judge"
SAMPLES = 3
ROWS = 10
TOPS = {"content": [{"token": "m", "top_logprobs": [{"token": "m", "logprob": -0.1}]}]}


def judges(way: str) -> ModelBehavior:
    """A judge that can be read in one way alone."""

    def reply(body: Mapping[str, Any]) -> Reply | str:
        if way == "logprobs" and body.get("logprobs"):
            return Reply(text="m", logprobs=TOPS)
        if way == "verdict" and (body.get("tools") or body.get("response_format")):
            return assistant_reply(body)
        return "M" if way == "samples" else "Both are good."

    return ModelBehavior(reply=reply)


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer({}) as running:
        yield running


def plan(server: LoopbackServer, folder: Path, method: Method) -> Plan:
    suite = get_suite("alpaca_eval")
    rows = suite.rows(made_up(folder / "data"))
    return Plan(
        suite=suite,
        rows=rows,
        folder=folder / "run",
        given=[answered(r["id"], "m", f"ours {r['id']}", suite="alpaca_eval") for r in rows],
        judging=judging_of(suite, data=folder / "data", method=method, samples=SAMPLES),
        judge=Judge(
            JUDGE, base_url=server.base_url, api_key=server.api_key, prices={JUDGE: (1.0, 2.0)}
        ),
    )


@pytest.mark.parametrize(
    ("method", "calls"), [("logprobs", ROWS), ("samples", ROWS * SAMPLES), ("verdict", ROWS)]
)
def test_a_method_that_is_fixed_takes_what_was_estimated(
    server: LoopbackServer, tmp_path: Path, method: Method, calls: int
) -> None:
    server.models[JUDGE] = judges(method)
    found = estimated(plan(server, tmp_path, method))
    assert found["judge"] is not None
    assert (found["judge"]["calls"], found["judge_at_most"]) == (calls, None)
    run_blocking(run(plan(server, tmp_path, method)))
    assert len(server.requests) == calls
    if method == "verdict":  # the schema is read, and more than a token written
        assert found["judge"]["output_tokens"] > 10 * ROWS


@pytest.mark.parametrize("way", ["logprobs", "samples", "verdict", "none"])
def test_a_judge_of_unknown_abilities_takes_between_the_least_and_the_most(
    server: LoopbackServer, tmp_path: Path, way: str
) -> None:
    server.models[JUDGE] = judges(way)
    found = estimated(plan(server, tmp_path, "auto"))
    least, most = found["judge"], found["judge_at_most"]
    assert least is not None
    assert most is not None
    assert most["usd"] is not None
    assert least["usd"] is not None
    assert most["usd"] > least["usd"] > 0
    assert f"{most['calls']} calls" in "\n".join(described(found))
    outcome = run_blocking(run(plan(server, tmp_path, "auto")))
    assert least["calls"] <= len(server.requests) <= most["calls"]
    assert outcome.unscored == (ROWS if way == "none" else 0)


def test_a_judge_that_was_read_before_is_no_longer_unknown(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.models[JUDGE] = judges("samples")
    run_blocking(run(plan(server, tmp_path, "auto")))
    records = tmp_path / "run/judgments.jsonl"
    records.write_bytes(b"".join(records.read_bytes().splitlines(keepends=True)[:4]))
    found = estimated(plan(server, tmp_path, "auto"))
    assert found["judge"] is not None
    assert (found["judge"]["calls"], found["judge_at_most"]) == ((ROWS - 4) * SAMPLES, None)
