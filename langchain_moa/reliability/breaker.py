"""Circuit breakers: a member that keeps failing is left alone for a while.

Own code, because the libraries for it either hold a lock during the call or know one event loop
only; members are called from many threads and loops at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from langchain_moa.errors import MoAConfigurationError, shown, without_variables
from langchain_moa.settings import COUNT, SECONDS


@dataclass(frozen=True)
class CircuitBreaker:
    """When a member is left alone, and for how long.

    Failures are errors and timeouts. What is the request's own fault (400, a context overflow) or
    an answer (empty, filtered) is none. The state is shared by all mixtures in the process that
    use an equal member.

    Attributes:
        failures: So many in a row open the breaker; the member is then skipped.
        reset_after: Seconds after which one call is let through as a probe. It closes the breaker
            when it succeeds, and starts the wait anew when it fails; when it is given up, another
            may be the probe. There is never more than one.

    Raises:
        MoAConfigurationError: A value is not above zero, or the wait is longer than a year.

    Example:
        >>> from langchain_moa import CircuitBreaker, MoAChatModel
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> llm = MoAChatModel(
        ...     reference_models=[ScriptedChatModel.saying("4"), ScriptedChatModel.saying("5")],
        ...     aggregator=ScriptedChatModel.saying("It is 4."),
        ...     circuit_breaker=CircuitBreaker(failures=3, reset_after=60),
        ... )
    """

    failures: int = 5
    reset_after: float = 30.0

    @without_variables
    def __post_init__(self) -> None:
        for name, number in (("failures", COUNT), ("reset_after", SECONDS)):
            checked = number.checked(getattr(self, name), f"circuit_breaker.{name}")
            object.__setattr__(self, name, checked)  # it is frozen once it is made


def checked_breaker(given: object) -> CircuitBreaker | None:
    """The user's setting, found to be one.

    Raises:
        MoAConfigurationError: It is none.
    """
    if given is None or isinstance(given, CircuitBreaker):
        return given
    msg = (
        f"circuit_breaker={shown(given)} is none; give CircuitBreaker(failures=5, reset_after=30)."
    )
    raise MoAConfigurationError(msg)


class Breaker:
    """The state of one member's circuit breaker.

    Args:
        setting: When it opens and for how long.
        clock: Seconds, as `time.monotonic` gives them.
    """

    def __init__(self, setting: CircuitBreaker, clock: Callable[[], float] = monotonic) -> None:
        self._setting = setting
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self._probes: list[object] = []
        self._lock = threading.Lock()

    def refuses(self, asker: object = None) -> str | None:
        """Why the member is not to be called now, or `None`.

        `None` from an open breaker makes the caller its probe: all others are refused until that
        has succeeded, failed, or been given up.

        Args:
            asker: Who would call it, told from others by identity.
        """
        with self._lock:
            if self._failures < self._setting.failures:
                return None
            now = self._clock()
            if self._probes:
                return f"circuit breaker open after {self._failures} failures, a probe is under way"
            if now >= self._retry_at:
                self._probes.append(asker)
                return None
            wait = self._retry_at - now
            return f"circuit breaker open after {self._failures} failures, {wait:.0f} s to go"

    def succeeded(self) -> None:
        """Note an answer."""
        with self._lock:
            self._failures = 0
            self._probes.clear()

    def given_up(self, asker: object = None) -> None:
        """Note that nobody waits for a caller any more; was it the probe, the next may be one."""
        with self._lock:
            self._probes = [probe for probe in self._probes if probe is not asker]

    def failed(self, asker: object = None) -> None:
        """Note a failure."""
        self.given_up(asker)
        with self._lock:
            self._failures += 1
            if self._failures >= self._setting.failures:
                self._retry_at = self._clock() + self._setting.reset_after


_MOST: Final = 1024
_shared: Final[OrderedDict[tuple[str, CircuitBreaker], Breaker]] = OrderedDict()
_lock: Final = threading.Lock()


def shared_breaker(member: str, setting: CircuitBreaker) -> Breaker:
    """The breaker of a member: of the latest thousand, for mixtures may be made for each call.

    Args:
        member: The member's fingerprint.
        setting: Different settings have different states.
    """
    with _lock:
        breaker = _shared.setdefault((member, setting), Breaker(setting))
        _shared.move_to_end((member, setting))
        while len(_shared) > _MOST:
            _shared.popitem(last=False)
        return breaker
