"""Chat models from strings: a bare id means Together, `"provider:model"` any other provider."""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr, ValidationError

from langchain_moa.errors import MissingExtraError, MoAConfigurationError, shown
from langchain_moa.providers.accounts import (
    ACCOUNTS,
    ADDRESS_OPTION,
    COMPATIBLE,
    KEY_OPTION,
    TOGETHER,
    TOGETHER_ADDRESS,
    Account,
    Key,
    as_environment_spells,
    checked_address,
    checked_key,
    endpoint_of,
    headers_are_set,
    stripped,
    variable,
)
from langchain_moa.providers.classes import is_a
from langchain_moa.providers.headers import (
    has_key_alone,
    lacks_key,
    leave_out_foreign_headers,
    leave_out_tokens,
    no_key,
    note_keys,
    require_key,
)
from langchain_moa.types import AnyDict, AnyMapping

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_together import ChatTogether

    from langchain_moa.providers.clients import Connections

TOGETHER_KEY_VARIABLE: Final = "TOGETHER_API_KEY"

logger = logging.getLogger(__name__)


class ModelBuilder:
    """Builds chat models from strings for one mixture.

    Together models that one builder makes share one pair of HTTP clients, if they have the same
    key and address, and those of all builders one pool of connections in each event loop.

    Args:
        api_key: Together key; by default the environment's `TOGETHER_API_KEY`.
        base_url: Address of the Together API; by default the environment's
            `TOGETHER_API_BASE`, else Together's own.
        timeout: Seconds that one request may take; by default the provider's. Those to
            Together get their own at each request.

    The clients repeat no request: the mixture does, within its deadlines.

    Raises:
        MoAConfigurationError: The key or the address is none.
    """

    def __init__(
        self,
        *,
        api_key: SecretStr | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._api_key = None if api_key is None else checked_key(api_key, "api_key")
        self._base_url = None if base_url is None else checked_address(base_url, "base_url")
        self._timeout = timeout
        self._together: dict[frozenset[tuple[str, str]], ChatTogether] = {}

    def build(
        self,
        name: str,
        field: str,
        options: AnyMapping | None = None,
        *,
        connected: bool = True,
    ) -> BaseChatModel:
        """The chat model that a string means.

        Args:
            name: `"provider:model"`, or a Together model id such as
                `"meta-llama/Llama-3.3-70B-Instruct-Turbo"`.
            field: The argument that the string was given for, for error messages.
            options: Arguments of the chat model's class, such as `{"temperature": 0.3}`, or
                `api_key_env`, the environment's variable that holds its key.
            connected: Whether it is to have HTTP clients of ours, and not those that its class
                makes, where that class takes none.

        Raises:
            MoAConfigurationError: The string is empty, names no known provider, the key of its
                provider is missing, or an option is not one of that class.
            MissingExtraError: The provider's package is not installed.
        """
        provider, colon, model = (part.strip() for part in name.partition(":"))
        if not provider or (colon and not model):
            msg = f"{field}={name!r} names no model; give 'provider:model' or a Together model id."
            raise MoAConfigurationError(msg)
        name = f"{provider}{colon}{model}"
        checked = _checked(options or {}, field)
        if not colon or "/" in provider:  # ids of fine-tuned models hold a colon after a slash
            return self._build_together(name, field, checked)
        if provider.lower() == TOGETHER:
            return self._build_together(model, field, checked)
        return self._build_other(name, provider.lower(), field, checked, connected=connected)

    def _build_together(self, model: str, field: str, options: AnyMapping) -> ChatTogether:
        from langchain_together import ChatTogether  # noqa: PLC0415 - slow to import

        from langchain_moa.providers.together import OF_CLIENTS, new_together  # noqa: PLC0415

        _check_options(ChatTogether, field, options)
        settings = dict(options)
        key = settings.pop("together_api_key", None) or settings.get("api_key")
        address = settings.pop("together_api_base", None) or settings.get("base_url")
        named = address or self._base_url or _named_address(TOGETHER)
        if named is None and (owner := _owner(model)) is not None:
            logger.warning(
                "%s=%r is asked for at Together; of its own provider it is %r",
                *(field, model, f"{owner}:{model}"),
            )
        settings |= {
            "api_key": key or self._together_key(model, field),
            "base_url": named or TOGETHER_ADDRESS,
        }
        of_clients = {name: settings.pop(name) for name in OF_CLIENTS & settings.keys()}
        known = frozenset((name, _text(value)) for name, value in of_clients.items())
        try:
            plain = self._together.get(known) or new_together(model, **of_clients)
            self._together[known] = plain
            if settings:
                return new_together(model, plain, **of_clients, **settings)
        except ValidationError as error:
            msg = f"{field}={model!r}: {_without_input(error)}"
            raise MoAConfigurationError(msg) from None
        key = of_clients["api_key"]  # the same one, which knows where this member's comes from
        own = {"together_api_key": key, "openai_api_key": key}
        return plain.model_copy(update={"model_name": model, **own})

    def _together_key(self, model: str, field: str) -> Key:
        """The key of all Together models that bring none of their own."""
        # checked here, because ChatTogether without a key sends OPENAI_API_KEY to Together
        key = self._api_key if self._api_key and self._api_key.get_secret_value() else None
        key = key or _named_key(ACCOUNTS[TOGETHER])
        if key is None:
            msg = (
                f"{field}={model!r} is a Together model, and there is no key for Together; set the "
                f"environment variable {TOGETHER_KEY_VARIABLE}, pass api_key=..., or name another "
                f"provider: '{_owner(model) or 'provider'}:{model}'."
            )
            raise MoAConfigurationError(msg)
        return key

    def _build_other(
        self, name: str, provider: str, field: str, options: AnyMapping, *, connected: bool
    ) -> BaseChatModel:
        try:
            from langchain.chat_models import init_chat_model  # noqa: PLC0415 - optional
        except ImportError as error:
            msg = (
                f"{field}={name!r} needs the package langchain; install the extra: "
                "pip install 'langchain-moa[providers]'."
            )
            raise MissingExtraError(msg) from error
        _check_no_choice(field, options)
        try:
            settings = {
                "max_retries": 0,
                **_set(timeout=_in_its_unit(self._timeout, provider)),
                **_without_token(provider, options),
                **_mended_environment(provider, options),
                **options,
            }
            connections = self._clients_for(provider, settings)
            with warnings.catch_warnings():  # unknown options are found below
                warnings.filterwarnings("ignore", message=".*is not default parameter.*")
                model: BaseChatModel = init_chat_model(name, **{**settings, **connections})
            require_key(model, provider, options)
        except MoAConfigurationError as error:
            msg = f"{field}={name!r}: {error}"
            raise MoAConfigurationError(msg) from None
        except ImportError as error:
            msg = f"{field}={name!r}: {error}."
            raise MissingExtraError(msg) from error
        except ValidationError as error:
            msg = f"{field}={name!r}: {_without_input(error)}"
            raise MoAConfigurationError(msg) from None
        except Exception as error:  # each provider's SDK has its own error for a missing key
            if "langchain_community" in str(error):  # where ChatOllama is looked for, too
                msg = f"{field}={name!r} needs a package: pip install langchain-ollama"
                raise MissingExtraError(msg) from error
            lacks = provider not in COMPATIBLE and lacks_key(provider, options)
            reason = no_key(ACCOUNTS[provider]) if lacks else _reason(name, error)
            plain = _without_values(reason, options)
            msg = f"{field}={name!r}: {plain}"
            raise MoAConfigurationError(msg) from (error if plain == reason else None)
        _check_options(type(model), field, options)
        note_keys(model, provider, field, options)
        leave_out_foreign_headers(model)
        if "openai_proxy" in options:  # kept for who writes it down
            vars(model)["openai_proxy"] = options["openai_proxy"]
        if connected and not options.keys() & _OF_CONNECTIONS:
            self._connect(model, f"{field}={name!r}")
        leave_out_tokens(model, options)
        return model

    def _clients_for(self, provider: str, settings: AnyMapping) -> AnyDict:
        """Our own HTTP clients, where a provider's class takes them and none are given."""
        if provider not in _TAKES_CLIENTS or settings.keys() & _OF_CONNECTIONS:
            return {}
        endpoint = endpoint_of(settings.get("base_url") or "")
        address = _set(base_url=endpoint.address or None)
        if endpoint.query:
            address["default_query"] = {**endpoint.query, **(settings.get("default_query") or {})}
        proxy = settings.get("openai_proxy") or _proxy_of_openai(provider)
        # given to the class, it would make clients of its own with it
        return {**self._connections.clients(proxy, endpoint.login), **address, "openai_proxy": None}

    def _connect(self, model: BaseChatModel, named: str) -> None:
        """Our own HTTP clients for a model whose class takes none.

        Raises:
            MoAConfigurationError: A member's proxy, or what the environment says, is wrong.
            MissingExtraError: A proxy needs a package that is not installed.
        """
        try:
            self._connections.connect(model)
        except (MoAConfigurationError, MissingExtraError) as error:
            msg = f"{named}: {error}"
            raise type(error)(msg) from None

    @cached_property
    def _connections(self) -> Connections:
        from langchain_moa.providers.clients import Connections  # noqa: PLC0415 - slow to import

        return Connections()


_TAKES_CLIENTS: Final = frozenset({"openai", "azure_openai", "deepseek", "xai"})
"""Providers whose classes take HTTP clients; in those of their own, connections are shared with
forked processes, and async ones end with the event loop that opened them."""
_OF_CONNECTIONS: Final = frozenset({"http_client", "http_async_client", "client", "async_client"})
"""Options with clients that a user made."""


def _in_its_unit(seconds: float | None, provider: str) -> float | None:
    """A time limit as the provider's class takes it: OpenRouter's counts whole milliseconds."""
    return seconds if seconds is None or provider != "openrouter" else math.ceil(seconds * 1000)


def _proxy_of_openai(provider: str) -> str | None:
    """The proxy that the environment names for OpenAI's own models."""
    return variable("OPENAI_PROXY") or None if provider.endswith("openai") else None


def _checked(options: AnyMapping, field: str) -> AnyDict:
    """A member's own options, with keys and addresses checked.

    Raises:
        MoAConfigurationError: A key or an address is none, or `api_key_env` names no variable that
            is set.
    """
    # classes take out of a dict of options what is a field of theirs: not out of the user's own
    checked: AnyDict = {n: dict(v) if type(v) is dict else v for n, v in options.items()}
    for name, value in options.items():
        if KEY_OPTION.fullmatch(name) and isinstance(value, str | SecretStr):
            checked[name] = checked_key(value, f"{field}.{name}")
        elif ADDRESS_OPTION.fullmatch(name) and isinstance(value, str):
            checked[name] = stripped(value)
            if "://" in value or name.lower().endswith(("base_url", "api_base")):
                checked[name] = checked_address(value, f"{field}.{name}")
        elif name == "default_headers" and isinstance(value, Mapping) and headers_are_set():
            checked[name] = as_environment_spells(value)
    if "api_key_env" not in options:
        return checked
    name = checked.pop("api_key_env")
    if any(KEY_OPTION.fullmatch(other) for other in checked):
        msg = f"{field} has a key and api_key_env={shown(name)}; give one of them."
        raise MoAConfigurationError(msg)
    if not isinstance(name, str) or not variable(name):
        msg = (
            f"{field}.api_key_env={shown(name)} is no environment variable that is set; set it to "
            "the member's key, or give the name of another one."
        )
        raise MoAConfigurationError(msg)
    return {**checked, "api_key": checked_key(variable(name), name)}


def _check_no_choice(field: str, options: AnyMapping) -> None:
    """Refuse what would leave open which model is meant, or say it twice."""
    for name in ("configurable_fields", "config_prefix", "model_provider"):
        if name in options:
            msg = f"{field}.{name} is not an argument of a member; give 'provider:model' alone."
            raise MoAConfigurationError(msg)


def _named_key(account: Account) -> Key | None:
    """The key that the environment names, if it does."""
    found = (checked_key(variable(name), name) for name in account.keys if variable(name))
    return next(found, None)


def _named_address(provider: str) -> str | None:
    """The address that the environment names for a provider, if it does."""
    names = (name for name in ACCOUNTS[provider].addresses if variable(name))
    return next((checked_address(variable(name), name) for name in names), None)


def _without_token(provider: str, options: AnyMapping) -> AnyDict:
    """No token of the environment's in the place of a key that a member for Azure brings."""
    is_azure = provider == "azure_openai"
    return {"azure_ad_token": None} if is_azure and has_key_alone(options) else {}


def _mended_environment(provider: str, options: AnyMapping) -> AnyDict:
    """What the environment says of an account, where its package would misread it.

    Raises:
        MoAConfigurationError: A variable holds what is no key, or no address.
    """
    account = ACCOUNTS.get(provider)
    if account is None:
        return {}
    mended: AnyDict = {}
    for names, option in ((account.keys, KEY_OPTION), (account.addresses, ADDRESS_OPTION)):
        if any(option.fullmatch(name) for name in options):
            continue
        value = next((os.environ[name] for name in names if name in os.environ), "")
        is_key = names is account.keys
        clean = _named_key(account) if is_key else _named_address(provider)
        # what stands in an address beside it is taken out of it later
        if clean and (stripped(value) != value or "@" in value or "?" in value):
            address = "azure_endpoint" if provider == "azure_openai" else "base_url"
            mended["api_key" if is_key else address] = clean
    return mended


_PROVIDERS: Final = (
    *("openai", "anthropic", "azure_openai", "google_genai", "google_vertexai", "bedrock"),
    *("cohere", "deepseek", "fireworks", "groq", "huggingface", "mistralai", "ollama"),
    *("perplexity", "together", "xai"),
)
"""Those whose names are likely misspelled; LangChain knows more."""


_OWNERS: Final = {
    "openai": re.compile(r"(gpt-(?!oss)|chatgpt-|o[1-9](-|$))"),
    "anthropic": re.compile(r"claude-"),
    "google_genai": re.compile(r"gemini-"),
    "mistralai": re.compile(r"(mistral|magistral|codestral)-\w+-latest"),
}
"""What the names of providers' own models begin with."""


def _owner(model: str) -> str | None:
    """The provider who alone serves a model of such a name, which has no owner in it."""
    return next((owner for owner, name in _OWNERS.items() if name.match(model)), None)


def _reason(name: str, error: Exception) -> str:
    """Why a provider's package makes no model, with a hint where the provider is unknown to it."""
    text = " ".join(str(error).split())
    provider, _, model = name.partition(":")
    if not isinstance(error, ValueError) or "infer model provider" not in text:
        return text
    text = f"{provider!r} is no provider that LangChain knows; "
    if provider.lower() in COMPATIBLE:
        address, key = COMPATIBLE[provider.lower()]
        member = {"model": f"openai:{model}", "base_url": address, "api_key_env": key}
        return f"{text}it speaks OpenAI's API, so give {member}."
    close = get_close_matches(provider.lower(), _PROVIDERS, n=1, cutoff=0.85)
    if close:
        return f"{text}did you mean '{close[0]}:{model}'?"
    return (
        f"{text}give 'provider:model', as in 'openai:...', 'anthropic:...' or 'ollama:{name}', "
        "or a Together model id, as in 'owner/model'."
    )


def _without_values(text: str, options: object) -> str:
    """A package's error without what lists in options hold, such as a password in `auth`."""
    if isinstance(options, Mapping):
        for value in options.values():
            text = _without_values(text, value)
    elif isinstance(options, list | tuple):
        for value in options:
            text = text.replace(repr(value), "'***'") if isinstance(value, str) else text
    return text


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else repr(value)


def _check_options(model: type[BaseChatModel], field: str, options: AnyMapping) -> None:
    """Refuse options that the model's class does not have, which it might send as they are."""
    known = {*model.model_fields, *(f.alias for f in model.model_fields.values() if f.alias)}
    known -= {"model", "model_name"}  # which are given already
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"see help({model.__name__})."
            msg = f"{field}.{name} is not an argument of {model.__name__}; {hint}"
            raise MoAConfigurationError(msg)


def check_together_key(model: Any, field: str) -> None:
    """Refuse a user's `ChatTogether` that would send `OPENAI_API_KEY` to Together.

    Raises:
        MoAConfigurationError: It is a `ChatTogether` without a Together key.
    """
    if is_a(model, "ChatTogether"):
        key = getattr(model, "together_api_key", None)
        if key is None or not key.get_secret_value():
            msg = (
                f"{field}=ChatTogether(model={model.model_name!r}) has no key for Together and "
                "would send OPENAI_API_KEY there; set the environment variable "
                f"{TOGETHER_KEY_VARIABLE}, or construct it with api_key=..."
            )
            raise MoAConfigurationError(msg)


def _set(**options: object) -> AnyDict:
    """The options that are set."""
    return {name: value for name, value in options.items() if value is not None}


def _without_input(error: ValidationError) -> str:
    """A validation error without the values, which may hold a key."""
    details = error.errors(include_input=False, include_url=False)
    told = [(".".join(map(str, d["loc"])), d["msg"].removeprefix("Value error, ")) for d in details]
    return "; ".join(f"{field}: {msg}" if field else msg for field, msg in told)
