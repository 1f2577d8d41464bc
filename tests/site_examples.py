"""Lets the site show the examples of docstrings as code: their heading is `Example:` here."""

from __future__ import annotations

from typing import Any

import griffe


class OneExample(griffe.Extension):
    """Reads `Example:` as Google's `Examples:`, the only name that griffe knows."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the heading in the docstring of each object."""
        if obj.docstring is not None:
            lines = obj.docstring.value.split("\n")
            renamed = ["Examples:" if line == "Example:" else line for line in lines]
            obj.docstring.value = "\n".join(renamed)
