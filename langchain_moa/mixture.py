"""What a mixture consists of, checked: layers of proposers, the aggregator, the settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias
from weakref import WeakKeyDictionary

from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.prompts import StringPromptTemplate
from langchain_core.runnables import Runnable

from langchain_moa.accounting.budget import Budget
from langchain_moa.accounting.prices import Prices
from langchain_moa.errors import UnsupportedContentError
from langchain_moa.members.identity import fingerprint
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import with_arguments
from langchain_moa.messages.content import OnUnsupported, unsupported, without_content
from langchain_moa.messages.visibility import ContextFilter, visible
from langchain_moa.proposals.fan_out import FanOut
from langchain_moa.proposals.fitting import (
    PROPOSAL_TOKENS,
    estimated_tokens,
    input_tokens,
    shortened,
)
from langchain_moa.proposals.outliers import FilterFunction
from langchain_moa.proposals.prompt import (
    PROPOSALS_VARIABLE,
    with_proposals,
)
from langchain_moa.reliability.breaker import Breaker, shared_breaker
from langchain_moa.reliability.policy import Policy
from langchain_moa.reliability.slots import MemberSlots, Slots
from langchain_moa.tracing.progress import OnProgress
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
        return [candidate for member in self._firsts for candidate in member.candidates]

    @property
    def _firsts(self) -> list[Member]:
        return [*(member for layer in self.proposers for member in layer), self.aggregator]

    @cached_property
    def _stand_ins(self) -> dict[Member, str]:
        """Per fallback, the name of the member that it stands in for."""
        return {fallback: first.model for first in self._firsts for fallback in first.fallbacks}

    @cached_property
    def is_plain(self) -> bool:
        """Whether each proposer layer is nothing but chat models that are asked all at once."""
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
        return fingerprint([self.drafts_fingerprint, self.fan_out])

    @cached_property
    def drafts_fingerprint(self) -> str:
        """The same but for when reference models are asked, which changes nothing of what they say.

        An agent's middleware may ask them in one turn, and the mixture itself not in the next.
        """
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
                [self.describe_tools, self.tools_for, self.structured_proposals],
                [self.on_unsupported, self.context_filter, dict(self.profiles)],
            ]
        )

    def proposing(self, member: Member, *, in_thread: bool = False) -> Runnable[Any, Any]:
        """What is called when a member proposes: quiet, or streaming for listeners.

        Args:
            member: Who proposes.
            in_thread: Whether it is called in a thread, where only its client can end a request.
        """
        called = self._proposing.setdefault(member, {})
        known = called.get(in_thread)
        if known is None:
            streams = self.stream_proposals and member.streams
            runnable = member.counting if streams else member.quiet
            if in_thread:
                runnable = member.limited(runnable, self.policy.longest_proposal)
            known = with_arguments(runnable, self.proposal_arguments)
            called[in_thread] = known
        return known

    @cached_property
    def _proposing(self) -> MutableMapping[Member, dict[bool, Runnable[Any, Any]]]:
        return WeakKeyDictionary()  # a binding may make members for one call

    def aggregating(
        self, member: Member, arguments: Mapping[str, Any], *, in_thread: bool = False
    ) -> Runnable[Any, Any]:
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
        names = (member.model, self._stand_ins.get(member, member.model))
        return visible(self.context_filter, names, messages)

    def _room(self, member: Member, messages: Sequence[BaseMessage], proposals: int) -> int | None:
        """Estimated tokens that a member has left for proposals, `None` where it has no limit."""
        free = self._free(member, proposals)
        return None if free is None else max(0, free - input_tokens(messages))

    def _free(self, member: Member, proposals: int) -> int | None:
        """Estimated tokens that a member has for the conversation and so many proposals."""
        limits = self.max_input_tokens
        own = limits.get(member.model) if isinstance(limits, Mapping) else limits
        limit = own or self.profile_of(member).get("max_input_tokens")
        if limit is None:
            return None
        return int(limit * _SAFE_SHARE) - (self.tokens_around(proposals) if proposals else 0)

    @property
    def room_for_input(self) -> int | None:
        """Estimated tokens of the longest conversation that every member takes with proposals.

        `None` where no member has a limit. For a proposal are reckoned as many tokens as its
        author may write, `PROPOSAL_TOKENS` where that is open, and for all of them together at
        most half of what a member reads; what is longer will be shortened.
        """
        readers = [*self.proposers, (self.aggregator,)]
        rooms = [
            self._room_for_input(candidate, self.proposers[:before])
            for before, members in enumerate(readers)
            for member in members
            for candidate in member.candidates
        ]
        return min((room for room in rooms if room is not None), default=None)

    def _room_for_input(self, member: Member, layers: Sequence[Sequence[Member]]) -> int | None:
        """The same for one member, which may read the proposals of any layer before it."""
        rooms = []
        for layer in layers or [()]:
            free = self._free(member, len(layer))
            if free is None:
                return None
            rooms.append(free - min(sum(map(self._written, layer)), free // 2))
        return max(1, min(rooms))

    def _written(self, member: Member) -> int:
        """How many tokens a proposal may have."""
        limit: int | None = self.proposal_arguments.get("max_tokens")
        return limit or max(one.max_tokens or PROPOSAL_TOKENS for one in member.candidates)

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
