"""What a budget admits, in which order, and what it says of the rest."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from math import nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_moa import MoAChatModel, MoAConfigurationError
from langchain_moa.accounting.budget import NOTHING, ONE_CALL, Amount, Budget, Ledger
from langchain_moa.accounting.settings import AccountingSettings
from langchain_moa.testing import ScriptedChatModel


def budget_of(**settings: Any) -> Budget:
    return Budget(AccountingSettings.model_construct(**settings))


def mixture(**settings: Any) -> MoAChatModel:
    model = ScriptedChatModel.saying("ok")
    return MoAChatModel(reference_models=[model], aggregator=model, **settings)


@pytest.mark.parametrize(
    ("budget", "amount", "told"),
    [
        (budget_of(), Amount(10**6, 10**9, 1e6), None),
        (budget_of(max_calls=2), Amount(2), None),
        (budget_of(max_calls=2), Amount(3), "max_calls=2 would be exceeded"),
        (budget_of(max_total_tokens=10), Amount(9, 10), None),
        (budget_of(max_total_tokens=10), Amount(1, 11), "max_total_tokens=10 would be exceeded"),
        (budget_of(max_cost=0.5), Amount(1, 1, 0.5), None),
        (budget_of(max_cost=0.5), Amount(1, 1, 0.51), "max_cost=0.5 would be exceeded"),
        (budget_of(max_calls=1, max_cost=0.5), Amount(1, 0, 1.0), "max_cost=0.5 would be exceeded"),
    ],
)
def test_which_limit_is_broken(budget: Budget, amount: Amount, told: str | None) -> None:
    assert budget.excess(amount) == told


@pytest.mark.parametrize("field", ["max_calls", "max_total_tokens", "max_cost"])
def test_any_limit_is_one(field: str) -> None:
    limited: dict[str, Any] = {field: 1}
    assert budget_of(**limited).limits
    assert not budget_of().limits


def test_amounts_add_up() -> None:
    assert Amount(1, 2, 0.5).plus(Amount(3, 4, 0.25)) == Amount(4, 6, 0.75)
    assert NOTHING.plus(ONE_CALL) == ONE_CALL


@pytest.mark.parametrize(
    ("limit", "refused"),
    [(100, []), (16, []), (15, [2]), (11, [1]), (10, [1, 2]), (5, [0, 1, 2]), (0, [0, 1, 2])],
)
def test_requests_are_admitted_in_order_and_smaller_ones_may_still_fit(
    limit: int, refused: list[int]
) -> None:
    wanted = [Amount(1, 4), Amount(1, 5), Amount(1, 1)]
    found, total = budget_of(max_total_tokens=limit).refused(Amount(1, 3), wanted, Amount(1, 3))
    assert list(found) == refused
    assert ["max_total_tokens" in reason for reason in found.values()] == [True] * len(refused)
    admitted = [amount for place, amount in enumerate(wanted) if place not in refused]
    assert total == Amount(2 + len(admitted), 6 + sum(a.tokens for a in admitted))


@settings(derandomize=True)
@given(st.lists(st.integers(0, 20), max_size=8), st.integers(0, 40), st.integers(0, 60))
def test_what_is_admitted_never_breaks_the_limit(
    wanted: list[int], reserve: int, limit: int
) -> None:
    budget = budget_of(max_total_tokens=limit)
    refused, total = budget.refused(NOTHING, [Amount(1, n) for n in wanted], Amount(1, reserve))
    assert total.tokens <= max(limit, reserve)
    for place in refused:
        assert total.tokens + wanted[place] > limit


def test_what_nobody_planned_is_taken_while_it_fits() -> None:
    budget, ledger = budget_of(max_calls=4), Ledger()
    ledger.commit(Amount(2))
    assert [ledger.take(ONE_CALL, budget) for _ in range(4)] == [True, True, False, False]
    ledger.commit(Amount(3))
    assert [ledger.take(ONE_CALL, budget) for _ in range(2)] == [True, False]


def test_without_a_limit_everything_may_be_taken() -> None:
    assert all(Ledger().take(Amount(10**9, 10**9, 1e9), budget_of()) for _ in range(3))


def test_threads_do_not_take_the_same_place() -> None:
    budget, ledger, together = budget_of(max_calls=5), Ledger(), threading.Barrier(16)

    def take(_: int) -> bool:
        together.wait()
        return ledger.take(ONE_CALL, budget)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(take, range(16))) == 5


@pytest.mark.parametrize("wrong", [{"max_calls": 0}, {"max_total_tokens": -1}, {"max_cost": nan}])
def test_a_limit_is_above_zero(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(MoAConfigurationError, match=rf"{name}={value} must be a .*number"):
        mixture(**wrong)


@pytest.mark.parametrize("name", ["max_calls", "max_total_tokens", "max_cost"])
def test_a_limit_is_no_switch(name: str) -> None:
    with pytest.raises(MoAConfigurationError, match=f"{name}=True must be a .*number"):
        mixture(**{name: True})


def test_a_wrong_word_is_told_the_right_ones() -> None:
    with pytest.raises(MoAConfigurationError, match="on_budget='x' is unknown; give 'degrade' or"):
        mixture(on_budget="x")
