"""What the figures were taken on: the machine, the versions, and this process's memory."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "langchain-core",
    "langgraph",
    "langchain-together",
    "langchain-openai",
    "langchain-moa",
)


def described() -> dict[str, str]:
    """The machine and the versions, as text."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {
        "cpu": _value_in(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": python,
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def resident_mib() -> float:
    """Memory of this process in MiB; 0 where the system does not tell."""
    kib = _value_in(Path("/proc/self/status"), "VmRSS").removesuffix("kB")
    return int(kib) / 1024 if kib else 0.0


def _value_in(path: Path, name: str) -> str:
    """The value of the first such line of a file that Linux has."""
    if not path.exists():
        return ""
    found = (line for line in path.read_text().splitlines() if line.startswith(name))
    return next(found, "").partition(":")[2].strip()
