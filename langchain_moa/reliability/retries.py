"""Whether and when a failed request is made again."""

from __future__ import annotations

import random
from typing import Final

from langchain_moa.reliability.provider_errors import retry_after
from langchain_moa.reliability.waiting import Result

_FIRST_PAUSE: Final = 0.5


_LONGEST_PAUSE: Final = 8.0


def is_retryable(result: Result) -> bool:
    """Whether the same request may succeed when it is made again later."""
    if result.error is not None:
        return bool(getattr(result.error, "is_retryable", False))
    return result.ended in ("timed_out", "refused")


def pause_before_retry(result: Result, attempt: int) -> float | None:
    """Seconds to wait before the next attempt; `None` where none is worth it."""
    if result.good or not getattr(result.error, "is_retryable", False):
        return None
    asked_for = retry_after(result.error)
    if asked_for is not None:
        return asked_for * random.uniform(1.0, 1.1)  # noqa: S311 - not for secrets
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - as above
