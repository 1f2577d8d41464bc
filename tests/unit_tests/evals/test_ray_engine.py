"""What Ray's workers do, and how the run speaks with them; Ray itself is in the soak tests.

In Ray's place stands a module of a few lines that does everything in turn, so that no cluster is
started: its process, its wire and its records are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_moa import MoAChatModel
from langchain_moa.errors import MoAConfigurationError, MoAError
from langchain_moa.evals.contestants import alone, contestant
from langchain_moa.evals.judges.base import Answers
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import judging_of
from langchain_moa.evals.plans import Outcome, Plan
from langchain_moa.evals.ray_worker import Worker
from langchain_moa.evals.running import run
from langchain_moa.evals.suites import get_suite
from langchain_moa.evals.work import run_blocking
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.evaluations import answered, made_up, row

MODEL, JUDGE = "acme/model", "acme/judge"
RAY = """
import os

def is_initialized():
    return False

def init(**_):
    if os.environ.get("STANDS_IN") == "breaks":
        raise OSError("no room for an object store")

def shutdown():
    pass
"""
DATA = """
def ActorPoolStrategy(**_):
    return None

class from_items(list):
    def __init__(self, items, **_):
        super().__init__(items)

    def map(self, kind, *, fn_constructor_args, **_):
        worker = kind(*fn_constructor_args)
        return from_items([worker(item) for item in self])

    def iter_rows(self):
        return iter(self)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in Ray's place, for the process that the engine starts."""
    folder = tmp_path / "modules" / "ray"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(RAY, "utf-8")
    (folder / "data.py").write_text(DATA, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    def reply(body: Any) -> str:
        return f"re {body['messages'][-1]['content']}"

    review = ModelBehavior(reply="Good. {'Readability': 4}")
    with LoopbackServer({MODEL: ModelBehavior(reply=reply), JUDGE: review}) as running:
        monkeypatch.setenv("TOGETHER_API_KEY", running.api_key)
        yield running


def plan(server: LoopbackServer, folder: Path, engine: str) -> Plan:
    suite, data = get_suite("flask"), made_up(folder / "data")
    llm = MoAChatModel(reference_models=[MODEL], aggregator=MODEL, base_url=server.base_url)
    return Plan(
        suite=suite,
        rows=suite.rows(data),
        folder=folder / engine,
        contestants=[alone(MODEL, like=llm)],
        judging=judging_of(suite, data=data),
        judge=Judge(JUDGE, base_url=server.base_url, api_key=server.api_key),
        engine=engine,
    )


def told(outcome: Outcome) -> list[object]:
    answers = [(a["row"], a["output"], a["settings"], a["usage"]) for a in outcome.answers]
    return [answers, [(j["row"], j["scores"], j["raw"], j["settings"]) for j in outcome.judgments]]


@pytest.mark.usefixtures("stand_in")
def test_another_processs_answers_and_judgments_are_those_of_this_one(
    server: LoopbackServer, tmp_path: Path
) -> None:
    there = run_blocking(run(plan(server, tmp_path, "ray")))
    assert len(there.answers) == len(there.judgments) == 5
    assert len(server.requests) == 10
    here = run_blocking(run(plan(server, tmp_path, "local")))
    assert told(there) == told(here)
    # and what one engine recorded, the other does not ask for
    (tmp_path / "ray").rename(tmp_path / "both")
    (tmp_path / "local").rename(tmp_path / "ray")
    run_blocking(run(plan(server, tmp_path, "ray")))
    assert len(server.requests) == 20


@pytest.mark.usefixtures("stand_in")
def test_what_goes_wrong_in_rays_process_is_told(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDS_IN", "breaks")
    with pytest.raises(MoAError, match="engine='ray': OSError: no room for an object store"):
        run_blocking(run(plan(server, tmp_path, "ray")))
    assert not server.requests


def worker(server: LoopbackServer, **fields: Any) -> Worker:
    """A worker that asks one model, and has no judge unless it is given."""
    config = {"reference_models": [MODEL], "aggregator": MODEL, "fan_out": "never"}
    who = {"name": "m", "role": "model", "samples": False}
    config |= {"base_url": server.base_url}
    setup = {"contestants": [{**who, "config": config}], "judge": None, "judging": None}
    return Worker(json.dumps({**setup, **fields}))


def done(by: Worker, **fields: Any) -> dict[str, Any]:
    result = by({"task": json.dumps({"place": 7, **fields})})
    return dict(json.loads(result["result"]))


def test_a_worker_answers_and_refuses_a_wrong_set_up(server: LoopbackServer) -> None:
    asked = {"who": 0, "row": row("q1", "First?"), "earlier": [], "settings": None}
    found = done(worker(server), **asked)
    assert (found["place"], found["answer"]["output"]) == (7, "re First?")
    server.models[MODEL] = ModelBehavior(status=401, error="this key is wrong")
    assert "this key is wrong" in done(worker(server), **asked)["refused"]


def test_a_worker_judges(server: LoopbackServer, tmp_path: Path) -> None:
    judge = Judge(JUDGE, base_url=server.base_url, api_key=server.api_key)
    judging = judging_of("flask", data=made_up(tmp_path))
    settings = {"name": judge.name, "wire": judge.wire, "config": judge.asked.to_config()}
    rows = get_suite("flask").rows(tmp_path)
    answers = [answered(each["id"], "m", "ours", suite="flask") for each in rows]
    question = vars(next(judging.questions(rows, Answers(answers))))
    found = done(worker(server, judge=settings, judging=judging.recipe), question=question)
    assert found["result"]["outcome"]["scores"] == {"readability": 4}
    assert "nobody to judge" in done(worker(server), question=question)["refused"]


@pytest.mark.usefixtures("stand_in")
def test_members_that_no_configuration_holds_are_refused(
    server: LoopbackServer, tmp_path: Path
) -> None:
    own = plan(server, tmp_path, "ray")
    function = replace(own, contestants=[contestant(RunnableLambda(lambda _: "x"), "f")])
    with pytest.raises(MoAConfigurationError):
        run_blocking(run(function))
    assert not server.requests
