"""What a member reads of a conversation and of proposals, and what it cannot take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.prompts import StringPromptTemplate

from langchain_moa.errors import UnsupportedContentError
from langchain_moa.members.member import Member
from langchain_moa.members.profiles import common_profile
from langchain_moa.messages.content import length_of, unsupported, without_content
from langchain_moa.messages.for_proposers import without_tool_turns
from langchain_moa.messages.rules import rules_of
from langchain_moa.messages.visibility import visible
from langchain_moa.mixture import Mixture
from langchain_moa.proposals.cleaning import cleaned
from langchain_moa.proposals.fences import PROPOSALS_ALONE, Beside, fence_key
from langchain_moa.proposals.fitting import (
    PROPOSAL_TOKENS,
    bound_tokens,
    estimated_tokens,
    input_tokens,
    shortened,
)
from langchain_moa.proposals.prompt import PROPOSALS_VARIABLE, with_proposals
from langchain_moa.types import LARGE, AnyMapping, Proposal

PROPOSAL_TEXT: Final = "proposal text"
"""What a member lacks whose proposals were shortened."""
_FENCE_TOKENS: Final = 44
"""What stands around one proposal."""
_SAFE_SHARE: Final = 0.9
"""Of a context window: tokens are estimated, and by each tokenizer counted otherwise."""


_TOKENS: Final = re.compile(
    r"(?<![\w.,-])\d{1,3}(?:,\d{3}){1,3}(?![\w-])|(?<![\w.,-])\d{3,9}(?![\w-])"
)
"""Numbers of tokens in an endpoint's words, such as 4096 or 128,000, and no part of a name."""
_SMALLEST_WINDOW: Final = 512
"""Lower numbers are statuses, or of something else."""
_NOTHING: Final[AnyMapping] = MappingProxyType({})


class Reading(NamedTuple):
    """What a member reads.

    Attributes:
        messages: The conversation with the proposals in it.
        left_out: Kinds of content that it cannot take, and `PROPOSAL_TEXT` where proposals were
            shortened.
        fence_key: The key of the fences around the proposals; `None` where there are none.
    """

    messages: list[BaseMessage]
    left_out: Sequence[str] = ()
    fence_key: str | None = None


def lacks(mixture: Mixture, member: Member, messages: Sequence[BaseMessage]) -> list[str]:
    """Which kinds of content of a conversation a member cannot take."""
    return unsupported(mixture.profile_of(member), messages)


def require_taken(mixture: Mixture, member: Member, left_out: Sequence[str]) -> None:
    """Refuse to go on without content that a member cannot take, where that is not wanted.

    Args:
        mixture: The mixture.
        member: Who would be asked.
        left_out: What it would not get, as `read_by` tells; it may lack text of proposals.

    Raises:
        UnsupportedContentError: There is such content.
    """
    kinds = [kind for kind in left_out if kind != PROPOSAL_TEXT]
    if kinds and mixture.settings.on_unsupported != "drop_content":
        msg = (
            f"{member.field}={member.model!r} takes no {', '.join(kinds)}; leave it out, "
            "give another model, or on_unsupported='drop_content'."
        )
        raise UnsupportedContentError(msg)


