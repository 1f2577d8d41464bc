"""Finds content that is to be taken and cannot be, before anything is paid."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from langchain_moa.errors import UnsupportedContentError
from langchain_moa.members.member import Member
from langchain_moa.messages.for_proposers import without_tool_turns
from langchain_moa.mixture import Mixture


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
    if mixture.on_unsupported == "raise":
        asked = [m for layer in mixture.proposers for m in layer] if fans_out else []
        for member in (*asked, mixture.aggregator):
            refusal = _refusal(mixture, member, messages)
            if refusal is not None:
                raise refusal
    if mixture.on_unsupported == "skip_member" and mixture.policy.on_aggregator_failure == "raise":
        candidates = mixture.aggregator.candidates
        refusals = [r for c in candidates if (r := _refusal(mixture, c, messages)) is not None]
        if len(refusals) == len(candidates):
            raise refusals[0]


def _refusal(
    mixture: Mixture, member: Member, messages: Sequence[BaseMessage]
) -> UnsupportedContentError | None:
    try:
        seen = mixture.seen_by(member, messages)
        if member not in mixture.aggregator.candidates:
            seen = without_tool_turns(seen)
        mixture.require_taken(member, mixture.lacks(member, seen))
    except UnsupportedContentError as error:
        return error
    except Exception:  # noqa: BLE001 - the user's filter fails in the member's turn again
        return None
    return None
