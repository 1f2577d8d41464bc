"""Puts a mixture together from what a user gives, and refuses what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages.ai import UsageMetadata
from typing_extensions import Unpack

from langchain_moa.accounting.prices import checked_prices, cost_of
from langchain_moa.config.checks import (
    build_budget,
    build_policy,
    checked_choice,
    checked_context_filter,
    checked_fan_out,
    checked_filter,
    checked_limits,
)
from langchain_moa.config.lineup import (
    Aggregators,
    ReferenceModels,
    aggregator_member,
    model_builder,
    proposer_layers,
    with_fallbacks,
)
from langchain_moa.config.settings import MixtureOptions
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.prompt import AGGREGATOR_PROMPT, parse_prompt
from langchain_moa.reliability.slots import MemberSlots


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
        context_filter=checked_context_filter(options.get("context_filter")),
        profiles=_profiles(options.get("profiles", {})),
    )
    _check_names_of(mixture, "member_concurrency", policy.member_concurrency)
    _check_names_of(mixture, "max_input_tokens", mixture.max_input_tokens)
    _check_names_of(mixture, "context_filter", mixture.context_filter)
    _check_names_of(mixture, "profiles", mixture.profiles)
    _check_arguments(mixture)
    _check_prices(mixture)
    return mixture


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


def _profiles(given: Any) -> Mapping[str, ModelProfile]:
    if not isinstance(given, Mapping) or not all(isinstance(p, Mapping) for p in given.values()):
        msg = (
            f"profiles={shown(given)} must be a dict of profiles per model name, such as "
            "{'model': {'max_input_tokens': 32768, 'image_inputs': False}}."
        )
        raise MoAConfigurationError(msg)
    for name, profile in given.items():
        _check_profile(name, profile)
    return given


def _check_profile(name: str, profile: Mapping[str, Any]) -> None:
    known = ModelProfile.__annotations__
    for key in profile:
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"give some of: {', '.join(known)}."
            msg = f"profiles[{name!r}]: {shown(key)} is not known of any model; {hint}"
            raise MoAConfigurationError(msg)


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
