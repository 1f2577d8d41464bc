"""What a mixture consists of, checked: layers of proposers, the aggregator, the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.prompts import StringPromptTemplate
from langchain_core.runnables import Runnable

from langchain_moa.breaker import Breaker, shared_breaker
from langchain_moa.budget import Budget
from langchain_moa.composition import with_arguments
from langchain_moa.errors import UnsupportedContentError
from langchain_moa.filtering import FilterFunction
from langchain_moa.fitting import estimated_tokens, input_tokens, shortened
from langchain_moa.gating import FanOut
from langchain_moa.identity import fingerprint
from langchain_moa.members import Member
from langchain_moa.modalities import OnUnsupported, unsupported, without_content
from langchain_moa.policy import Policy
from langchain_moa.prices import Prices
from langchain_moa.progress import OnProgress
from langchain_moa.prompts import (
    PROPOSALS_VARIABLE,
    with_proposals,
)
from langchain_moa.slots import MemberSlots, Slots
from langchain_moa.types import Placement, Proposal

FILTER_NODE: Final = "proposal_filter"
PROPOSAL_TEXT: Final = "proposal text"
"""What a member lacks whose proposals were shortened."""
_STATE_KEYS: Final = ("messages", "moa_proposals", FILTER_NODE)
_FENCE_TOKENS: Final = 40
"""What stands around one proposal."""
_SAFE_SHARE: Final = 0.9
"""Of a context window: tokens are estimated, and by each tokenizer counted otherwise."""
_NOT_IN_NODE_NAMES = re.compile(r"[:|\s]+")


ToolsFor: TypeAlias = Literal["aggregator", "all"]
"""Whose calls tools are bound to. Only the aggregator's are ever executed."""

