"""How the CPU that something takes grows with its input."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LINEAR = 8.0
"""Most that four times the input may cost; 4 is linear, 16 is the square."""


def growth(work: Callable[[int], Callable[[], object]], size: int, *, tries: int = 3) -> float:
    """How many times the CPU an input of four times the size takes, each measured at its best.

    Args:
        work: Prepares an input of a size, and gives what is measured.
        size: The smaller size; it should take some 10 ms.
        tries: How often each is measured; oftener where it seems to grow faster than linearly, for
            what else runs on the machine makes single measurements longer.
    """
    small = large = math.inf
    for done in range(1, 5 * tries + 1):
        small = min(small, _cpu(work(size)))
        large = min(large, _cpu(work(4 * size)))
        if done >= tries and large < LINEAR * small:
            break
    return large / max(small, 1e-4)


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
