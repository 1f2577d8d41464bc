"""Tokens are read off each member's call, summed per model, and counted once."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_moa import Proposal
from langchain_moa.accounting.usage import (
    answering_model,
    sum_usage,
    usage_of_message,
    usage_report,
)
from langchain_moa.engine.reading import Reading
from langchain_moa.engine.request import prepare_call
from langchain_moa.members.adapters import as_message
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import with_arguments
from langchain_moa.proposals.state import proposals_from_state
from langchain_moa.testing import ScriptedChatModel


def usage(read: int, written: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def proposal(index: int = 0, **values: Any) -> Proposal:
    return Proposal(**{"layer": 1, "index": index, "model": "asked", **values})


@pytest.mark.parametrize(
    ("usages", "total"),
    [
        ([], None),
        ([None, None], None),
        ([usage(1, 2)], usage(1, 2)),
        ([None, usage(1, 2), None, usage(10, 20)], usage(11, 22)),
        ([usage(0, 0)], usage(0, 0)),
    ],
)
def test_sums(usages: list[UsageMetadata | None], total: UsageMetadata | None) -> None:
    assert sum_usage(usages) == total


def test_sums_keep_details() -> None:
    cached: UsageMetadata = {**usage(5, 1), "input_token_details": {"cache_read": 4}}
    total = sum_usage([cached, cached])
    assert total is not None
    assert total["input_token_details"]["cache_read"] == 8
    assert cached["input_token_details"]["cache_read"] == 4


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({}, None),
        ({"model_name": "a"}, "a"),
        ({"model": "a"}, "a"),
        ({"model_name": "a", "model": "b"}, "a"),
        ({"model_name": "", "model": "b"}, "b"),
        ({"model_name": None}, None),
        ({"model_name": 7}, None),
    ],
)
def test_who_answered(metadata: dict[str, Any], name: str | None) -> None:
    message = AIMessage("", response_metadata=metadata, usage_metadata=usage(1, 2))
    assert answering_model(message) == name
    assert usage_of_message(message, "asked") == {name or "asked": usage(1, 2)}


def test_a_message_without_usage_counts_nothing() -> None:
    assert usage_of_message(AIMessage("", response_metadata={"model_name": "a"}), "asked") == {}


@pytest.mark.parametrize(
    ("proposals", "aggregator", "by_model"),
    [
        ([], {}, {}),
        ([proposal(unknown=["a"])], {}, {}),
        ([proposal()], {"c": usage(3, 4)}, {"c": usage(3, 4)}),
        ([proposal(usage_by_model={"a": usage(1, 2)})], {}, {"a": usage(1, 2)}),
        (
            [
                proposal(0, usage_by_model={"a": usage(1, 2)}),
                proposal(1, usage_by_model={"a": usage(1, 2), "b": usage(5, 6)}),
                proposal(2, status="failed", unknown=["x", "y"]),
                proposal(3, status="empty", usage_by_model={"b": usage(1, 0)}),
            ],
            {"a": usage(10, 20)},
            {"a": usage(12, 24), "b": usage(6, 6)},
        ),
    ],
)
def test_the_report_counts_every_call_once(
    proposals: list[Proposal],
    aggregator: dict[str, UsageMetadata],
    by_model: dict[str, UsageMetadata],
) -> None:
    report = usage_report(proposals, aggregator, [] if aggregator else ["judge"])
    silent = {name for p in proposals for name in p.unknown}
    assert report["unknown"] == sorted(silent | (set() if aggregator else {"judge"}))
    assert report["by_model"] == by_model
    assert report["input_tokens"] == sum(used["input_tokens"] for used in by_model.values())
    assert report["output_tokens"] == sum(used["output_tokens"] for used in by_model.values())
    assert report["total_tokens"] == sum(used["total_tokens"] for used in by_model.values())


def test_a_report_changes_no_proposal() -> None:
    given = [proposal(index, usage_by_model={"a": usage(1, 2)}) for index in (0, 1)]
    usage_report(given, {"a": usage(10, 20)})
    assert [p.usage_by_model for p in given] == [{"a": usage(1, 2)}] * 2


@pytest.mark.parametrize(
    ("values", "usable", "reason"),
    [
        ({"text": "x"}, True, "ok"),
        ({"status": "empty"}, False, "empty"),
        ({"status": "failed", "error": "ValueError: lost"}, False, "failed: ValueError: lost"),
    ],
)
def test_what_became_of_a_proposal(values: dict[str, Any], *, usable: bool, reason: str) -> None:
    made = proposal(**values)
    assert (made.usable, made.reason) == (usable, reason)


def test_proposals_come_back_from_state_in_order() -> None:
    made = [
        proposal(0, text="a", usage_by_model={"a": usage(1, 2)}),
        proposal(2, status="failed", error="lost"),
        proposal(10, text="b"),
        proposal(0, layer=2, text="c", seconds=0.5),
    ]
    state = {p.key: p.to_state() for p in reversed(made)}
    assert list(state) == ["2.0", "1.10", "1.2", "1.0"]
    assert proposals_from_state(state) == made


def scripted(model: str, read: int, written: int) -> ScriptedChatModel:
    answer = AIMessage("one two", usage_metadata=usage(read, written))
    return ScriptedChatModel(script=lambda _: answer, model=model)


DRAFT, POLISH = scripted("draft", 1, 2), scripted("polish", 10, 20)
PARSER = StrOutputParser()


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    ("runnable", "by_model", "name"),
    [
        (DRAFT, {"draft": usage(1, 2)}, "draft"),
        (DRAFT.bind(stop=["x"]), {"draft": usage(1, 2)}, "draft"),
        (DRAFT | PARSER, {"draft": usage(1, 2)}, "draft"),
        (DRAFT | PARSER | POLISH, {"draft": usage(1, 2), "polish": usage(10, 20)}, "polish"),
        (DRAFT | PARSER | POLISH | PARSER, {"draft": usage(1, 2), "polish": usage(10, 20)}, None),
        (DRAFT | PARSER | DRAFT, {"draft": usage(2, 4)}, "draft"),
        (RunnableLambda(lambda _: "no model"), {}, None),
    ],
)
def test_each_members_call_tells_its_usage(
    runnable: Runnable[Any, Any],
    by_model: dict[str, UsageMetadata],
    name: str | None,
    *,
    quiet: bool,
) -> None:
    callers = UsageMetadataCallbackHandler()
    config = RunnableConfig(callbacks=[callers])
    member = Member(runnable)
    called = member.quiet if quiet else member.runnable
    call = prepare_call(member, called, Reading([HumanMessage("hi")]), config)
    message = as_message(call.runnable.invoke(call.input, call.config))
    call.answered(message)
    assert (call.used, call.model_name(message)) == (by_model, name)
    assert callers.usage_metadata == by_model
    assert config.get("callbacks") == [callers]


def test_a_call_is_timed_from_its_start_and_takes_arguments() -> None:
    member = Member(DRAFT | PARSER)
    runnable = with_arguments(member.runnable, {"temperature": 0.5, "model": "other"})
    call = prepare_call(member, runnable, Reading([HumanMessage("hi")]), {})
    assert call.model == "other"
    before = call.seconds
    call.runnable.invoke(call.input, call.config)
    assert 0 <= before < call.seconds < 60
    assert DRAFT.calls[-1][1] == {"temperature": 0.5, "model": "other"}
