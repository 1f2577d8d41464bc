"""What a call will probably take, worked out from what its members would read and may write.

How many tokens a text has is not known without each member's tokenizer, so each number is a range.
Its factors hold for the tokenizers that `proposals.fitting` was measured with: texts are estimated
there for the one that makes most tokens; in some scripts another makes a quarter of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from math import ceil
from typing import Final

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.estimates import Estimate, MemberEstimate
from langchain_moa.accounting.prices import cost_of
from langchain_moa.engine.call import usable_by_slot
from langchain_moa.engine.deciding import require_messages
from langchain_moa.engine.reading import read_by, seen_by, tokens_around
from langchain_moa.members.bindings import Bindings, Bound, tools_of
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_proposers import history_for_proposers
from langchain_moa.messages.tools import tool_names, tools_note, with_tools_note
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.fan_out import fans_out
from langchain_moa.proposals.fitting import (
    MEDIA_TOKENS,
    bound_tokens,
    estimated_tokens,
    input_tokens,
)
from langchain_moa.reliability.settings import quorum_of
from langchain_moa.types import AnyDict, AnyMapping, Proposal, Role, slot

_LEAST, _MOST = 0.25, 2.0
"""What a text may really have, as a part of its estimate."""
_MESSAGE: Final = 16
"""Tokens more that a message may have: role, separators, and a template's own words."""
_RETOLD: Final = 2.0
"""A writer's tokens may be so many of its reader's, who has another tokenizer."""
_LEAST_MEDIA: Final = 85
"""Tokens of a picture at least, as OpenAI counts one in low detail
(https://platform.openai.com/docs/guides/images-vision#calculating-costs)."""


@dataclass(frozen=True)
class _Range:
    low: float
    high: float

    def __add__(self, other: _Range) -> _Range:
        return _Range(self.low + other.low, self.high + other.high)


def estimated(
    mixture: Mixture,
    messages: Sequence[BaseMessage],
    output_tokens: int,
    bindings: Bindings,
    kept: Sequence[Proposal] = (),
) -> Estimate:
    """What a call will probably take, if no request has to be repeated.

    Args:
        mixture: Who would be called.
        messages: The conversation.
        output_tokens: How many tokens an answer has at most where nothing limits it.
        bindings: What is bound to the mixture.
        kept: Proposals that it has already, whose authors are not asked.

    Raises:
        MoAConfigurationError: There is nothing to answer.
    """
    require_messages(messages)
    return _Estimating(mixture, messages, output_tokens, bindings, usable_by_slot(kept)).estimate()


