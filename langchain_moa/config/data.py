"""A mixture as plain data: what files and presets hold, and `MoAChatModel.to_config` gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import PromptTemplate
from pydantic import BaseModel, SecretStr

from langchain_moa.config.files import read_settings
from langchain_moa.config.lineup import model_builder
from langchain_moa.errors import MoAConfigurationError, MoAError, shown
from langchain_moa.providers.accounts import ACCOUNTS, Key
from langchain_moa.providers.builder import ModelBuilder
from langchain_moa.reliability.breaker import CircuitBreaker
from langchain_moa.tracing.redaction import SECRET_NAME, Redaction
from langchain_moa.types import AnyDict, AnyMapping

ConfigSource = str | Path | AnyMapping
"""A file's path, or the settings themselves."""

_REQUIRED: Final = ("reference_models", "aggregator")
_MEMBERS: Final = (*_REQUIRED, "analyst", "judge")
_TIMES: Final = (
    *("proposer_timeout", "aggregator_timeout", "analyst_timeout", "layer_timeout", "timeout"),
)
_OF_PROGRAMS: Final = frozenset(
    {"api_key", "callbacks", "custom_get_token_ids", "on_progress", "profile", "rate_limiter"}
)
"""Fields that belong to the program that uses a mixture: keys, listeners, live objects, and what
LangChain works out itself."""
_OF_CLIENTS: Final = ("auth", "event_hooks", "trust_env")
"""What tells an HTTP client that a user made from one that a chat model's class makes."""
_OF_OURS: Final = "langchain_moa.providers.transport"
"""Where the HTTP clients are from that members given as strings have."""
_MAY_HOLD_KEYS: Final = frozenset(
    {
        *("default_headers", "default_query", "extra_body", "extra_headers", "extra_query"),
        "additional_headers",
    }
)
_OF_HTTP: Final = frozenset({"auth", "cookies", "headers", "params"})
"""The same among the arguments of an HTTP client."""
_OF_NO_PROVIDER: Final = frozenset({"langchain_core", "langchain_moa"})
_WITH_PASSWORD: Final = re.compile(r"[A-Za-z][\w+.-]*://[^/?#\s]*@")

_HOLDS_LOGIN: Final = (
    "holds a user's name or password, which does not belong into a configuration; "
    "give the address without it."
)

Nested = Callable[[AnyMapping], Any]
"""Makes the mixture that stands as a member inside another one."""


def settings_of(source: ConfigSource, nested: Nested) -> AnyDict:
    """The arguments of a mixture that a file or a dict means.

    Args:
        source: A path or a mapping.
        nested: Makes the mixture that stands as a member inside.

    Raises:
        MoAConfigurationError: The file can't be read, or holds what does not belong there.
    """
    given = source if isinstance(source, Mapping) else read_settings(Path(source))
    settings = dict(given)
    if "api_key" in settings:
        msg = (
            "api_key does not belong into a configuration; set the environment variable "
            "TOGETHER_API_KEY, or give from_config(..., api_key=...)."
        )
        raise MoAConfigurationError(msg)
    for name, value in settings.items():
        if name in _MEMBERS:
            settings[name] = _loaded(value, name, nested)
        elif name == "fallbacks" and isinstance(value, Mapping):
            settings[name] = {k: _loaded(v, f"{name}[{k!r}]", nested) for k, v in value.items()}
        elif name == "circuit_breaker" and isinstance(value, Mapping):
            settings[name] = _breaker(value)
        elif name in _TIMES and value == math.inf:
            settings[name] = None
        else:
            refuse_secrets(value, name)
    return settings


def _loaded(value: object, field: str, nested: Nested) -> object:
    if isinstance(value, list | tuple):
        return [_loaded(item, f"{field}[{place}]", nested) for place, item in enumerate(value)]
    if isinstance(value, Mapping) and "reference_models" in value:
        try:
            return nested(value)
        except MoAConfigurationError as error:
            msg = f"{field}: {error}"
            raise MoAConfigurationError(msg) from None
    refuse_secrets(value, field)
    return value