def seen_by(mixture: Mixture, member: Member, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The caller's messages that a member may see, in whole characters: no request holds halves."""
    names = (member.model, mixture.stand_ins.get(member, member.model))
    seen = visible(mixture.settings.context_filter, names, messages)
    return [cleaned(message, None) for message in seen]


def weight_of(
    mixture: Mixture, messages: Sequence[BaseMessage], proposals: Sequence[Proposal]
) -> int:
    """Characters that are worked on for a request; a user's filter may take any time."""
    if mixture.settings.context_filter is not None:
        return LARGE
    return sum(map(length_of, messages)) + sum(len(proposal.text) for proposal in proposals)


class Rooms:
    """How much of the proposals members get after an endpoint said that a prompt did not fit.

    Tokens are estimated, and windows not always known: what was too long is sent once more with
    half of the proposals' text, or with less where the endpoint said how much it was too long.
    """

    def __init__(self) -> None:
        self._given: dict[Member, _Given] = {}
        self._most: dict[Member, int] = {}

    def of(self, member: Member) -> int | None:
        """The most tokens of proposals that a member gets; `None` where nothing was too long."""
        return self._most.get(member)

    def given(
        self, member: Member, texts: Sequence[str], read: Sequence[BaseMessage], bound: AnyMapping
    ) -> None:
        """Note what a member gets of the proposals, and with all else."""
        self._given[member] = _Given(list(texts), read, bound)

    def shrink(self, member: Member, error: Exception | None) -> bool:
        """Whether a member is to be asked once more, with at most half of the proposals' text.

        Args:
            member: Who was asked.
            error: What came of it.
        """
        if not isinstance(error, ContextOverflowError) or member in self._most:
            return False
        given = self._given.get(member)
        tokens = sum(map(estimated_tokens, given.texts)) if given else 0
        if given and tokens:
            whole = input_tokens(given.read) + bound_tokens(given.bound)
            self._most[member] = min(tokens // 2, _that_fits(tokens, whole, str(error)))
        return bool(tokens)


class _Given(NamedTuple):
    """What a member was given: the proposals, the messages with them, and the arguments."""

    texts: Sequence[str]
    read: Sequence[BaseMessage]
    bound: AnyMapping


def _that_fits(proposals: int, whole: int, said: str) -> int:
    """Estimated tokens of proposals that fit, by what an endpoint said of a too long prompt.

    The highest number is how long the prompt was, the next one what fits; where there is but one,
    it is what fits.

    Args:
        proposals: The proposals' tokens, as they are estimated.
        whole: Those of the whole prompt.
        said: The endpoint's words.
    """
    numbers = {int(number.replace(",", "")) for number in _TOKENS.findall(said)}
    told = sorted((n for n in numbers if n >= _SMALLEST_WINDOW), reverse=True)
    if not told:
        return proposals
    if len(told) == 1:
        return told[0] // 2
    asked, fitting = told[0], int(told[1] * _SAFE_SHARE)
    # the rest of the prompt stays; where it is too long itself, no answer depends on this
    share = proposals * fitting // asked
    return max(share // 2, proposals - whole * (asked - fitting) // asked)


def read_by(
    mixture: Mixture,
    member: Member,
    messages: Sequence[BaseMessage],
    proposals: Sequence[Proposal],
    rooms: Rooms | None = None,
    *,
    bound: AnyMapping = _NOTHING,
    beside: Beside = PROPOSALS_ALONE,
    prompt: StringPromptTemplate | None = None,
) -> Reading:
    """The conversation as a member reads it, and what it does not get of it.

    Args:
        mixture: The mixture.
        member: Who reads it.
        messages: What it may see of the conversation. It is not changed.
        proposals: Those that it is to read, if they are usable.
        rooms: How much of them it may get at most, where an endpoint has told.
        bound: The call arguments bound to it: tools and schemas take room, too.
        beside: What it reads with the proposals.
        prompt: How they are introduced, where that is not the mixture's `aggregator_prompt`. It
            then stands at the conversation's end, whatever the `placement`.
    """
    left_out = lacks(mixture, member, messages)
    taken = without_content(messages, mixture.profile_of(member))
    texts = [proposal.text for proposal in proposals if proposal.usable]
    most = None if rooms is None else rooms.of(member)
    room = _room(mixture, member, taken, len(texts))
    room = _lowest([None if room is None else max(0, room - bound_tokens(bound)), most])
    if room is not None:
        given, (texts, beside) = (texts, beside), _fitting(texts, beside, room)
        left_out = left_out if (texts, beside) == given else [*left_out, PROPOSAL_TEXT]
    in_block = any(rules.caches_blocks for rules in rules_of(member.chat_model))
    key = fence_key(texts, beside) if any(texts) else None
    read = with_proposals(
        taken,
        texts,
        prompt or mixture.prompt,
        mixture.settings.placement if prompt is None else "user",
        beside=beside,
        in_block=in_block,
        key=key,
    )
    if rooms is not None:
        rooms.given(member, [*texts, beside.analysis, *beside.reasoning], read, bound)
    return Reading(read, left_out, key)


def _fitting(texts: list[str], beside: Beside, room: int) -> tuple[list[str], Beside]:
    """Proposals, and what stands beside them, cut to fit: reasoning first, then all else.

    A proposal of which nothing is left is empty; the conversation itself is never cut.
    """
    written = [*texts, *filter(None, [beside.analysis])]
    left = room - sum(map(estimated_tokens, written))
    reasoning = beside.reasoning
    if sum(map(estimated_tokens, reasoning)) > max(0, left):
        reasoning = shortened(reasoning, left)
    if left >= 0:
        return texts, Beside(beside.analysis, reasoning)
    cut = shortened(written, room)
    return cut[: len(texts)], Beside("".join(cut[len(texts) :]), reasoning)


def room_for_input(mixture: Mixture) -> int | None:
    """Estimated tokens of the longest conversation that every member takes with proposals.

    `None` where no member has a limit. For a proposal are reckoned as many tokens as its
    author may write, `PROPOSAL_TOKENS` where that is open, and for all of them together at
    most half of what a member reads; what is longer will be shortened.
    """
    readers = [*mixture.proposers, (mixture.aggregator,)]
    rooms = [
        _room_for_input(mixture, candidate, mixture.proposers[:before])
        for before, members in enumerate(readers)
        for member in members
        for candidate in member.candidates
    ]
    return _lowest(rooms)


def profile_of(mixture: Mixture) -> ModelProfile | None:
    """What a mixture can as a model, and the most input that fits beside the proposals."""
    candidates = mixture.aggregator.candidates
    own = [mixture.profile_of(member) for member in candidates]
    # of several limits the lowest is the one that holds whoever answers
    given = mixture.final_arguments.get("max_tokens")
    outputs = [given or member.max_tokens for member in candidates]
    limits = {
        "max_input_tokens": room_for_input(mixture),
        "max_output_tokens": _lowest([*outputs, *(one.get("max_output_tokens") for one in own)]),
    }
    known = {name: limit for name, limit in limits.items() if limit is not None}
    return cast("ModelProfile", {**common_profile(own), **known}) or None


def _lowest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def tokens_around(mixture: Mixture, proposals: int) -> int:
    """Estimated tokens of the prompt and the fences around so many proposals."""
    prompt = estimated_tokens(mixture.prompt.format(**{PROPOSALS_VARIABLE: ""}))
    return prompt + proposals * _FENCE_TOKENS


def require_supported(mixture: Mixture, messages: Sequence[BaseMessage], *, fans_out: bool) -> None:
    """Check what of a conversation the members take that will be asked.

    Whether a fallback will be asked is not known yet, so that is left to its own turn.

    Args:
        mixture: The mixture.
        messages: The conversation.
        fans_out: Whether the reference models are asked in this call.

    Raises:
        UnsupportedContentError: One of them cannot take it and `on_unsupported="raise"`; or with
            `"skip_member"` no aggregator is left, and no proposal may be the answer.
    """
    if mixture.settings.on_unsupported == "raise":
        asked = [m for layer in mixture.proposers for m in layer] if fans_out else []
        for member in (*asked, mixture.aggregator):
            refusal = _refusal(mixture, member, messages)
            if refusal is not None:
                raise refusal
    if (
        mixture.settings.on_unsupported == "skip_member"
        and mixture.settings.on_aggregator_failure == "raise"
    ):
        candidates = mixture.aggregator.candidates
        refusals = [r for c in candidates if (r := _refusal(mixture, c, messages)) is not None]
        if len(refusals) == len(candidates):
            raise refusals[0]


def _room(
    mixture: Mixture, member: Member, messages: Sequence[BaseMessage], proposals: int
) -> int | None:
    """Estimated tokens that a member has left for proposals, `None` where it has no limit."""
    free = _free(mixture, member, proposals)
    return None if free is None else max(0, free - input_tokens(messages))


def _free(mixture: Mixture, member: Member, proposals: int) -> int | None:
    """Estimated tokens that a member has for the conversation and so many proposals."""
    limits = mixture.settings.max_input_tokens
    own = limits.get(member.model) if isinstance(limits, Mapping) else limits
    limit = own or mixture.profile_of(member).get("max_input_tokens")
    if limit is None:
        return None
    return int(limit * _SAFE_SHARE) - (tokens_around(mixture, proposals) if proposals else 0)


def _room_for_input(
    mixture: Mixture, member: Member, layers: Sequence[Sequence[Member]]
) -> int | None:
    """The longest conversation for one member, which may read the proposals of any layer."""
    rooms = []
    for layer in layers or [()]:
        free = _free(mixture, member, len(layer))
        if free is None:
            return None
        written = sum(_written(mixture, author) for author in layer)
        rooms.append(free - min(written, free // 2))
    return max(1, min(rooms))


def _written(mixture: Mixture, member: Member) -> int:
    """How many tokens a proposal may have."""
    limit: int | None = mixture.proposal_arguments.get("max_tokens")
    return limit or max(one.max_tokens or PROPOSAL_TOKENS for one in member.candidates)


def _refusal(
    mixture: Mixture, member: Member, messages: Sequence[BaseMessage]
) -> UnsupportedContentError | None:
    try:
        seen = seen_by(mixture, member, messages)
        if member not in mixture.aggregator.candidates:
            seen = without_tool_turns(seen)
        require_taken(mixture, member, lacks(mixture, member, seen))
    except UnsupportedContentError as error:
        return error
    except Exception:  # noqa: BLE001 - the user's filter fails in the member's turn again
        return None
    return None
