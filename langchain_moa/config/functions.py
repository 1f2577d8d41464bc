"""What users' functions are: where a plain one is called, an async one would never run."""

from __future__ import annotations

import inspect


def is_async(function: object) -> bool:
    """Whether calling this gives a coroutine, as far as that can be told beforehand.

    Example:
        >>> async def no(_): ...
        >>> is_async(no), is_async(len)
        (True, False)
    """
    called = getattr(function, "__call__", None)  # noqa: B004 - an object's own method
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
