"""Puts a mixture together from checked settings, and refuses what does not fit together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from functools import cache

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.list_prices import ListPrices, places_of
from langchain_moa.accounting.prices import cost_of
from langchain_moa.config.lineup import (
    adviser_member,
    member_in_turn,
    model_builder,
    proposer_layers,
    with_fallbacks,
)
from langchain_moa.config.settings import MixtureSettings
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.members.arguments import require_known_arguments, require_one_answer
from langchain_moa.members.families import family_of
from langchain_moa.members.runnables import language_models, model_of
from langchain_moa.mixture import Mixture
from langchain_moa.providers.logs import hide_in_logs
from langchain_moa.reliability.settings import check_waiting
from langchain_moa.strategies.known import CONSULTING

logger = logging.getLogger(__name__)


def build_mixture(settings: MixtureSettings) -> Mixture:
    """The mixture that checked settings mean.

    Raises:
        MoAConfigurationError: Some do not fit together; the message names them and what to give.
        MissingExtraError: A string names a provider whose package is not installed.
    """
    hide_in_logs()
    builder = model_builder(vars(settings))
    layers = proposer_layers(settings.reference_models, settings.layers, builder)
    proposers = with_fallbacks(layers, settings.fallbacks, builder)
    check_waiting(settings, smallest=min(map(len, proposers)))
    _check_proposal_arguments(settings)
    aggregator = member_in_turn(settings.aggregator, "aggregator", builder)
    strategy, adviser = CONSULTING.get(settings.strategy), None
    if strategy is not None:
        adviser = adviser_member(getattr(settings, strategy.role), strategy, aggregator, builder)
    mixture = _with_list_prices(
        Mixture(proposers=proposers, aggregator=aggregator, settings=settings, adviser=adviser)
    )
    for field in ("member_concurrency", "max_input_tokens", "context_filter", "profiles"):
        _check_names_of(mixture, field, getattr(settings, field))
    _check_arguments(mixture)
    _check_prices(mixture)
    if (family := family_of(mixture.members)) is not None:
        _warn_of_family(family)
    return mixture


def _with_list_prices(mixture: Mixture) -> Mixture:
    """The mixture with `prices=True` looked up: who serves a model decides what it costs."""
    if mixture.settings.prices is not True:
        return mixture
    models = (model for member in mixture.members for model in language_models(member.runnable))
    prices = ListPrices(places_of((model_of(model), model) for model in models))
    settings = mixture.settings.model_copy(update={"prices": prices})
    return dataclasses.replace(mixture, settings=settings)


@cache
def _warn_of_family(family: str) -> None:
    """Warn, once, of members that are likely to share their errors."""
    logger.warning(
        "all members are of one family, %s, and likely to be wrong in the same places; mix "
        "vendors, or sample one model several times with MoAChatModel.self_moa",
        family,
    )


def _check_proposal_arguments(settings: MixtureSettings) -> None:
    """Refuse an argument of proposals that is given twice, or asks for several of each."""
    require_one_answer(settings.proposal_kwargs, "proposal_kwargs: ")
    for name in ("temperature", "max_tokens"):
        if getattr(settings, f"proposal_{name}") is not None and name in settings.proposal_kwargs:
            msg = (
                f"proposal_kwargs={shown(settings.proposal_kwargs)} repeats {name}; "
                f"give it there or as proposal_{name}, not both."
            )
            raise MoAConfigurationError(msg)


def _check_arguments(mixture: Mixture) -> None:
    """Find members that cannot take the configured call arguments now, not at the first call."""
    for candidate in mixture.aggregator.candidates:
        mixture.aggregating(candidate, {})
    for layer in mixture.proposers:
        for member in layer:
            for candidate in member.candidates:
                mixture.proposing(candidate)
                require_known_arguments(candidate, mixture.settings.proposal_kwargs)


def _check_names_of(mixture: Mixture, field: str, limits: object) -> None:
    """Refuse limits of members that there are not."""
    names = {member.model for member in mixture.members}
    for name in limits if isinstance(limits, Mapping) else ():
        if name not in names:
            known = ", ".join(sorted(names))
            msg = f"{field}[{name!r}] is no member of the mixture; give some of: {known}."
            raise MoAConfigurationError(msg)


def _check_prices(mixture: Mixture) -> None:
    """A cost can be bounded only where it is known."""
    if mixture.settings.max_cost is None:
        return
    probe = UsageMetadata(input_tokens=1, output_tokens=1, total_tokens=2)
    for member in mixture.members:
        if not member.reports_own_usage:  # a chain or a mixture has no price of its own
            continue
        if cost_of({member.model: probe}, mixture.prices, member.model) is None:
            msg = (
                f"max_cost={mixture.settings.max_cost:g} needs the price of every member, and "
                f"{member.model!r} has none; give prices={{{member.model!r}: (in, out)}}, in USD "
                "per million tokens."
            )
            raise MoAConfigurationError(msg)
