"""Mixtures that are copied, pickled and sent to other processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import BaseModel

from langchain_moa.config.data import own_metadata, refuse_headers, refuse_secrets, written_model
from langchain_moa.config.lineup import MEMBER_FIELDS, model_builder
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.members.secrets import secrets_of
from langchain_moa.proposals.state import proposals_from_state
from langchain_moa.providers.builder import ModelBuilder
from langchain_moa.types import AnyDict, Proposal

_LEFT_OUT: Final = ("api_key", "profile", "metadata")
"""Fields that no pickle holds as they are."""
_LIVE: Final = ("callbacks", "cache", "on_progress", "rate_limiter", "custom_get_token_ids")
"""Fields with objects of the program, which a copy shares."""
_CLIENTS: Final = ("client", "async_client", "root_client")
_KEPT: Final = "_client"
"""Where Anthropic's class keeps the client that it makes when it is first asked."""

_M = TypeVar("_M", bound=BaseModel)


def pickled_form(
    mixture: BaseModel, kept: Sequence[Proposal] = (), *, is_bound: bool
) -> tuple[Callable[..., object], tuple[object, ...]]:
    """A mixture as pickle keeps it: its arguments, members by name, and no key.

    Where it is unpickled, members take their keys from the environment again.

    Args:
        mixture: The mixture.
        kept: The proposals that it has already.
        is_bound: Whether tools or a schema are bound to it.

    Raises:
        MoAConfigurationError: A member or a setting can't be pickled, or holds a key.
    """
    if is_bound:
        msg = (
            "a mixture with tools or a schema bound to it can't be pickled; bind them where it is "
            "unpickled."
        )
        raise MoAConfigurationError(msg)
    made = _unpickled, (type(mixture), _portable_fields(mixture))
    if not kept:
        return made
    # as graph state has them, which another version can read, too
    return _reusing, (*made, {proposal.key: proposal.to_state() for proposal in kept})


def _unpickled(kind: type[_M], arguments: AnyDict) -> _M:
    return kind(**arguments)


def _reusing(
    make: Callable[..., Any], arguments: tuple[object, ...], kept: dict[str, AnyDict]
) -> object:
    return make(*arguments).reusing(proposals_from_state(kept))


def _portable_fields(mixture: BaseModel) -> AnyDict:
    builder = model_builder(vars(mixture))
    kept: AnyDict = {}
    for name, info in type(mixture).model_fields.items():
        value = getattr(mixture, name)
        if name in MEMBER_FIELDS and value is not None:
            kept[name] = _portable(value, name, builder)
        elif name not in _LEFT_OUT and value != info.get_default(call_default_factory=True):
            kept[name] = _picklable(value, name)
    return {**kept, "metadata": _picklable(own_metadata(mixture), "metadata")}


def _portable(value: Any, field: str, builder: ModelBuilder) -> object:
    """A member as a pickle holds it: one of a known provider by its name and options."""
    if isinstance(value, list | tuple):
        return [_portable(item, f"{field}[{place}]", builder) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {k: _portable(item, f"{field}[{k!r}]", builder) for k, item in value.items()}
    written = written_model(value, field, builder)
    if written is not None:
        return written
    if not getattr(value, "is_mixture", False) and secrets_of(value):
        msg = (
            f"{field}={shown(value)} holds a key, which goes into no pickle; give the member as a "
            "string, or as {'model': 'provider:model', option: value}."
        )
        raise MoAConfigurationError(msg)
    return _picklable(value, field)


def _picklable(value: object, field: str) -> object:
    refuse_secrets(value, field)
    if isinstance(value, Mapping):
        refuse_headers(value, field)
    try:
        pickle.dumps(value)
    except MoAConfigurationError as error:  # of a mixture inside
        msg = f"{field}: {error}"
        raise MoAConfigurationError(msg) from None
    except Exception as error:  # noqa: BLE001 - each object has its own reason
        raise _refused(value, field, "pickled", error) from None
    return value


def copied_fields(mixture: BaseModel, memo: dict[int, object]) -> AnyDict:
    """The fields of a deep copy of a mixture; clients with open connections are shared.

    Args:
        mixture: The mixture.
        memo: What was copied before, as `copy.deepcopy` keeps it.

    Raises:
        MoAConfigurationError: A member or a setting can't be copied.
    """
    return {
        name: _copied(getattr(mixture, name), name, memo)
        for name in type(mixture).model_fields
        if name not in _LIVE and name != "profile"
    }


def _copied(value: object, field: str, memo: dict[int, object]) -> object:
    if isinstance(value, list | tuple):
        return [_copied(item, f"{field}[{place}]", memo) for place, item in enumerate(value)]
    if isinstance(value, Mapping) and field in MEMBER_FIELDS:
        return {name: _copied(item, f"{field}[{name!r}]", memo) for name, item in value.items()}
    if isinstance(value, RunnableBindingBase):
        return value.model_copy(update={"bound": _copied(value.bound, field, memo)})
    if isinstance(value, BaseChatModel) and (
        _KEPT in vars(value) or any(getattr(value, name, None) for name in _CLIENTS)
    ):
        return value.model_copy()  # its connections serve any number of threads
    try:
        return copy.deepcopy(value, memo)
    except MoAConfigurationError as error:  # of a mixture inside
        msg = f"{field}: {error}"
        raise MoAConfigurationError(msg) from None
    except Exception as error:  # noqa: BLE001 - each object has its own reason
        if isinstance(value, BaseChatModel):
            return value.model_copy()
        raise _refused(value, field, "copied", error) from None


def _refused(value: object, field: str, what: str, error: Exception) -> MoAConfigurationError:
    reason = " ".join(str(error).split()).rstrip(".")
    named = shown(value) if isinstance(value, Runnable) else f"<{type(value).__name__}>"
    of_module = callable(value) and not isinstance(value, Runnable)
    mend = "give a function that a module defines" if of_module else "give one that can"
    return MoAConfigurationError(f"{field}={named} can't be {what}: {reason}; {mend}.")
