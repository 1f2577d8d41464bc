"""Whose models the members are: by their vendors, and by the names that these have in LangChain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self

from langchain_core.language_models import BaseChatModel
from typing_extensions import override

from langchain_moa.members.member import Member
from langchain_moa.members.runnables import nodes
from langchain_moa.messages.rules import RULES, rules_of
from langchain_moa.types import MODEL_NAME

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


class Provider(str):
    """A provider as traces call it, which equals the names that its clients leave in messages, too.

    LangChain's middleware believes the tokens that a message reports only where the provider named
    in it equals the model's. Those of Together's and Mistral's clients do not, and a mixture's
    answer may be that of a fallback.

    Args:
        name: What traces call it.
        names: What it is called in messages.

    Example:
        >>> together = Provider("together", ["openai"])
        >>> together == "together", together == "openai", together == "anthropic"
        (True, True, False)
    """

    __slots__ = ("names",)

    names: frozenset[str]

    def __new__(cls, name: str, names: Iterable[str] = ()) -> Self:
        """A text with other names beside it."""
        provider = super().__new__(cls, name)
        provider.names = frozenset(names)
        return provider

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and (super().__eq__(other) or other in self.names)

    @override
    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def provider_of(aggregator: Member) -> Provider:
    """The provider of a mixture's answers: by name its aggregator's, or else `"moa"`.

    It equals the name in whatever message the aggregator or a fallback of it makes. Where
    no model is found in it (a function has none, a graph may hide it), any provider may answer.

    Args:
        aggregator: The aggregator, with its fallbacks.
    """
    first = aggregator.chat_model
    runnables = [each.runnable for each in aggregator.candidates]
    found = nodes(runnables, in_models=False)
    models = [node for node in found if isinstance(node, BaseChatModel)]
    own = [_traced_provider(model) for model in models]
    rules = [rule for model in models for rule in rules_of(model)] if models else RULES
    names = {name for rule in rules for name in rule.names}
    names |= {name for each in own for name in (each, *getattr(each, "names", ()))}
    return Provider(_traced_provider(first) if first else MODEL_NAME, {MODEL_NAME, *names})


def _traced_provider(model: BaseChatModel) -> str:
    # a method that LangChain's own middleware calls, too
    return model._get_ls_params().get("ls_provider", MODEL_NAME)  # noqa: SLF001
