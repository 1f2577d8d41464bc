"""How many calls may be made at the same time, in threads and event loops alike."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from langchain_moa.reliability.quorum import NEVER, Gate

_LOOK_AGAIN: Final = 0.1
"""Seconds after which it is looked at the earliest whether somebody waits meanwhile."""


@dataclass(eq=False)
class Slots:
    """A limit of simultaneous calls; who comes first is let in first.

    A semaphore of `threading` would block an event loop, one of `asyncio` belongs to one loop.

    Example:
        >>> slots = Slots(1)
        >>> first, second = slots.ask(), slots.ask()
        >>> first.done(), second.done()
        (True, False)
        >>> slots.give_back(first)
        >>> second.done()
        True
    """

    limit: int
    _taken: int = 0
    _queue: deque[Future[None]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self) -> Future[None]:
        """A ticket, done as soon as there is a place; it has to be given back in any case."""
        ticket: Future[None] = Future()
        with self._lock:
            if self._taken == self.limit:
                self._queue.append(ticket)
                return ticket
            self._taken += 1
        ticket.set_result(None)
        return ticket

    def give_back(self, ticket: Future[None]) -> None:
        """Give up the place, or the wait for one."""
        with self._lock:
            if not ticket.done():
                self._queue.remove(ticket)
                return
            if not self._queue:
                self._taken -= 1
                return
            next_ticket = self._queue.popleft()
            # within the lock, for a ticket that is given back meanwhile must be found done
            next_ticket.set_result(None)


class MemberSlots:
    """The limits of one mixture: one over all its calls, one per model.

    Args:
        total: Calls of all members at the same time, or `None`.
        per_model: Calls of each model, or of those named, or `None`.
    """

    def __init__(self, total: int | None, per_model: int | Mapping[str, int] | None) -> None:
        self._total = None if total is None else Slots(total)
        self._per_model = per_model
        self._models: dict[str, Slots] = {}
        self._left: list[Places] = []
        self._impatient: dict[Future[None], Slots] = {}
        self._lock = threading.Lock()

    def of(self, model: str) -> list[Slots]:
        """The limits that a call of a model falls under, always in this order."""
        own = self._own(model)
        return [slots for slots in (own, self._total) if slots is not None]

    def leave(self, places: Places) -> None:
        """Note the places of a request that was given up, and is still under way in its thread."""
        with self._lock:
            self._left = [each for each in (*self._left, places) if each.are_held]
            wanted = dict(self._impatient)
        for ticket, slots in wanted.items():
            if not ticket.done():
                places.hand_on(slots)

    @contextmanager
    def taking_over(self, ticket: Future[None], slots: Slots) -> Iterator[None]:
        """Let the places go, one after the other, that are left so, until a ticket is valid.

        A thread that hangs would else keep all others from being asked, the aggregator too. Places
        under other limits stay taken: nobody gains by those.

        Args:
            ticket: The ticket.
            slots: The limit that it waits for.
        """
        with self._lock:
            self._impatient[ticket] = slots
            left = list(self._left)
        try:
            for places in left:
                if not ticket.done():
                    places.hand_on(slots)
            yield
        finally:
            with self._lock:
                del self._impatient[ticket]

    def _own(self, model: str) -> Slots | None:
        given = self._per_model
        limit = given.get(model) if isinstance(given, Mapping) else given
        return None if limit is None else self._models.setdefault(model, Slots(limit))


class Places:
    """The places that the requests to one candidate hold.

    A request in a thread can't be ended: when it is given up it keeps its places until it ends, for
    until then its model is busy; or until somebody has waited long, see `MemberSlots.taking_over`.
    """

    __slots__ = ("_held", "_lock", "_under_way", "given_up")

    def __init__(self) -> None:
        self._held: list[tuple[Slots, Future[None]]] = []
        self._under_way = 0
        self.given_up = False
        self._lock = threading.Lock()

    def ask(self, slots: Slots) -> Future[None]:
        """A ticket for one more place."""
        ticket = slots.ask()
        self._held.append((slots, ticket))
        return ticket

    def take(self, limits: list[Slots], condition: Callable[[], bool]) -> bool:
        """Take a place under each limit, if all are free now and the condition holds, else none.

        Those that are given up meanwhile take none, either.

        Args:
            limits: The limits.
            condition: Asked once the places are there.
        """
        tickets = [(slots, slots.ask()) for slots in limits]
        free = all(ticket.done() for _, ticket in tickets) and condition()
        with self._lock:
            taken = free and not self.given_up
            if taken:
                self._held += tickets
        if not taken:
            _give_back(tickets)
        return taken

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Hold the places while a thread's request is under way."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
            self._free()

    def give_up(self) -> None:
        """Give all places back, as soon as nothing is under way."""
        self.given_up = True
        self._free()

    @property
    def are_held(self) -> bool:
        """Whether some have not been given back yet."""
        return bool(self._held)

    def hand_on(self, slots: Slots) -> None:
        """Give the places under one limit back at once, though a request is still under way.

        They have been given up.
        """
        with self._lock:
            freed = [each for each in self._held if each[0] is slots]
            self._held = [each for each in self._held if each[0] is not slots]
        _give_back(freed)

    def _free(self) -> None:
        with self._lock:
            free = self.given_up and not self._under_way
            held, self._held = (self._held, []) if free else ([], self._held)
        _give_back(held)


def _give_back(tickets: list[tuple[Slots, Future[None]]]) -> None:
    for slots, ticket in tickets:
        slots.give_back(ticket)


class Hold:
    """How long one member may hold its place: as long as it has time, while nobody waits.

    While others of its layer wait to be asked, it has half of what is left of the layer's time: one
    that hangs leaves time to the next ones. (With equal parts instead, members that are all slow
    would all be cut.)

    Args:
        until: When the member's own time ends, on the clock of `time.monotonic`.
        ends: When the layer's time ends: its share of the call's, then the last moment.
        gate: The layer's gate, or `None` for who has no layer.

    Attributes:
        until: The first of these.
        handed_on: Whether it has ended for the sake of others.
    """

    __slots__ = ("_ends", "_gate", "_half", "handed_on", "until")

    def __init__(self, until: float, ends: Sequence[float] = (), gate: Gate | None = None) -> None:
        self.until = until
        self.handed_on = False
        self._ends, self._gate = ends, gate
        self._half = NEVER if gate is None else half_of_what_is_left(ends)

    def __call__(self) -> float:
        """When it ends, or is to be asked for again."""
        now = monotonic()
        if self._half <= now < self.until and self._gate is not None and not self.handed_on:
            self.handed_on = self._gate.somebody_waits
            if not self.handed_on:
                self._half = max(half_of_what_is_left(self._ends), now + _LOOK_AGAIN)
        return min(self.until, self._half)

    def allows(self, at: float) -> bool:
        """Whether the place may be held up to a time, as things stand."""
        waits = self._gate is not None and self._gate.somebody_waits
        return at < min(self.until, self._half if waits else NEVER)


def half_of_what_is_left(ends: Sequence[float]) -> float:
    """When half of the time up to the first of these is over that is still to come."""
    now = monotonic()
    return now + min((end - now for end in ends if end > now), default=NEVER) / 2
