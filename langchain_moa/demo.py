"""`make demo`: four reference models and an aggregator answer a question over HTTP.

With `TOGETHER_API_KEY` set it asks real models on Together; without, scripted models on a
loopback server. The path is the same: `ChatTogether` over HTTP.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import LLMResult
from typing_extensions import override

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAError
from langchain_moa.providers import TOGETHER_KEY_VARIABLE
from langchain_moa.types import MoARecord

# Ids that public lists of Together's serverless models named in the second half of 2026 (among
# them the model pages of Mastra and of langchain-together). Ids retire every few months: a
# reference model that is gone is reported and left out of the answer.
TOGETHER_PROPOSERS: Final = (
    "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V4-Flash-0731",
    "LiquidAI/LFM2-24B-A2B",
)
TOGETHER_AGGREGATOR: Final = "deepseek-ai/DeepSeek-V4-Pro"
_PREVIEW: Final = 68


class _ProposalPrinter(BaseCallbackHandler):
    """Prints each proposal as it arrives; the runs' metadata says which one it is."""

    def __init__(self) -> None:
        self._running: dict[UUID, tuple[int, str, float]] = {}

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        about = metadata or {}
        if about.get("moa_role") == "proposer":
            name = about.get("ls_model_name", "?")
            self._running[run_id] = (about["moa_layer"], name, time.perf_counter())

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        text = " ".join(response.generations[0][0].text.split())
        self._print(run_id, text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 1]}…")

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._print(run_id, f"failed: {type(error).__name__}")

    def _print(self, run_id: UUID, text: str) -> None:
        if run_id in self._running:
            layer, name, started = self._running.pop(run_id)
            seconds = time.perf_counter() - started
            _say(f"  layer {layer}  {seconds:5.2f} s  {name}\n      {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one question and show how.

    Args:
        arguments: The words of the question; by default those of the command line.

    Returns:
        0 with an answer, 1 without.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with _mixture() as (llm, default_question):
            question = " ".join(words).strip() or default_question
            _say(f"Question: {question}\n\nProposals, as they arrive:")
            started = time.perf_counter()
            record = _stream_answer(llm, question)
    except MoAError as error:
        _say(f"\nNo answer: {error}")
        return 1
    _summarize(record, time.perf_counter() - started)
    return 0


@contextmanager
def _mixture() -> Iterator[tuple[MoAChatModel, str]]:
    if os.environ.get(TOGETHER_KEY_VARIABLE):
        _say(f"Real models on Together ({TOGETHER_KEY_VARIABLE} is set).")
        yield (
            MoAChatModel(
                reference_models=TOGETHER_PROPOSERS, aggregator=TOGETHER_AGGREGATOR, layers=3
            ),
            "What are 3 fun things to do in SF?",
        )
        return
    from langchain_moa.testing import LoopbackServer  # noqa: PLC0415 - needs an extra
    from langchain_moa.testing.demo_models import (  # noqa: PLC0415
        AGGREGATOR,
        DEMO_MODELS,
        DEMO_QUESTION,
        PROPOSERS,
    )

    _say(f"No {TOGETHER_KEY_VARIABLE}: scripted models on a loopback server answer, not real ones.")
    with LoopbackServer(DEMO_MODELS) as server:
        llm = MoAChatModel(
            reference_models=PROPOSERS,
            aggregator=AGGREGATOR,
            layers=3,
            base_url=server.base_url,
            api_key=server.api_key,
        )
        yield llm, DEMO_QUESTION


def _stream_answer(llm: MoAChatModel, question: str) -> MoARecord:
    """Print the answer as it streams and return the record of the call."""
    whole = AIMessageChunk(content="")
    for chunk in llm.stream(question, {"callbacks": [_ProposalPrinter()]}):
        if chunk.text and not whole.text:
            _say("\nAnswer, as it streams:\n")
        _say(chunk.text, end="")
        whole += chunk
    record: MoARecord = whole.response_metadata["moa"]
    return record


def _summarize(record: MoARecord, seconds: float) -> None:
    usage = record["usage"]
    usable = sum(p["status"] == "ok" for p in record["proposals"])
    _say(f"\n\n{seconds:.2f} s, {record['layers']} layers, ", end="")
    _say(f"{usable} of {len(record['proposals'])} proposals used, ", end="")
    _say(f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out:")
    for model, tokens in usage["by_model"].items():
        _say(f"  {model:45} {tokens['input_tokens']:6} in {tokens['output_tokens']:6} out")


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)  # noqa: T201 - this is what the demo is for


if __name__ == "__main__":
    sys.exit(main())
