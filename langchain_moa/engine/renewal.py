"""A graph that is resumed after a layer failed asks the layer's failed members again.

What a layer gave stands in the graph's checkpoint, failures included, and who reads it next ends
the run where it is too little. That must be so in the run in which it failed, and not in one that
is resumed later. So a graph knows which failures were made in runs that still go on: in another
process, or once the error was raised, they are those of a run that is over.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_moa.accounting.budget import Ledger
from langchain_moa.engine.call import CallInProgress, has_enough
from langchain_moa.engine.proposer import Proposing
from langchain_moa.reliability.threads import in_thread
from langchain_moa.reliability.waiting import Plan, WaitFor
from langchain_moa.types import Proposal

_MOST: Final = 4096
_MOST_CAUSES: Final = 256
"""Exceptions that are kept: they hold answers of providers, which may be long."""
_Mark = tuple[object, ...]


class Failures:
    """The failed proposals of a graph's runs that go on."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Mark, None] = OrderedDict()
        self._causes: OrderedDict[_Mark, Exception] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, proposal: Proposal, cause: Exception | None) -> None:
        """Note what a member gave just now, and the exception behind it. The oldest are forgotten.

        The nodes that read it know the call anew, and the layer's error is of its causes' kind.
        """
        if proposal.usable:
            return
        with self._lock:
            mark = _mark(proposal)
            self._known[mark] = None
            if cause is not None:
                self._causes[mark] = cause
            for known, most in ((self._known, _MOST), (self._causes, _MOST_CAUSES)):
                while len(known) > most:
                    known.popitem(last=False)

    def end(self, proposals: Iterable[Proposal]) -> dict[str, Exception] | None:
        """End the run that these failures end.

        Returns:
            Their causes by slot, as far as they are known; `None` where the run of any of them was
            over before.
        """
        with self._lock:
            marks = {proposal.key: _mark(proposal) for proposal in proposals}
            goes_on = all(mark in self._known for mark in marks.values())
            causes = {key: self._causes.pop(mark, None) for key, mark in marks.items()}
            for mark in marks.values():
                self._known.pop(mark, None)
        return {key: cause for key, cause in causes.items() if cause} if goes_on else None


def _mark(proposal: Proposal) -> _Mark:
    """What tells a failure from any other: no two take the same time to the microsecond."""
    place = (proposal.layer, proposal.index, proposal.model, proposal.status)
    return (*place, proposal.error, proposal.seconds, proposal.attempts)


@dataclass(frozen=True)
class _AskAll:
    """Ask members again, all at once."""

    proposers: Sequence[Proposing]
    messages: Sequence[BaseMessage]
    before: Sequence[Proposal]
    config: RunnableConfig

    def do(self) -> list[Proposal]:
        """Ask them in threads."""
        asked = [
            in_thread(partial(proposer.run, self.messages, self.before, self.config))
            for proposer in self.proposers
        ]
        return [each.result() for each in asked]

    async def ado(self) -> list[Proposal]:
        """Ask them in an event loop."""
        runs = (p.arun(self.messages, self.before, self.config) for p in self.proposers)
        return await asyncio.gather(*runs)


def renewing(
    call: CallInProgress,
    layer: int,
    messages: Sequence[BaseMessage],
    before: Sequence[Proposal],
    config: RunnableConfig,
) -> Plan[list[Proposal]]:
    """The proposals that a layer of a graph reads, with those renewed that an earlier run lacked.

    The nodes of a layer share what the first of them does.

    Args:
        call: The call as the node knows it.
        layer: The node's layer, counted from 1.
        messages: The conversation.
        before: All proposals of the layers before.
        config: The node's config.
    """
    mine: Future[list[Proposal]] = Future()
    shared = call.renewals.setdefault(layer, mine)
    if shared is mine:
        try:
            mine.set_result((yield from _renewing(call, layer, messages, before, config)))
        except BaseException as error:
            mine.set_exception(error)
            raise
    elif not shared.done():
        yield WaitFor(ticket=shared)
    return shared.result()


def _renewing(
    call: CallInProgress,
    layer: int,
    messages: Sequence[BaseMessage],
    before: Sequence[Proposal],
    config: RunnableConfig,
) -> Plan[list[Proposal]]:
    last = [p for p in before if p.layer == layer - 1]
    failed = [p for p in last if not p.usable]
    if call.failures is None or has_enough(call, last):
        return list(before)
    causes = call.failures.end(failed)
    if causes is not None:  # who reads them raises
        call.causes.update(causes)
        return list(before)
    again = replace(call, layers={}, ledger=Ledger(), causes={})
    for _ in range(len(last) - len(failed)):
        again.layer(layer - 1).gate.count(usable=True)
    proposers = [Proposing(again, p.layer, p.index) for p in failed]
    earlier = [p for p in before if p.layer < layer - 1]
    renewed: list[Proposal] = yield _AskAll(proposers, messages, earlier, config)
    known = {p.key: p for p in (*before, *renewed)}
    return [known[p.key] for p in before]
