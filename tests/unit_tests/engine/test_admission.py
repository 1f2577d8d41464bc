"""A call that would break its budget starts less, and says what it left out."""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_moa import BudgetExceededError, MoAChatModel
from langchain_moa.proposals.fitting import input_tokens
from langchain_moa.testing import ScriptedChatModel

WAYS = ("invoke", "ainvoke", "graph")
GO: list[Any] = [HumanMessage("Go")]


def saying(text: str, model: str) -> ScriptedChatModel:
    return ScriptedChatModel.saying(text, model=model)


def mixture(**options: Any) -> MoAChatModel:
    defaults: dict[str, Any] = {
        "reference_models": [saying(f"It is {n}.", n) for n in "abc"],
        "aggregator": saying("It is a.", "judge"),
    }
    return MoAChatModel(**{**defaults, **options})


def ask(llm: MoAChatModel, way: str = "invoke", messages: list[Any] = GO) -> AIMessage:
    answer: Any
    if way == "invoke":
        answer = llm.invoke(messages)
    elif way == "graph":
        answer = llm.graph.invoke({"messages": messages})["messages"][-1]
    else:
        answer = asyncio.run(llm.ainvoke(messages))
    assert isinstance(answer, AIMessage)
    return answer


def record_of(llm: MoAChatModel, way: str = "invoke", messages: list[Any] = GO) -> Any:
    return ask(llm, way, messages).response_metadata["moa"]


def statuses(record: Any) -> list[str]:
    return [p["status"] for p in record["proposals"]]


def calls(llm: MoAChatModel) -> list[int]:
    """How often each reference model and the aggregator were called."""
    members: Any = [*llm.reference_models, llm.aggregator]
    return [len(member.calls) for member in members]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("limit", "asked"), [(4, [1, 1, 1, 1]), (3, [1, 1, 0, 1]), (2, [1, 0, 0, 1]), (1, [0, 0, 0, 1])]
)
def test_the_aggregators_call_is_kept_and_the_first_are_admitted(
    way: str, limit: int, asked: list[int]
) -> None:
    llm = mixture(max_calls=limit)
    record = record_of(llm, way)
    assert calls(llm) == asked
    assert statuses(record) == ["ok" if n else "over_budget" for n in asked[:3]]
    assert record["degraded"] is (limit < 4)
    for proposal in record["proposals"][limit - 1 :]:
        assert proposal["error"] == f"max_calls={limit} would be exceeded"
        assert (proposal["attempts"], proposal["usage"]) == (0, None)
    assert record["usage"]["unknown"] == []


@pytest.mark.parametrize("way", WAYS)
def test_later_layers_are_left_out_first(way: str) -> None:
    llm = mixture(layers=3, max_calls=5)
    record = record_of(llm, way)
    assert statuses(record) == ["ok"] * 4 + ["over_budget"] * 2
    judge: Any = llm.aggregator
    assert str(judge.calls[0][0]).count("It is") == 1  # the second layer's one proposal


@pytest.mark.parametrize("way", WAYS)
def test_without_a_layer_the_one_before_it_is_read(way: str) -> None:
    llm = mixture(layers=3, max_calls=4)
    assert statuses(record_of(llm, way)) == ["ok"] * 3 + ["over_budget"] * 3
    judge: Any = llm.aggregator
    assert str(judge.calls[0][0]).count("It is") == 3


@pytest.mark.parametrize("way", WAYS)
def test_no_more_is_demanded_than_is_admitted(way: str) -> None:
    assert statuses(record_of(mixture(min_proposals=3, max_calls=2), way)).count("ok") == 1


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_quorum_counts_those_that_are_admitted(way: str) -> None:
    record = record_of(mixture(quorum=3, min_proposals=3, max_calls=3), way)
    assert statuses(record) == ["ok", "ok", "over_budget"]


@pytest.mark.parametrize("way", WAYS)
def test_raising_before_anything_is_paid(way: str) -> None:
    llm = mixture(max_calls=3, on_budget="raise")
    with pytest.raises(BudgetExceededError, match=r"layer 1 does not fit .* \(c: max_calls=3"):
        ask(llm, way)
    assert calls(llm) == [0, 0, 0, 0]


@pytest.mark.parametrize("way", WAYS)
def test_raising_keeps_what_was_paid_for(way: str) -> None:
    llm = mixture(layers=3, max_calls=5, on_budget="raise")
    with pytest.raises(BudgetExceededError, match="layer 2 does not fit in the budget") as caught:
        ask(llm, way)
    assert [p.text for p in caught.value.proposals] == ["It is a.", "It is b.", "It is c."]
    assert caught.value.is_retryable is False
    assert calls(llm)[3] == 0


