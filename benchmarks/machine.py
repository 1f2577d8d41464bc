"""What the figures were taken on: the machine, the versions, and this process's memory."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

FILES: Final = 65_536
"""Open files that are enough for everything here."""
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
    return _mib("VmRSS")


def peak_mib() -> float:
    """The most memory that this process has had, in MiB; 0 where the system does not tell."""
    return _mib("VmHWM")


def raise_file_limit() -> None:
    """Let this process open as many files, and so connections, as it may."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < allowed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _mib(name: str) -> float:
    kib = _value_in(Path("/proc/self/status"), name).removesuffix("kB")
    return int(kib) / 1024 if kib else 0.0


def _value_in(path: Path, name: str) -> str:
    """The value of the first such line of a file that Linux has."""
    if not path.exists():
        return ""
    found = (line for line in path.read_text().splitlines() if line.startswith(name))
    return next(found, "").partition(":")[2].strip()
