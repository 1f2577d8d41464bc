"""What this machine has free: cores and memory, as far as a container lets one have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_GROUP: Final = Path("/sys/fs/cgroup")


def free_cores() -> int:
    """Cores that nobody uses at present (by the load of the last minute), at least one.

    llama.cpp's threads wait for each other after every step of a token, so a thread more than there
    are free cores makes all of them slow.
    """
    everything = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else everything
    busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return max(1, min(allowed, _quota(everything), everything - busy))


def _quota(everything: int) -> int:
    """Cores that the container may use."""
    share, _, period = _read("cpu.max").partition(" ")
    if not (share.isdigit() and period.strip().isdigit()):
        return everything
    return max(1, int(share) // int(period))


def free_memory() -> int | None:
    """Bytes of memory that can still be used, or `None` where the system does not tell."""
    limits = [limit for limit in (_available(), _left_in_group()) if limit is not None]
    return min(limits, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # no Linux
        return None
    found = next((line for line in lines if line.startswith("MemAvailable:")), "")
    return int(found.split()[1]) * 1024 if found else None


def _left_in_group() -> int | None:
    """What the container may still take; pages of files that it can give back count as free."""
    limit, used = _read("memory.max").strip(), _read("memory.current").strip()
    if not (limit.isdigit() and used.isdigit()):
        return None
    stat = dict(line.split(" ", 1) for line in _read("memory.stat").splitlines() if " " in line)
    return max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0)))


def _read(name: str) -> str:
    try:
        return _GROUP.joinpath(name).read_text("ascii")
    except OSError:
        return ""
