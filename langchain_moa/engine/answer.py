"""The aggregator's output made into the mixture's answer, with the record of the call."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final

from langchain_core.exceptions import ModelAPIError
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.prices import cost_of
from langchain_moa.accounting.usage import sum_usage
from langchain_moa.engine.call import CallInProgress
from langchain_moa.engine.record import call_record
from langchain_moa.engine.request import Accounts, MemberRequest
from langchain_moa.engine.turn import Turn
from langchain_moa.messages.tools import describes_calls
from langchain_moa.messages.verdicts import AnswerSoFar, refusal_of
from langchain_moa.proposals.similarity import most_central
from langchain_moa.proposals.voting import permitted, structured_answer
from langchain_moa.strategies.base import Findings
from langchain_moa.types import (
    MODEL_NAME,
    RECORD_KEY,
    AggregatorRecord,
    AnyDict,
    AnyMapping,
    MoARecord,
    Proposal,
)

_USAGE_KEYS: Final = ("token_usage", "usage")
"""Provider-specific keys of `response_metadata` that repeat `usage_metadata`."""


def finished_answer(
    turn: Turn,
    request: MemberRequest,
    message: AIMessage,
    proposals: Sequence[Proposal],
    findings: Findings,
) -> AIMessage:
    """The aggregator's message with a model name and the record on it; the given one is kept."""
    accounts = turn.accounts()
    error = turn.call.mixture.redacted("; ".join(turn.failures)) or None
    aggregator = _aggregator_record(turn, accounts, request, message, error)
    metadata = {
        **{k: v for k, v in message.response_metadata.items() if k not in _USAGE_KEYS},
        "model_name": aggregator["model_name"] or aggregator["model"],
        RECORD_KEY: call_record(
            turn.call, proposals, aggregator, accounts, findings, nested=request.degraded
        ),
    }
    return message.model_copy(
        update={"response_metadata": metadata, "usage_metadata": aggregator["usage"]}
    )


def answering(
    call: CallInProgress, shown: Sequence[Proposal], arguments: AnyMapping
) -> list[Proposal]:
    """The proposals that can be the answer.

    Where a schema is bound those are the ones in it, and else those in words; where a call or a
    format is demanded of the aggregator, which they can't have, there is none.

    Args:
        call: The call.
        shown: The proposals that the aggregator was shown.
        arguments: What is bound to the aggregator.
    """
    accepts = call.bindings.schema
    if accepts is not None:
        return [p for p in shown if permitted(p.text, accepts) is not None]
    if arguments.get("response_format") or arguments.get("tool_choice", "auto") not in _FREE:
        return []
    return [p for p in shown if not describes_calls(p.text)]


_FREE: Final = (None, False, "auto", "none", {"type": "auto"}, {"type": "none"})
"""What `tool_choice` is, for any provider, where no call is demanded."""


def best_proposal_answer(
    turn: Turn,
    shown: Sequence[Proposal],
    proposals: Sequence[Proposal],
    error: str,
    findings: Findings,
) -> AIMessage:
    """The proposal that is nearest to the others as the answer, where no aggregator gave one."""
    able = sorted(shown, key=lambda p: p.index)  # of two as near the first, in whatever order read
    best = able[most_central([proposal.text for proposal in able])]
    accounts = turn.accounts()
    aggregator = _aggregator_record(turn, accounts, turn.last_request, None, error)
    record = call_record(turn.call, proposals, aggregator, accounts, findings)
    record["best_proposal"] = best.key
    return _proposal_as_answer(turn.call, best, record)


def selected_answer(
    call: CallInProgress, selected: Proposal, proposals: Sequence[Proposal], findings: Findings
) -> AIMessage:
    """The proposal that was selected as the answer, word for word."""
    record = call_record(call, proposals, None, Accounts({}, []), findings)
    return _proposal_as_answer(call, selected, record)


def _proposal_as_answer(call: CallInProgress, proposal: Proposal, record: MoARecord) -> AIMessage:
    name = proposal.model_name or proposal.model
    metadata = {"model_name": name, "model_provider": MODEL_NAME, RECORD_KEY: record}
    bindings = call.bindings
    values = permitted(proposal.text, bindings.schema) if bindings.schema is not None else None
    answer = (
        AIMessage(proposal.text) if values is None else structured_answer(values, bindings.tool)
    )
    return answer.model_copy(update={"response_metadata": metadata})