ContextFilter: TypeAlias = (
    Callable[[str, list[BaseMessage]], Sequence[BaseMessage]]
    | Mapping[str, Callable[[list[BaseMessage]], Sequence[BaseMessage]]]
    | None
)
"""Which messages members may see: a function of a model's name and the conversation, or one
function of the conversation per model name."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """A checked mixture.

    Attributes:
        proposers: The reference models, one tuple per proposer layer.
        aggregator: The model of the last layer.
        prompt: Template with the variable `proposals`.
        placement: Where proposals are put.
        policy: How long to wait, how often to try, what to do with too little.
        budget: What a call may cost.
        slots: The limits of simultaneous calls.
        prices: What tokens cost, or `None`.
        keep: The filter of proposals, or `None`.
        max_input_tokens: How much members read, where it is not as their profiles say.
        proposal_arguments: Call arguments of every proposer.
        final_arguments: Call arguments of the aggregator.
        include_proposals: Whether the record holds the proposals' texts.
        stream_proposals: Whether proposers stream, for listeners to the call's progress.
        on_progress: Called with each event of a call, or `None`.
        fan_out: Which turns ask the reference models.
        reuse_proposals: Whether tool turns get the proposals of their user's turn.
        describe_tools: Whether reference models are told of the aggregator's tools.
        tools_for: Whose calls tools are bound to.
        structured_proposals: Whether reference models answer in the schema, too.
        on_unsupported: What to do with content that a member cannot take.
        context_filter: Which messages members may see.
        profiles: What is known of models that have no profile of their own.
    """

    proposers: tuple[tuple[Member, ...], ...]
    aggregator: Member
    prompt: StringPromptTemplate
    placement: Placement
    policy: Policy
    budget: Budget
    slots: MemberSlots
    prices: Prices | None
    keep: FilterFunction | None
    max_input_tokens: int | Mapping[str, int] | None
    proposal_arguments: Mapping[str, Any]
    final_arguments: Mapping[str, Any]
    include_proposals: bool
    stream_proposals: bool
    on_progress: OnProgress | None
    fan_out: FanOut
    reuse_proposals: bool
    describe_tools: bool
    tools_for: ToolsFor
    structured_proposals: bool
    on_unsupported: OnUnsupported
    context_filter: ContextFilter
    profiles: Mapping[str, ModelProfile]

    @property
    def layers(self) -> int:
        """Number of layers, the aggregator's counted."""
        return len(self.proposers) + 1

    @cached_property
    def members(self) -> list[Member]:
        """Everybody who may be asked: proposers, the aggregator, and all fallbacks."""
        firsts = [*(member for layer in self.proposers for member in layer), self.aggregator]
        return [candidate for member in firsts for candidate in member.candidates]

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Per proposer layer, a short name for each proposer, unique in its layer."""
        return tuple(_unique([_short(m.model) for m in layer]) for layer in self.proposers)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that tells any two different mixtures apart."""
        return fingerprint(
            [
                [[[c.runnable for c in m.candidates] for m in layer] for layer in self.proposers],
                [candidate.runnable for candidate in self.aggregator.candidates],
                self.prompt,
                self.placement,
                repr(self.policy.shaping),
                repr(self.budget),
                dict(self.proposal_arguments),
                dict(self.final_arguments),
                self.include_proposals,
                self.keep,
                self.max_input_tokens,
                self.fan_out,
                [self.describe_tools, self.tools_for, self.structured_proposals],
                [self.on_unsupported, self.context_filter, dict(self.profiles)],
            ]
        )

    def proposing(self, member: Member) -> Runnable[Any, Any]:
        """What is called when a member proposes: quiet, or streaming for listeners."""
        streams = self.stream_proposals and member.streams
        runnable = member.counting if streams else member.quiet
        limited = member.limited(runnable, self.policy.longest_proposal)
        return with_arguments(limited, self.proposal_arguments)

    def aggregating(self, member: Member, arguments: Mapping[str, Any]) -> Runnable[Any, Any]:
        """What is called for the answer, with a call's arguments over the mixture's own.

        Raises:
            MoAConfigurationError: The aggregator holds no model that could take them.
        """
        limited = member.limited(member.counting, self.policy.longest_answer)
        return with_arguments(limited, {**self.final_arguments, **arguments})

    def limits(self, member: Member) -> list[Slots]:
        """The limits of simultaneous calls that a call of a member falls under."""
        return self.slots.of(member.model)

    def breaker(self, member: Member) -> Breaker | None:
        """The circuit breaker of a member, where there are any."""
        if self.policy.circuit_breaker is None:
            return None
        known = self._breakers.get(member)
        if known is None:
            known = shared_breaker(member.fingerprint, self.policy.circuit_breaker)
            self._breakers[member] = known
        return known

    @cached_property
    def _breakers(self) -> dict[Member, Breaker]:
        return {}

    def profile_of(self, member: Member) -> ModelProfile:
        """What is known of a member: what the user says of it over what its package does."""
        return {**member.profile, **self.profiles.get(member.model, {})}

    def lacks(self, member: Member, messages: Sequence[BaseMessage]) -> list[str]:
        """Which kinds of content of a conversation a member cannot take."""
        return unsupported(self.profile_of(member), messages)

    def require_taken(self, member: Member, left_out: Sequence[str]) -> None:
        """Refuse to go on without content that a member cannot take, where that is not wanted.

        Args:
            member: Who would be asked.
            left_out: What it would not get, as `read_by` tells; it may lack text of proposals.

        Raises:
            UnsupportedContentError: There is such content.
        """
        kinds = [kind for kind in left_out if kind != PROPOSAL_TEXT]
        if kinds and self.on_unsupported != "drop_content":
            msg = (
                f"{member.field}={member.model!r} takes no {', '.join(kinds)}; leave it out, "
                "give another model, or on_unsupported='drop_content'."
            )
            raise UnsupportedContentError(msg)

    def seen_by(self, member: Member, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The caller's messages that a member may see."""
        given = self.context_filter
        if isinstance(given, Mapping):
            own = given.get(member.model)
            return list(messages) if own is None else list(own(list(messages)))
        return list(messages) if given is None else list(given(member.model, list(messages)))

    def _room(self, member: Member, messages: Sequence[BaseMessage], proposals: int) -> int | None:
        """Estimated tokens that a member has left for proposals, `None` where it has no limit."""
        limits, profile = self.max_input_tokens, self.profile_of(member)
        own = limits.get(member.model) if isinstance(limits, Mapping) else limits
        limit = own or profile.get("max_input_tokens")
        if limit is None:
            return None
        taken = input_tokens(messages) + self.tokens_around(proposals)
        return max(0, int(limit * _SAFE_SHARE) - taken)

    def tokens_around(self, proposals: int) -> int:
        """Estimated tokens of the prompt and the fences around so many proposals."""
        return self._prompt_tokens + proposals * _FENCE_TOKENS

    @cached_property
    def _prompt_tokens(self) -> int:
        return estimated_tokens(self.prompt.format(**{PROPOSALS_VARIABLE: ""}))

    @cached_property
    def _secrets(self) -> list[str]:
        found = frozenset[str]().union(*(member.secrets for member in self.members))
        return sorted(found, key=len, reverse=True)  # one may begin with another

    def redacted(self, text: str) -> str:
        """The text without any key of any member; providers quote keys in their errors."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def read_by(
        self, member: Member, messages: Sequence[BaseMessage], proposals: Sequence[Proposal]
    ) -> tuple[list[BaseMessage], list[str]]:
        """The conversation as a member reads it, and what it does not get of it.

        Args:
            member: Who reads it.
            messages: What it may see of the conversation. It is not changed.
            proposals: Those that it is to read, if they are usable.

        Returns:
            The conversation with the proposals in it; kinds of content, and `PROPOSAL_TEXT` where
            proposals were shortened.
        """
        left_out = self.lacks(member, messages)
        taken = without_content(messages, self.profile_of(member))
        texts = [proposal.text for proposal in proposals if proposal.usable]
        room = self._room(member, taken, len(texts))
        if room is not None and sum(map(estimated_tokens, texts)) > room:
            left_out = [*left_out, PROPOSAL_TEXT]
            # what is left of none is left out; the conversation itself is never cut
            texts = [text for text in shortened(texts, room) if text]
        return with_proposals(taken, texts, self.prompt, self.placement), left_out


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
