"""Puts a mixture together from what a user gives, and refuses what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_type_hints

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompts import StringPromptTemplate
from pydantic import ConfigDict, SecretStr, SkipValidation, TypeAdapter, ValidationError
from typing_extensions import Unpack

from langchain_moa.budget import BudgetOptions, build_budget
from langchain_moa.checks import checked_choice, checked_limits
from langchain_moa.errors import MoAConfigurationError, from_validation, shown
from langchain_moa.filtering import ProposalFilter, checked_filter
from langchain_moa.gating import FanOut, checked_fan_out
from langchain_moa.lineup import (
    Aggregators,
    Fallbacks,
    ReferenceModels,
    aggregator_member,
    model_builder,
    proposer_layers,
    with_fallbacks,
)
from langchain_moa.mixture import ContextFilter, Mixture, ToolsFor
from langchain_moa.modalities import OnUnsupported
from langchain_moa.policy import PolicyOptions, build_policy
from langchain_moa.prices import Prices, checked_prices, cost_of
from langchain_moa.progress import OnProgress
from langchain_moa.prompts import AGGREGATOR_PROMPT, parse_prompt
from langchain_moa.slots import MemberSlots
from langchain_moa.types import Placement, Temperature, Tokens


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


def build_mixture(
    reference_models: ReferenceModels, aggregator: Aggregators, **options: Unpack[MixtureOptions]
) -> Mixture:
    """Check the parts of a mixture and put them together.

    Raises:
        MoAConfigurationError: A part is wrong; the message names it, its value and the mend.
        MissingExtraError: A string names a provider whose package is not installed.
    """
    builder = model_builder(options)
    layers = proposer_layers(reference_models, options.get("layers"), builder)
    proposers = with_fallbacks(layers, options.get("fallbacks", {}), builder)
    policy = build_policy(options, proposers)
    mixture = Mixture(
        proposers=proposers,
        aggregator=aggregator_member(aggregator, builder),
        prompt=parse_prompt(options.get("aggregator_prompt", AGGREGATOR_PROMPT)),
        placement=checked_choice(options, "placement", ("user", "system")),
        policy=policy,
        budget=build_budget(options),
        prices=checked_prices(options.get("prices")),
        keep=checked_filter(options.get("proposal_filter")),
        max_input_tokens=checked_limits(options, "max_input_tokens", unit=" of tokens"),
        slots=MemberSlots(policy.max_concurrency, policy.member_concurrency),
        proposal_arguments=_proposal_arguments(options),
        final_arguments=_given(
            temperature=options.get("temperature"),
            max_tokens=options.get("max_tokens"),
            stop=options.get("stop"),
        ),
        include_proposals=options.get("include_proposals", False),
        stream_proposals=options.get("stream_proposals", False),
        on_progress=options.get("on_progress"),
        fan_out=checked_fan_out(options.get("fan_out", "user_turns")),
        reuse_proposals=options.get("reuse_proposals", True),
        describe_tools=options.get("describe_tools", True),
        tools_for=checked_choice(options, "tools_for", ("aggregator", "all")),
        structured_proposals=options.get("structured_proposals", False),
        on_unsupported=checked_choice(
            options, "on_unsupported", ("drop_content", "skip_member", "raise")
        ),
        context_filter=_context_filter(options.get("context_filter")),
        profiles=_profiles(options.get("profiles", {})),
    )
    _check_names_of(mixture, "member_concurrency", policy.member_concurrency)
    _check_names_of(mixture, "max_input_tokens", mixture.max_input_tokens)
    _check_names_of(mixture, "context_filter", mixture.context_filter)
    _check_names_of(mixture, "profiles", mixture.profiles)
    _check_arguments(mixture)
    _check_prices(mixture)
    return mixture


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


def _proposal_arguments(options: MixtureOptions) -> dict[str, Any]:
    named = _given(
        temperature=options.get("proposal_temperature"),
        max_tokens=options.get("proposal_max_tokens"),
    )
    others = options.get("proposal_kwargs", {})
    twice = sorted(named.keys() & others.keys())
    if twice:
        msg = (
            f"proposal_kwargs={shown(others)} repeats {twice[0]}; "
            f"give it there or as proposal_{twice[0]}, not both."
        )
        raise MoAConfigurationError(msg)
    return {**named, **others}


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are set; `None` leaves the member as its owner made it."""
    return {name: value for name, value in arguments.items() if value is not None}


def _check_arguments(mixture: Mixture) -> None:
    """Find members that cannot take the configured call arguments now, not at the first call."""
    for candidate in mixture.aggregator.candidates:
        mixture.aggregating(candidate, {})
    for layer in mixture.proposers:
        for member in layer:
            for candidate in member.candidates:
                mixture.proposing(candidate)


def _check_names_of(mixture: Mixture, field: str, limits: object) -> None:
    """Refuse limits of members that there are not."""
    names = {member.model for member in mixture.members}
    for name in limits if isinstance(limits, Mapping) else ():
        if name not in names:
            known = ", ".join(sorted(names))
            msg = f"{field}[{name!r}] is no member of the mixture; give some of: {known}."
            raise MoAConfigurationError(msg)


def _context_filter(given: Any) -> ContextFilter:
    functions = given.values() if isinstance(given, Mapping) else [given]
    if given is not None and not all(map(callable, functions)):
        msg = (
            f"context_filter={shown(given)} is no filter; give a function of a model's name and "
            "the messages, or a dict of functions of the messages per model name."
        )
        raise MoAConfigurationError(msg)
    return given  # type: ignore[no-any-return]


def _profiles(given: Any) -> Mapping[str, ModelProfile]:
    if not isinstance(given, Mapping) or not all(isinstance(p, Mapping) for p in given.values()):
        msg = (
            f"profiles={shown(given)} must be a dict of profiles per model name, such as "
            "{'model': {'max_input_tokens': 32768, 'image_inputs': False}}."
        )
        raise MoAConfigurationError(msg)
    return given


def _check_prices(mixture: Mixture) -> None:
    """A cost can be bounded only where it is known."""
    if mixture.budget.max_cost is None:
        return
    probe = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
    for member in mixture.members:
        if not member.reports_own_usage:  # a chain or a mixture has no price of its own
            continue
        if cost_of({member.model: probe}, mixture.prices, member.model) is None:
            msg = (
                f"max_cost={mixture.budget.max_cost:g} needs the price of every member, and "
                f"{member.model!r} has none; give prices={{{member.model!r}: (in, out)}}, in USD "
                "per million tokens."
            )
            raise MoAConfigurationError(msg)
