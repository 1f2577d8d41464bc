"""Who is in a mixture and where: layers, aggregator and fallbacks, from what a user gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias, cast

from langchain_core.runnables import Runnable
from pydantic import SecretStr

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.members.bindings import answering_in, at_zero
from langchain_moa.members.member import Member, MemberLike
from langchain_moa.members.runnables import language_models
from langchain_moa.providers.builder import ModelBuilder, check_together_key
from langchain_moa.reliability.settings import ReliabilitySettings
from langchain_moa.strategies.base import Strategy
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

ReferenceModels: TypeAlias = Sequence[MemberLike | Sequence[MemberLike]]
"""A flat list, used in every proposer layer, or one list per proposer layer; never both mixed.

One sequence type and not a union of two, which type checkers can't infer a list literal for.
"""

Aggregators: TypeAlias = MemberLike | Sequence[MemberLike]
"""One model, or several to be tried in order."""

Fallbacks: TypeAlias = Mapping[str, MemberLike | Sequence[MemberLike]]
"""Fallbacks of reference models, by the names that these are asked for by."""

MEMBER_FIELDS: Final = ("reference_models", "aggregator", "analyst", "judge", "fallbacks")
"""The settings that hold members."""
_DEFAULT_LAYERS: Final = 2


def model_builder(options: AnyMapping) -> ModelBuilder:
    """The builder of those members that are given as strings."""
    key, address = options.get("api_key"), options.get("base_url")
    key = SecretStr(key) if isinstance(key, str) else key
    # what is of another type is found out when the options are checked
    return ModelBuilder(
        api_key=key if isinstance(key, SecretStr) else None,
        base_url=address if isinstance(address, str) else None,
        timeout=_longest(options),
    )


def _longest(options: AnyMapping) -> float | None:
    """The longest time that any member may take; `None` where one has no limit."""
    fields = ReliabilitySettings.model_fields
    names = ("proposer_timeout", "aggregator_timeout", "analyst_timeout")
    limits = [options.get(name, fields[name].default) for name in names]
    # what is no number is found out when the options are checked
    known = [limit for limit in limits if isinstance(limit, int | float)]
    return max(known) if len(known) == len(limits) else None


def built_members(fields: AnyMapping) -> AnyDict:
    """The fields that hold members, with models made of strings, once for all later copies.

    Raises:
        MoAConfigurationError: A value is neither a runnable nor a string that names a model.
        MissingExtraError: A string names a provider whose package is not installed.
    """
    builder = model_builder(fields)
    built: AnyDict = {}
    if "reference_models" in fields:
        given = fields["reference_models"]
        _is_layered(given)  # refuses what is no list of models
        built["reference_models"] = _models([*given], "reference_models", builder)
    for name in ("aggregator", "analyst", "judge"):
        if (name == "aggregator" and name in fields) or fields.get(name) is not None:
            built[name] = _models(fields[name], name, builder)
    if isinstance(fields.get("fallbacks"), Mapping):
        built["fallbacks"] = {
            name: _models(value, f"fallbacks[{name!r}]", builder)
            for name, value in fields["fallbacks"].items()
        }
    return built


def _models(value: object, field: str, builder: ModelBuilder) -> object:
    """The runnable that a value means, or the list of them."""
    if isinstance(value, list | tuple):
        return [_models(item, f"{field}[{place}]", builder) for place, item in enumerate(value)]
    return _model(value, field, builder)


def _model(value: object, field: str, builder: ModelBuilder) -> AnyRunnable:
    """The runnable that a user's member means."""
    if isinstance(value, str):
        return builder.build(value, field)
    if isinstance(value, Mapping):
        return _with_options(value, field, builder)
    if not isinstance(value, Runnable):
        mend = "wrap it in RunnableLambda" if callable(value) else "give one of these"
        if isinstance(value, type):
            mend = "that is a class, so construct it"
        msg = (
            f"{field}={shown(value)} is neither a chat model, nor a runnable, nor a string that "
            f"names a model; {mend}."
        )
        raise MoAConfigurationError(msg)
    for model in language_models(value):
        check_together_key(model, field)
    return value


