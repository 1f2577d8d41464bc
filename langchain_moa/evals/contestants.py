"""Who answers: a mixture, its members alone, Self-MoA, any chat model or runnable.

Each of them is asked through a `MoAChatModel`, so that retries, deadlines, usage, prices and the
record of each call are those that the mixture's users have. One that is asked alone is the
aggregator of a mixture that never asks its reference models.

Example:
    >>> from langchain_moa import MoAChatModel
    >>> from langchain_moa.testing import ScriptedChatModel
    >>> llm = MoAChatModel(
    ...     reference_models=[ScriptedChatModel.saying("4"), ScriptedChatModel.saying("5")],
    ...     aggregator=ScriptedChatModel.saying("It is 4."),
    ... )
    >>> [c.role for c in [mixture(llm), *members_of(llm), self_moa_of(llm)]]
    ['mixture', 'member', 'member', 'member', 'self-moa']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from langchain_core.runnables import Runnable

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAConfigurationError, MoAError, without_variables
from langchain_moa.evals.types import JSON, GenerationSettings, RunModel
from langchain_moa.members.runnables import language_models
from langchain_moa.providers.accounts import NO_KEY
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

Role: TypeAlias = Literal["mixture", "member", "self-moa", "model"]
Against: TypeAlias = str | AnyRunnable
"""`"members"`, `"self-moa"`, a member string, or a chat model or runnable."""

MEMBERS: Final = "members"
SELF_MOA: Final = "self-moa"
SAMPLING: Final = 0.7
"""Temperature, at least, of the samples of Self-MoA: at 0 they would all be the same."""

_OF_LAYERS: Final[AnyDict] = {
    "layers": None,
    "fallbacks": {},
    "min_proposals": 1,
    "quorum": None,
    "proposal_filter": None,
    "on_aggregator_failure": "raise",
    "strategy": "synthesize",
}
"""Settings about reference models, as a model alone has them."""


@dataclass(frozen=True)
class Contestant:
    """Somebody who answers the rows of a suite.

    Attributes:
        name: What reports call it.
        role: What it is to the mixture that the run is about.
        model: What is asked.
        samples: Whether its proposals are samples of one model.
        twin: What stands for the model in hashes, where its address is another one in each run.
    """

    name: str
    role: Role
    model: MoAChatModel
    samples: bool = False
    twin: MoAChatModel | None = None
    _asked: dict[str, tuple[MoAChatModel, str]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def asked_with(self, settings: GenerationSettings | None) -> tuple[MoAChatModel, str]:
        """What is asked for a row of these settings, and what tells it from any other.

        Args:
            settings: Temperature and limit of tokens for all members; `None` leaves them.
        """
        key = repr(settings)
        if key not in self._asked:
            update = {} if settings is None else self._arguments(settings)
            asked = self.model.model_copy(update=update)
            known = asked if self.twin is None else self.twin.model_copy(update=update)
            self._asked[key] = asked, str(known.asdict()["fingerprint"])
        return self._asked[key]

    def _arguments(self, settings: GenerationSettings) -> AnyDict:
        """A suite's settings for those who take any: a function, or an agent, has its own."""
        temperature, limit = settings["temperature"], settings["max_tokens"]
        found: AnyDict = {}
        if takes_arguments(_first(self.model.aggregator)):
            found |= {"temperature": temperature, "max_tokens": limit}
        if all(takes_arguments(model) for layer in _layers(self.model) for model in layer):
            sampled = max(temperature, SAMPLING) if self.samples else temperature
            found |= {"proposal_temperature": sampled, "proposal_max_tokens": limit}
        return found

    @property
    def member_names(self) -> list[str]:
        """Those whom an answer asks, each once."""
        return list(dict.fromkeys(name for layer in member_layers(self.model) for name in layer))

    def described(self) -> RunModel:
        """The contestant for a run's manifest, without keys."""
        settings = _settings(self.model)
        if self.role in ("member", "model"):
            others = ("reference_models", "aggregator", "fan_out")
            settings = {
                "model": settings["aggregator"],
                **{name: value for name, value in settings.items() if name not in others},
            }
        return {"name": self.name, "role": self.role, "settings": settings}


def known_as(who: Contestant, addresses: Mapping[str, str]) -> Contestant:
    """A contestant whose answers are found again as if its endpoints had other addresses.

    Args:
        who: The contestant.
        addresses: What stands for an address that is another one in each run.
    """
    return replace(who, twin=at_addresses(who.model, addresses), _asked={})


