"""What a run tells: printed at once, and kept as Markdown, as JSON and in plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Report:
    """Prints what was found and keeps it, after each scenario what there is so far.

    Args:
        folder: Where `bench.md`, `bench.json` and the plots go; it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.kept: dict[str, Any] = {"seconds": {}, "ratios": []}
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)  # what can't be kept should not be measured
        self._texts: list[str] = []

    def show(self, text: str) -> None:
        """Print a part of the report."""
        print(f"{text}\n", flush=True)
        self._texts.append(text)

    def save(self) -> None:
        """Write what there is so far."""
        report = "\n\n".join(self._texts)
        (self._folder / "bench.md").write_text(f"{report}\n", encoding="utf-8")
        (self._folder / "bench.json").write_text(json.dumps(self.kept, indent=2), encoding="utf-8")

    def draw(self) -> None:
        """Draw the plots; without matplotlib that is told."""
        try:
            from benchmarks.plots import draw  # noqa: PLC0415 - matplotlib may be lacking
        except ImportError as error:
            self.show(str(error))
        else:
            draw(self.kept, self._folder)
