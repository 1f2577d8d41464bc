"""Scenario H: what judging an answer takes of CPU, against the same prompts in a plain batch."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_together import ChatTogether
from pydantic import SecretStr

from benchmarks.server import JUDGE, Address, serving
from benchmarks.table import Row, table
from langchain_moa.evals.judges.alpaca_eval import AlpacaEvalJudging
from langchain_moa.evals.judges.model import Judge
from langchain_moa.evals.judging import JudgingRun
from langchain_moa.evals.records import (
    RecordFile,
    failed_answer,
    judgment_key,
    judgment_subject,
)
from langchain_moa.evals.suites import JudgePrompt
from langchain_moa.evals.types import Answer, Judgment
from langchain_moa.evals.types import Row as Task

ROWS: Final = 805
"""As AlpacaEval has."""
QUICK_ROWS: Final = 20
AT_A_TIME: Final = 8
OURS, PLAIN = "the judge step", "plain chain.abatch"
_SYSTEM: Final = "You pick the better one of two outputs."
_TEMPLATE: Final = "{instruction}\n\nm: {output_1}\n\nM: {output_2}\n\nSay m or M."
_LENGTH: Final = 2000
"""Characters of an output, about as long as those of AlpacaEval's baseline."""


@dataclass
class Judging:
    """The readings of one contestant.

    Attributes:
        contestant: Who it is.
        rows: Rows that are judged in each reading.
        cpus: CPU seconds of each reading.
        walls: Wall seconds of each.
    """

    contestant: str
    rows: int
    cpus: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)

    @property
    def cpu_of_a_row(self) -> float:
        """Median of the CPU seconds that a row takes."""
        return statistics.median(self.cpus) / self.rows

    def as_json(self) -> dict[str, Any]:
        """The readings and what follows from them."""
        return {**asdict(self), "cpu_of_a_row": self.cpu_of_a_row}


async def run_judging(repetitions: int, *, quick: bool) -> list[Judging]:
    """Judge in turn; the first time of each is not read, for clients open their connections."""
    count = QUICK_ROWS if quick else ROWS
    found = {name: Judging(name, count) for name in (OURS, PLAIN)}
    with serving("judge") as address, tempfile.TemporaryDirectory() as folder:
        ours = _Ours(address, count, Path(folder))
        steps = {OURS: ours.judge, PLAIN: _Plain(address, ours.tasks, ours.answers).judge}
        for place in range(repetitions + 1):
            for name, step in steps.items():
                cpu, wall = time.process_time(), time.perf_counter()
                await step()
                if place > 0:
                    found[name].cpus.append(time.process_time() - cpu)
                    found[name].walls.append(time.perf_counter() - wall)
    return list(found.values())


class _Ours:
    """The step from answers to recorded judgments."""

    def __init__(self, address: Address, count: int, folder: Path) -> None:
        self.tasks = [_task(number) for number in range(count)]
        self.answers = [_answer(task) for task in self.tasks]
        self._judge = Judge(JUDGE, base_url=address.base_url, api_key=address.api_key)
        self._prompt = JudgePrompt("clf", _SYSTEM, _TEMPLATE, "0" * 64)
        self._folder = folder
        self._times = 0

    async def judge(self) -> None:
        """Judge all of them anew."""
        self._times += 1
        path = self._folder / f"{self._times}.jsonl"
        records = RecordFile[Judgment](path, judgment_key, judgment_subject)
        judging = AlpacaEvalJudging(self._prompt)
        run = JudgingRun(judging, self._judge, self.tasks, self.answers, records)
        await run.run(concurrency=AT_A_TIME)
        records.close()
        if any(judgment["read"] != "logprobs" for judgment in run.judgments):
            msg = "a judgment could not be read"
            raise RuntimeError(msg)


class _Plain:
    """What one would write with plain LangChain: a prompt, a model, and a parser, in a batch."""

    def __init__(self, address: Address, tasks: list[Task], answers: list[Answer]) -> None:
        model = ChatTogether(
            model=JUDGE, api_key=SecretStr(address.api_key), base_url=address.base_url
        )
        bound = model.bind(max_tokens=1, temperature=1.0, logprobs=True, top_logprobs=5)
        prompt = ChatPromptTemplate([("system", _SYSTEM), ("user", _TEMPLATE)])
        self._chain = prompt | bound | StrOutputParser()
        self._inputs = [
            {
                "instruction": task["messages"][0]["content"],
                "output_1": task["baseline"]["output"],
                "output_2": answer["output"],
            }
            for task, answer in zip(tasks, answers, strict=True)
        ]

    async def judge(self) -> None:
        """Ask about all of them."""
        said = await self._chain.abatch(self._inputs, {"max_concurrency": AT_A_TIME})
        if set(said) != {"M"}:
            msg = "a judgment could not be read"
            raise RuntimeError(msg)


def _task(number: int) -> Task:
    return {
        "suite": "alpaca_eval",
        "id": str(number),
        "messages": [{"role": "user", "content": f"Instruction {number}: tell me about it."}],
        "follow_ups": [],
        "category": "",
        "references": [],
        "baseline": {"model": "base", "output": f"base {number} ".ljust(_LENGTH, "x")},
    }


def _answer(task: Task) -> Answer:
    output = f"ours {task['id']} ".ljust(_LENGTH, "y")
    bare = failed_answer(task["suite"], task["id"], 1, "ours", "")
    return Answer(**{**bare, "output": output, "error": None})


def judging_ratios(found: list[Judging]) -> list[Row]:
    """The ratio to the plain batch, with its goal."""
    cpu = {it.contestant: it.cpu_of_a_row for it in found}
    return [("H", f"CPU of a row, {OURS} / {PLAIN}", cpu[OURS] / cpu[PLAIN], "<= 2")]


def judging_table(found: list[Judging]) -> str:
    """Both, by CPU and wall time."""
    rows = [
        (
            it.contestant,
            str(it.rows),
            f"{1000 * it.cpu_of_a_row:.2f}",
            f"{statistics.median(it.walls):.2f}",
        )
        for it in found
    ]
    return table("contestant|rows|CPU of a row, ms|wall of all, s", rows)