def _with_options(value: AnyMapping, field: str, builder: ModelBuilder) -> AnyRunnable:
    """The model that `{"model": ..., option: value}` means."""
    options = dict(value)
    name = options.pop("model", None)
    if not isinstance(name, str):
        wrong = (
            f"{sorted(value)} holds no model" if name is None else f"model={shown(name)} is no name"
        )
        msg = f"{field}: {wrong}; give {{'model': 'name', option: value}}, or a chat model alone."
        raise MoAConfigurationError(msg)
    return builder.build(name, field, options)


def _is_layered(reference_models: object) -> bool:
    """Whether there is one list per proposer layer.

    Raises:
        MoAConfigurationError: It is no list, an empty one, or a mixture of members and lists.
    """
    if isinstance(reference_models, str) or not isinstance(reference_models, Sequence):
        msg = f"reference_models={shown(reference_models)} is not a list; give a list of models."
        raise MoAConfigurationError(msg)
    if not reference_models:
        msg = "reference_models=[] is empty; give at least one reference model."
        raise MoAConfigurationError(msg)
    nested = [isinstance(item, list | tuple) for item in reference_models]
    if any(nested) and not all(nested):
        place = nested.index(not nested[0])
        msg = (
            f"reference_models[{place}]={shown(reference_models[place])}: members and lists are "
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


def proposer_layers(
    reference_models: ReferenceModels, layers: int | None, builder: ModelBuilder
) -> tuple[tuple[Member, ...], ...]:
    """The reference models of each proposer layer.

    Raises:
        MoAConfigurationError: They are no list, or contradict the number of layers.
    """
    if not _is_layered(reference_models):
        flat = cast("Sequence[MemberLike]", reference_models)
        members = _members(flat, "reference_models", builder)
        return (members,) * ((layers or _DEFAULT_LAYERS) - 1)
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


def _member(value: object, field: str, builder: ModelBuilder) -> Member:
    return Member(_model(value, field, builder), field=field)


def member_in_turn(value: object, field: str, builder: ModelBuilder) -> Member:
    """The aggregator, the analyst or the judge; the others of a list are its fallbacks.

    Raises:
        MoAConfigurationError: It is no model, or an empty list.
    """
    if not isinstance(value, list | tuple):
        return _member(value, field, builder)
    if not value:
        msg = f"{field}=[] is empty; give one model, or a list to be tried in order."
        raise MoAConfigurationError(msg)
    first, *others = _members(value, field, builder)
    return replace(first, fallbacks=tuple(others))


def adviser_member(
    given: object, strategy: Strategy, aggregator: Member, builder: ModelBuilder
) -> Member:
    """Who is consulted before the answer, with what it is to answer in bound to it.

    Args:
        given: Who was given for it; `None` is the aggregator at temperature 0.
        strategy: The strategy.
        aggregator: The aggregator.
        builder: Makes models of strings.

    Raises:
        MoAConfigurationError: It is no model, or an empty list.
    """
    member = aggregator if given is None else member_in_turn(given, strategy.role, builder)
    bound = [
        answering_in(at_zero(one) if given is None else one, strategy.schema)
        for one in member.candidates
    ]
    return replace(bound[0], fallbacks=tuple(bound[1:]))


def with_fallbacks(
    layers: tuple[tuple[Member, ...], ...], given: object, builder: ModelBuilder
) -> tuple[tuple[Member, ...], ...]:
    """The reference models with the fallbacks that are given by their names.

    Raises:
        MoAConfigurationError: They are no dict, or name none of the reference models.
    """
    if not isinstance(given, Mapping):
        msg = f"fallbacks={shown(given)} is no dict; give {{'model name': fallback, ...}}."
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
