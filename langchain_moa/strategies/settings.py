"""The settings for how proposals become the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, SkipValidation

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.settings import SettingsGroup
from langchain_moa.types import StrategyName

Check: TypeAlias = Callable[[str], bool] | Callable[[str], Awaitable[bool]]
"""Whether a proposal passes, such as code its tests."""


def _checked_check(given: object) -> object:
    if given is not None and not callable(given):
        msg = (
            f"check={shown(given)} is no function; give one that takes a proposal's text and "
            "returns True where it passes."
        )
        raise MoAConfigurationError(msg)
    return given


class StrategySettings(SettingsGroup):
    """From proposals to the answer."""

    strategy: StrategyName = Field(
        default="synthesize",
        description='How proposals become the answer: `"synthesize"`, the aggregator reads them '
        'and writes it, as in the paper; `"compare"`, an analyst first says where they agree, '
        "where they contradict each other and what they lack, and the aggregator reads that, too; "
        '`"select"`, a judge chooses one, which is the answer word for word. See '
        "`docs/strategies.md`.",
    )
    check: Annotated[SkipValidation[Check | None], AfterValidator(_checked_check)] = Field(
        default=None,
        description='With `"select"`, a plain or async function that takes a proposal\'s text and '
        "returns whether it passes (for example, whether the tests of the code do). The judge "
        "sees only proposals that pass; if only one passes, it is taken without a judge.",
    )
    shuffle: bool = Field(
        default=True,
        description="Whether proposals are read in a mixed order, so that none is preferred for "
        "its place. The order is the same for equal calls. The record keeps the original order.",
    )
    share_reasoning: bool = Field(
        default=False,
        description="Whether the aggregator also reads the reasoning of reference models that "
        "show it: an aggregator may find the right answer in it although all conclusions are "
        "wrong (arXiv 2605.29116). If proposals don't fit, reasoning is shortened first.",
    )
