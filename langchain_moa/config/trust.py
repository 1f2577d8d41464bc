"""Which addresses of a configuration may get the keys of its user.

A file is written by one person and used by another: who writes an address into it would get the
other's keys. So an address in a configuration gets none, unless it is the provider's own, this
machine's, one that the user's environment names for that provider, or one that the user trusts by
its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from langchain_moa.config.lineup import MEMBER_FIELDS
from langchain_moa.errors import MoAConfigurationError, shown
from langchain_moa.providers.accounts import (
    ACCOUNTS,
    ADDRESS_OPTION,
    TOGETHER,
    Account,
    account_of_key,
    host_of,
    hosts_of_user,
    is_loopback,
    shown_address,
    stripped,
)
from langchain_moa.types import AnyMapping

_OF_REQUESTS: Final = frozenset(
    {"default_headers", "extra_headers", "additional_headers", "extra_body", "metadata", "tags"}
)
"""What is sent, and not where it is sent to."""
_UNKNOWN: Final = Account(())


class Address(NamedTuple):
    """An address that a configuration names.

    Attributes:
        field: Where it stands.
        address: The address.
        account: Whose key would be sent there.
    """

    field: str
    address: str
    account: Account


def addresses_in(settings: AnyMapping) -> Iterator[Address]:
    """The addresses that the settings of a mixture name, those of mixtures inside not among them.

    Args:
        settings: The settings.
    """
    for name, value in settings.items():
        if name == "base_url" and isinstance(value, str):
            yield Address(name, value, ACCOUNTS[TOGETHER])
        elif name in MEMBER_FIELDS:
            yield from _of_members(value, name)


def _of_members(value: object, field: str) -> Iterator[Address]:
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _of_members(item, f"{field}[{place}]")
    elif isinstance(value, Mapping) and "model" in value:
        account = _account_of(value)
        yield from (Address(*found, account) for found in _of_options(value, field))
    elif isinstance(value, Mapping) and field == "fallbacks":
        for name, item in value.items():
            yield from _of_members(item, f"{field}[{name!r}]")


def _of_options(value: object, field: str) -> Iterator[tuple[str, str]]:
    """What is an address by its name or by its look, at any depth."""
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _of_options(item, f"{field}[{place}]")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            inside = f"{field}.{name}"
            if isinstance(item, str) and ADDRESS_OPTION.fullmatch(str(name)):
                yield inside, item
            elif name not in _OF_REQUESTS:
                yield from _of_options(item, inside)
    elif isinstance(value, str) and "://" in value:
        yield field, value


def _account_of(member: AnyMapping) -> Account:
    """Whose key a member sends."""
    variable = member.get("api_key_env")
    if isinstance(variable, str):
        return account_of_key(variable)
    provider, colon, _ = str(member["model"]).partition(":")
    is_together = not colon or "/" in provider
    return ACCOUNTS.get(TOGETHER if is_together else provider.strip().lower(), _UNKNOWN)


def hosts_in(settings: AnyMapping) -> frozenset[str]:
    """Every host that settings name, in mixtures inside, too; for those who only look at them."""
    hosts = {host_of(stripped(address)) for _, address in _of_options(settings, "")}
    return frozenset(hosts - {""})


def checked_hosts(given: object) -> frozenset[str]:
    """Hosts that a user trusts, in small letters.

    Raises:
        MoAConfigurationError: They are no list of hosts.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        msg = f"trusted_hosts={shown(given)} is no list; give one of hosts, as in ['api.acme.com']."
        raise MoAConfigurationError(msg)
    hosts = set()
    for place, item in enumerate(given):
        host = host_of(stripped(item)) if isinstance(item, str) else ""
        if not host or "*" in host:
            msg = (
                f"trusted_hosts[{place}]={shown(item)} is no host; give its name alone, as in "
                "'api.acme.com'."
            )
            raise MoAConfigurationError(msg)
        hosts.add(host)
    return frozenset(hosts)


def require_trusted(settings: AnyMapping, trusted: frozenset[str]) -> None:
    """Refuse an address whose host nobody but the configuration names.

    Args:
        settings: The settings of a mixture, as a configuration has them.
        trusted: Hosts that its user trusts.

    Raises:
        MoAConfigurationError: There is one; the message says how to trust it.
    """
    for found in addresses_in(settings):
        host = host_of(stripped(found.address))
        if not host or is_loopback(host) or host in trusted or _is_own(found, host):
            continue  # what is no address is refused where it is used
        key = " or ".join(found.account.keys) or "your key"
        msg = (
            f"{found.field}={shown_address(found.address)!r} stands in the configuration, and "
            f"{key} would be sent there; if you trust it, give from_config(..., "
            f"trusted_hosts=[{host!r}]), or --trust-host {host} to a command."
        )
        raise MoAConfigurationError(msg)


def _is_own(found: Address, host: str) -> bool:
    """Whether it is where the key belongs, and nobody on the way can read it."""
    encrypted = stripped(found.address).lower().startswith("https://")
    return encrypted and host in hosts_of_user(found.account)
