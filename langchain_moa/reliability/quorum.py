"""When a layer waits no longer for those that have not answered."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

OPEN: Final = math.inf
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
    """

    members: int
    quorum: int | None = None
    grace: float = 0.0
    needed: int = 0
    cut_at: float = OPEN
    reason: str = ""
    opened: Future[None] = field(default_factory=Future)
    _shut: Future[None] = field(default_factory=Future)
    _usable: int = 0
    _lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, *, usable: bool) -> None:
        """Count a finished proposal, and open when it decides the layer."""
        with self._lock:
            self._usable += usable
            self._lost += not usable
        self._decide()

    def leave_out(self) -> None:
        """Expect one proposal less than there are members."""
        with self._lock:
            self.members -= 1
            self.needed = min(self.needed, self.members)
            if self.quorum is not None:
                self.quorum = min(self.quorum, max(1, self.members))
        self._decide()

    def open(self, reason: str, grace: float = 0.0) -> None:
        """Go on, `grace` seconds from now; the first reason and the earliest time count.

        Who waits for the end of a longer grace is woken by a call without any.
        """
        with self._lock:
            self.cut_at = min(self.cut_at, monotonic() + grace)
            self.reason = self.reason or reason
            signals = [self.opened] if grace else [self.opened, self._shut]
            new = [s for s in signals if not s.done() and s.set_running_or_notify_cancel()]
        for signal in new:
            signal.set_result(None)

    @property
    def signal(self) -> Future[None] | None:
        """What to wait for next: its opening, then the end of the grace, which may come early."""
        return next((s for s in (self.opened, self._shut) if not s.done()), None)

    def _decide(self) -> None:
        if self.quorum is not None and self._usable >= self.quorum:
            self.open(f"the quorum of {self.quorum} proposals was reached", self.grace)
        elif self.members - self._lost < self.needed:
            self.open(f"{self.needed} usable proposals could no longer be reached")
