"""What a model's class is, told by name, and classes that differ in a method or two.

By name, for a look at it must not import the package of each provider.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel

_ModelT = TypeVar("_ModelT", bound=BaseChatModel)


def is_a(model: object, name: str) -> bool:
    """Whether a model's class, or one that it is made from, has this name.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> is_a(FakeListChatModel(responses=[]), "BaseChatModel")
        True
    """
    return any(base.__name__ == name for base in type(model).__mro__)


def packages_of(kind: type) -> tuple[str, ...]:
    """The top packages of a class and of those that it is made from, each once, its own first.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> packages_of(FakeListChatModel)[0]
        'langchain_core'
    """
    return tuple(dict.fromkeys(base.__module__.partition(".")[0] for base in kind.__mro__))


def like(kind: type[BaseChatModel], **methods: Callable[..., Any]) -> type[BaseChatModel]:
    """A class that is told apart from another one by these methods alone."""
    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, **methods}
    made: type[BaseChatModel] = types.new_class(
        kind.__name__, (kind,), exec_body=lambda namespace: namespace.update(own)
    )
    return made


def of_class(model: _ModelT, kind: type[BaseChatModel]) -> _ModelT:
    """Give a copy of a model one of these classes; it has the same fields."""
    object.__setattr__(model, "__class__", kind)
    return model