def at_addresses(llm: MoAChatModel, addresses: Mapping[str, str]) -> MoAChatModel:
    """The same mixture with other addresses of its endpoints, where nobody may be asked."""
    if not addresses:
        return llm
    config = llm.to_config()
    moved: AnyDict = _moved(config, addresses)
    if moved == config:
        return llm
    own = {name: moved.pop(name) for name in ("base_url",) if name in moved}
    return MoAChatModel.from_config(moved, **own, api_key=NO_KEY)


def _moved(value: object, addresses: Mapping[str, str]) -> Any:
    """A configuration with its members' addresses replaced."""
    if isinstance(value, list):
        return [_moved(item, addresses) for item in value]
    if isinstance(value, dict):
        return {
            name: addresses.get(item, item) if name == "base_url" else _moved(item, addresses)
            for name, item in value.items()
        }
    return value


def takes_arguments(model: object) -> bool:
    """Whether there is a chat model inside that takes a temperature, say.

    Example:
        >>> from langchain_core.runnables import RunnableLambda
        >>> takes_arguments(RunnableLambda(lambda _: "4"))
        False
    """
    return not isinstance(model, Runnable) or any(True for _ in language_models(model))


def _settings(model: MoAChatModel) -> dict[str, JSON]:
    try:
        return model.to_config()
    except MoAError:  # a function or a chain, which no file can hold
        names: dict[str, JSON] = model.model_dump(include={"reference_models", "aggregator"})
        return {name: _named(value) for name, value in names.items()}


def _named(value: JSON) -> JSON:
    return [_named(item) for item in value] if isinstance(value, list) else str(value)


def alone(
    model: Any, name: str = "", *, role: Role = "model", like: MoAChatModel | None = None
) -> Contestant:
    """A model that is asked alone.

    Args:
        model: A chat model, a runnable that takes messages, or a member string.
        name: What reports call it; by default as it is asked for.
        role: What it is to the mixture that the run is about.
        like: A mixture whose keys, deadlines, retries and prices it has. A string that is the name
            of one of its members means that member, with its address and arguments.

    Raises:
        MoAConfigurationError: It names no model, or its key is missing.

    Example:
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> alone(ScriptedChatModel.saying("4"), "four").model.invoke("2 + 2?").content
        '4'
    """
    fields = {} if like is None else {n: getattr(like, n) for n in type(like).model_fields}
    kept = {n: v for n, v in fields.items() if n in _SHARED}
    if like is not None and isinstance(model, str):
        model = named_members(like).get(model, model)
    asked = MoAChatModel(
        **{**kept, **_OF_LAYERS, "fan_out": "never"}, reference_models=[model], aggregator=model
    )
    return Contestant(name or _name(asked, "aggregator"), role, asked)


_SHARED: Final = frozenset(
    {
        *("api_key", "base_url", "temperature", "max_tokens", "stop", "prices", "profiles"),
        *("aggregator_timeout", "timeout", "max_retries", "hedge_after", "circuit_breaker"),
        *("max_concurrency", "member_concurrency", "max_input_tokens", "context_filter"),
        *("on_unsupported",),
    }
)
"""Settings of a mixture that its members have when they are asked alone."""


def named_members(llm: MoAChatModel) -> dict[str, object]:
    """The members of a mixture by their names; of several of one name, the last in a call."""
    named, asked = member_layers(llm), [*_layers(llm), [_first(llm.aggregator)]]
    found: dict[str, object] = {}
    for names, models in zip(named, asked[-len(named) :], strict=True):
        found.update(zip(names, models, strict=True))
    return found


def mixture(llm: MoAChatModel, name: str = "moa") -> Contestant:
    """A mixture as the contestant that a run is about."""
    return Contestant(name, "mixture", llm)


@without_variables
def contestant(model: object, name: str = "") -> Contestant:
    """Anything that answers: a mixture as it is, any other model or runnable alone.

    Example:
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> contestant(ScriptedChatModel.saying("4"), "four").name
        'four'
    """
    if isinstance(model, Contestant):
        return replace(model, name=name or model.name)
    if isinstance(model, MoAChatModel):
        return mixture(model, name or "moa")
    return alone(model, name)


@without_variables
def members_of(llm: MoAChatModel) -> list[Contestant]:
    """Every member of a mixture alone, each once, under the name that it is asked for by.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> one, two = ScriptedChatModel.saying("4"), ScriptedChatModel.saying("Four.")
        >>> mixture = MoAChatModel(reference_models=[one, two], aggregator=one)
        >>> len(members_of(mixture))  # the aggregator is one of the reference models
        2
    """
    found = [alone(model, role="member", like=llm) for model in _firsts(llm)]
    return with_different_names(_different(found))


