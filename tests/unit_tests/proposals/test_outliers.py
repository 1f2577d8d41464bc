"""The outlier filter leaves proposals out, and never loses one that was paid for."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from langchain_moa import MoAChatModel, MoAConfigurationError, NotEnoughProposalsError, Proposal
from langchain_moa.proposals.outliers import checked_filter, without_outliers
from langchain_moa.proposals.similarity import largest_cluster
from langchain_moa.testing import ScriptedChatModel
from langchain_moa.types import ProposalStatus
from tests.wire import LIMITS

ALIKE = ["It is 42, I am sure.", "It is 42, I believe.", "It is 42, I am told."]
APART = "Bake the bread for an hour in a hot oven."


def proposal(index: int, text: str, status: ProposalStatus = "ok") -> Proposal:
    return Proposal(layer=1, index=index, model="m", text=text, status=status)


def statuses(proposals: Sequence[Proposal]) -> list[str]:
    return [p.status for p in proposals]


def test_what_is_left_out_is_marked_and_keeps_its_text() -> None:
    given = [proposal(i, text) for i, text in enumerate("abc")]
    kept = without_outliers(given, lambda _: [2, 0])
    assert statuses(kept) == ["ok", "outlier", "ok"]
    assert (kept[1].text, kept[1].usable) == ("b", False)
    assert kept[1].error == "left out by proposal_filter"
    assert statuses(given) == ["ok"] * 3


def test_only_usable_proposals_are_judged() -> None:
    seen: list[list[str]] = []

    def keep(texts: list[str]) -> list[int]:
        seen.append(texts)
        return [1]

    given = [proposal(0, "", "failed"), proposal(1, "a"), proposal(2, "b", "cached")]
    assert statuses(without_outliers(given, keep)) == ["failed", "outlier", "cached"]
    assert seen == [["a", "b"]]


def test_nothing_is_asked_where_nothing_is_usable() -> None:
    given = [proposal(0, "", "failed"), proposal(1, "", "cut")]
    asked: list[list[str]] = []

    def keep(texts: list[str]) -> list[int]:
        asked.append(texts)
        return []

    assert without_outliers(given, keep) == given
    assert without_outliers([], keep) == []
    assert asked == []


def _raises(_: list[str]) -> list[int]:
    raise ZeroDivisionError


@pytest.mark.parametrize("keep", [_raises, lambda _: [7], lambda _: None, lambda _: ["a"]])
def test_a_filter_that_fails_leaves_all_in(
    keep: Callable[[list[str]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    given = [proposal(0, "a"), proposal(1, "b")]
    with caplog.at_level(logging.ERROR, "langchain_moa"):
        assert without_outliers(given, keep) == given
    assert "the proposal filter failed; all proposals are kept" in caplog.text


def test_which_filters_there_are() -> None:
    assert checked_filter(None) is None
    assert checked_filter("cluster") is largest_cluster
    assert checked_filter(_raises) is _raises  # what it gives is looked at when it is called
    for wrong in ("other", 1, object()):
        with pytest.raises(MoAConfigurationError, match=r"proposal_filter=.* is no filter"):
            checked_filter(wrong)


def mixture(*texts: str, **options: Any) -> MoAChatModel:
    return MoAChatModel(
        reference_models=[
            ScriptedChatModel.saying(text, model=f"m{i}") for i, text in enumerate(texts)
        ],
        aggregator=ScriptedChatModel.saying("ok", model="judge"),
        include_proposals=True,
        **options,
    )


def ask(llm: MoAChatModel, way: str) -> Any:
    if way == "invoke":
        answer = llm.invoke("Go")
    elif way == "graph":
        answer = llm.graph.invoke({"messages": [("user", "Go")]})["messages"][-1]
    else:
        answer = asyncio.run(llm.ainvoke("Go"))
    return answer.response_metadata["moa"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "graph"])
def test_the_next_layer_does_not_read_an_outlier(way: str) -> None:
    llm = mixture(*ALIKE, APART, layers=3, proposal_filter="cluster")
    record = ask(llm, way)
    assert [p["status"] for p in record["proposals"]] == [*["ok"] * 3, "outlier"] * 2
    assert record["degraded"] is True
    readers: Any = [llm.reference_models[0], llm.aggregator]
    for reader in readers:
        read = str(reader.calls[-1][0])
        assert all(text in read for text in ALIKE)
        assert APART not in read


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_off_by_default(way: str) -> None:
    record = ask(mixture(*ALIKE, APART), way)
    assert [p["status"] for p in record["proposals"]] == ["ok"] * 4


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_filter_that_leaves_too_few_is_told_of(way: str) -> None:
    llm = mixture("a", "b", min_proposals=2, proposal_filter=lambda _: [0])
    with pytest.raises(NotEnoughProposalsError, match="m1: outlier: left out by proposal_filter"):
        ask(llm, way)
    alone = mixture("a", "b", proposal_filter=lambda _: [], on_no_proposals="aggregate_alone")
    assert [p["status"] for p in ask(alone, way)["proposals"]] == ["outlier"] * 2


def test_what_an_outlier_cost_is_counted() -> None:
    record = ask(mixture("a", "b", proposal_filter=lambda _: [0]), "invoke")
    assert record["proposals"][1]["usage"] is not None
    assert record["usage"]["by_model"]["m1"] == record["proposals"][1]["usage"]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "graph"])
def test_a_filter_that_takes_too_long_leaves_all_in(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    free, ended = threading.Event(), threading.Event()

    def sleeps(_: list[str]) -> list[int]:
        free.wait()
        ended.set()
        return [0]

    for seconds in LIMITS:
        limited = {"layer_timeout": seconds, "on_no_proposals": "aggregate_alone"}
        record = ask(mixture("a", "b", proposal_filter=sleeps, **limited), way)
        if [p["status"] for p in record["proposals"]] == ["ok", "ok"]:
            break
    never_waited_for = not ended.is_set()
    free.set()
    assert never_waited_for
    assert [p["status"] for p in record["proposals"]] == ["ok", "ok"]
    assert "the proposal filter took too long; all proposals are kept" in caplog.text


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_layer_that_used_up_its_time_is_filtered_too(way: str) -> None:
    def keep(_: list[str]) -> list[int]:
        threading.Event().wait(0.02)
        return [0]

    slow = ScriptedChatModel.saying("late", model="slow", seconds=20)
    for seconds in LIMITS:
        llm = mixture("a", "b", proposal_filter=keep, layer_timeout=seconds)
        llm.reference_models = [*llm.reference_models, slow]
        statuses = [p["status"] for p in ask(llm, way)["proposals"]]
        if statuses[1] == "outlier":
            break
    assert statuses == ["ok", "outlier", "timed_out"]
