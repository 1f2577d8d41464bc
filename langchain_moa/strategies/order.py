"""The order in which readers see proposals: mixed, and yet the same for equal calls.

Models favour what they read first or last. A member that always stands in the same place would be
favoured in each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from langchain_core.messages import BaseMessage

from langchain_moa.messages.roles import last_user_place
from langchain_moa.types import Proposal


def shuffled(proposals: Sequence[Proposal], messages: Sequence[BaseMessage]) -> list[Proposal]:
    """The proposals in an order that follows from what they say and what was asked.

    Only the user's last message counts of the conversation: in an agent's loop the proposals of a
    turn keep their order, and so the beginning of the prompt that providers cache.

    Args:
        proposals: Those of one layer, by index.
        messages: The conversation.

    Example:
        >>> from langchain_core.messages import HumanMessage
        >>> drafts = [Proposal(layer=1, index=i, model="m", text=t) for i, t in enumerate("abc")]
        >>> [p.index for p in shuffled(drafts, [HumanMessage("Why?")])]
        [0, 2, 1]
        >>> [p.index for p in shuffled(drafts, [HumanMessage("How?")])]
        [2, 1, 0]
    """
    if len(proposals) < 2:  # noqa: PLR2004 - there is nothing to mix
        return list(proposals)
    place = last_user_place(messages)
    asked = "" if place is None else messages[place].content
    content = repr([asked, [proposal.text for proposal in proposals]])
    seed = blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def rank(proposal: Proposal) -> bytes:
        return blake2b(proposal.key.encode(), key=seed, digest_size=16).digest()

    return sorted(proposals, key=rank)
