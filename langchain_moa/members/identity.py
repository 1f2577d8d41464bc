"""What tells one runnable from another, for cache keys.

A weak identity makes the LLM cache return another model's answer. So what can be described
is described, and what cannot (a lambda, say) gets a token of its own that no other object
ever has.
"""

from __future__ import annotations

import weakref
from datetime import date
from enum import Enum
from functools import cache, partial
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final
from uuid import UUID, uuid4

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.load import Serializable, dumps
from langchain_core.runnables import RunnableBranch, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.passthrough import RunnableAssign
from pydantic import BaseModel, SecretStr

from langchain_moa.members.runnables import children
from langchain_moa.tracing.redaction import SECRET_NAME

_PLAIN: Final = (str, int, float, bool, bytes, type(None), Enum, date, UUID)
_SHAPING: Final = frozenset({"output_version", "profile", "disable_streaming", "default_headers"})
"""Fields that shape requests or answers, although every chat model has them or dumps lack them."""
_NO_IDENTITY: Final = frozenset(BaseChatModel.model_fields) - _SHAPING
"""Those that change nothing of the answer."""
_OF_NO_BINDING: Final = frozenset({"bound", "custom_input_type"})
"""Fields of a binding that are a child of it, or say nothing of the answer."""
_tokens: dict[int, tuple[weakref.ref[object], str]] = {}


def fingerprint(parts: object) -> str:
    """A short hash of nested lists of plain values and runnables."""
    return sha256(repr(_described(parts)).encode()).hexdigest()[:16]


def _described(value: object) -> object:
    """Nested lists of strings that are equal for equal things only."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, dict):
        items = sorted(((repr(key), item) for key, item in value.items()), key=itemgetter(0))
        return ["dict", *([key, _described(item)] for key, item in items)]
    if isinstance(value, type) and "<locals>" not in value.__qualname__:
        return ["type", f"{value.__module__}.{value.__qualname__}"]
    if isinstance(value, list | tuple):
        return ["list", *map(_described, value)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(map(repr, map(_described, value)))]
    return _composite(value)


def _composite(value: object) -> object:
    if isinstance(value, BaseLanguageModel):
        return _model(value)
    if isinstance(value, partial):
        return ["partial", *map(_described, (value.func, value.args, value.keywords))]
    own = _beside_children(value)
    if own is ...:
        return _leaf(value)
    return [type(value).__qualname__, *map(_described, children(value)), _described(own)]


def _beside_children(runnable: object) -> object:
    """What shapes the answers of a composition beside its children; `...` where it is none."""
    match runnable:
        case RunnableSequence() | RunnableAssign():
            return None
        case RunnableParallel():
            return list(runnable.steps__)
        case RunnableBranch():
            return [condition for condition, _ in runnable.branches]
        case RunnableWithFallbacks():
            return [runnable.exceptions_to_handle, runnable.exception_key]
        case RunnableBindingBase():
            return {k: v for k, v in vars(runnable).items() if k not in _OF_NO_BINDING}
    return ...


def _leaf(value: object) -> object:
    if isinstance(value, Serializable):
        text = dumps(value)  # of what can't be serialized it holds only a repr, hardly unique
        if '"not_implemented"' not in text:
            return text
    elif isinstance(value, BaseModel):
        return [type(value).__qualname__, _described(dict(value))]
    return [type(value).__qualname__, _token(value)]


def _model(model: BaseLanguageModel[Any]) -> object:
    """Class, identifying parameters, and every field of its own that is part of its state."""
    kind = type(model)
    values = {name: getattr(model, name, None) for name in _fields(kind)}
    fields = {name: value for name, value in values.items() if not isinstance(value, SecretStr)}
    params = model._identifying_params  # noqa: SLF001 - the hook that LangChain's cache reads
    return [f"{kind.__module__}.{kind.__qualname__}", _described(dict(params)), _described(fields)]


@cache
def _fields(kind: type[BaseLanguageModel[Any]]) -> tuple[str, ...]:
    """A class's fields that tell two of its models apart.

    Clients do not (their fields are excluded from dumps), and secrets stay out.
    """
    return tuple(
        name
        for name, field in kind.model_fields.items()
        if (name in _SHAPING or (name not in _NO_IDENTITY and not field.exclude))
        and not SECRET_NAME.fullmatch(name)
    )


def _token(value: object) -> str:
    """A token that this object alone has, for as long as it lives."""
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