def test_tokens_of_input_and_the_limits_of_output_count() -> None:
    """Each proposal is written once, and read once by the aggregator."""
    own = input_tokens(GO) + 100 + 100

    def admitted(limit: int) -> int:
        limited = mixture(proposal_max_tokens=100, max_tokens=50, max_total_tokens=limit)
        return statuses(record_of(limited)).count("ok")

    least = input_tokens(GO) + 50 + 3 * own  # and what the aggregator reads around the proposals
    enough = bisect_left(range(least + 1000), 3, lo=least, key=admitted)
    assert enough > least
    for extra, count in ((0, 3), (-1, 2), (-own, 2), (-own - 1, 1), (-3 * own, 0)):
        assert admitted(enough + extra) == count


def test_a_models_own_limit_counts_where_none_is_given() -> None:
    class Limited(ScriptedChatModel):
        max_tokens: int | None = 1000

    members = [Limited(script=lambda _: "It is 4.", model=n) for n in "ab"]
    llm = mixture(reference_models=members, max_total_tokens=3000)
    assert statuses(record_of(llm)) == ["ok", "over_budget"]
    record = record_of(
        mixture(reference_models=members, max_total_tokens=3000, proposal_max_tokens=10)
    )
    assert statuses(record) == ["ok", "ok"]


@pytest.mark.parametrize("way", WAYS)
def test_costs_count_by_each_members_price(way: str) -> None:
    free: dict[str, Any] = dict.fromkeys(("a", "c", "judge"), (0, 0))
    llm = mixture(prices={**free, "b": (1e6, 1e6)}, max_cost=1.0)
    record = record_of(llm, way)
    assert statuses(record) == ["ok", "over_budget", "ok"]
    assert record["cost"] == {"usd": 0.0, "by_layer": [0.0, 0.0], "unknown": []}


LONG_TEXT = "It is a long story. " * 200


def long_winded(**options: Any) -> MoAChatModel:
    """Its proposals are longer than anybody could know, and the aggregator has to read them."""
    members = [saying(LONG_TEXT, "a"), saying(LONG_TEXT + "The end.", "b")]
    return mixture(reference_models=members, max_total_tokens=3000, **options)


@pytest.mark.parametrize("way", WAYS)
def test_an_aggregator_that_does_not_fit_is_not_called(way: str) -> None:
    llm = long_winded()
    with pytest.raises(BudgetExceededError, match="the aggregator was not called: max_total") as e:
        ask(llm, way)
    assert [p.text for p in e.value.proposals] == [LONG_TEXT.strip(), LONG_TEXT + "The end."]
    assert calls(llm) == [1, 1, 0]


@pytest.mark.parametrize("way", WAYS)
def test_the_best_proposal_answers_for_an_aggregator_that_does_not_fit(way: str) -> None:
    llm = long_winded(on_aggregator_failure="best_proposal")
    answer = ask(llm, way)
    record = answer.response_metadata["moa"]
    assert answer.text == LONG_TEXT.strip()
    assert (record["degraded"], record["best_proposal"]) == (True, "1.0")
    told = record["aggregator"]
    assert (told["status"], told["attempts"], told["seconds"], told["usage"]) == (
        *("failed", 0, 0.0, None),
    )
    assert "max_total_tokens=3000 would be exceeded" in told["error"]
    assert calls(llm) == [1, 1, 0]
    assert record["usage"]["unknown"] == []


def test_without_any_proposal_there_is_nothing_to_answer_instead() -> None:
    llm = mixture(max_total_tokens=1, on_aggregator_failure="best_proposal")
    with pytest.raises(BudgetExceededError, match="the aggregator was not called"):
        ask(llm)
    assert calls(llm) == [0, 0, 0, 0]


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_streams_keep_to_the_budget_too(way: str) -> None:
    llm = long_winded(on_aggregator_failure="best_proposal")

    async def collected() -> list[Any]:
        return [chunk async for chunk in llm.astream(GO)]

    chunks = list(llm.stream(GO)) if way == "stream" else asyncio.run(collected())
    assert "".join(c.text for c in chunks) == LONG_TEXT.strip()
    with pytest.raises(BudgetExceededError):
        list(long_winded().stream(GO))


def test_the_reserve_is_for_all_that_the_aggregator_reads() -> None:
    """It reads the tool turns, too, which reference models don't; they alone must not be paid."""
    call = {"name": "f", "args": {}, "id": "1"}
    turns = [*GO, AIMessage("", tool_calls=[call]), ToolMessage("word " * 4000, tool_call_id="1")]
    llm = mixture(max_total_tokens=3000)
    with pytest.raises(BudgetExceededError):
        ask(llm, messages=turns)
    assert calls(llm) == [0, 0, 0, 0]


@pytest.mark.parametrize("limits", [{}, {"max_total_tokens": 100_000}])
def test_without_a_budget_nothing_is_estimated(limits: dict[str, int]) -> None:
    called: set[object] = set()
    llm = mixture(**limits)
    threading.setprofile(lambda frame, _event, _arg: called.add(frame.f_code))
    try:
        with ThreadPoolExecutor(1) as pool:
            assert statuses(pool.submit(record_of, llm).result()) == ["ok"] * 3
    finally:
        threading.setprofile(None)
    assert (input_tokens.__code__ in called) is bool(limits)
