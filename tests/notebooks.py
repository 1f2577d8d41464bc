"""Executes the notebooks, several at a time, in kernels that reach nothing but this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
_AT_A_TIME = 3


def read(path: Path) -> Any:
    """A notebook as it stands in its file."""
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


async def execute(paths: Iterable[Path]) -> dict[Path, Any]:
    """The notebooks with the outputs that they have now."""
    places = asyncio.Semaphore(_AT_A_TIME)
    cut = Path(__file__).parent / "offline"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "PYTHONPATH": os.pathsep.join([str(cut), os.environ.get("PYTHONPATH", "")]),
    }

    async def one(path: Path) -> tuple[Path, Any]:
        notebook = read(path)
        client = NotebookClient(notebook, timeout=200, kernel_name="python3", coalesce_streams=True)
        async with places:
            await client.async_execute(env=environment)
        return path, notebook

    return dict(await asyncio.gather(*map(one, paths)))


if __name__ == "__main__":
    for path, notebook in asyncio.run(execute(NOTEBOOKS)).items():
        for cell in notebook.cells:
            cell.get("metadata", {}).pop("execution", None)
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
