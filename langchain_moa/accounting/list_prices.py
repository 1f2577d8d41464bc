"""List prices from the package `genai-prices`, whose data come with it: nothing is fetched.

A model's price depends on who serves it, so each name is looked up at the address, or else at the
provider, that the mixture asks for it. What the list does not have there stays unknown.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

from langchain_core.messages.ai import UsageMetadata

from langchain_moa.errors import MissingExtraError

_PROVIDERS: Final = {
    "langchain_anthropic": "anthropic",
    "langchain_cohere": "cohere",
    "langchain_deepseek": "deepseek",
    "langchain_google_genai": "google",
    "langchain_google_vertexai": "google",
    "langchain_groq": "groq",
    "langchain_mistralai": "mistral",
    "langchain_openai": "openai",
    "langchain_together": "together",
    "langchain_xai": "x-ai",
}
"""Whose own address the clients of a package ask, where they are told none."""
_ADDRESSES: Final = (
    *("together_api_base", "azure_endpoint", "openai_api_base", "anthropic_api_url"),
    *("mistral_api_url", "endpoint", "base_url"),
)
"""Fields of chat models that hold an address."""
_TOGETHER: Final = ("https://api.together.ai", "https://api.together.xyz")
"""The newer name of the same address, and the one that the list has."""
_COUNTS: Final = {
    "cache_read": "cache_read_tokens",
    "cache_creation": "cache_write_tokens",
}


class ListPrices:
    """Prices of the models of one mixture, as `prices` wants a function.

    Args:
        places: Per model name where it is asked for: an address (`https://...`), or a provider's
            name in the list.

    Raises:
        MissingExtraError: The package is not installed.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._list = _package()

    def __call__(self, model: str, usage: UsageMetadata) -> float | None:
        """USD of some tokens; `None` where the list has no price."""
        name = self._known(model)
        if name is None:
            return None
        place = self._places[name].replace(*_TOGETHER)
        where = {"provider_api_url" if "://" in place else "provider_id": place}
        details = usage.get("input_token_details") or {}
        counts = {_COUNTS[kind]: n for kind, n in details.items() if kind in _COUNTS and n}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                used = self._list.Usage(
                    input_tokens=usage["input_tokens"],
                    output_tokens=usage["output_tokens"],
                    **counts,
                )
                return float(self._list.calc_price(used, model, **where).total_price)
            except (LookupError, ValueError):
                return None

    def _known(self, model: str) -> str | None:
        """The name that a model is asked for by; providers answer by a longer one, with a date."""
        asked = [name for name in self._places if model == name or model.startswith(f"{name}-")]
        return max(asked, key=len, default=None)


def places_of(models: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Where chat models are asked for: by name their addresses, or else their providers.

    A name that is asked for at two places has no one price, and is left out.

    Args:
        models: Chat models with their names.
    """
    found: dict[str, set[str]] = {}
    for name, model in models:
        found.setdefault(name, set()).add(_place(model))
    return {name: place for name, (place, *others) in found.items() if place and not others}


def _place(model: object) -> str:
    for field in _ADDRESSES:
        address = getattr(model, field, None)
        if isinstance(address, str) and "://" in address:
            return address
    packages = (kind.__module__.partition(".")[0] for kind in type(model).__mro__)
    return next((_PROVIDERS[name] for name in packages if name in _PROVIDERS), "")


def _package() -> Any:
    try:
        import genai_prices  # noqa: PLC0415 - an extra, whose data take a while to load
    except ImportError as error:
        if error.name not in ("genai_prices", "httpx2"):
            raise
        msg = "prices=True needs the extra prices: pip install 'langchain-moa[prices]'."
        raise MissingExtraError(msg) from error
    return genai_prices
