"""What providers refuse of a conversation, and how they cache it: a row for each integration."""

from __future__ import annotations

from typing import Final, NamedTuple

from langchain_moa.providers.classes import packages_of


class Rules(NamedTuple):
    """The rules of one provider, as its integration meets them.

    Attributes:
        package: The integration, by its top package.
        names: What it leaves in its messages' metadata as `model_provider`.
        needs_tools: Whether calls and results are refused in a request that binds no tools.
        needs_each_tool: Whether calls of a tool are refused that the request does not declare.
        refuses_blanks: Whether blank texts are refused.
        system_first: Whether system messages must stand together at the beginning.
        answers_results: Whether no user message may come right after the results of tools.
        wants_addresses: Whether pictures in results must be in OpenAI's form.
        caches_blocks: Whether prompts are cached up to a marked block, so that a text must not be
            joined to another one that was sent alone.
    """

    package: str
    names: tuple[str, ...] = ()
    needs_tools: bool = False
    needs_each_tool: bool = False
    refuses_blanks: bool = False
    system_first: bool = False
    answers_results: bool = False
    wants_addresses: bool = False
    caches_blocks: bool = False


_GOOGLE: Final = Rules("", needs_each_tool=True, refuses_blanks=True)

RULES: Final = (
    Rules(
        "langchain_anthropic",
        ("anthropic",),
        needs_tools=True,
        refuses_blanks=True,
        system_first=True,
        caches_blocks=True,
    ),
    Rules(
        "langchain_aws",
        ("bedrock", "bedrock_converse"),
        needs_tools=True,
        refuses_blanks=True,
        system_first=True,
        caches_blocks=True,
    ),
    _GOOGLE._replace(package="langchain_google_genai", names=("google_genai",)),
    _GOOGLE._replace(package="langchain_google_vertexai", names=("google_vertexai",)),
    Rules(
        "langchain_mistralai",
        ("mistralai",),
        refuses_blanks=True,
        system_first=True,
        answers_results=True,
        wants_addresses=True,
    ),
    Rules("langchain_openai", ("openai",)),
)
"""Each was tried with the integration's client against the provider's documented rules."""

_BY_PACKAGE: Final = {rules.package: rules for rules in RULES}
_BY_NAME: Final = {name: rules.package for rules in RULES for name in rules.names}


def rules_of(model: object) -> tuple[Rules, ...]:
    """The rules that a model's class falls under: `ChatTogether` is OpenAI's, too.

    Args:
        model: A chat model; of anything else nothing is known.
    """
    packages = packages_of(type(model))
    return tuple(_BY_PACKAGE[package] for package in packages if package in _BY_PACKAGE)


def package_of(name: str) -> str | None:
    """The integration that leaves a name in its messages' metadata, where it is known."""
    return _BY_NAME.get(name)
