"""What is free on this machine."""

from __future__ import annotations

import os

from langchain_moa.local.machine import free_cores, free_memory


def test_cores() -> None:
    assert 1 <= free_cores() <= (os.cpu_count() or 1)


def test_memory() -> None:
    free = free_memory()
    assert free is None or free > 1 << 20
