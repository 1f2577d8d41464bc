"""What a mixture consists of, checked: layers of proposers, the aggregator, the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.prompts import StringPromptTemplate

from langchain_moa.accounting.budget import Budget
from langchain_moa.accounting.list_prices import ListPrices
from langchain_moa.accounting.prices import Prices
from langchain_moa.accounting.settings import AccountingSettings
from langchain_moa.members.families import Provider, provider_of
from langchain_moa.members.identity import fingerprint
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import with_arguments
from langchain_moa.members.secrets import secrets_in, secrets_of_environment
from langchain_moa.members.settings import AnswerSettings
from langchain_moa.messages.characters import whole_characters
from langchain_moa.messages.settings import MessageSettings
from langchain_moa.proposals.outliers import FilterFunction, checked_filter
from langchain_moa.proposals.prompt import parse_prompt
from langchain_moa.proposals.settings import AgentSettings, ProposalSettings
from langchain_moa.reliability.breaker import Breaker, shared_breaker
from langchain_moa.reliability.policy import Policy
from langchain_moa.reliability.settings import ReliabilitySettings
from langchain_moa.reliability.slots import MemberSlots, Slots
from langchain_moa.reliability.users_code import Bounded
from langchain_moa.strategies.base import Strategy
from langchain_moa.strategies.known import CONSULTING
from langchain_moa.strategies.settings import StrategySettings
from langchain_moa.tracing.redaction import Redaction
from langchain_moa.tracing.settings import TracingSettings
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

FILTER_NODE: Final = "proposal_filter"
_STATE_KEYS: Final = ("messages", "moa_proposals", FILTER_NODE)
_NOT_IN_NODE_NAMES = re.compile(r"[:|\s]+")


_OF_ASKING: Final = frozenset({"fan_out", "reuse_proposals"})
"""Settings that say when reference models are asked."""
_OF_NO_ANSWER: Final = frozenset(
    {
        *("proposer_timeout", "aggregator_timeout", "analyst_timeout", "layer_timeout", "timeout"),
        "hedge_after",
        *("max_retries", "circuit_breaker", "max_concurrency", "member_concurrency", "sequential"),
        *("stream_proposals", "stream_requests", "on_progress"),
        *("max_answer_bytes",),
    }
)
"""Settings that say how long an answer may take and who is told, and not what it is."""


class Settings(
    AnswerSettings,
    ProposalSettings,
    StrategySettings,
    ReliabilitySettings,
    AccountingSettings,
    AgentSettings,
    MessageSettings,
    TracingSettings,
):
    """All settings of a mixture beside its members."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """A checked mixture.

    Attributes:
        proposers: The reference models, one tuple per proposer layer.
        aggregator: The model of the last layer.
        settings: Everything else that the user said.
        adviser: Who is consulted between the last layer and the answer, the analyst or the judge;
            `None` for nobody. What it is to answer in is bound to it.
    """

    proposers: tuple[tuple[Member, ...], ...]
    aggregator: Member
    settings: Settings = field(repr=False)
    adviser: Member | None = None

    def __post_init__(self) -> None:
        _ = self.slots  # made before threads share it: two that came first would make two limits

    @property
    def strategy(self) -> Strategy | None:
        """Who is consulted before the answer and how; `None` where nobody is."""
        return CONSULTING.get(self.settings.strategy)

    @cached_property
    def policy(self) -> Policy:
        """How long to wait."""
        return Policy.of(self.settings)

    @cached_property
    def budget(self) -> Budget:
        """What a call may cost."""
        return Budget(self.settings)

    @cached_property
    def slots(self) -> MemberSlots:
        """The limits of simultaneous calls."""
        return MemberSlots(self.policy.max_concurrency, self.settings.member_concurrency)

    @cached_property
    def provider(self) -> Provider:
        """Whose the answers are, for traces and for middleware."""
        return provider_of(self.aggregator)

    @cached_property
    def prompt(self) -> StringPromptTemplate:
        """Template with the variable `proposals`."""
        return parse_prompt(self.settings.aggregator_prompt)

    @cached_property
    def keep(self) -> FilterFunction | None:
        """The filter of proposals, or `None`."""
        return checked_filter(self.settings.proposal_filter)

    @cached_property
    def prices(self) -> Prices | None:
        """The prices; a function of them may take a while, and no longer."""
        given = self.settings.prices
        if given is True or isinstance(given, ListPrices):  # what is looked up, when it is built
            return None if given is True else given
        return Bounded(given, self.policy.patience) if callable(given) else given

    @property
    def asks_prices(self) -> bool:
        """Whether prices are a function of the user's that a budget or a record asks."""
        return isinstance(self.prices, Bounded)

    @cached_property
    def proposal_arguments(self) -> AnyMapping:
        """Call arguments of every proposer."""
        given = self.settings
        named = {"temperature": given.proposal_temperature, "max_tokens": given.proposal_max_tokens}
        return {**_given(named), **given.proposal_kwargs}

    @cached_property
    def final_arguments(self) -> AnyMapping:
        """Call arguments of the aggregator."""
        given = self.settings
        named = {
            "temperature": given.temperature,
            "max_tokens": given.max_tokens,
            "stop": given.stop,
        }
        return _given(named)

    @property
    def layers(self) -> int:
        """Number of layers, the aggregator's counted."""
        return len(self.proposers) + 1

    @cached_property
    def members(self) -> list[Member]:
        """Everybody who may be asked: proposers, analyst or judge, aggregator, all fallbacks."""
        return [candidate for member in self._firsts for candidate in member.candidates]

    @property
    def _firsts(self) -> list[Member]:
        consulted = [] if self.adviser is None else [self.adviser]
        proposers = [member for layer in self.proposers for member in layer]
        return [*proposers, *consulted, self.aggregator]

    @cached_property
    def stand_ins(self) -> dict[Member, str]:
        """Per fallback, the name of the member that it stands in for."""
        return {fallback: first.model for first in self._firsts for fallback in first.fallbacks}

    @cached_property
    def is_plain(self) -> bool:
        """Whether each proposer layer is chat models that are asked all at once, and no filter."""
        proposers = [c for layer in self.proposers for m in layer for c in m.candidates]
        at_once = self.policy.max_concurrency != 1 and self.keep is None
        return at_once and all(member.is_plain for member in proposers)

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Per proposer layer, a short name for each proposer, unique in its layer."""
        return tuple(_unique([_short(m.model) for m in layer]) for layer in self.proposers)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that tells any two different mixtures apart."""
        asking = {name: getattr(self.settings, name) for name in _OF_ASKING}
        return fingerprint([self.drafts_fingerprint, asking])

    @cached_property
    def drafts_fingerprint(self) -> str:
        """The same but for when reference models are asked, which changes nothing of what they say.

        An agent's middleware may ask them in one turn, and the mixture itself not in the next. All
        settings count but those that are named not to, so that a new one is not forgotten.
        """
        names = Settings.model_fields.keys() - _OF_ASKING - _OF_NO_ANSWER
        shaping = {name: getattr(self.settings, name) for name in names}
        return fingerprint(
            [
                [[[c.runnable for c in m.candidates] for m in layer] for layer in self.proposers],
                [candidate.runnable for candidate in self.aggregator.candidates],
                [one.runnable for one in (self.adviser.candidates if self.adviser else ())],
                {**shaping, "aggregator_prompt": self.prompt},
            ]
        )

    def proposing(self, member: Member, *, in_thread: bool = False) -> AnyRunnable:
        """What is called when a member proposes: quiet, or streaming for listeners.

        Args:
            member: Who proposes.
            in_thread: Whether it is called in a thread, where only its client can end a request.
        """
        called = self._proposing.setdefault(member, {})
        known = called.get(in_thread)
        if known is None:
            runnable = member.counting if self.streams_from(member) else member.quiet
            if in_thread:
                runnable = member.limited(runnable, self.policy.longest_proposal)
            known = with_arguments(runnable, self.proposal_arguments)
            called[in_thread] = known
        return known

    def streams_from(self, member: Member) -> bool:
        """Whether a proposal is streamed, to listeners or only from its provider."""
        wanted = self.settings.stream_proposals or self.settings.stream_requests
        return wanted and member.streams

    @cached_property
    def _proposing(self) -> MutableMapping[Member, dict[bool, AnyRunnable]]:
        return WeakKeyDictionary()  # a binding may make members for one call

    def aggregating(
        self, member: Member, arguments: AnyMapping, *, in_thread: bool = False
    ) -> AnyRunnable:
        """What is called for the answer, with a call's arguments over the mixture's own.

        Args:
            member: Who answers.
            arguments: The call's arguments.
            in_thread: Whether it is called in a thread, where only its client can end a request.

        Raises:
            MoAConfigurationError: The aggregator holds no model that could take them.
        """
        runnable = member.counting
        if in_thread:
            runnable = member.limited(runnable, self.policy.longest_answer)
        return with_arguments(runnable, {**self.final_arguments, **arguments})

    def consulting(self, member: Member, *, in_thread: bool = False) -> AnyRunnable:
        """What is called when the analyst or the judge is asked.

        Args:
            member: The one that is asked, or a fallback.
            in_thread: Whether it is called in a thread, where only its client can end a request.
        """
        limit = min(self.policy.analyst_timeout, self.policy.timeout)
        return member.limited(member.quiet, limit) if in_thread else member.quiet

    def limits(self, member: Member) -> list[Slots]:
        """The limits of simultaneous calls that a call of a member falls under."""
        return self.slots.of(member.model)

    def breaker(self, member: Member) -> Breaker | None:
        """The circuit breaker of a member, where there are any."""
        if self.settings.circuit_breaker is None:
            return None
        known = self._breakers.get(member)
        if known is None:
            known = shared_breaker(member.fingerprint, self.settings.circuit_breaker)
            self._breakers[member] = known
        return known

    @cached_property
    def _breakers(self) -> dict[Member, Breaker]:
        return {}

    def profile_of(self, member: Member) -> ModelProfile:
        """What is known of a member: what the user says of it over what its package does."""
        return {**member.profile, **self.settings.profiles.get(member.model, {})}

    @cached_property
    def redaction(self) -> Redaction:
        """Takes the secrets of all members out; providers quote keys in their errors."""
        own = frozenset[str]().union(*(member.secrets for member in self.members))
        arguments = {**self.proposal_arguments, **self.final_arguments}
        return Redaction([*own, *secrets_in(arguments), *secrets_of_environment()])

    def redacted(self, text: str) -> str:
        """The text without any secret of any member, and in whole characters."""
        return whole_characters(self.redaction.text(text))


def _given(arguments: AnyMapping) -> AnyDict:
    """The arguments that are set; `None` leaves the member as its owner made it."""
    return {name: value for name, value in arguments.items() if value is not None}


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
