"""Runs that are killed, interrupted, or started twice: nothing that was paid for is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from langchain_moa.evals.records import RunFolder, read_answers, read_judgments
from langchain_moa.testing import LoopbackServer, ModelBehavior, Reply
from tests.conftest import Cli
from tests.evaluations import INSTRUCTIONS, lines, made_up
from tests.ingest import LANGSMITH_KEY, IngestServer
from tests.pty import Terminal
from tests.wire import ALPHA

JUDGE = "acme/judge"
_PATIENCE = 60.0
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


class Gate:
    """Lets so many requests of a model through, and holds the others until it is opened."""

    def __init__(self, through: int, reply: Callable[[Mapping[str, Any]], str | Reply]) -> None:
        self._left = through
        self._lock = threading.Lock()
        self._opened = threading.Event()
        self._reply = reply
        self.held = 0

    def __call__(self, body: Mapping[str, Any]) -> str | Reply:
        with self._lock:
            self._left -= 1
            waits = self._left < 0 and not self._opened.is_set()
            self.held += waits
        if waits:
            self._opened.wait(_PATIENCE)
        return self._reply(body)

    def open(self) -> None:
        self._opened.set()


def question(body: Mapping[str, Any]) -> str:
    text: str = body["messages"][-1]["content"]
    return text


def ours(body: Mapping[str, Any]) -> str:
    return f"ours to {question(body)}"


def prefers(_: Mapping[str, Any]) -> Reply:
    tops = [{"token": "m", "logprob": -0.5}, {"token": "M", "logprob": -1.5}]
    return Reply(text="m", logprobs={"content": [{"token": "m", "top_logprobs": tops}]})


@contextmanager
def started(server: LoopbackServer, *words: str, **environment: str) -> Iterator[Any]:
    """The command line in a process of its own."""
    given = {"TOGETHER_API_KEY": server.api_key, "TOGETHER_API_BASE": server.base_url}
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "langchain_moa", "eval", *words],
        env={**os.environ, **given, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def whole_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return made_up(tmp_path / "data")


def answering(data: Path, out: Path, *more: str) -> list[str]:
    who = ["--single", ALPHA, "--concurrency", "2", "--yes"]
    return ["run", "alpaca_eval", *who, "--data", str(data), "--out", str(out), *more]


def test_killed_while_it_answers(cli: Cli, data: Path, tmp_path: Path) -> None:
    gate, out = Gate(4, ours), tmp_path / "run"
    with LoopbackServer({ALPHA: ModelBehavior(reply=gate)}) as server:
        with started(server, *answering(data, out)) as process:
            wait_for(lambda: whole_lines(out / "answers.jsonl") == 4 and gate.held == 2)
            process.kill()
            process.wait()
        recorded = lines(out / "answers.jsonl")
        with (out / "answers.jsonl").open("a") as file:  # killed in the middle of a line
            file.write('{"suite": "alpaca_eval", "row')
        gate.open()
        server.requests.clear()
        cli.asks(server)
        assert cli("eval", *answering(data, out)).code == 0
        asked = [question(request.body) for request in server.requests]
    texts = {a["output"] for a in recorded}
    assert len(recorded) == 4
    assert not {f"ours to {text}" for text in asked} & texts
    assert len(asked) == 6
    assert {a["output"] for a in read_answers(out)} == {f"ours to {t}" for t in INSTRUCTIONS}
    assert lines(out / "answers.jsonl")[:4] == recorded
    written = json.loads((out / "model_outputs.json").read_text("utf-8"))
    assert [row["instruction"] for row in written] == INSTRUCTIONS


def judging(data: Path, answers: Path, out: Path) -> list[str]:
    where = ["--data", str(data), "--answers", str(answers), "--out", str(out)]
    return ["judge", "alpaca_eval", "--judge", JUDGE, *where, "--concurrency", "2", "--yes"]


def test_killed_while_it_judges(cli: Cli, data: Path, tmp_path: Path) -> None:
    base = json.loads((data / "alpaca_eval/gpt4_1106_preview.json").read_text("utf-8"))
    answers = tmp_path / "outputs.json"
    answers.write_text(
        json.dumps([{**row, "output": "ours", "generator": "x"} for row in base]), "utf-8"
    )
    with LoopbackServer({JUDGE: ModelBehavior(reply=prefers)}) as server:
        cli.asks(server)
        assert cli("eval", *judging(data, answers, tmp_path / "whole")).code == 0
    gate, out = Gate(5, prefers), tmp_path / "run"
    with LoopbackServer({JUDGE: ModelBehavior(reply=gate)}) as server:
        with started(server, *judging(data, answers, out)) as process:
            wait_for(lambda: whole_lines(out / "judgments.jsonl") == 5 and gate.held == 2)
            process.kill()
            process.wait()
        gate.open()
        before = [question(request.body) for request in server.requests]
        server.requests.clear()
        cli.asks(server)
        assert cli("eval", *judging(data, answers, out)).code == 0
        after = [question(request.body) for request in server.requests]
    assert len(after) == 5
    # only what was under way when it was killed is asked a second time
    assert len(set(before) & set(after)) == 2

    def preferences(folder: Path) -> dict[str, float | None]:
        return {j["row"]: j["preference"] for j in read_judgments(folder)}

    assert preferences(out) == preferences(tmp_path / "whole")
    one, other = (
        json.loads((folder / "annotations.json").read_text("utf-8"))
        for folder in (out, tmp_path / "whole")
    )
    assert [r["preference"] for r in one] == [r["preference"] for r in other]


def test_ctrl_c_lets_what_is_under_way_finish(data: Path, tmp_path: Path) -> None:
    gate, out = Gate(3, ours), tmp_path / "run"
    with LoopbackServer({ALPHA: ModelBehavior(reply=gate)}) as server:
        with started(server, *answering(data, out)) as process:
            wait_for(lambda: whole_lines(out / "answers.jsonl") == 3 and gate.held == 2)
            process.send_signal(signal.SIGINT)
            assert "finishing what is under way" in process.stderr.readline()
            gate.open()
            _, told = process.communicate()
        assert process.returncode == 130
        assert "the same command goes on" in told
        assert "Traceback" not in told
        assert len(server.requests) == 5
    assert len(read_answers(out)) == 5


def test_a_second_ctrl_c_leaves_at_once(data: Path, tmp_path: Path) -> None:
    gate, out = Gate(3, ours), tmp_path / "run"
    with LoopbackServer({ALPHA: ModelBehavior(reply=gate)}) as server:
        with started(server, *answering(data, out)) as process:
            wait_for(lambda: whole_lines(out / "answers.jsonl") == 3 and gate.held == 2)
            process.send_signal(signal.SIGINT)
            assert "finishing what is under way" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate()
        gate.open()
        assert process.returncode == 130
        assert "Traceback" not in told
    assert len(read_answers(out)) == 3


def test_a_second_run_into_the_folder_is_refused(cli: Cli, data: Path, tmp_path: Path) -> None:
    with LoopbackServer({ALPHA: ModelBehavior(reply=ours)}) as server:
        cli.asks(server)
        with RunFolder(tmp_path / "run"):
            ran = cli("eval", *answering(data, tmp_path / "run"))
        assert ran.code == 2
        assert f"{tmp_path / 'run'}: another run is writing there" in ran.err
        assert not server.requests
        assert cli("eval", *answering(data, tmp_path / "run")).code == 0


_SMALL_DISK = """
import resource, sys
from langchain_moa.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_ends_a_run_with_all_that_was_recorded(
    cli: Cli, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    long = ModelBehavior(reply=lambda body: f"{ours(body)} {'x' * 1500}")
    with LoopbackServer({ALPHA: long}) as server:
        cli.asks(server)
        environment = {**os.environ, "TOGETHER_API_BASE": server.base_url}
        ran = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _SMALL_DISK, "eval", *answering(data, out)],
            env={**environment, "TOGETHER_API_KEY": server.api_key},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 2
        assert f"{out / 'answers.jsonl'}: cannot be written" in ran.stderr
        recorded = read_answers(out)
        assert 0 < len(recorded) < 10
        server.requests.clear()
        assert cli("eval", *answering(data, out)).code == 0
        assert len(server.requests) == 10 - len(recorded)


