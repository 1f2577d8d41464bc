"""Models that tell callbacks of no headers, which may hold keys."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.base import RunnableBindingBase

from langchain_moa.providers.classes import like, of_class
from langchain_moa.tracing.redaction import Redaction

_ModelT = TypeVar("_ModelT")


def discreet(model: _ModelT) -> _ModelT:
    """A copy of a model, or of a binding of it, that tells callbacks of no headers of a call.

    langchain-core tells them all arguments, and LangSmith's tracer before any other handler.
    """
    if isinstance(model, RunnableBindingBase):
        return model.model_copy(update={"bound": discreet(model.bound)})
    if not isinstance(model, BaseChatModel) or getattr(model, "is_mixture", False):
        return model
    return of_class(model.model_copy(), _discreet_class(type(model)))


@cache
def _discreet_class(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    def params(self: Any, *args: Any, **kwargs: Any) -> object:
        told = kind._get_invocation_params(self, *args, **kwargs)  # noqa: SLF001 - a hook
        return Redaction().data(told)

    return like(kind, _get_invocation_params=params)
