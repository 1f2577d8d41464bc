"""Remembers the proposals of a user's turn, for the tool turns that follow it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from langchain_moa.messages.roles import last_user_place, role_of
from langchain_moa.types import Proposal

_MOST: Final = 512
"""Keys. A turn in a thread has two, with its system messages and without."""


class ProposalMemory:
    """The proposals of the latest turns of all mixtures, in this process only.

    A turn is known by its thread and by what the conversation says up to its last user message; one
    that was summarized or edited meanwhile is another one. System messages count only where there
    is no thread: an agent may make its own anew in each step, with the time of day, say.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[list[Proposal], str]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(
        self,
        mixture: str,
        messages: Sequence[BaseMessage],
        proposals: Sequence[Proposal],
        thread: Sequence[str] = (),
        notes: str = "",
    ) -> None:
        """Remember the proposals that were made for a conversation.

        Args:
            mixture: Fingerprint of the mixture that made them.
            messages: The conversation.
            proposals: All of them, those that are not usable too.
            thread: What identifies the conversation's thread; empty where there is none.
            notes: What an analyst found in them, for the aggregator.
        """
        with self._lock:
            for key in _keys(mixture, messages, thread):
                self._known[key] = (list(proposals), notes)
                self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)

    def recall(
        self, mixture: str, messages: Sequence[BaseMessage], thread: Sequence[str] = ()
    ) -> list[Proposal]:
        """What was proposed for the user's turn that a conversation is in.

        Nothing if that is unknown, or none of it usable. The usable ones are `reused` and cost
        nothing a second time.
        """
        known, _ = self._recalled(mixture, messages, thread)
        return [reused(proposal) for proposal in known] if any(p.usable for p in known) else []

    def recall_notes(
        self, mixture: str, messages: Sequence[BaseMessage], thread: Sequence[str] = ()
    ) -> str:
        """What an analyst found in these; empty where nothing is known."""
        return self._recalled(mixture, messages, thread)[1]

    def _recalled(
        self, mixture: str, messages: Sequence[BaseMessage], thread: Sequence[str]
    ) -> tuple[list[Proposal], str]:
        with self._lock:
            found = [key for key in _keys(mixture, messages, thread) if key in self._known]
            for key in found:
                self._known.move_to_end(key)
            return self._known[found[0]] if found else ([], "")


SHARED_MEMORY: Final = ProposalMemory()
"""Of the whole process: mixtures are copied and made anew, for one call with other fields, say."""


def reused(proposal: Proposal) -> Proposal:
    """A proposal that was paid for before, as one of this call."""
    status = "reused" if proposal.usable else proposal.status
    nothing = replace(proposal, seconds=0.0, attempts=0, requests=[], usage_by_model={}, unknown=[])
    return replace(nothing, status=status)


def _keys(mixture: str, messages: Sequence[BaseMessage], thread: Sequence[str]) -> list[str]:
    """Hashes of the conversation up to its last user message, the surest first.

    There is none where there is no user message.
    """
    place = last_user_place(messages)
    if place is None:
        return []
    whole = list(messages[: place + 1])
    without_system = [message for message in whole if role_of(message) != "system"]
    ways = [whole, without_system] if thread else [whole]
    return [
        sha256(repr([mixture, list(thread), way, list(map(_said, said))]).encode()).hexdigest()
        for way, said in enumerate(ways)
    ]


def _said(message: BaseMessage) -> tuple[object, ...]:
    """What of a message counts; ids are given anew by each checkpointer."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    answers = message.tool_call_id if isinstance(message, ToolMessage) else None
    return (role_of(message), message.content, calls, answers)
