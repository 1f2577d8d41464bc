"""Whose key goes where: providers' accounts, keys and addresses as headers can hold them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from langchain_moa.errors import MoAConfigurationError

TOGETHER: Final = "together"
TOGETHER_ADDRESS: Final = "https://api.together.xyz/v1/"
NO_KEY: Final = "no-key"
"""What is sent to an endpoint of one's own, which mostly wants no key, while clients want one."""


class Account(NamedTuple):
    """What the environment may say of a user's account with a provider, and whose hosts it is for.

    Attributes:
        keys: Variables that hold the key.
        addresses: Variables that hold another address of the API.
        hosts: The provider's own hosts.
        headers: Variables that its SDK sends as headers, with the header's name; the name is empty
            where the variable holds `Name: value` lines itself.
    """

    keys: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}


ACCOUNTS: Final[Mapping[str, Account]] = {
    TOGETHER: Account(
        ("TOGETHER_API_KEY",), ("TOGETHER_API_BASE",), ("api.together.xyz", "api.together.ai")
    ),
    "openai": Account(
        ("OPENAI_API_KEY",),
        ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
        ("api.openai.com", "us.api.openai.com", "eu.api.openai.com"),
        {
            "OPENAI_ORG_ID": "OpenAI-Organization",
            "OPENAI_ORGANIZATION": "OpenAI-Organization",
            "OPENAI_PROJECT_ID": "OpenAI-Project",
            "OPENAI_CUSTOM_HEADERS": "",
        },
    ),
    "azure_openai": Account(("AZURE_OPENAI_API_KEY",), ("AZURE_OPENAI_ENDPOINT",)),
    "anthropic": Account(
        ("ANTHROPIC_API_KEY",),
        ("ANTHROPIC_API_URL", "ANTHROPIC_BASE_URL"),
        ("api.anthropic.com",),
        {"ANTHROPIC_CUSTOM_HEADERS": ""},
    ),
    "mistralai": Account(("MISTRAL_API_KEY",), ("MISTRAL_BASE_URL",), ("api.mistral.ai",)),
    "google_genai": Account(
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"), (), ("generativelanguage.googleapis.com",)
    ),
    "groq": Account(("GROQ_API_KEY",), ("GROQ_API_BASE", "GROQ_BASE_URL"), ("api.groq.com",)),
    "deepseek": Account(("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",), ("api.deepseek.com",)),
    "xai": Account(("XAI_API_KEY",), (), ("api.x.ai",)),
    "fireworks": Account(
        ("FIREWORKS_API_KEY",),
        ("FIREWORKS_API_BASE", "FIREWORKS_BASE_URL"),
        ("api.fireworks.ai",),
        {"FIREWORKS_CUSTOM_HEADERS": ""},
    ),
    "openrouter": Account(("OPENROUTER_API_KEY",), ("OPENROUTER_API_BASE",), ("openrouter.ai",)),
    "perplexity": Account(("PPLX_API_KEY", "PERPLEXITY_API_KEY"), (), ("api.perplexity.ai",)),
    "dashscope": Account(
        ("DASHSCOPE_API_KEY",), (), ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com")
    ),
    "moonshot": Account(("MOONSHOT_API_KEY",), (), ("api.moonshot.cn", "api.moonshot.ai")),
    "zhipuai": Account(("ZHIPUAI_API_KEY", "ZAI_API_KEY"), (), ("open.bigmodel.cn", "api.z.ai")),
    "siliconflow": Account(
        ("SILICONFLOW_API_KEY",), (), ("api.siliconflow.cn", "api.siliconflow.com")
    ),
    "volcengine": Account(("ARK_API_KEY",), (), ("ark.cn-beijing.volces.com",)),
    "minimax": Account(("MINIMAX_API_KEY",), (), ("api.minimaxi.com", "api.minimax.io")),
}
"""Accounts by provider, as `init_chat_model` names those that it knows.

Variables and hosts are those of each provider's documentation and of its package for LangChain.
"""

