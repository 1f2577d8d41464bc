"""The settings that a user gives, their names and types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_type_hints

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.prompts import StringPromptTemplate
from pydantic import ConfigDict, SecretStr, SkipValidation, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_moa.accounting.budget import OnBudget
from langchain_moa.accounting.prices import Prices
from langchain_moa.config.lineup import Fallbacks
from langchain_moa.errors import MoAConfigurationError, from_validation
from langchain_moa.messages.content import OnUnsupported
from langchain_moa.messages.visibility import ContextFilter
from langchain_moa.mixture import ToolsFor
from langchain_moa.proposals.fan_out import FanOut
from langchain_moa.proposals.outliers import ProposalFilter
from langchain_moa.reliability.breaker import CircuitBreaker
from langchain_moa.reliability.policy import (
    Calls,
    Grace,
    MemberConcurrency,
    OnAggregatorFailure,
    OnNoProposals,
    Quorum,
)
from langchain_moa.tracing.progress import OnProgress
from langchain_moa.types import Placement, Retries, Seconds, Temperature, Tokens


class PolicyOptions(TypedDict, total=False):
    """The settings of a mixture for troubles and load; `MoAChatModel` documents them."""

    min_proposals: int
    proposer_timeout: Seconds | None
    aggregator_timeout: Seconds | None
    layer_timeout: Seconds | None
    timeout: Seconds | None
    quorum: SkipValidation[Quorum]
    grace: Grace
    hedge_after: Seconds | None
    max_retries: Retries
    on_no_proposals: SkipValidation[OnNoProposals]
    on_aggregator_failure: SkipValidation[OnAggregatorFailure]
    circuit_breaker: SkipValidation[CircuitBreaker | None]
    max_concurrency: Calls | None
    member_concurrency: SkipValidation[MemberConcurrency]
    sequential: bool


class BudgetOptions(TypedDict, total=False):
    """The settings of a mixture for what a call may cost; `MoAChatModel` documents them."""

    max_calls: int | None
    max_total_tokens: int | None
    max_cost: float | None
    on_budget: SkipValidation[OnBudget]


class MixtureOptions(PolicyOptions, BudgetOptions, total=False):
    """The settings of a mixture beside its members; `MoAChatModel` documents them."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[misc]

    layers: int | None
    placement: SkipValidation[Placement]
    aggregator_prompt: SkipValidation[str | StringPromptTemplate]
    include_proposals: bool
    stream_proposals: bool
    on_progress: OnProgress | None
    temperature: Temperature | None
    max_tokens: Tokens | None
    stop: list[str] | None
    proposal_temperature: Temperature | None
    proposal_max_tokens: Tokens | None
    proposal_kwargs: dict[str, Any]
    fallbacks: SkipValidation[Fallbacks]
    prices: SkipValidation[Prices | None]
    proposal_filter: SkipValidation[ProposalFilter]
    max_input_tokens: SkipValidation[int | dict[str, int] | None]
    fan_out: SkipValidation[FanOut]
    reuse_proposals: bool
    describe_tools: bool
    tools_for: SkipValidation[ToolsFor]
    structured_proposals: bool
    on_unsupported: SkipValidation[OnUnsupported]
    context_filter: SkipValidation[ContextFilter]
    profiles: SkipValidation[dict[str, ModelProfile]]
    api_key: SecretStr | str | None
    base_url: str | None


OPTION_NAMES: Final = tuple(get_type_hints(MixtureOptions, include_extras=True))


@cache
def _options_adapter() -> TypeAdapter[MixtureOptions]:
    """Built at the first use, for it is slow to build and only graphs need it."""
    return TypeAdapter(MixtureOptions)


def checked_options(options: Mapping[str, Any]) -> MixtureOptions:
    """Options whose names and types are checked.

    Raises:
        MoAConfigurationError: An option does not exist or has a wrong type.
    """
    check_names(options, OPTION_NAMES)
    try:
        return _options_adapter().validate_python(options)
    except ValidationError as error:
        raise from_validation(error) from None


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse arguments that do not exist.

    Raises:
        MoAConfigurationError: One does not; the message names the one that was likely meant.
    """
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "see help(MoAChatModel)."
            msg = f"{name} is not an argument of a mixture; {hint}"
            raise MoAConfigurationError(msg)
