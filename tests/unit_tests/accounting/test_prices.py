"""What calls cost: known prices are counted, and what is unknown is never zero."""

from __future__ import annotations

import json
import logging
import math
import re
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages.ai import UsageMetadata

from langchain_moa import MoAConfigurationError
from langchain_moa.accounting.prices import MemberCost, checked_prices, cost_of, cost_report

amounts = st.floats(0, 1e6)


def usage(read: int, written: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


@pytest.mark.parametrize(
    "given",
    [{"a": (1, 2.5)}, {"a": [1, 2.5]}, MappingProxyType({"a": (1.0, 2.5)})],
)
def test_prices_become_pairs_of_floats(given: Any) -> None:
    checked = checked_prices(given)
    assert checked == {"a": (1.0, 2.5)}
    assert isinstance(checked, dict)
    assert json.dumps(checked) == '{"a": [1.0, 2.5]}'


def test_later_changes_of_the_mapping_have_no_effect() -> None:
    given = {"a": (1.0, 2.0)}
    checked = checked_prices(given)
    given["a"] = (-1.0, -1.0)
    assert checked == {"a": (1.0, 2.0)}


def test_no_prices_and_functions_stay_as_they_are() -> None:
    def price(model: str, tokens: UsageMetadata) -> float:
        return len(model) * tokens["total_tokens"] / 1e6

    assert checked_prices(None) is None
    assert checked_prices(price) is price


@pytest.mark.parametrize(
    "price",
    [
        (-1, 2),
        (1, -0.5),
        (math.nan, 1),
        (1, math.inf),
        (10**400, 1),
        (True, 1),
        (1, False),
        ("1", 2),
        (1,),
        (1, 2, 3),
        (),
        1.5,
        "12",
        None,
        {"input": 1, "output": 2},
        {1, 2},
    ],
)
def test_a_wrong_price_is_named(price: Any) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        checked_prices({"good": (1, 2), "acme/x": price})
    text = str(caught.value)
    number = r"\[[01]\]=.* must be a number from 0 to 1,000,000,000,000,000 USD\."
    shape = r"=.* is not a price; give \(USD per million .*"
    assert re.fullmatch(rf"prices\['acme/x'\]({number}|{shape})", text)


@pytest.mark.parametrize("name", [1, None, "", ("a", "b")])
def test_a_wrong_name_is_named(name: Any) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        checked_prices({name: (1, 2)})
    assert f"prices[{name!r}] is not the name of a model; give" in str(caught.value)


@pytest.mark.parametrize("prices", [3, "cheap", [("a", (1, 2))], (1, 2)])
def test_neither_mapping_nor_function(prices: Any) -> None:
    with pytest.raises(MoAConfigurationError) as caught:
        checked_prices(prices)
    kind = f"<{type(prices).__name__}>" if isinstance(prices, list | tuple) else repr(prices)
    assert f"prices={kind} is neither a mapping nor callable; give" in str(caught.value)


def test_async_functions_are_refused() -> None:
    async def price(_model: str, _tokens: UsageMetadata) -> float:
        return 1.0

    with pytest.raises(MoAConfigurationError, match=r"^prices=.* is async; give a plain function"):
        checked_prices(price)


@pytest.mark.parametrize(
    ("used", "asked_for", "cost"),
    [
        ({"large": usage(1_000_000, 0)}, "large", 2.0),
        ({"large": usage(0, 1_000_000)}, "large", 8.0),
        ({"large": usage(500_000, 250_000)}, "other", 3.0),
        ({"large-2026": usage(1_000_000, 0)}, "large", 2.0),  # the name that was asked for
        ({"large": usage(1_000_000, 0)}, "small", 2.0),  # the name that answered comes first
        ({"large": usage(0, 0)}, "large", 0.0),
        ({"free": usage(1000, 1000)}, "free", 0.0),
        ({"large": usage(1_000_000, 0), "small": usage(1_000_000, 0)}, "mixture", 3.0),
        ({"large": usage(1, 1), "unknown": usage(1, 1)}, "large", None),  # of two that answered
        ({"unknown": usage(1, 1)}, "unknown too", None),
        ({}, "large", None),
    ],
)
def test_cost(used: dict[str, UsageMetadata], asked_for: str, cost: float | None) -> None:
    prices = checked_prices({"large": (2, 8), "small": (1, 1), "free": (0, 0)})
    assert cost_of(used, prices, asked_for) == cost


def test_without_prices_no_cost_is_known() -> None:
    assert cost_of({"a": usage(1, 1)}, None, "a") is None
    assert cost_of({"a": usage(1, 1)}, {}, "a") is None


def test_a_function_sees_name_and_details() -> None:
    seen: list[tuple[str, UsageMetadata]] = []

    def price(model: str, tokens: UsageMetadata) -> float | None:
        seen.append((model, tokens))
        return 0.5 if model == "asked" else None

    tokens: UsageMetadata = {**usage(10, 1), "input_token_details": {"cache_read": 9}}
    assert cost_of({"answered": tokens}, price, "asked") == 0.5
    assert seen == [("answered", tokens), ("asked", tokens)]


def test_a_function_is_asked_once_per_name() -> None:
    asked: list[str] = []

    def price(model: str, _tokens: UsageMetadata) -> None:
        asked.append(model)

    assert cost_of({"a": usage(1, 1)}, price, "a") is None
    assert asked == ["a"]


@pytest.mark.parametrize("result", [-0.01, math.nan, math.inf, "0.5", True, [1], 10**400])
def test_a_result_of_no_use_is_a_warning(result: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "langchain_moa.accounting.prices"):
        assert cost_of({"acme/x": usage(1, 1)}, lambda *_: result, "acme/x") is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"prices('acme/x', ...) gave {result!r}" in record.getMessage()


def test_a_function_that_raises_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = {"asked": 0.5}
    with caplog.at_level(logging.WARNING, "langchain_moa.accounting.prices"):
        assert cost_of({"acme/x": usage(1, 1)}, lambda name, _: table[name], "acme/x") is None
        assert [r.getMessage() for r in caplog.records] == [
            "prices('acme/x', ...) failed; the cost is not known"
        ]
        assert cost_of({"acme/x": usage(1, 1)}, lambda name, _: table[name], "asked") == 0.5


def test_report() -> None:
    report = cost_report(
        [
            MemberCost(1, "a", 0.25),
            MemberCost(1, "b", None),
            MemberCost(2, "b", None),
            MemberCost(2, "a", None),
            MemberCost(2, "c", 9.0, free=True),
            MemberCost(3, "c", None, free=True),
            MemberCost(4, "judge", 1.0),
        ]
    )
    assert report == {
        "usd": 1.25,
        "by_layer": [0.25, None, 0.0, 1.0],
        "unknown": ["a", "b"],
    }


def test_report_of_nothing() -> None:
    assert cost_report([]) == {"usd": 0.0, "by_layer": [], "unknown": []}


def test_a_layer_that_was_skipped_costs_nothing() -> None:
    assert cost_report([MemberCost(3, "judge", 1.0)])["by_layer"] == [0.0, 0.0, 1.0]


members = st.builds(
    MemberCost,
    layer=st.integers(1, 4),
    model=st.sampled_from("abc"),
    usd=st.none() | amounts,
    free=st.booleans(),
)


@given(st.lists(members, max_size=12), st.randoms(use_true_random=False))
def test_layers_add_up_and_order_is_no_matter(costs: list[MemberCost], random: Any) -> None:
    report = cost_report(costs)
    known = [usd for usd in report["by_layer"] if usd is not None]
    assert report["usd"] == pytest.approx(math.fsum(known))
    assert set(report["unknown"]) == {c.model for c in costs if c.usd is None and not c.free}
    mixed = list(costs)
    random.shuffle(mixed)
    assert cost_report(mixed) == report


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)),
        min_size=1,
    ),
    st.dictionaries(st.sampled_from("abcd"), st.tuples(amounts, amounts)),
)
def test_a_function_and_a_table_of_the_same_prices_agree(
    tokens: dict[str, tuple[int, int]], prices: dict[str, tuple[float, float]]
) -> None:
    used = {name: usage(*pair) for name, pair in tokens.items()}

    def price(model: str, spent: UsageMetadata) -> float | None:
        read, written = prices.get(model, (None, None))
        if read is None or written is None:
            return None
        return (spent["input_tokens"] * read + spent["output_tokens"] * written) / 1e6

    by_table = cost_of(used, checked_prices(prices), "asked")
    by_function = cost_of(used, price, "asked")
    assert by_table == pytest.approx(by_function)
    assert (by_table is None) == bool(used.keys() - prices.keys())
