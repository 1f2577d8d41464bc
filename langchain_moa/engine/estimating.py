"""What a call will probably take, worked out from what its members would read and may write.

How many tokens a text has is not known without each member's tokenizer, so each number is a range.
Its factors hold for the tokenizers that `proposals.fitting` was measured with: texts are estimated
there for the least thrifty of them, of which the thriftiest makes a quarter in some scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from langchain_core.messages import BaseMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_moa.accounting.estimates import Estimate, MemberEstimate
from langchain_moa.accounting.prices import cost_of
from langchain_moa.engine.reading import read_by, seen_by, tokens_around
from langchain_moa.members.member import Member
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.messages.for_proposers import history_for_proposers
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.fan_out import fans_out
from langchain_moa.proposals.fitting import bound_tokens, estimated_tokens, input_tokens
from langchain_moa.reliability.settings import quorum_of
from langchain_moa.types import AnyDict, AnyMapping, Role

_LEAST, _MOST = 0.25, 2.0
"""What a text may really have, as a part of its estimate."""
_MESSAGE: Final = 16
"""Tokens more that a message may have: role, separators, and a template's own words."""
_RETOLD: Final = 2.0
"""A writer's tokens may be so many of its reader's, who has another tokenizer."""


@dataclass(frozen=True)
class _Range:
    low: float
    high: float

    def __add__(self, other: _Range) -> _Range:
        return _Range(self.low + other.low, self.high + other.high)


def estimated(mixture: Mixture, messages: Sequence[BaseMessage], output_tokens: int) -> Estimate:
    """What a call will probably take, if no request has to be repeated.

    Args:
        mixture: Who would be called.
        messages: The conversation.
        output_tokens: How many tokens an answer has at most where nothing limits it.
    """
    return _Estimating(mixture, messages, output_tokens).estimate()


class _Estimating:
    """One estimate being worked out."""

    def __init__(
        self, mixture: Mixture, messages: Sequence[BaseMessage], output_tokens: int
    ) -> None:
        self._mixture = mixture
        self._messages = messages
        self._assumed = output_tokens
        self._members: list[MemberEstimate] = []

    def estimate(self) -> Estimate:
        mixture = self._mixture
        asks = fans_out(mixture.settings.fan_out, self._messages)  # whose tools is not known
        waits, shown = 0, _Range(0, 0)
        for layer, members in enumerate(mixture.proposers if asks else (), start=1):
            told = [self._proposer(layer, index, m, shown) for index, m in enumerate(members)]
            quorum = quorum_of(mixture.settings.quorum, len(members)) or len(members)
            self._members += told
            shown = self._shown(told, min(quorum, len(members)))
            waits += self._waits(len(members), max(one.calls for one in told))
        waits += self._consulted(shown) if asks else 0
        selects = asks and mixture.settings.strategy == "select"
        if not selects:  # there the answer is a proposal, unless none can be chosen
            arguments = mixture.final_arguments
            own = self._reads(mixture.aggregator, self._messages, arguments) + shown
            self._add(mixture.aggregator, "aggregator", own, arguments.get("max_tokens"))
            waits += 1
        return self._sum(waits)

    def _sum(self, waits: int) -> Estimate:
        members = self._members
        low, high = [one.usd_low for one in members], [one.usd_high for one in members]
        return Estimate(
            calls=sum(one.calls for one in members),
            waits=waits,
            tokens_low=sum(self._least(one) for one in members),
            tokens_high=sum(one.input_high + one.output_high for one in members),
            usd_low=_known_sum(low),
            usd_high=_known_sum(high),
            members=tuple(members),
            assumed=self._assumed,
        )

    def _least(self, one: MemberEstimate) -> int:
        """Tokens at least, in all: of a layer with a quorum some may never come to an end."""
        if one.role == "proposer" and self._mixture.settings.quorum is not None:
            size = len(self._mixture.proposers[one.layer - 1])
            if one.index >= (quorum_of(self._mixture.settings.quorum, size) or size):
                return 0
        return one.input_low + one.output_low

    def _waits(self, members: int, calls: int) -> int:
        """How many calls of a layer come one after the other."""
        at_once = self._mixture.policy.max_concurrency or members
        return ceil(members / min(members, at_once)) * calls

    def _proposer(self, layer: int, index: int, member: Member, shown: _Range) -> MemberEstimate:
        arguments = self._mixture.proposal_arguments
        messages = history_for_proposers(seen_by(self._mixture, member, self._messages))
        own = self._reads(member, messages, arguments) + shown
        place = {"layer": layer, "index": index, "role": "proposer"}
        return self._one(place, member, own, arguments.get("max_tokens"))

    def _consulted(self, shown: _Range) -> int:
        """The analyst's or the judge's part; gives how many calls it waits for."""
        mixture, adviser = self._mixture, self._mixture.adviser
        if mixture.strategy is None or adviser is None:
            return 0
        prompt = estimated_tokens(mixture.strategy.prompt.format(proposals=""))
        own = self._reads(adviser, self._messages, {}) + shown
        self._add(adviser, mixture.strategy.role, own + _text(prompt), None)
        return 1

    def _add(self, member: Member, role: Role, read: _Range, limit: object) -> None:
        place = {"layer": self._mixture.layers, "index": 0, "role": role}
        self._members.append(self._one(place, member, read, limit))

    def _reads(
        self, member: Member, messages: Sequence[BaseMessage], arguments: AnyMapping
    ) -> _Range:
        """Tokens of the conversation, with the tools that are bound."""
        read = read_by(self._mixture, member, messages, ())
        _, bound = model_and_arguments(member.runnable)
        tokens = input_tokens(read.messages) + bound_tokens({**bound, **arguments})
        found = _text(tokens)
        return _Range(found.low, found.high + _MESSAGE * (len(read.messages) + 1))

    def _shown(self, layer: Sequence[MemberEstimate], least: int) -> _Range:
        """Tokens of a layer's proposals for who reads them."""
        around = _text(tokens_around(self._mixture, len(layer)))
        low = sum(sorted(one.output_low for one in layer)[:least])
        high = sum(one.output_high for one in layer)
        if self._mixture.settings.share_reasoning:
            high *= 2
        return _Range(around.low * least / len(layer) + low * _LEAST, around.high + high * _RETOLD)

    def _one(self, place: AnyDict, member: Member, read: _Range, limit: Any) -> MemberEstimate:
        """One member's part; `place` says which it is."""
        known = limit or member.max_tokens
        place = {**place, "model": member.model}
        inner = self._inside(member)
        if inner is not None:
            return _nested(inner, place, read)
        low, high = (int(read.low), 1), (ceil(read.high), int(known or self._assumed))
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

    def _inside(self, member: Member) -> Estimate | None:
        """The estimate of a member that is itself a mixture."""
        estimate = getattr(member.chat_model, "estimate", None)
        if estimate is None:
            return None
        found: Estimate = estimate(self._messages, output_tokens=self._assumed)
        return found

    def _usd(self, member: Member, read: int, written: int) -> float | None:
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return cost_of({member.model: usage}, self._mixture.prices, member.model)


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