def test_nothing_is_posted_to_langsmith_unless_it_is_wanted(data: Path, tmp_path: Path) -> None:
    behaviors = {ALPHA: ModelBehavior(reply=ours), JUDGE: ModelBehavior(reply=prefers)}
    with LoopbackServer(behaviors) as server, IngestServer() as ingest:
        traced = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": ingest.url,
            "LANGSMITH_API_KEY": LANGSMITH_KEY,
        }
        words = answering(data, tmp_path / "run", "--judge", JUDGE)
        with started(server, *words, **traced) as process:
            _, told = process.communicate()
        assert process.returncode == 0, told
        assert ingest.requests == 0
        asked = len(server.requests)
        with started(server, *words, "--langsmith", "mine", **traced) as process:
            _, told = process.communicate()
        assert process.returncode == 0, told
        assert len(server.requests) == asked
        assert not ingest.traces()
    [experiment] = ingest.experiments
    assert experiment["experiment_name"].startswith(f"mine-{ALPHA}-")
    assert experiment["dataset_name"] == "mine-alpaca_eval"
    assert [
        row["inputs"]["messages"][0]["content"] for row in experiment["results"]
    ] == INSTRUCTIONS
    assert {row["expected_outputs"]["model"] for row in experiment["results"]} == {"base"}
    scores = [score["score"] for row in experiment["results"] for score in row["evaluation_scores"]]
    preferred = [j["preference"] or 0 for j in read_judgments(tmp_path / "run")]
    assert sorted(scores) == pytest.approx(sorted(value - 1 for value in preferred))
    assert len({row["row_id"] for row in experiment["results"]}) == 10


def test_a_terminal_is_asked_and_shows_how_far_a_run_is(data: Path, tmp_path: Path) -> None:
    gate, out = Gate(4, ours), tmp_path / "run"
    with LoopbackServer({ALPHA: ModelBehavior(reply=gate)}) as server:
        words = [word for word in answering(data, out) if word != "--yes"]
        key = {"TOGETHER_API_KEY": server.api_key, "TOGETHER_API_BASE": server.base_url}
        terminal = Terminal("-m", "langchain_moa", "eval", *words, rows=30, **key)
        with closing(terminal):
            terminal.until("Begin?")
            assert "10 calls" in terminal.text
            assert not server.requests
            terminal.types("y")
            terminal.until("4/10")
            gate.open()
            assert terminal.ends() == 0
        assert "10/10" in terminal.text
        assert "recorded in" in terminal.text
        assert ALPHA in terminal.text