@without_variables
def self_moa_of(llm: MoAChatModel, model: object = None) -> Contestant:
    """One model in the place of all reference models, so that an answer takes as many calls.

    Args:
        llm: The mixture.
        model: The model; by default the mixture's aggregator (arXiv 2502.00674).

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> one, two = ScriptedChatModel.saying("4"), ScriptedChatModel.saying("Four.")
        >>> mixture = MoAChatModel(reference_models=[one, two], aggregator=one)
        >>> self_moa_of(mixture).name
        'self-moa (scripted)'
    """
    one = _first(llm.aggregator) if model is None else model
    layers = [[one] * len(layer) for layer in _layers(llm)]
    fields: AnyDict = {"reference_models": layers, "aggregator": one, "layers": None}
    if model is None or not isinstance(model, str):
        asked = llm.model_copy(update={**fields, "fallbacks": {}})
    else:
        kept = {n: getattr(llm, n) for n in type(llm).model_fields}
        asked = MoAChatModel(**{**kept, **fields, "fallbacks": {}})
    return Contestant(f"self-moa ({_name(asked, 'aggregator')})", "self-moa", asked, samples=True)


def contestants(
    llm: object, against: Sequence[Against] = (), *, name: str = ""
) -> list[Contestant]:
    """All who answer: the one that the run is about first, then those it is compared with.

    Args:
        llm: What the run is about: a mixture, or any model or runnable.
        against: Who it is compared with: `"members"`, `"self-moa"`, or other models.
        name: What reports call the first one; by default `moa`, or the model's name.

    Raises:
        MoAConfigurationError: A string names no model, or a mixture is needed and not given.
    """
    first = contestant(llm, name)
    found = [first]
    for other in against:
        if isinstance(other, str) and other.partition(":")[0] in (MEMBERS, SELF_MOA):
            found += _compared(first, other)
        else:
            like = first.model if isinstance(other, str) else None
            found.append(alone(other, like=like))
    return with_different_names(_different(found))


def _compared(first: Contestant, wanted: str) -> list[Contestant]:
    if first.role != "mixture":
        msg = f"against={wanted!r} needs a mixture, and {first.name} is a single model."
        raise MoAConfigurationError(msg)
    kind, _, model = wanted.partition(":")
    return members_of(first.model) if kind == MEMBERS else [self_moa_of(first.model, model or None)]


def _different(found: Iterable[Contestant]) -> list[Contestant]:
    """Contestants, each once: a model may be named that is a member, too."""
    first: dict[str, Contestant] = {}
    for each in found:
        first.setdefault(each.asked_with(None)[1], each)
    return list(first.values())


def with_different_names(found: Iterable[Contestant]) -> list[Contestant]:
    """Contestants, of whom the second and later ones of a name get a number."""
    seen: dict[str, int] = {}
    named = []
    for each in found:
        seen[each.name] = count = seen.get(each.name, 0) + 1
        named.append(each if count == 1 else replace(each, name=f"{each.name} #{count}"))
    return named


def _layers(llm: MoAChatModel) -> list[list[object]]:
    """The reference models of each proposer layer."""
    given: list[object] = list(llm.reference_models)
    if isinstance(given[0], list | tuple):
        return [list(layer) for layer in given if isinstance(layer, list | tuple)]
    return [given] * (llm.num_layers - 1)


def member_layers(llm: MoAChatModel) -> list[list[str]]:
    """The names of those whom an answer asks, layer by layer, the aggregator's last."""
    last = _name(llm, "aggregator")
    if llm.fan_out == "never":
        return [[last]]
    named = llm.model_dump(include={"reference_models"})["reference_models"]
    if isinstance(named[0], list):
        return [*([str(name) for name in layer] for layer in named), [last]]
    return [*[[str(name) for name in named]] * (llm.num_layers - 1), [last]]


def _firsts(llm: MoAChatModel) -> list[object]:
    return [*(model for layer in _layers(llm) for model in layer), _first(llm.aggregator)]


def _first(aggregator: object) -> object:
    return aggregator[0] if isinstance(aggregator, list | tuple) else aggregator


def _name(llm: MoAChatModel, member: str) -> str:
    named: AnyMapping = llm.model_dump(include={member})
    return str(_first(named[member]))