def refuse_secrets(value: object, field: str) -> None:
    """Refuse what is a key by its name, and addresses that hold a password.

    Args:
        value: A setting.
        field: Its name, for the message.

    Raises:
        MoAConfigurationError: There is one; the message does not quote it.
    """
    if isinstance(value, str) and _WITH_PASSWORD.match(value):
        msg = f"{field} {_HOLDS_LOGIN}"
        raise MoAConfigurationError(msg)
    if isinstance(value, str) and "://" in value and Redaction().text(value) != value:
        msg = f"{field} holds a key, which does not belong into a configuration; leave it out."
        raise MoAConfigurationError(msg)
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            refuse_secrets(item, f"{field}[{place}]")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(name, str) and SECRET_NAME.fullmatch(name):
                msg = (
                    f"{field}.{name} does not belong into a configuration; set the environment "
                    "variable of its provider."
                )
                raise MoAConfigurationError(msg)
            refuse_secrets(item, f"{field}.{name}")


def _breaker(settings: AnyMapping) -> CircuitBreaker:
    known = CircuitBreaker.__dataclass_fields__
    for name in settings:
        if name not in known:
            msg = f"circuit_breaker.{name} is not a setting; give some of: {', '.join(known)}."
            raise MoAConfigurationError(msg)
    return CircuitBreaker(**settings)


def config_of(mixture: BaseModel, *, every: bool = False) -> AnyDict:
    """The settings of a mixture as plain data.

    Args:
        mixture: The mixture.
        every: Whether settings that have their default are there, too.

    Returns:
        What JSON can hold, with members as strings, as `{"model": ..., option: value}`, or as
        the settings of a mixture.

    Raises:
        MoAConfigurationError: A setting can't be written, such as a function or a chain.
    """
    fields = type(mixture).model_fields
    key = getattr(mixture, "api_key", None)
    values = {name: getattr(mixture, name) for name in fields if name not in _OF_PROGRAMS}
    values["metadata"] = own_metadata(mixture)
    builder = model_builder({**values, "api_key": key})
    config: AnyDict = {}
    for name in (*_MEMBERS, *(n for n in values if n not in _MEMBERS)):
        value = values[name]
        default = fields[name].get_default(call_default_factory=True)
        if every or name in _REQUIRED or value != default:
            config[name] = _written(value, name, builder)
    return config


def own_metadata(mixture: Any) -> AnyDict | None:
    """A mixture's metadata without what LangChain adds by itself."""
    metadata = mixture.metadata or {}
    return {name: value for name, value in metadata.items() if name != "lc_versions"} or None


def _written(value: Any, field: str, builder: ModelBuilder) -> object:
    if field == "fallbacks":
        return {k: _members(item, f"fallbacks[{k!r}]", builder) for k, item in value.items()}
    if field in _MEMBERS and value is not None:
        return _members(value, field, builder)
    return _plain(value, field)


def _plain(value: object, field: str) -> object:
    """A value as JSON holds it."""
    match value:
        case None | bool() | int() | str():
            refuse_secrets(value, field)
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping() if all(isinstance(key, str) for key in value):
            refuse_headers(value, field)
            refuse_secrets(value, field)
            return {key: _plain(item, f"{field}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{field}[{place}]") for place, item in enumerate(value)]
        case CircuitBreaker():
            return asdict(value)
        case PromptTemplate(template_format="f-string") if not value.partial_variables:
            return value.template
    msg = (
        f"{field}={shown(value)} can't be written; files and pickles hold numbers, texts, lists "
        "and tables."
    )
    raise MoAConfigurationError(msg)


def refuse_headers(names: Iterable[str], field: str) -> None:
    """Refuse options that may hold keys, such as `default_headers`.

    Args:
        names: The options.
        field: Whose options they are, for the message.

    Raises:
        MoAConfigurationError: There is one.
    """
    secret = _MAY_HOLD_KEYS | (_OF_HTTP if field.endswith(("_args", "_kwargs")) else set())
    for name in names:
        if name in secret:
            msg = f"{field}.{name} may hold keys and is not written; leave it out of the member."
            raise MoAConfigurationError(msg)


def _members(value: object, field: str, builder: ModelBuilder) -> object:
    match value:
        case list() | tuple():
            return [
                _members(item, f"{field}[{place}]", builder) for place, item in enumerate(value)
            ]
        case str():
            return value
        case Mapping():
            return _plain(value, field)
        case BaseChatModel() if getattr(value, "is_mixture", False):
            return _mixture(value, field)
        case BaseChatModel() if _provider(value):
            return _chat_model(value, field, builder)
    msg = (
        f"{field}={shown(value)} can't be written; give it as a string, "
        "or as {'model': 'provider:model', option: value}."
    )
    raise MoAConfigurationError(msg)


