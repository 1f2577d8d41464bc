"""The mixture drawn as text."""

from __future__ import annotations

from collections.abc import Sequence


def drawn(names: Sequence[Sequence[str]], consulted: tuple[str, str] | None = None) -> str:
    """The mixture as text: one line a member, so that it fits into any terminal.

    LangChain's own drawing in ASCII puts a layer's members side by side, wider than terminals are.

    Args:
        names: The members' names layer by layer, the aggregator's layer last.
        consulted: Who is consulted before the aggregator: its role and its name.

    Example:
        >>> print(drawn([["a", "b"], ["c"]]))
        question
           |
           +-- layer 1
           |     +-- a
           |     +-- b
           |
           +-- aggregator
           |     +-- c
           v
        answer
    """
    *layers, aggregator = [list(map(_printable, layer)) for layer in names]
    lines = ["question", "   |"]
    for number, models in enumerate(layers, start=1):
        lines += [f"   +-- layer {number}", *(f"   |     +-- {name}" for name in models), "   |"]
    if consulted is not None:
        role, name = consulted
        lines += [f"   +-- {role}", f"   |     +-- {_printable(name)}", "   |"]
    lines += ["   +-- aggregator", *(f"   |     +-- {name}" for name in aggregator)]
    return "\n".join([*lines, "   v", "answer"])


def _printable(name: str) -> str:
    """A name that moves no cursor and turns no text around, wherever it is shown."""
    return "".join(filter(str.isprintable, name))
