"""The settings for money."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.accounting.prices import Prices, checked_prices
from langchain_moa.settings import Count, SettingsGroup, Usd

OnBudget: TypeAlias = Literal["degrade", "raise"]
"""What to do with reference models that the budget does not admit: leave them out, or raise."""


class AccountingSettings(SettingsGroup):
    """Money."""

    prices: Annotated[
        SkipValidation[Prices | Literal[True] | None], AfterValidator(checked_prices)
    ] = Field(
        default=None,
        description='What tokens cost: `{"model": (USD per million input tokens, USD per million '
        "output tokens)}`; or a function of a model's name and its usage that returns USD, or "
        "`None` if it does not know; or `True`, list prices of the package `genai-prices` (extra "
        "`prices`). The record then has the costs.",
    )
    max_calls: Count | None = Field(
        default=None,
        description="The most requests to members that a call may make, one of them the "
        "aggregator's. Requests that a client repeats by itself, and calls inside a chain, an "
        "agent or a mixture, are not counted: give a client `max_retries=0`, and an inner mixture "
        "a budget of its own.",
    )
    max_total_tokens: Count | None = Field(
        default=None,
        description="The most tokens that a call may use. Before a request is made it counts with "
        "its estimated input and its limit of output tokens, if it has one.",
    )
    max_cost: Usd | None = Field(
        default=None,
        description="The most USD that a call may cost. Requests count before they are made, as "
        "for `max_total_tokens`; the `prices` of all members are needed.",
    )
    on_budget: OnBudget = Field(
        default="degrade",
        description="What to do with reference models for which the budget is not enough: "
        '`"degrade"`, go on without them, or `"raise"` `BudgetExceededError`.',
    )