def _aggregator_record(
    turn: Turn,
    accounts: Accounts,
    asked: MemberRequest | None,
    answer: AIMessage | None,
    error: str | None,
) -> AggregatorRecord:
    """What became of the aggregator.

    Args:
        turn: What was tried.
        accounts: What that used.
        asked: The request that was answered, or else the last one.
        answer: The answer, if there is one.
        error: Why there is none, or why others who were asked before gave none.
    """
    model = asked.model if asked else turn.member.model
    record: AggregatorRecord = {
        "model": model,
        "model_name": None,
        "status": "failed",
        "error": error,
        "seconds": turn.seconds,
        "attempts": len(turn.requests),
        "requests": turn.request_records,
        "first_token": None,
        "usage": sum_usage(accounts.usage.values()),
        "cost": cost_of(accounts.usage, turn.call.mixture.prices, model),
        "left_out": asked.left_out if asked else [],
    }
    if asked is not None and asked.first_token is not None:
        record["first_token"] = round(asked.first_token - turn.call.started, 6)
    if asked is not None and answer is not None:
        record["model_name"] = asked.model_name(answer)
        record["status"] = "cached" if asked.free else "ok"
        record["usage"] = sum_usage(asked.used.values()) or _own_usage(answer)
    return record


def _own_usage(message: AIMessage) -> UsageMetadata | None:
    """The usage on a message, unless it is only a cache's mark."""
    usage = message.usage_metadata
    return usage if usage and "input_tokens" in usage else None


class AnswerStream:
    """The aggregator's chunks on their way out, and the last one with the record on it.

    Every chunk but the last is passed on at once. Usage, which leaf runs report, and the
    mark of the last chunk are kept back.
    """

    def __init__(
        self,
        turn: Turn,
        request: MemberRequest,
        proposals: Sequence[Proposal],
        findings: Findings,
    ) -> None:
        self._turn = turn
        self._request = request
        self._proposals = proposals
        self._findings = findings
        self._usage: list[UsageMetadata | None] = []
        self._metadata: AnyDict = {}
        self._last: AIMessageChunk | None = None
        self._answer = AnswerSoFar()
        self._begun = False

    def begins_with(self, chunk: AIMessageChunk) -> bool:
        """Whether this chunk is the first with anything in it."""
        begins = not self._begun and bool(chunk.content or chunk.tool_call_chunks)
        if begins:
            self._begun = True
            self._request.first_token = perf_counter()
        return begins

    def passed_on(self, chunk: AIMessageChunk) -> AIMessageChunk | None:
        """The chunk to yield now; nothing when it is kept for the end."""
        self._answer.take(chunk)
        self._usage.append(chunk.usage_metadata)
        metadata = chunk.response_metadata
        self._metadata.update(metadata)
        if chunk.chunk_position == "last":
            self._last = chunk
            return None
        if RECORD_KEY in metadata:  # an aggregator that is itself a mixture brings its own
            metadata = {k: v for k, v in metadata.items() if k != RECORD_KEY}
        return chunk.model_copy(
            update={"id": None, "usage_metadata": None, "response_metadata": metadata}
        )

    def last(self) -> AIMessageChunk:
        """The last chunk: what was kept back, and the record.

        Raises:
            ModelConnectionError: The stream was cut off.
            ModelAPIError: What was sent is no answer, or the provider could not finish it.
        """
        kept = self._last or AIMessageChunk(content="")
        whole = AIMessage(
            "", response_metadata=self._metadata, usage_metadata=sum_usage(self._usage)
        )
        self._request.require_end(self._answer, whole)
        self._request.answered(whole)
        verdict = self._request.judged(self._answer.judged(whole))
        if not verdict.usable:
            raise refusal_of(verdict, whole) or ModelAPIError(verdict.reason)
        self._request.ends(good=True)
        finished = finished_answer(
            self._turn, self._request, whole, self._proposals, self._findings
        )
        added = {RECORD_KEY: finished.response_metadata[RECORD_KEY]}
        if not self._metadata.get("model_name"):
            added["model_name"] = finished.response_metadata["model_name"]
        return kept.model_copy(
            update={
                "id": None,
                "usage_metadata": None,
                "chunk_position": "last",
                "response_metadata": {**kept.response_metadata, **added},
            }
        )
