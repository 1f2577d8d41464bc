"""Checks that several settings share, so that their errors say the same in the same words."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_moa.accounting.budget import Budget
from langchain_moa.config.functions import is_async
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.messages.visibility import ContextFilter
from langchain_moa.proposals.fan_out import EVERY, FanOut
from langchain_moa.proposals.outliers import FilterFunction
from langchain_moa.proposals.similarity import largest_cluster
from langchain_moa.reliability.breaker import CircuitBreaker
from langchain_moa.reliability.policy import Policy
from langchain_moa.reliability.quorum import OPEN


def checked_choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """An option that is one of several words, the first of which is the default.

    Raises:
        MoAConfigurationError: It is none of them.
    """
    value = options.get(name, choices[0])
    if value not in choices:
        msg = f"{name}={shown(value)} is unknown; give {' or '.join(map(repr, choices))}."
        raise MoAConfigurationError(msg)
    return value


def checked_limits(
    options: Mapping[str, Any], name: str, unit: str = ""
) -> int | dict[str, int] | None:
    """An option that is a limit, or a dict of limits per model name, or `None`.

    Args:
        options: The options that are given.
        name: The option's name.
        unit: What is limited, for the error, such as `" of tokens"`.

    Raises:
        MoAConfigurationError: A limit is no whole number above 0.
    """
    given = options.get(name)
    if given is None:
        return None
    named = {name: given}
    if isinstance(given, Mapping):
        named = {f"{name}[{model!r}]": limit for model, limit in given.items()}
    for field, limit in named.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            msg = f"{field}={shown(limit)} must be a whole number{unit}, 1 or more."
            raise MoAConfigurationError(msg)
    return dict(given) if isinstance(given, Mapping) else given


def build_policy(options: Mapping[str, Any], proposers: Sequence[Sequence[object]]) -> Policy:
    """Check the settings against each other and the layers.

    Args:
        options: The settings that are given.
        proposers: The reference models per layer.

    Raises:
        MoAConfigurationError: A setting is wrong; the message names it and the mend.
    """
    smallest = min(map(len, proposers))
    given = {name: options[name] for name in Policy.__dataclass_fields__ if name in options}
    given |= {name: OPEN for name in _TIMES if given.get(name, OPEN) is None}
    checked_choice(given, "on_no_proposals", ("raise", "aggregate_alone"))
    checked_choice(given, "on_aggregator_failure", ("raise", "best_proposal"))
    if options.get("sequential"):
        _check_sequential(options)
        given["max_concurrency"] = 1
    policy = Policy(**given)
    _check_minimum(policy, smallest)
    _check_quorum(policy, smallest)
    _check_breaker(policy)
    checked_limits(given, "member_concurrency")
    return policy


_TIMES: Final = (
    "proposer_timeout",
    "aggregator_timeout",
    "layer_timeout",
    "timeout",
    "hedge_after",
)


def _check_sequential(options: Mapping[str, Any]) -> None:
    limit = options.get("max_concurrency")
    if limit not in (None, 1):
        msg = f"max_concurrency={limit} contradicts sequential=True; leave one of them out."
        raise MoAConfigurationError(msg)


def _check_minimum(policy: Policy, smallest: int) -> None:
    if not 1 <= policy.min_proposals <= smallest:
        msg = (
            f"min_proposals={policy.min_proposals} must be from 1 to {smallest}, "
            "the number of reference models in the smallest layer."
        )
        raise MoAConfigurationError(msg)


def _check_quorum(policy: Policy, smallest: int) -> None:
    quorum: Any = policy.quorum
    if quorum is None:
        return
    is_count = isinstance(quorum, int) and not isinstance(quorum, bool)
    is_share = isinstance(quorum, float)
    if not (is_count and 1 <= quorum <= smallest) and not (is_share and 0 < quorum <= 1):
        msg = (
            f"quorum={quorum!r} must be a count from 1 to {smallest}, the number of reference "
            "models in the smallest layer, or a share above 0.0 and up to 1.0."
        )
        raise MoAConfigurationError(msg)
    count = policy.gate(smallest).quorum or 0
    if count < policy.min_proposals:
        msg = (
            f"quorum={quorum!r} goes on with {count} proposals, fewer than "
            f"min_proposals={policy.min_proposals}; give a larger quorum or a smaller minimum."
        )
        raise MoAConfigurationError(msg)


def _check_breaker(policy: Policy) -> None:
    given: Any = policy.circuit_breaker
    if given is not None and not isinstance(given, CircuitBreaker):
        msg = (
            f"circuit_breaker={shown(given)} is none; "
            "give CircuitBreaker(failures=5, reset_after=30)."
        )
        raise MoAConfigurationError(msg)


def build_budget(options: Mapping[str, Any]) -> Budget:
    """Check the settings and put them together.

    Raises:
        MoAConfigurationError: A setting is wrong; the message names it and the mend.
    """
    given = {name: options[name] for name in Budget.__dataclass_fields__ if name in options}
    for name in ("max_calls", "max_total_tokens", "max_cost"):
        value = given.get(name)
        if value is not None and (isinstance(value, bool) or not value > 0):
            msg = f"{name}={value!r} must be a number above 0; leave it out for no limit."
            raise MoAConfigurationError(msg)
    checked_choice(given, "on_budget", ("degrade", "raise"))
    return Budget(**given)


def checked_fan_out(given: Any) -> FanOut:
    """The user's setting, found to be one.

    Raises:
        MoAConfigurationError: It is none.
    """
    if callable(given) and not is_async(given):
        return given  # type: ignore[no-any-return]
    known = given in ("always", "user_turns", "never")
    if known or (isinstance(given, str) and EVERY.fullmatch(given)):
        return str(given)
    msg = (
        f"fan_out={shown(given)} is unknown; give 'always', 'user_turns', 'never', 'every_2' (or "
        "any other number), or a function that takes the messages and returns True to fan out."
    )
    raise MoAConfigurationError(msg)


def checked_context_filter(given: Any) -> ContextFilter:
    """The user's filter, found to be one.

    Raises:
        MoAConfigurationError: It is none, or an async one.
    """
    functions = given.values() if isinstance(given, Mapping) else [given]
    if given is None or all(callable(each) and not is_async(each) for each in functions):
        return given  # type: ignore[no-any-return]
    msg = (
        f"context_filter={shown(given)} is no filter; give a function (not an async one) of a "
        "model's name and the messages, or a dict of functions of the messages per model name."
    )
    raise MoAConfigurationError(msg)


def checked_filter(given: Any) -> FilterFunction | None:
    """The function that a user's filter means.

    Raises:
        MoAConfigurationError: It is neither `"cluster"` nor a plain function.
    """
    if given is None:
        return None
    if given == "cluster":
        return largest_cluster
    if not callable(given) or inspect.iscoroutinefunction(given):
        msg = (
            f"proposal_filter={shown(given)} is no filter; give 'cluster', or a function that "
            "takes a list of texts and returns the indexes of those to keep."
        )
        raise MoAConfigurationError(msg)
    return given  # type: ignore[no-any-return]
