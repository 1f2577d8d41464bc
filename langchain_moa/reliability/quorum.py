"""When a layer waits no longer for those that have not answered."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

NEVER: Final = math.inf
"""A time that never comes."""


@dataclass(eq=False, slots=True)
class Gate:
    """Counts a layer's proposals, and says when to go on without the others.

    Attributes:
        members: How many proposers the layer has.
        quorum: So many usable proposals are enough; `None` waits for all.
        grace: Seconds that the others still have after that.
        needed: With fewer usable proposals the call fails, so when that is certain nobody is
            waited for; 0 never gives up.
        cut_at: When the others are cut, on the clock of `time.monotonic`.
        reason: Why they are cut.
        opened: Done once that is decided.
        signal: Done when `cut_at` has become earlier; then there is a new one to wait for.
    """

    members: int
    quorum: int | None = None
    grace: float = 0.0
    needed: int = 0
    cut_at: float = NEVER
    reason: str = ""
    opened: Future[None] = field(default_factory=Future)
    signal: Future[None] = field(default_factory=Future)
    _kept: tuple[float, str] | None = None
    _usable: int = 0
    _lost: int = 0
    _seated: set[int | None] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, usable: bool, index: int | None = None) -> None:
        """Count a finished proposal, and open when it decides the layer.

        Args:
            usable: Whether it is.
            index: The place in the layer of the member that gave it, which no longer holds one of
                those that are limited.
        """
        with self._lock:
            self._usable += usable
            self._lost += not usable
            self._seated.discard(index)
        self._decide()

    def seat(self, index: int, *, seated: bool) -> None:
        """Note that a member may be asked now, or waits until it may be asked."""
        with self._lock:
            (self._seated.add if seated else self._seated.discard)(index)

    @property
    def somebody_waits(self) -> bool:
        """Whether a member is still to be asked, because others are asked before it."""
        with self._lock:
            return self.members - self._usable - self._lost > len(self._seated)

    def leave_out(self, index: int | None = None) -> None:
        """Expect one proposal less than there are members."""
        with self._lock:
            self._seated.discard(index)
            self.members -= 1
            self.needed = min(self.needed, self.members)
            if self.quorum is not None:
                self.quorum = min(self.quorum, max(1, self.members))
        self._decide()

    def keep_time(self, at: float, reason: str) -> None:
        """Wait no longer than up to a time, as soon as there are enough usable proposals to go on.

        Args:
            at: The time, on the clock of `time.monotonic`.
            reason: What the time after it is kept for.
        """
        self._kept = (at, reason)
        self._decide()

    def open(self, reason: str, grace: float = 0.0) -> None:
        """Go on, `grace` seconds from now; the earliest time and its reason count."""
        self._open_at(monotonic() + grace, reason)

    def _open_at(self, at: float, reason: str) -> None:
        with self._lock:
            if at >= self.cut_at:
                return
            first = self.cut_at == NEVER
            self.cut_at, self.reason = at, reason
            earlier, self.signal = self.signal, Future()
        for done in (self.opened, earlier) if first else (earlier,):
            done.set_result(None)

    def _decide(self) -> None:
        if self.quorum is not None and self._usable >= self.quorum:
            self.open(f"the quorum of {self.quorum} proposals was reached", self.grace)
        if self.members - self._lost < self.needed:
            self.open(f"{self.needed} usable proposals could no longer be reached")
        if self._kept is not None and self._usable >= self.needed:
            # not by way of seconds from now, which are never quite the same ones: each proposal
            # would wake all that wait
            self._open_at(*self._kept)
