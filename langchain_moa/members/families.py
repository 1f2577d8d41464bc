"""Whose models the members are: those of one vendor are likely to share their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from langchain_moa.members.member import Member

_VENDORS: Final = ("langchain_anthropic", "langchain_mistralai", "langchain_openai")
"""Packages of vendors whose ids name no owner, and that serve their own models."""

_SCRIPTED: Final = "demo"
"""The owner of the scripted models of demo and notebooks, who are no vendor's."""


def family_of(members: Sequence[Member]) -> str | None:
    """The vendor of all members, by their ids; `None` where there are several, or one is unknown.

    One model that is sampled several times (Self-MoA) is no family: that is meant.

    Args:
        members: Everybody in a mixture.
    """
    vendors = {_vendor_of(member) for member in members}
    several = len({member.model for member in members}) > 1
    return next(iter(vendors)) if several and len(vendors) == 1 else None


def _vendor_of(member: Member) -> str | None:
    """The owner in a model's id, or else the provider whose own client it has."""
    owner, slash, _ = member.model.rpartition("/")
    if slash:
        return None if owner == _SCRIPTED else owner
    package = type(member.chat_model).__module__.partition(".")[0]
    return package.removeprefix("langchain_") if package in _VENDORS else None
