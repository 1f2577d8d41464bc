"""Which arguments a call may have: those that its model takes, and none that is the mixture's own.

What a client does not know it refuses only when it is asked, which is after the proposals were
paid for; or it drops it, or sends and pays it in vain.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from langchain_core.language_models import BaseChatModel

from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.members.runnables import model_and_arguments
from langchain_moa.providers.classes import is_a
from langchain_moa.types import AnyMapping

if TYPE_CHECKING:
    from langchain_moa.members.member import Member

_LANGCHAIN: Final = frozenset(
    {
        *("stop", "tools", "tool_choice", "parallel_tool_calls", "response_format", "strict"),
        *("functions", "function_call", "callbacks", "tags", "metadata", "run_name", "run_id"),
        *("ls_structured_output_format", "structured_output_format", "stream", "stream_usage"),
        *("output_version", "model", "config", "include_response_headers", "schema", "method"),
        *("temperature", "max_tokens", "extra_body", "extra_headers", "extra_query", "extra_json"),
        *("cache_control", "model_kwargs", "headers", "timeout", "effort", "output_format"),
    }
)
"""What LangChain itself gives or takes at a call, and what any client may pass on as it is."""

_COMMON: Final = frozenset(
    {
        *("top_p", "top_k", "min_p", "seed", "n", "logprobs", "top_logprobs", "logit_bias"),
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "max_output_tokens"),
        *("max_completion_tokens", "reasoning_effort", "reasoning", "thinking", "user"),
        *("service_tier", "safety_settings", "tool_config", "generation_config", "keep_alive"),
    }
)
"""Request parameters of many providers: no misspelling of each other."""

_STAY: Final = frozenset({"temperature", "max_tokens", "stop"})
"""Settings of the mixture that are call arguments, too."""
_HOW_MANY: Final = ("n", "best_of", "candidate_count", "num_generations", "num_return_sequences")
"""How many answers to make, in the words of providers; a mixture gives one."""
_CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "BaseChatOpenAI": ("root_client.chat.completions.create", "root_client.responses.create"),
    "ChatAnthropic": ("_client.messages.create", "_client.beta.messages.create"),
}
"""Where chat models keep the methods that make their requests."""
_READ: Final = frozenset(
    {
        *("stop", "stream", "stream_usage", "callbacks", "tags", "metadata", "run_name", "run_id"),
        *("ls_structured_output_format", "structured_output_format"),
        # of ChatAnthropic
        *("effort", "reasoning_effort", "output_format", "response_format", "cache_control"),
        *("temperature", "top_k", "top_p"),
    }
)
"""What LangChain takes out of a call's arguments, or changes, before they reach such a method."""
_NOT_BY_OPENAI: Final = frozenset({"effort", "output_format", "cache_control", "top_k"})
_NUMBER: Final = (int, float)
_WHOLE: Final = (int,)
_LIST: Final = (list, tuple)
_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "tools": (_LIST, "a list of tools"),
    "functions": (_LIST, "a list of functions"),
    "tool_choice": ((str, bool, dict, *_LIST), "a tool's name or a dict"),
    "response_format": ((dict,), "a dict or a class"),
    "stop": ((str, *_LIST), "a text or a list of texts"),
    "logit_bias": ((dict,), "a dict"),
    "logprobs": ((bool, int), "true or false"),
    "parallel_tool_calls": ((bool,), "true or false"),
    **dict.fromkeys(("extra_body", "extra_headers", "extra_query"), ((dict,), "a dict")),
    **dict.fromkeys(("temperature", "top_p", "min_p"), (_NUMBER, "a number")),
    **dict.fromkeys(
        ("frequency_penalty", "presence_penalty", "repetition_penalty"), (_NUMBER, "a number")
    ),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens"), (_WHOLE, "a whole number")
    ),
    **dict.fromkeys(("seed", "top_k", "top_logprobs", *_HOW_MANY), (_WHOLE, "a whole number")),
}
"""Arguments that have the same types with every client, and what to give."""
_PLAIN: Final = (str, bytes, bool, int, float, dict, list, tuple, set, frozenset)
"""Types that are told by `_TYPES`; an SDK's own, such as its mark of what is not given, pass."""
_SEND_AS_GIVEN: Final = (*_CLIENTS, "ChatMistralAI", "ChatGroq")
"""Chat models that send the tools of a call as they are."""
_OF_JSON: Final = ("response_format", "tool_choice", "logit_bias", "stop", "extra_body")
"""Arguments beside tools that are sent as they are."""
_BESIDE: Final = frozenset({"extra_headers", "extra_query", "extra_body"})
"""What the clients of OpenAI's and like SDKs send beside a question."""
_SEND_ALL: Final = ("ChatMistralAI", "ChatGoogleGenerativeAI")
"""Chat models that would make fields of the question of it, which their APIs refuse."""
_NESTED: Final = ("extra_body", "model_kwargs", "generation_config")
"""Arguments that hold parameters of the request."""
_NEAR: Final = 0.8


