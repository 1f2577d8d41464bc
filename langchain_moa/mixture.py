"""What a mixture consists of, checked: layers of proposers, the aggregator, the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from typing import Any, Final, TypeAlias, cast

from langchain_core.messages import BaseMessage
from langchain_core.prompts import StringPromptTemplate
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, SecretStr, SkipValidation, TypeAdapter, ValidationError
from typing_extensions import TypedDict, Unpack

from langchain_moa.errors import MoAConfigurationError, from_validation
from langchain_moa.identity import fingerprint
from langchain_moa.members import Member, MemberLike, language_models, with_arguments
from langchain_moa.progress import OnProgress
from langchain_moa.prompts import AGGREGATOR_PROMPT, parse_prompt, with_proposals
from langchain_moa.providers import ModelBuilder, check_together_key
from langchain_moa.types import Placement, Proposal, Retries, Seconds, Temperature, Tokens

ReferenceModels: TypeAlias = Sequence[MemberLike | Sequence[MemberLike]]
"""A flat list, used in every proposer layer, or one list per proposer layer; never both mixed.

One sequence type and not a union of two, which type checkers can't infer a list literal for.
"""

DEFAULT_LAYERS: Final = 2
_MIN_LAYERS: Final = 2
_STATE_KEYS: Final = ("messages", "moa_proposals")
_NOT_IN_NODE_NAMES = re.compile(r"[:|\s]+")


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """A checked mixture.

    Attributes:
        proposers: The reference models, one tuple per proposer layer.
        aggregator: The model of the last layer.
        prompt: Template with the variable `proposals`.
        placement: Where proposals are put.
        min_proposals: How many usable proposals each layer must give.
        proposal_arguments: Call arguments of every proposer.
        final_arguments: Call arguments of the aggregator.
        include_proposals: Whether the record holds the proposals' texts.
        stream_proposals: Whether proposers stream, for listeners to the call's progress.
        on_progress: Called with each event of a call, or `None`.
    """

    proposers: tuple[tuple[Member, ...], ...]
    aggregator: Member
    prompt: StringPromptTemplate
    placement: Placement
    min_proposals: int
    proposal_arguments: Mapping[str, Any]
    final_arguments: Mapping[str, Any]
    include_proposals: bool
    stream_proposals: bool
    on_progress: OnProgress | None

    @property
    def layers(self) -> int:
        """Number of layers, the aggregator's counted."""
        return len(self.proposers) + 1

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Per proposer layer, a short name for each proposer, unique in its layer."""
        return tuple(_unique([_short(m.model) for m in layer]) for layer in self.proposers)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that tells any two different mixtures apart."""
        return fingerprint(
            [
                [[member.runnable for member in layer] for layer in self.proposers],
                self.aggregator.runnable,
                self.prompt,
                self.placement,
                self.min_proposals,
                dict(sorted(self.proposal_arguments.items())),
                dict(sorted(self.final_arguments.items())),
                self.include_proposals,
            ]
        )

    def proposing(self, member: Member) -> Runnable[Any, Any]:
        """What is called when a member proposes: quiet, or streaming for listeners."""
        streams = self.stream_proposals and member.streams
        return with_arguments(member.counting if streams else member.quiet, self.proposal_arguments)

    def aggregating(self, arguments: Mapping[str, Any]) -> Runnable[Any, Any]:
        """What is called for the answer, with a call's arguments over the mixture's own.

        Raises:
            MoAConfigurationError: The aggregator holds no model that could take them.
        """
        return with_arguments(self.aggregator.counting, {**self.final_arguments, **arguments})

    @cached_property
    def _secrets(self) -> list[str]:
        members = [self.aggregator, *(member for layer in self.proposers for member in layer)]
        found = frozenset[str]().union(*(member.secrets for member in members))
        return sorted(found, key=len, reverse=True)  # one may begin with another

    def redacted(self, text: str) -> str:
        """The text without any key of any member; providers quote keys in their errors."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def conversation_with(
        self, messages: Sequence[BaseMessage], proposals: Sequence[Proposal]
    ) -> list[BaseMessage]:
        """The conversation as the next layer reads it: with the usable proposals in it."""
        texts = [proposal.text for proposal in proposals if proposal.usable]
        return with_proposals(messages, texts, self.prompt, self.placement)


class MixtureOptions(TypedDict, total=False):
    """The settings of a mixture beside its members; `MoAChatModel` documents them."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[misc]

    layers: int | None
    placement: SkipValidation[Placement]
    aggregator_prompt: SkipValidation[str | StringPromptTemplate]
    min_proposals: int
    include_proposals: bool
    stream_proposals: bool
    on_progress: OnProgress | None
    temperature: Temperature | None
    max_tokens: Tokens | None
    stop: list[str] | None
    proposal_temperature: Temperature | None
    proposal_max_tokens: Tokens | None
    proposal_kwargs: dict[str, Any]
    api_key: SecretStr | str | None
    base_url: str | None
    timeout: Seconds | None
    max_retries: Retries | None


