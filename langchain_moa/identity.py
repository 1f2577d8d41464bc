"""What tells one runnable from another, for cache keys.

A weak identity makes the LLM cache return another model's answer. So what can be described
is described, and what cannot (a lambda, say) gets a token of its own that no other object
ever has.
"""

from __future__ import annotations

import weakref
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.load import Serializable, dumps
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence

_SIMPLE: Final = (str, int, float, bool, list, tuple, dict, type(None))
_tokens: dict[int, tuple[weakref.ref[Any], str]] = {}


def fingerprint(parts: Any) -> str:
    """A short hash of nested lists of strings, numbers and runnables."""
    return sha256(repr(_described(parts)).encode()).hexdigest()[:16]


def _described(value: Any) -> Any:
    if isinstance(value, BaseLanguageModel):
        return _model(value)
    if isinstance(value, RunnableBinding):
        return ["binding", _described(value.bound), repr(value.kwargs), repr(value.config)]
    if isinstance(value, RunnableSequence):
        return ["sequence", *map(_described, value.steps)]
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    return _leaf(value)


def _leaf(value: Any) -> Any:
    if isinstance(value, _SIMPLE):
        return repr(value)
    if isinstance(value, Serializable) and value.is_lc_serializable():
        return dumps(value)
    return [type(value).__qualname__, _token(value)]


def _model(model: BaseLanguageModel[Any]) -> Any:
    """Class, identifying parameters and every plain or callable field of its own.

    Clients and secrets are neither, and so stay out.
    """
    kind = type(model)
    fields = {
        name: _described(value)
        for name in kind.model_fields
        if name not in BaseChatModel.model_fields
        and (
            isinstance(value := getattr(model, name, None), (*_SIMPLE, Runnable)) or callable(value)
        )
    }
    return [f"{kind.__module__}.{kind.__qualname__}", repr(model._identifying_params), fields]  # noqa: SLF001 - the hook that LangChain's own cache reads


def _token(value: Any) -> str:
    known = _tokens.get(id(value))
    if known is not None and known[0]() is value:
        return known[1]
    token, key = uuid4().hex, id(value)
    try:
        reference = weakref.ref(value, lambda _: _tokens.pop(key, None))
    except TypeError:  # it cannot be recognised again, so it is never equal to anything
        return token
    _tokens[key] = (reference, token)
    return token