def require_known_arguments(
    member: Member, arguments: AnyMapping, settings: Collection[str] = ()
) -> None:
    """Refuse call arguments that would be of no use, before anything is paid.

    Args:
        member: Who gets them: the aggregator, or a fallback of it.
        arguments: The call's arguments.
        settings: Names of the mixture's own settings, which belong to its construction.

    Raises:
        MoAConfigurationError: One is a setting of the mixture, asks for several answers, or is
            none that the member's model takes.
    """
    for name in arguments:
        if name in settings and name not in _STAY:
            msg = (
                f"{name} is a setting of the mixture, not an argument of a call; make a copy that "
                f"has it: llm.replace({name}=...)."
            )
            raise MoAConfigurationError(msg)
    require_one_answer(arguments, "")
    model, _ = model_and_arguments(member.runnable)
    require_sendable(model, arguments, "")
    check = getattr(model, "require_known_arguments", None)  # a mixture's own
    if check is not None:
        check(arguments)
    elif model is not None:
        _require_known(member, model, arguments)


def require_one_answer(arguments: AnyMapping, field: str) -> None:
    """Refuse to have several answers made, of which a mixture would use one and pay all.

    Args:
        arguments: What a request would have.
        field: Where they were given, for the error.

    Raises:
        MoAConfigurationError: More than one is asked for.
    """
    for name in _HOW_MANY:
        if arguments.get(name) not in (None, 1):
            msg = (
                f"{field}{name}={shown(arguments[name])}: a mixture gives one answer, and the "
                "others would be paid for and dropped; leave it out, or call it several times."
            )
            raise MoAConfigurationError(msg)
    for name in _NESTED:
        if isinstance(inner := arguments.get(name), Mapping):
            require_one_answer(inner, f"{field}{name}: ")


def require_sendable(model: BaseChatModel | None, arguments: AnyMapping, field: str) -> None:
    """Refuse values that no client and no provider takes, or that this client fails to send.

    Args:
        model: Who would be asked.
        arguments: What a request would have beside the question.
        field: Where they were given, for the error.

    Raises:
        MoAConfigurationError: One is of a type that it never has, or is not made of JSON; or a
            tool is none, or a function without a name.
    """
    for name, (types, wanted) in _TYPES.items():
        value = arguments.get(name)
        is_flag = isinstance(value, bool) and bool not in types
        is_endless = isinstance(value, float) and not math.isfinite(value)
        if isinstance(value, _PLAIN) and (is_flag or is_endless or not isinstance(value, types)):
            msg = f"{field}{name}={shown(value)} is not {wanted}; give {wanted}, or leave it out."
            raise MoAConfigurationError(msg)
    as_given = any(is_a(model, kind) for kind in _SEND_AS_GIVEN)
    for name in ("tools", "functions"):
        for place, tool in enumerate(_listed(arguments.get(name))):
            if _is_no_tool(tool) or (as_given and not _is_sent_as_given(tool)):
                msg = (
                    f"{field}{name}[{place}]={shown(tool)} is no tool that can be sent; give dicts "
                    "as the provider documents them, or functions, classes and LangChain's tools "
                    "by bind_tools([...])."
                )
                raise MoAConfigurationError(msg)
    for name in _OF_JSON if as_given else ():
        value = arguments.get(name)
        if isinstance(value, dict | list) and not _is_json(value):
            msg = (
                f"{field}{name}={shown(value)} cannot be sent as JSON; give texts, finite numbers, "
                "lists and dicts alone."
            )
            raise MoAConfigurationError(msg)


