"""Puts a mixture together from what a user gives, and refuses what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, TypeAlias, cast, get_type_hints

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompts import StringPromptTemplate
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, SecretStr, SkipValidation, TypeAdapter, ValidationError
from typing_extensions import Unpack

from langchain_moa.budget import BudgetOptions, build_budget
from langchain_moa.composition import language_models
from langchain_moa.errors import MoAConfigurationError, from_validation
from langchain_moa.filtering import ProposalFilter, checked_filter
from langchain_moa.gating import FanOut, checked_fan_out
from langchain_moa.members import Member, MemberLike
from langchain_moa.mixture import ContextFilter, Mixture, ToolsFor
from langchain_moa.modalities import OnUnsupported
from langchain_moa.policy import (
    AGGREGATOR_TIMEOUT,
    PROPOSER_TIMEOUT,
    PolicyOptions,
    build_policy,
)
from langchain_moa.prices import Prices, checked_prices, cost_of
from langchain_moa.progress import OnProgress
from langchain_moa.prompts import (
    AGGREGATOR_PROMPT,
    parse_prompt,
)
from langchain_moa.providers import ModelBuilder, check_together_key
from langchain_moa.slots import MemberSlots
from langchain_moa.types import Placement, Temperature, Tokens

ReferenceModels: TypeAlias = Sequence[MemberLike | Sequence[MemberLike]]
"""A flat list, used in every proposer layer, or one list per proposer layer; never both mixed.

One sequence type and not a union of two, which type checkers can't infer a list literal for.
"""


Aggregators: TypeAlias = MemberLike | Sequence[MemberLike]
"""One model, or several to be tried in order."""


Fallbacks: TypeAlias = Mapping[str, MemberLike | Sequence[MemberLike]]
"""Fallbacks of reference models, by the names that these are asked for by."""


DEFAULT_LAYERS: Final = 2


_MIN_LAYERS: Final = 2


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
    layers = _proposer_layers(reference_models, options.get("layers"), builder)
    proposers = _with_fallbacks(layers, options.get("fallbacks", {}), builder)
    policy = build_policy(options, proposers)
    mixture = Mixture(
        proposers=proposers,
        aggregator=_aggregator(aggregator, builder),
        prompt=parse_prompt(options.get("aggregator_prompt", AGGREGATOR_PROMPT)),
        placement=_placement(options.get("placement", "user")),
        policy=policy,
        budget=build_budget(options),
        prices=checked_prices(options.get("prices")),
        keep=checked_filter(options.get("proposal_filter")),
        max_input_tokens=_max_input_tokens(options.get("max_input_tokens")),
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
        tools_for=_choice(options, "tools_for", ("aggregator", "all")),
        structured_proposals=options.get("structured_proposals", False),
        on_unsupported=_choice(options, "on_unsupported", ("drop_content", "skip_member", "raise")),
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


def model_builder(options: Mapping[str, Any]) -> ModelBuilder:
    """The builder of those members that are given as strings."""
    key = options.get("api_key")
    return ModelBuilder(
        api_key=SecretStr(key) if isinstance(key, str) else key,
        base_url=options.get("base_url"),
        timeout=_longest(options),
    )


def _longest(options: Mapping[str, Any]) -> float | None:
    """The longest time that any member may take; `None` where one has no limit."""
    defaults = {"proposer_timeout": PROPOSER_TIMEOUT, "aggregator_timeout": AGGREGATOR_TIMEOUT}
    limits = [options.get(name, default) for name, default in defaults.items()]
    # what is no number is found out when the options are checked
    known = [limit for limit in limits if isinstance(limit, int | float)]
    return max(known) if len(known) == len(limits) else None


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


def build_member_model(value: Any, field: str, builder: ModelBuilder) -> Runnable[Any, Any]:
    """The runnable that a user's member means.

    Raises:
        MoAConfigurationError: The value is neither a runnable nor a string that names a model.
    """
    if isinstance(value, str):
        return builder.build(value, field)
    if not isinstance(value, Runnable):
        mend = "wrap it in RunnableLambda" if callable(value) else "give one of these"
        if isinstance(value, type):
            mend = "that is a class, so construct it"
        msg = (
            f"{field}={_shown(value)} is neither a chat model, nor a runnable, nor a string that "
            f"names a model; {mend}."
        )
        raise MoAConfigurationError(msg)
    for model in language_models(value):
        check_together_key(model, field)
    return value


def is_layered(reference_models: Any) -> bool:
    """Whether there is one list per proposer layer.

    Raises:
        MoAConfigurationError: It is no list, an empty one, or a mixture of members and lists.
    """
    if isinstance(reference_models, str) or not isinstance(reference_models, Sequence):
        msg = f"reference_models={_shown(reference_models)} is not a list; give a list of models."
        raise MoAConfigurationError(msg)
    if not reference_models:
        msg = "reference_models=[] is empty; give at least one reference model."
        raise MoAConfigurationError(msg)
    nested = [isinstance(item, list | tuple) for item in reference_models]
    if any(nested) and not all(nested):
        place = nested.index(not nested[0])
        msg = (
            f"reference_models[{place}]={_shown(reference_models[place])}: members and lists are "
            "mixed; give one flat list, or one list per proposer layer."
        )
        raise MoAConfigurationError(msg)
    if all(nested) and not all(reference_models):
        place = [bool(layer) for layer in reference_models].index(False)
        msg = (
            f"reference_models[{place}]=[] is empty; give each layer at least one reference model."
        )
        raise MoAConfigurationError(msg)
    return all(nested)


def _proposer_layers(
    reference_models: ReferenceModels, layers: int | None, builder: ModelBuilder
) -> tuple[tuple[Member, ...], ...]:
    if layers is not None and layers < _MIN_LAYERS:
        msg = (
            f"layers={layers} leaves no layer for the reference models; give 2 or more "
            "(the aggregator's layer counts), or call the aggregator on its own."
        )
        raise MoAConfigurationError(msg)
    if not is_layered(reference_models):
        flat = cast("Sequence[MemberLike]", reference_models)
        members = _members(flat, "reference_models", builder)
        return (members,) * ((layers or DEFAULT_LAYERS) - 1)
    lists = cast("Sequence[Sequence[MemberLike]]", reference_models)
    if layers is not None and layers != len(lists) + 1:
        msg = (
            f"layers={layers} contradicts reference_models, whose {len(lists)} lists make "
            f"{len(lists) + 1} layers with the aggregator's; leave layers out."
        )
        raise MoAConfigurationError(msg)
    return tuple(
        _members(layer, f"reference_models[{place}]", builder) for place, layer in enumerate(lists)
    )


def _members(values: Sequence[MemberLike], field: str, builder: ModelBuilder) -> tuple[Member, ...]:
    return tuple(_member(value, f"{field}[{place}]", builder) for place, value in enumerate(values))


def _placement(placement: Placement) -> Placement:
    if placement not in ("user", "system"):
        msg = f"placement={placement!r} is unknown; give 'user' or 'system'."
        raise MoAConfigurationError(msg)
    return placement


def _proposal_arguments(options: MixtureOptions) -> dict[str, Any]:
    named = _given(
        temperature=options.get("proposal_temperature"),
        max_tokens=options.get("proposal_max_tokens"),
    )
    others = options.get("proposal_kwargs", {})
    twice = sorted(named.keys() & others.keys())
    if twice:
        msg = (
            f"proposal_kwargs={_shown(others)} repeats {twice[0]}; "
            f"give it there or as proposal_{twice[0]}, not both."
        )
        raise MoAConfigurationError(msg)
    return {**named, **others}


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that are set; `None` leaves the member as its owner made it."""
    return {name: value for name, value in arguments.items() if value is not None}


