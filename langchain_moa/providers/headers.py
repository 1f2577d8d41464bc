"""What a built model's client sends of a user's accounts, and which keys it holds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from langchain_moa.errors import MoAConfigurationError
from langchain_moa.providers.accounts import (
    ACCOUNTS,
    KEY_OPTION,
    Account,
    Key,
    checked_key,
    foreign_headers,
    headers_are_set,
    key_fields,
    stripped,
    variable,
)
from langchain_moa.providers.classes import is_a
from langchain_moa.types import AnyMapping

_BRING_A_TOKEN: Final = frozenset(
    {"azure_ad_token", "azure_ad_token_provider", "azure_ad_async_token_provider"}
)
"""Options of a member for Azure with a token of its own."""
_BRING_A_KEY: Final = frozenset(
    {
        *("client", "async_client", "default_headers", "http_client", "http_async_client"),
        *("vertexai", *_BRING_A_TOKEN),
    }
)
"""Options that may bring a key, or something in its place."""
_ANTHROPIC_ADDRESS: Final = "https://api.anthropic.com"
PARTS: Final = ("client", "async_client")
"""Attributes with the parts of an SDK like OpenAI's that a class keeps: sync and async."""
OF_A_PART: Final = "_client"
"""What such a part is of, and what that sends with."""


def note_keys(model: object, provider: str, field: str, options: AnyMapping) -> None:
    """Let the keys of a model know where they come from.

    Raises:
        MoAConfigurationError: One holds what no header can.
    """
    given = [v for n, v in options.items() if KEY_OPTION.fullmatch(n) and isinstance(v, Key)]
    account = ACCOUNTS.get(provider)
    named = {variable(name): name for name in account.keys} if account else {}
    for name, value in key_fields(model).items():
        text = value.get_secret_value()
        if KEY_OPTION.fullmatch(name):
            own = next((key for key in given if key.get_secret_value() == text), None)
            source = named.get(text, f"the key of {field}")
            setattr(model, name, own or checked_key(_as_it_is(text, source), source))


def _as_it_is(key: str, source: str) -> str:
    """A key that its client has read already, so that white space around it is there to stay."""
    if key != key.strip():
        msg = f"{source} is no key: there is white space around it; set it again."
        raise MoAConfigurationError(msg)
    return key


def require_key(model: object, provider: str, options: AnyMapping) -> None:
    """Refuse a model that was built without a key of its provider.

    Some classes would send none, and those that are made from OpenAI's would send `OPENAI_API_KEY`.

    Raises:
        MoAConfigurationError: There is no key; the message names the variable.
    """
    account, read = ACCOUNTS.get(provider), getattr(model, "lc_secrets", None)
    if account is None or not isinstance(read, Mapping) or options.keys() & _BRING_A_KEY:
        return
    fields = [name for name, variable in read.items() if variable in account.keys]
    given = any(KEY_OPTION.fullmatch(name) for name in options)
    held = {name: text for name in read if (text := _text_of(getattr(model, name, None)))}
    if fields and not any(
        given or name not in fields or not _is_anothers(text, account)
        for name, text in held.items()
    ):
        raise MoAConfigurationError(no_key(account))


def no_key(account: Account) -> str:
    """What is said where a provider's key is missing."""
    return (
        f"there is no key; set the environment variable {' or '.join(account.keys)}, or give the "
        "member as {'model': ..., 'api_key': ...}."
    )


def lacks_key(provider: str, options: AnyMapping) -> bool:
    """Whether neither the environment nor the options have a key for a provider that wants one."""
    account = ACCOUNTS.get(provider)
    given = options.keys() & _BRING_A_KEY or any(KEY_OPTION.fullmatch(name) for name in options)
    return account is not None and not given and not any(map(variable, account.keys))


def _text_of(value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return stripped(text) if isinstance(text, str) else ""


def _is_anothers(key: str, account: Account) -> bool:
    """Whether the environment has a key for other accounts only, as OpenAI's for Azure's class."""
    holders = [each for each in ACCOUNTS.values() if key in map(variable, each.keys)]
    return bool(holders) and account not in holders


def leave_out_foreign_headers(model: Any) -> None:
    """Keep one provider's account out of requests to another.

    OpenAI's and Anthropic's clients send what the environment says of a user's organization,
    project and gateway, wherever they send to.
    """
    if not headers_are_set():
        return
    own = getattr(model, "default_headers", None) or {}
    for name in ("root_client", "root_async_client"):
        client = getattr(model, name, None)
        if client is not None:
            out = foreign_headers(str(client.base_url), own)
            setattr(model, name, without_headers(client, out))
    if getattr(model, "root_client", None) is not None:
        model.client = model.root_client.chat.completions
        model.async_client = model.root_async_client.chat.completions
    elif is_a(model, "ChatAnthropic"):
        anthropic = importlib.import_module("anthropic")  # the client of the model's package
        out = foreign_headers(model.anthropic_api_url or _ANTHROPIC_ADDRESS, own)
        model.default_headers = {**own, **dict.fromkeys(out, anthropic.Omit())} or None
    elif is_a(model, "ChatFireworks"):
        fireworks = importlib.import_module("fireworks")
        for name in PARTS:
            part = getattr(model, name)
            sdk = vars(part)[OF_A_PART]
            omitted = dict.fromkeys(foreign_headers(str(sdk.base_url), ()), fireworks.Omit())
            setattr(model, name, type(part)(sdk.with_options(default_headers=omitted)))


def leave_out_tokens(model: Any, options: AnyMapping) -> None:
    """Have a member's own key sent, and no token of the environment's beside it or in its place.

    Args:
        model: The model, with the clients that it is to have.
        options: What it was made with.
    """
    if not has_key_alone(options):
        return
    for client in (vars(model).get(name) for name in _CLIENTS_OF_A_KEY):
        for token in _TOKENS & getattr(client, "__dict__", {}).keys():
            setattr(client, token, None)


def has_key_alone(options: AnyMapping) -> bool:
    """Whether a member brings a key of its own, and no token."""
    has_key = any(KEY_OPTION.fullmatch(name) for name in options)
    return has_key and not options.keys() & _BRING_A_TOKEN


_CLIENTS_OF_A_KEY: Final = ("root_client", "root_async_client", "_client", "_async_client")
_TOKENS: Final = frozenset({"_azure_ad_token", "auth_token"})
"""`AZURE_OPENAI_AD_TOKEN` and `ANTHROPIC_AUTH_TOKEN`, as older SDKs' clients keep them."""


def without_headers(client: Any, names: frozenset[str]) -> object:
    """A client of OpenAI's SDK that leaves out some of the headers that it would send."""
    if not names:
        return client
    import openai  # noqa: PLC0415 - slow to import

    return client.with_options(default_headers=dict.fromkeys(names, openai.Omit()))