def _is_no_tool(tool: object) -> bool:
    is_plain = isinstance(tool, _PLAIN) and not isinstance(tool, dict)
    return tool is None or is_plain or tool == {}


def _is_sent_as_given(tool: object) -> bool:
    return isinstance(tool, Mapping) and _is_json(tool) and not _lacks_name(tool)


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _is_json(value: object) -> bool:
    """Whether it is made of JSON alone, or of what SDKs make JSON of, and can be encoded."""
    try:
        json.dumps(value, default=_as_json, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _as_json(value: object) -> str:
    if hasattr(value, "isoformat") or (hasattr(value, "model_dump") and not callable(value)):
        return ""
    raise TypeError


def _lacks_name(tool: AnyMapping) -> bool:
    """Whether it is a function, by its type, that has no name."""
    if tool.get("type") != "function":
        return False
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    return not (isinstance(name, str) and name)


def _require_known(member: Member, model: BaseChatModel, arguments: AnyMapping) -> None:
    fields = {*type(model).model_fields}
    fields |= {f.alias for f in type(model).model_fields.values() if f.alias}
    taken, complete = _request_parameters(model)
    # what makes up the object, as its clients do, is no parameter of a request
    known = taken | _read_by(model) if complete else fields | taken | _LANGCHAIN
    refused = _BESIDE if any(is_a(model, kind) for kind in _SEND_ALL) else frozenset()
    known -= refused
    for name in arguments:
        if name in known or name.startswith(("_", "ls_", "lc_")):
            continue
        near = [] if name in _COMMON else get_close_matches(name, known, n=1, cutoff=_NEAR)
        if complete or near or name in refused:
            kind = type(model).__name__
            hint = f"did you mean {near[0]}?" if near else "leave it out."
            if complete and not near and "extra_body" in taken:
                hint = f"what only the endpoint knows goes into extra_body={{{name!r}: ...}}."
            msg = f"{name} is not an argument of {member.field}={member.model!r} ({kind}); {hint}"
            raise MoAConfigurationError(msg)


def _read_by(model: BaseChatModel) -> frozenset[str]:
    """What a model whose client is known makes something else of."""
    return _READ - _NOT_BY_OPENAI if is_a(model, "BaseChatOpenAI") else _READ


def _request_parameters(model: BaseChatModel) -> tuple[frozenset[str], bool]:
    """The parameters of a model's requests that are known, and whether there are no others."""
    found = [_parameters(method) for method in _client_methods(model)]
    # a class that calls no client that is known may name some of its own
    own, _ = _parameters(type(model)._generate)  # noqa: SLF001 - the hook that gets them
    return own.union(*(names for names, _ in found)), bool(found) and all(all_ for _, all_ in found)


def _client_methods(model: BaseChatModel) -> list[Callable[..., object]]:
    """The methods of a model's client that make requests, where that client is known.

    That is langchain-openai's family, with its two endpoints, and langchain-anthropic.
    """
    paths = [path for kind, their in _CLIENTS.items() if is_a(model, kind) for path in their]
    found = []
    for path in paths:
        value: object = model
        for name in path.split("."):
            value = getattr(value, name, None)
        if callable(value):
            found.append(getattr(value, "__func__", value))
    return found


@lru_cache(maxsize=64)
def _parameters(function: Callable[..., object]) -> tuple[frozenset[str], bool]:
    """The parameters that a function names, and whether it takes no others."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return frozenset(), False
    names = frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
    return names - {"self"}, all(p.kind is not p.VAR_KEYWORD for p in parameters)


def refuse_itself(tools: object, fingerprint: str) -> None:
    """Refuse a tool that asks the mixture it is bound to, which would ask itself again and again.

    Args:
        tools: The tools; what is no list of them the aggregator refuses itself.
        fingerprint: The mixture's.

    Raises:
        MoAConfigurationError: One does.
    """
    for tool in tools if isinstance(tools, Iterable) else ():
        if getattr(tool, "asks_mixture", None) == fingerprint:
            msg = f"tools: {getattr(tool, 'name', '')!r} asks this mixture itself; leave it out."
            raise MoAConfigurationError(msg)
