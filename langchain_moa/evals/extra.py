"""The packages of the extra `evals`; none of them is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_moa.errors import MissingExtraError


@contextmanager
def extra() -> Iterator[None]:
    """Name the extra where an import inside fails.

    Raises:
        MissingExtraError: A package is not installed.

    Example:
        >>> with extra():
        ...     import no_such_package
        Traceback (most recent call last):
        ...
        langchain_moa.errors.MissingExtraError: evaluation needs no_such_package: pip install ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        msg = f"evaluation needs {error.name}: pip install 'langchain-moa[evals]'."
        raise MissingExtraError(msg) from error
