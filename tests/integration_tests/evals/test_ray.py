"""The Ray engine: the single process's records, and a worker that is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.records import read_answers, read_judgments
from langchain_moa.evals.types import Answer
from langchain_moa.testing import LoopbackServer, ModelBehavior
from tests.conftest import Cli
from tests.evaluations import made_up
from tests.wire import ALPHA, says

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),  # seconds: Ray's servers take long to start on a busy machine
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are found in /proc"),
]
ROWS = 200
AT_A_TIME = 8


def workers() -> list[int]:
    """The processes of our workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if title.startswith(b"ray::") and b"Worker" in title:
            found.append(int(folder.name))
    return found


def what_counts(answer: Answer) -> dict[str, Any]:
    """A record without its times."""
    return {k: v for k, v in answer.items() if k not in ("seconds", "at", "moa")}


def test_ray_makes_the_same_records_though_a_worker_is_killed(cli: Cli, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"id": f"q{n}", "input": f"Question {n}?", "reference": f"{n}"} for n in range(ROWS)]
    prompts.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    killed: list[int] = []
    lock = threading.Lock()
    seen = 0

    def reply(body: Mapping[str, Any]) -> str:
        nonlocal seen
        with lock:
            seen += 1
            now = seen == ROWS // 2 and not killed and bool(workers())
            if now:
                killed.append(workers()[0])
                os.kill(killed[0], signal.SIGKILL)
        time.sleep(0.01)
        return f"re {body['messages'][-1]['content']}"

    words = ["--single", ALPHA, "--metric", "contains", "--concurrency", str(AT_A_TIME), "--yes"]
    with LoopbackServer({ALPHA: ModelBehavior(reply=reply)}) as server:
        cli.asks(server)
        where = ["run", str(prompts), *words, "--base-url", server.base_url]
        assert cli("eval", *where, "--engine", "ray", "--out", str(tmp_path / "ray")).code == 0
        asked = Counter(request.body["messages"][-1]["content"] for request in server.requests)
        assert len(killed) == 1
        server.requests.clear()
        again = cli("eval", *where, "--out", str(tmp_path / "ray"))
        assert (again.code, len(server.requests)) == (0, 0)
        assert cli("eval", *where, "--out", str(tmp_path / "local")).code == 0
    assert len(asked) == ROWS
    # of the killed worker only what was under way is asked a second time
    assert sum(asked.values()) - ROWS <= AT_A_TIME
    on_ray, here = read_answers(tmp_path / "ray"), read_answers(tmp_path / "local")
    assert sorted(map(str, map(what_counts, on_ray))) == sorted(map(str, map(what_counts, here)))
    scores = {j["row"]: j["score"] for j in read_judgments(tmp_path / "ray")}
    assert scores == {row["id"]: 1.0 for row in rows}


def test_judges_on_ray_say_what_they_say_here(cli: Cli, tmp_path: Path) -> None:
    data = made_up(tmp_path / "data")
    answers = tmp_path / "m.jsonl"
    rows = [{"question_id": n, "text": f"ours {n}"} for n in range(1, 6)]
    answers.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    review = says("Good. {'Readability': 4, 'Logical Robustness': 'N/A'}")
    with LoopbackServer({"acme/judge": review}) as server:
        cli.environment.setenv("JUDGES_KEY", server.api_key)
        judge = ["--judge", "acme/judge", "--judge-base-url", server.base_url]
        judge += ["--judge-api-key-env", "JUDGES_KEY", "--answers", str(answers), "--yes"]
        for engine in ("ray", "local"):
            out = str(tmp_path / engine)
            words = [*judge, "--data", str(data), "--engine", engine, "--out", out]
            assert cli("eval", "judge", "flask", *words).code == 0
        assert len(server.requests) == 10

    def said(engine: str) -> list[tuple[Any, ...]]:
        found = read_judgments(tmp_path / engine)
        return sorted((j["row"], str(j["scores"]), j["raw"], j["settings"]) for j in found)

    assert said("ray") == said("local")
    assert [scores for _, scores, _, _ in said("ray")] == [
        "{'readability': 4, 'logical robustness': 'N/A'}"
    ] * 5