COMPATIBLE: Final[Mapping[str, tuple[str, str]]] = {
    "dashscope": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "qwen": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "tongyi": ("https://dashscope.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "moonshot": ("https://api.moonshot.cn/v1", "MOONSHOT_API_KEY"),
    "kimi": ("https://api.moonshot.cn/v1", "MOONSHOT_API_KEY"),
    "zhipuai": ("https://open.bigmodel.cn/api/paas/v4", "ZHIPUAI_API_KEY"),
    "zhipu": ("https://open.bigmodel.cn/api/paas/v4", "ZHIPUAI_API_KEY"),
    "siliconflow": ("https://api.siliconflow.cn/v1", "SILICONFLOW_API_KEY"),
    "volcengine": ("https://ark.cn-beijing.volces.com/api/v3", "ARK_API_KEY"),
    "minimax": ("https://api.minimaxi.com/v1", "MINIMAX_API_KEY"),
}
"""Providers that speak OpenAI's API and that `init_chat_model` does not know: address and variable
of the key, as their documentation names them."""

ADDRESS_OPTION: Final = re.compile(r"(?i)(.*_)?(base_url|api_base|api_url|endpoint|host|proxy)")
"""Names of options of chat models that hold an address."""
KEY_OPTION: Final = re.compile(r"(?i)(.*_)?api_key")
"""Names of options of chat models that hold a key."""
_USER: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_BYTE_ORDER_MARK: Final = "\ufeff"


class Key(SecretStr):
    """A key that knows where it comes from, so that errors can name it.

    Args:
        value: The key.
        source: The environment's variable, or the argument that it was given as.
    """

    def __init__(self, value: str, source: str) -> None:
        super().__init__(value)
        self.source = source

    @property
    def is_in_environment(self) -> bool:
        """Whether the environment holds it under its source's name."""
        return variable(self.source) == self.get_secret_value()


def checked_key(given: str | SecretStr, source: str) -> Key:
    """A key without white space around it, as a file's last line leaves it.

    Args:
        given: The key.
        source: The variable or the argument that it comes from.

    Raises:
        MoAConfigurationError: It holds what no HTTP header can; the message does not quote it.
    """
    if isinstance(given, Key):
        return given
    key = stripped(given.get_secret_value() if isinstance(given, SecretStr) else given)
    wrong = _unsendable(key)
    if wrong:
        msg = f"{source} is no key: it holds {wrong}, which no HTTP header can; set it again."
        raise MoAConfigurationError(msg)
    return Key(key, source)


def checked_address(given: str, source: str) -> str:
    r"""An address of an API, without white space around it.

    Raises:
        MoAConfigurationError: It is none; the message names its source and shows it without a
            user's name and password.

    Example:
        >>> checked_address(" http://127.0.0.1:8000/v1\n", "base_url")
        'http://127.0.0.1:8000/v1'
        >>> checked_address("127.0.0.1:8000/v1", "base_url")
        Traceback (most recent call last):
        ...
        langchain_moa.errors.MoAConfigurationError: base_url='127.0.0.1:8000/v1' has no scheme; ...
    """
    address = stripped(given)
    shown = f"{source}={shown_address(address)!r}"
    wrong = _unsendable(address) or ("a backslash" if "\\" in address else "")
    if wrong:
        msg = f"{shown} is no address: it holds {wrong}; write the address anew."
        raise MoAConfigurationError(msg)
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        msg = (
            f"{shown} is no address: {error}; give one such as 'https://host/v1', or "
            "'http://[::1]:8000/v1' of an IPv6 host."
        )
        raise MoAConfigurationError(msg) from None
    if parts.scheme.lower() not in ("http", "https") or "://" not in address:
        msg = f"{shown} has no scheme; give 'https://...', or 'http://...' of your own machine."
        raise MoAConfigurationError(msg)
    if not parts.hostname:
        msg = f"{shown} names no host; give one such as 'https://host/v1'."
        raise MoAConfigurationError(msg)
    return address


class Endpoint(NamedTuple):
    """An address, and what stands in it beside the address itself.

    Attributes:
        address: The address without the rest.
        login: A user's name and password, or `None`.
        query: Parameters that go with every request.
    """

    address: str
    login: tuple[str, str] | None
    query: Mapping[str, str]


def endpoint_of(address: str) -> Endpoint:
    """The parts of an address, so that no log, error or trace can show those that are secret.

    Example:
        >>> endpoint_of("https://me:word@host/v1?api-key=k")
        Endpoint(address='https://host/v1', login=('me', 'word'), query={'api-key': 'k'})
    """
    parts = urlsplit(address)
    user, at, _ = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return Endpoint(
        shown_address(address),
        (unquote(name), unquote(password)) if at else None,
        dict(parse_qsl(parts.query, keep_blank_values=True)),
    )


def variable(name: str) -> str:
    """A variable of the environment without white space and byte order mark around it."""
    return stripped(os.environ.get(name, ""))


def stripped(text: str) -> str:
    """A text without white space and byte order marks around it."""
    return text.strip().strip(_BYTE_ORDER_MARK).strip()


def shown_address(address: str) -> str:
    """An address for people: without a user's name and password, and without its query.

    Example:
        >>> shown_address("https://me:secret@host/v1?api-key=secret")
        'https://host/v1'
    """
    return _USER.sub("", address).partition("?")[0].partition("#")[0]


def host_of(address: str) -> str:
    """The host of an address, in small letters, empty where there is none; a scheme may lack."""
    try:
        return (urlsplit(address if "://" in address else f"//{address}").hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def hosts_of_user(account: Account) -> frozenset[str]:
    """The hosts that an account's key is for: its provider's, and what the environment names."""
    named = {host_of(variable(name)) for name in account.addresses}
    return frozenset({*account.hosts, *named} - {""})


def account_of_key(name: str) -> Account:
    """The account that a variable holds the key of; one without hosts where it is unknown."""
    known = (account for account in ACCOUNTS.values() if name in account.keys)
    return next(known, Account((name,)))


def foreign_headers(address: str, own: Iterable[str]) -> frozenset[str]:
    """The headers that SDKs would add for other accounts, by the environment's variables.

    Args:
        address: Where requests go.
        own: Headers that were given for this address, which stay.
    """
    kept = {name.lower() for name in own}
    found: set[str] = set()
    for account in ACCOUNTS.values():
        if host_of(address) not in hosts_of_user(account):
            for name, header in account.headers.items():
                found.update([header] if header else _header_names(os.environ.get(name, "")))
    return frozenset(header for header in found if header.lower() not in kept)


def as_environment_spells(own: Mapping[str, object]) -> dict[str, object]:
    """Headers of a member's own, with names in the capitals that the environment has them in.

    An SDK that takes the two for different ones would send both.
    """
    named = (
        [header] if header else _header_names(os.environ.get(name, ""))
        for account in ACCOUNTS.values()
        for name, header in account.headers.items()
    )
    spelled = {header.lower(): header for headers in named for header in headers}
    return {spelled.get(str(name).lower(), name): value for name, value in own.items()}


def _header_names(lines: str) -> list[str]:
    """The names in a variable that holds a `Name: value` in each line."""
    pairs = (line.partition(":") for line in lines.splitlines())
    return [name.strip() for name, colon, _ in pairs if colon and name.strip()]


def headers_are_set() -> bool:
    """Whether the environment says anything that an SDK would send as a header."""
    names = (name for account in ACCOUNTS.values() for name in account.headers)
    return any(os.environ.get(name) for name in names)


def _unsendable(text: str) -> str:
    """The first character that neither a header nor an address can hold, told so that it shows."""
    for place, character in enumerate(text, start=1):
        if not "!" <= character <= "~":
            name = unicodedata.name(character, "a control character")
            return f"U+{ord(character):04X} ({name}) at place {place}"
    return ""


def key_fields(model: object) -> dict[str, SecretStr]:
    """The fields of a chat model that hold a key."""
    return {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, SecretStr) and value.get_secret_value()
    }


def key_source(model: object) -> str:
    """Where a chat model's key comes from, as an error names it; empty where that is not known.

    That is the environment's variable or the argument that the key was read from, or, for a model
    that the user constructed, the variables that its class reads.
    """
    if getattr(getattr(getattr(model, "http_client", None), "auth", None), "pair", None):
        return "the user's name and password in the address"  # which are sent in a key's place
    found = [v for n, v in key_fields(model).items() if KEY_OPTION.fullmatch(n)] if model else []
    sources = [key.source for key in found if isinstance(key, Key)]
    read = getattr(model, "lc_secrets", None)
    if not sources and isinstance(read, Mapping):
        sources = [str(name) for field, name in read.items() if "key" in str(field)]
    return " or ".join(dict.fromkeys(sources))