def written_model(value: object, field: str, builder: ModelBuilder) -> object:
    """A chat model of a known provider as a configuration has it; `None` for anything else.

    Args:
        value: A member.
        field: Where it stands, for error messages.
        builder: Makes the model that the name alone means, for comparison.

    Raises:
        MoAConfigurationError: It holds what a configuration can't, such as headers.
    """
    if not isinstance(value, BaseChatModel) or not _provider(value):
        return None
    return _chat_model(value, field, builder)


def _mixture(mixture: BaseChatModel, field: str) -> AnyDict:
    try:
        return config_of(mixture)
    except MoAConfigurationError as error:
        msg = f"{field}: {error}"
        raise MoAConfigurationError(msg) from None


def _provider(model: BaseChatModel) -> str:
    """The provider as `init_chat_model` names it, of a chat model of LangChain's own packages."""
    package = type(model).__module__.partition(".")[0]
    found = package.startswith("langchain_") and package not in _OF_NO_PROVIDER
    return package.removeprefix("langchain_") if found else ""


def _chat_model(model: BaseChatModel, field: str, builder: ModelBuilder) -> object:
    """A chat model as the string that makes it, with those options that the string alone lacks."""
    if getattr(getattr(model, "http_client", None), "auth", None) is not None:
        msg = f"{field}.base_url {_HOLDS_LOGIN}"
        raise MoAConfigurationError(msg)
    name = str(getattr(model, "model_name", None) or getattr(model, "model", ""))
    provider = _provider(model)
    if provider != "together" or (":" in name and "/" not in name.partition(":")[0]):
        name = f"{provider}:{name}"
    secrets = {n: v for n, v in vars(model).items() if isinstance(v, SecretStr)}
    try:
        bare = builder.build(name, field, secrets, connected=False)
    except MoAError as error:
        msg = f"{field}=<{type(model).__name__}> can't be written: {error}"
        raise MoAConfigurationError(msg) from None
    if type(bare) is not type(model):
        msg = f"{field}: {name!r} would make a {type(bare).__name__}, not a {type(model).__name__}."
        raise MoAConfigurationError(msg)
    options = {**dict(_differences(model, bare, field)), **_own_variable(provider, secrets)}
    return {"model": name, **options} if options else name


def _own_variable(provider: str, secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    """The environment's variable of a member's own key, where it is not its provider's."""
    usual = ACCOUNTS[provider].keys if provider in ACCOUNTS else ()
    for key in secrets.values():
        if isinstance(key, Key) and key.source not in usual and key.is_in_environment:
            return {"api_key_env": key.source}
    return {}


def _differences(
    model: BaseChatModel, bare: BaseChatModel, field: str
) -> Sequence[tuple[str, object]]:
    found = []
    for name, info in type(model).model_fields.items():
        value, ours = getattr(model, name), getattr(bare, name)
        if name == "metadata":
            value, ours = own_metadata(model), own_metadata(bare)
        if value is None or value == ours or isinstance(ours, SecretStr):
            continue  # None is left to the mixture
        if info.exclude and _is_made_alike(value, ours):
            continue
        refuse_headers([name], field)
        option = min(name, info.alias or name, key=len)
        found.append((option, _plain(value, f"{field}.{option}")))
    return found


def _is_made_alike(value: object, ours: object) -> bool:
    """Whether a client is one that the model's class or we make, as it is made again."""
    if isinstance(value, str | int | float | list | tuple | dict):
        return False
    if type(value).__module__ == _OF_OURS:
        return True
    if not isinstance(ours, type(value)):  # which ours may tidy up after
        return False
    alike = all(getattr(value, name, None) == getattr(ours, name, None) for name in _OF_CLIENTS)
    return alike and _tls_of(value) is _tls_of(ours)


def _tls_of(client: object) -> object:
    """The TLS context of an HTTP client: those that a chat model's class makes have one in common.

    A client with a proxy, a transport or certificates of a user's own has another one.
    """
    for name in ("_transport", "_pool", "_ssl_context"):
        client = getattr(client, name, None)
    return client