def _member(value: Any, field: str, builder: ModelBuilder) -> Member:
    return Member(build_member_model(value, field, builder), field=field)


def _aggregator(value: Any, builder: ModelBuilder) -> Member:
    """The aggregator; the others of a list are its fallbacks."""
    if not isinstance(value, list | tuple):
        return _member(value, "aggregator", builder)
    if not value:
        msg = "aggregator=[] is empty; give one model, or a list to be tried in order."
        raise MoAConfigurationError(msg)
    first, *others = _members(value, "aggregator", builder)
    return replace(first, fallbacks=tuple(others))


def _with_fallbacks(
    layers: tuple[tuple[Member, ...], ...], given: Any, builder: ModelBuilder
) -> tuple[tuple[Member, ...], ...]:
    """The reference models with the fallbacks that are given by their names."""
    if not isinstance(given, Mapping):
        msg = f"fallbacks={_shown(given)} is no dict; give {{'model name': fallback, ...}}."
        raise MoAConfigurationError(msg)
    names = {member.model for layer in layers for member in layer}
    fallbacks: dict[str, tuple[Member, ...]] = {}
    for name, value in given.items():
        if name not in names:
            known = ", ".join(sorted(names))
            msg = f"fallbacks[{name!r}] is no reference model; give one of: {known}."
            raise MoAConfigurationError(msg)
        values = value if isinstance(value, list | tuple) else [value]
        if not values:
            msg = f"fallbacks[{name!r}]=[] is empty; give a model, or leave the name out."
            raise MoAConfigurationError(msg)
        fallbacks[name] = _members(values, f"fallbacks[{name!r}]", builder)
    return tuple(
        tuple(
            replace(m, fallbacks=fallbacks[m.model]) if m.model in fallbacks else m for m in layer
        )
        for layer in layers
    )


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


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    value = options.get(name, choices[0])
    if value not in choices:
        msg = f"{name}={_shown(value)} is unknown; give {' or '.join(map(repr, choices))}."
        raise MoAConfigurationError(msg)
    return value


def _context_filter(given: Any) -> ContextFilter:
    functions = given.values() if isinstance(given, Mapping) else [given]
    if given is not None and not all(map(callable, functions)):
        msg = (
            f"context_filter={_shown(given)} is no filter; give a function of a model's name and "
            "the messages, or a dict of functions of the messages per model name."
        )
        raise MoAConfigurationError(msg)
    return given  # type: ignore[no-any-return]


def _profiles(given: Any) -> Mapping[str, ModelProfile]:
    if not isinstance(given, Mapping) or not all(isinstance(p, Mapping) for p in given.values()):
        msg = (
            f"profiles={_shown(given)} must be a dict of profiles per model name, such as "
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


def _max_input_tokens(given: Any) -> int | dict[str, int] | None:
    limits = given if isinstance(given, Mapping) else {None: given}
    for name, limit in limits.items():
        if limit is None and name is None:
            return None
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            field = "max_input_tokens" if name is None else f"max_input_tokens[{name!r}]"
            msg = f"{field}={_shown(limit)} must be a whole number of tokens, 1 or more."
            raise MoAConfigurationError(msg)
    return dict(given) if isinstance(given, Mapping) else given


def _shown(value: Any) -> str:
    """A value for an error message: short, and never a model's own repr."""
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return f"<{type(value).__name__}>"