@dataclass
class _Estimating:
    """One estimate being worked out."""

    mixture: Mixture
    messages: Sequence[BaseMessage]
    assumed: int
    bindings: Bindings
    kept: Mapping[str, Proposal]
    members: list[MemberEstimate] = field(default_factory=list)

    @cached_property
    def _arguments(self) -> AnyDict:
        """Call arguments of the final answer."""
        bound = self.bindings.aggregator(0)
        return {**self.mixture.final_arguments, **(bound.arguments if bound else {})}

    @cached_property
    def _tools(self) -> object:
        return tools_of(self.mixture.aggregator, self.bindings, self._arguments)

    def estimate(self) -> Estimate:
        mixture, own = self.mixture, tool_names(self._tools) if self._tools else ()
        asks = fans_out(mixture.settings.fan_out, self.messages, own)
        waits, shown = 0, _Range(0, 0)
        for layer, members in enumerate(mixture.proposers if asks else (), start=1):
            told = [self._proposer(layer, index, m, shown) for index, m in enumerate(members)]
            self.members += told
            shown = self._shown(told)
            waits += self._waits([one for one in told if one.calls])
        chooses = mixture.settings.strategy == "select"
        selects = asks and chooses and not self._tools  # with tools the aggregator acts
        if selects or (asks and not chooses):
            waits += self._consulted(shown)
        if not selects:  # there the answer is a proposal, unless none can be chosen
            member = mixture.aggregator
            own_part = self._reads(member, self.messages, self._arguments) + shown
            limit = self._arguments.get("max_tokens")
            self._add(member, "aggregator", own_part, limit, self.bindings.aggregator(0))
            waits += 1
        return self._sum(waits)

    def _sum(self, waits: int) -> Estimate:
        members = self.members
        return Estimate(
            calls=sum(one.calls for one in members),
            waits=waits,
            tokens_low=int(self._least([one.input_low + one.output_low for one in members])),
            tokens_high=sum(one.input_high + one.output_high for one in members),
            usd_low=self._least_known([one.usd_low for one in members]),
            usd_high=_known_sum([one.usd_high for one in members]),
            members=tuple(members),
            assumed=self.assumed,
        )

    def _least(self, amounts: Sequence[float]) -> float:
        """The sum at least: of a layer with a quorum some may never come to an end."""
        total, given = 0.0, zip(self.members, amounts, strict=True)
        for (role, _), group in groupby(given, lambda one: (one[0].role, one[0].layer)):
            own = sorted(amount for _, amount in group)
            if role == "proposer":
                own = own[: self._needed(len(own))]
            elif role == "judge" and self.mixture.settings.check is not None:
                own = []  # if one proposal alone passes the check, nobody is asked
            total += sum(own)
        return total

    def _least_known(self, amounts: Sequence[float | None]) -> float | None:
        known = [amount for amount in amounts if amount is not None]
        return self._least(known) if len(known) == len(amounts) else None

    def _needed(self, members: int) -> int:
        """How many of a layer's members there is waited for."""
        return min(members, quorum_of(self.mixture.settings.quorum, members) or members)

    def _waits(self, asked: Sequence[MemberEstimate]) -> int:
        """How many calls of a layer come one after the other."""
        at_once = self.mixture.policy.max_concurrency or max(1, len(asked))
        return ceil(len(asked) / at_once) * max((one.calls for one in asked), default=0)

    def _proposer(self, layer: int, index: int, member: Member, shown: _Range) -> MemberEstimate:
        place: AnyDict = {"layer": layer, "index": index, "role": "proposer"}
        if slot(layer, index) in self.kept:
            return MemberEstimate(**place, model=member.model, calls=0, usd_low=0.0, usd_high=0.0)
        bound = self.bindings.proposers.get((layer, index, 0))
        messages = history_for_proposers(seen_by(self.mixture, member, self.messages))
        if bound is None and self.mixture.settings.describe_tools:
            messages = with_tools_note(messages, tools_note(self._tools))
        arguments = {**self.mixture.proposal_arguments, **(bound.arguments if bound else {})}
        own = self._reads(member, messages, arguments) + shown
        return self._one(place, member, own, arguments.get("max_tokens"), bound)

    def _consulted(self, shown: _Range) -> int:
        """The analyst's or the judge's part; gives how many calls it waits for."""
        mixture, adviser = self.mixture, self.mixture.adviser
        if mixture.strategy is None or adviser is None:
            return 0
        prompt = estimated_tokens(mixture.strategy.prompt.format(proposals=""))
        own = self._reads(adviser, self.messages, {}) + shown
        self._add(adviser, mixture.strategy.role, own + _text(prompt), None)
        return 1

    def _add(
        self,
        member: Member,
        role: Role,
        read: _Range,
        limit: int | None,
        bound: Bound | None = None,
    ) -> None:
        place = {"layer": self.mixture.layers, "index": 0, "role": role}
        self.members.append(self._one(place, member, read, limit, bound))

    def _reads(
        self, member: Member, messages: Sequence[BaseMessage], arguments: AnyMapping
    ) -> _Range:
        """Tokens of the conversation, with the tools that are bound."""
        read = read_by(self.mixture, member, messages, ())
        _, bound = model_and_arguments(member.runnable)
        texts = input_tokens(read.messages, media=0)
        media = input_tokens(read.messages, media=1) - texts  # how many there are
        found = _text(texts + bound_tokens({**bound, **arguments}))
        found += _Range(media * _LEAST_MEDIA, media * MEDIA_TOKENS * _MOST)
        return _Range(found.low, found.high + _MESSAGE * (len(read.messages) + 1))

    def _shown(self, layer: Sequence[MemberEstimate]) -> _Range:
        """Tokens of a layer's proposals for who reads them."""
        least = self._needed(len(layer))
        around = _text(tokens_around(self.mixture, len(layer)))
        written = [self._written(one) for one in layer]
        low = sum(sorted(one.low for one in written)[:least])
        high = sum(one.high for one in written)
        if self.mixture.settings.share_reasoning:
            high *= 2
        return _Range(around.low * least / len(layer) + low * _LEAST, around.high + high * _RETOLD)

    def _written(self, one: MemberEstimate) -> _Range:
        """Tokens of a proposal, by its author's own count; of one that is there, as estimated."""
        known = self.kept.get(slot(one.layer, one.index))
        if known is None:
            return _Range(one.output_low, one.output_high)
        tokens = estimated_tokens(known.text)
        return _Range(tokens, tokens)

    def _one(
        self,
        place: AnyDict,
        member: Member,
        read: _Range,
        limit: int | None,
        bound: Bound | None = None,
    ) -> MemberEstimate:
        """One member's part; `place` says which it is."""
        known = limit or member.max_tokens
        place = {**place, "model": member.model}
        inner = self._inside(member.chat_model if bound is None else bound.inside)
        if inner is not None:
            return _nested(inner, place, read)
        low, high = (int(read.low), 1), (ceil(read.high), int(known or self.assumed))
        return MemberEstimate(
            **place,
            input_low=low[0],
            input_high=high[0],
            output_low=low[1],
            output_high=high[1],
            usd_low=self._usd(member, *low),
            usd_high=self._usd(member, *high),
            limit=bool(known),
        )

    def _inside(self, model: BaseChatModel | None) -> Estimate | None:
        """The estimate of a member that is itself a mixture."""
        estimate = getattr(model, "estimate", None)
        if estimate is None:
            return None
        found: Estimate = estimate(self.messages, output_tokens=self.assumed)
        return found

    def _usd(self, member: Member, read: int, written: int) -> float | None:
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return cost_of({member.model: usage}, self.mixture.prices, member.model)


def _nested(inner: Estimate, place: AnyDict, read: _Range) -> MemberEstimate:
    """A mixture as a member: each of its members reads what it reads."""
    members = inner.members
    alone = sum(one.input_high for one in members)
    most = alone + ceil(read.high) * inner.calls
    # its own estimate knows nothing of the proposals that it is shown
    usd = None if inner.usd_high is None else inner.usd_high * most / max(1, alone)
    return MemberEstimate(
        **place,
        calls=inner.calls,
        input_low=sum(one.input_low for one in members),
        input_high=most,
        output_low=sum(one.output_low for one in members),
        output_high=sum(one.output_high for one in members),
        usd_low=inner.usd_low,
        usd_high=usd,
        limit=all(one.limit for one in members),
    )


def _text(tokens: float) -> _Range:
    return _Range(tokens * _LEAST, tokens * _MOST)


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
