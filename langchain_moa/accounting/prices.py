"""What the calls of a mixture cost, in USD, as far as prices are known.

No price is built in: prices change, and a wrong one is worse than none. What is not known
is named and never counted as zero.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Final, Literal, NamedTuple, TypeGuard, cast

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.settings import Number
from langchain_moa.types import CostReport

Price = tuple[float, float]
"""USD per million input tokens, USD per million output tokens."""

Prices = Mapping[str, Price] | Callable[[str, UsageMetadata], float | None]
"""Prices per model, or a function from a model and its tokens to USD.

The function gives `None` for a model that it does not know. It is the way to price what two
numbers can't: reads from a prompt cache, say, which `Price` counts as any other input.
"""

_MILLION: Final = 1_000_000
_MOST: Final = 10**15
"""USD. No price or cost is larger, and no sum of such costs overflows."""

_USD: Final = Number(least=0, most=_MOST, note=" USD")
_MEND: Final = (
    "give (USD per million input tokens, USD per million output tokens), "
    f"two numbers from 0 to {_MOST:g}."
)
_SHAPE: Final = (
    "give a dict of prices per model, a function of a model and its usage, or True for list prices."
)

logger = logging.getLogger(__name__)


class MemberCost(NamedTuple):
    """What one member's calls cost.

    Attributes:
        layer: Layer of the member, counted from 1.
        model: Name that it was asked for by.
        usd: Cost in USD, `None` where it is not known.
        free: Whether nothing was paid: the answer came from a cache, or the member was never
            called. `usd` is not looked at then.
    """

    layer: int
    model: str
    usd: float | None
    free: bool = False


def checked_prices(prices: object) -> Prices | Literal[True] | None:
    """The prices, found to be usable.

    Args:
        prices: A mapping from model names to pairs (tuples or lists) of USD per million input
            tokens and USD per million output tokens, a function, `True` for list prices, or
            `None` (or `False`) for no prices.

    Returns:
        A mapping as a new dict of pairs of floats; a function, `True` and `None` as they are.

    Raises:
        MoAConfigurationError: It is something else, the function is async, a name is no text,
            or a price is not a pair of numbers from 0.

    Example:
        >>> checked_prices({"acme/large": [2, 8.5]})
        {'acme/large': (2.0, 8.5)}
        >>> checked_prices({"acme/large": (2, -1)})
        Traceback (most recent call last):
        ...
        langchain_moa.errors.MoAConfigurationError: prices['acme/large'][1]=-1 must be ...
    """
    if prices is None or prices is False:
        return None
    if prices is True:
        return True
    if isinstance(prices, Mapping):
        return {_checked_name(name): _checked_price(name, price) for name, price in prices.items()}
    if not callable(prices):
        msg = f"prices={shown(prices)} is neither a mapping nor callable; {_SHAPE}"
        raise MoAConfigurationError(msg)
    if inspect.iscoroutinefunction(prices):
        msg = f"prices={prices!r} is async; give a plain function, it is called between the calls."
        raise MoAConfigurationError(msg)
    return cast("Prices", prices)


def cost_of(
    usage_by_model: Mapping[str, UsageMetadata],
    prices: Prices | Literal[True] | None,
    asked_for: str,
) -> float | None:
    """What one member's calls cost.

    A price is looked up by the name that answered. Providers often answer by a longer name
    than they were asked for, with a date in it, so where one model answered the name that was
    asked for is tried, too. A function of prices that raises, or gives no number from 0, is
    logged as a warning, and the cost is not known: the answer has been paid for.

    Args:
        usage_by_model: Tokens of the member's calls per model that answered.
        prices: What `checked_prices` gave.
        asked_for: Name that the member was asked for by.

    Returns:
        USD, or `None` where there is no usage, or a price is not known.

    Example:
        >>> usage = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
        >>> cost_of({"acme/large-2026": usage}, {"acme/large": (2.0, 8.0)}, "acme/large")
        0.006
    """
    if prices is None or prices is True or not usage_by_model:  # a mixture has them looked up
        return None
    others = [asked_for] if len(usage_by_model) == 1 else []
    costs = [_cost([name, *others], usage, prices) for name, usage in usage_by_model.items()]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def cost_report(costs: Iterable[MemberCost]) -> CostReport:
    """The cost of a call, in total and per layer.

    Args:
        costs: One of each member's, in any order. A layer in which nobody was called need
            not be there: it costs nothing.

    Returns:
        The report; `by_layer` ends with the highest layer in `costs`.

    Example:
        >>> cost_report([MemberCost(1, "a", 0.25), MemberCost(1, "b", None), MemberCost(2, "c", 1)])
        {'usd': 1.25, 'by_layer': [0.25, 1.0], 'unknown': ['b']}
    """
    given = list(costs)
    paid = [cost for cost in given if not cost.free]
    layers = range(1, 1 + max((cost.layer for cost in given), default=0))
    return {
        "usd": math.fsum(cost.usd for cost in paid if cost.usd is not None),
        "by_layer": [_known_part([c.usd for c in paid if c.layer == layer]) for layer in layers],
        "unknown": sorted({cost.model for cost in paid if cost.usd is None}),
    }


def _known_part(costs: list[float | None]) -> float | None:
    """The sum of the known costs; `None` where costs there are, and all are unknown."""
    known = [usd for usd in costs if usd is not None]
    return math.fsum(known) if known or not costs else None


def _cost(names: list[str], usage: UsageMetadata, prices: Prices) -> float | None:
    """USD of the tokens at the first price that is found under one of the names."""
    for name in dict.fromkeys(names):
        usd = _asked(name, usage, prices) if callable(prices) else _counted(usage, prices.get(name))
        if usd is not None:
            return usd
    return None


def _counted(usage: UsageMetadata, price: Price | None) -> float | None:
    if price is None:
        return None
    paid_in = usage["input_tokens"] * price[0] / _MILLION
    return paid_in + usage["output_tokens"] * price[1] / _MILLION


def _asked(
    name: str,
    usage: UsageMetadata,
    prices: Callable[[str, UsageMetadata], float | None],
) -> float | None:
    """USD as the user's function says, `None` where it says nothing of use."""
    try:
        usd: object = prices(name, deepcopy(usage))  # which it may change
    except Exception:  # the answer that it is about has been paid for
        logger.warning("prices(%r, ...) failed; the cost is not known", name, exc_info=True)
        return None
    if usd is None or _is_amount(usd):
        return None if usd is None else float(usd)
    logger.warning(
        "prices(%r, ...) gave %r; the cost is not known, give a number from 0, or None", name, usd
    )
    return None


def _checked_name(name: object) -> str:
    if isinstance(name, str) and name:
        return name
    msg = f"prices[{name!r}] is not the name of a model; give the name as a text."
    raise MoAConfigurationError(msg)


def _checked_price(name: str, price: object) -> Price:
    match price:  # lists match, too: JSON knows no tuples
        case [read, written]:
            field = f"prices[{name!r}]"
            return _USD.checked(read, f"{field}[0]"), _USD.checked(written, f"{field}[1]")
    msg = f"prices[{name!r}]={shown(price)} is not a price; {_MEND}"
    raise MoAConfigurationError(msg)


def _is_amount(value: object) -> TypeGuard[float]:
    """Whether a value is a number from 0 that can be reckoned with; NaN is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
