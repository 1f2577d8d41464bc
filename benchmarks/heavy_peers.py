"""Peers of hundreds of megabytes, each best run in an environment of its own (`--with`).

Nothing of LangChain or of this package is imported here.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.roster import Call, Job


def optillm(job: Job) -> Call:
    """The `moa` of optillm: three drafts in one request, a critique, the answer, of one model."""
    moa: Any = import_module("optillm.moa")
    openai: Any = import_module("openai")
    client = openai.OpenAI(base_url=job.base_url, api_key=job.api_key)
    model = job.proposers[0]

    def call() -> str:
        answer, _ = moa.mixture_of_agents("", job.messages[-1][1], client, model)
        return str(answer)

    return partial(asyncio.to_thread, call)


def llama_index(job: Job) -> Call:
    """LlamaIndex's pack, in which the aggregator's layer does not count."""
    pack: Any = import_module("llama_index.packs.mixture_of_agents.base")
    models: Any = import_module("llama_index.llms.openai_like")

    def model(name: str) -> Any:
        return models.OpenAILike(
            model=name, api_base=job.base_url, api_key=job.api_key, is_chat_model=True
        )

    workflow = pack.MixtureOfAgentWorkflow(  # what the pack runs, which would do it in a new loop
        model(job.aggregator), [model(name) for name in job.proposers], num_layers=job.layers - 1
    )

    async def call() -> str:
        return str(await workflow.run(query_str=job.messages[-1][1]))

    return call


def swarms(job: Job) -> Call:
    """The mixture of swarms, in which the aggregator's layer does not count."""
    os.environ["SWARMS_TELEMETRY_ON"] = "false"  # it would call home
    os.environ.setdefault("WORKSPACE_DIR", tempfile.mkdtemp())
    package: Any = import_module("swarms")

    def agent(model: str) -> Any:
        return package.Agent(
            agent_name=model,
            model_name=f"openai/{model}",
            llm_base_url=job.base_url,
            llm_api_key=job.api_key,
            max_loops=1,
            print_on=False,
        )

    mixture = package.MixtureOfAgents(
        agents=[agent(name) for name in job.proposers],
        aggregator_agent=agent(job.aggregator),
        layers=job.layers - 1,
    )

    async def call() -> str:
        answer = str(await asyncio.to_thread(mixture.run, job.messages[-1][1]))
        if answer.startswith("Error:"):  # how it raises
            raise RuntimeError(answer)
        return answer

    return call