OPTION_NAMES: Final = tuple(k for k in MixtureOptions.__annotations__ if not k.startswith("_"))


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
    reference_models: ReferenceModels, aggregator: MemberLike, **options: Unpack[MixtureOptions]
) -> Mixture:
    """Check the parts of a mixture and put them together.

    Raises:
        MoAConfigurationError: A part is wrong; the message names it, its value and the mend.
        MissingExtraError: A string names a provider whose package is not installed.
    """
    builder = model_builder(options)
    proposers = _proposer_layers(reference_models, options.get("layers"), builder)
    mixture = Mixture(
        proposers=proposers,
        aggregator=_member(aggregator, "aggregator", builder),
        prompt=parse_prompt(options.get("aggregator_prompt", AGGREGATOR_PROMPT)),
        placement=_placement(options.get("placement", "user")),
        min_proposals=_min_proposals(options.get("min_proposals", 1), proposers),
        proposal_arguments=_proposal_arguments(options),
        final_arguments=_given(
            temperature=options.get("temperature"),
            max_tokens=options.get("max_tokens"),
            stop=options.get("stop"),
        ),
        include_proposals=options.get("include_proposals", False),
        stream_proposals=options.get("stream_proposals", False),
        on_progress=options.get("on_progress"),
    )
    _check_arguments(mixture)
    return mixture


def model_builder(options: Mapping[str, Any]) -> ModelBuilder:
    """The builder of those members that are given as strings."""
    key = options.get("api_key")
    return ModelBuilder(
        api_key=SecretStr(key) if isinstance(key, str) else key,
        base_url=options.get("base_url"),
        timeout=options.get("timeout"),
        max_retries=options.get("max_retries"),
    )


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


def _min_proposals(number: int, proposers: tuple[tuple[Member, ...], ...]) -> int:
    smallest = min(map(len, proposers))
    if not 1 <= number <= smallest:
        msg = (
            f"min_proposals={number} must be from 1 to {smallest}, "
            "the number of reference models in the smallest layer."
        )
        raise MoAConfigurationError(msg)
    return number


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


def _check_arguments(mixture: Mixture) -> None:
    """Find members that cannot take the configured call arguments now, not at the first call."""
    mixture.aggregating({})
    for layer in mixture.proposers:
        for member in layer:
            mixture.proposing(member)


def _short(model: str) -> str:
    """A model's name without its owner, legal as the name of a graph node."""
    short = _NOT_IN_NODE_NAMES.sub("-", model.rstrip("/").rsplit("/", 1)[-1]).strip("_") or "model"
    return f"{short}-model" if short in _STATE_KEYS else short


def _unique(names: list[str]) -> tuple[str, ...]:
    """Names made unique by a number where one occurs more than once."""
    counts, taken, result = Counter(names), set[str](), []
    for name in names:
        number, unique = 1, name if counts[name] == 1 else f"{name}-1"
        while unique in taken:
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique)
        result.append(unique)
    return tuple(result)


def _shown(value: Any) -> str:
    """A value for an error message: short, and never a model's own repr."""
    if isinstance(value, str | int | float | bool | None):
        return repr(value)
    return f"<{type(value).__name__}>"
