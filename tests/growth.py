"""How the CPU that something takes grows with its input."""

from __future__ import annotations

import time
from collections.abc import Callable

LINEAR = 8.0
"""Most that four times the input may cost; 4 is linear, 16 is the square."""


def growth(work: Callable[[int], Callable[[], object]], size: int, *, tries: int = 3) -> float:
    """How many times the CPU an input of four times the size takes, each measured at its best.

    Args:
        work: Prepares an input of a size, and gives what is measured.
        size: The smaller size; it should take some 10 ms.
        tries: How often each is measured.
    """
    small, large = (min(_cpu(work(n)) for _ in range(tries)) for n in (size, 4 * size))
    return large / max(small, 1e-4)


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
