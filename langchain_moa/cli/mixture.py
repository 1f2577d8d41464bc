"""The mixture that a command's options mean, with its endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.banner import KEY, NO_KEY_MESSAGE, OPENAI_ADDRESS, OPENAI_KEY, takes_openai
from langchain_moa.cli.options import MixtureOptions, overrides_of
from langchain_moa.config.files import read_settings
from langchain_moa.config.trust import hosts_in
from langchain_moa.errors import MissingExtraError, MoAConfigurationError
from langchain_moa.presets import DEFAULT_PRESET, get_preset
from langchain_moa.providers.accounts import NO_KEY
from langchain_moa.strategies.known import CONSULTING
from langchain_moa.types import AnyDict, AnyMapping

ADDRESS_VARIABLE: Final = "TOGETHER_API_BASE"
LIST_PRICES: Final = "list"
"""What `--prices` is given for list prices."""
_NO_KEY_ERROR: Final = "there is no key for Together"
_DEMO: Final = "http://127.0.0.1/v1"
"""What stands for the demo's address where answers are known again."""


@contextmanager
def mixture_for(
    options: MixtureOptions,
    *,
    asks: bool = True,
    addresses: dict[str, str] | None = None,
    **more: object,
) -> Iterator[MoAChatModel]:
    """The mixture that options mean; models on this machine answer as long as the context lasts.

    Args:
        options: The command's options.
        asks: Whether its models are asked anything; otherwise Together's key may be missing.
        addresses: Gets, for the address of each server that is started here, one that is the same
            each time that it serves the same models, for those who recognise answers again.
        **more: Other arguments of the mixture.

    Raises:
        MoAConfigurationError: An option, the configuration or the key is wrong or missing.
    """
    arguments = {**overrides_of(options), **given_prices(options.prices), **more}
    if options.demo:
        with _demo_models() as demo:
            if addresses is not None:
                addresses[demo["base_url"]] = _DEMO
            yield MoAChatModel(**{**demo, **arguments})
        return
    if options.serves:
        from langchain_moa.cli.local import local_models  # noqa: PLC0415 - few need it

        with local_models(options.gguf, addresses) as served:
            yield MoAChatModel(**{**served, **arguments})
        return
    if options.preset and (preset := get_preset(options.preset)).lists:
        from langchain_moa.cli.local import served_models  # noqa: PLC0415

        yield MoAChatModel(
            **{**served_models(preset, options.settings.get("base_url")), **arguments}
        )
        return
    key = {"api_key": NO_KEY} if not _has_key() and (not asks or _endpoint(options)) else {}
    if takes_openai(options):
        named = {"base_url": os.environ[OPENAI_ADDRESS], "api_key": os.environ[OPENAI_KEY]}
        key = {name: value.strip() for name, value in named.items()}
    trusted = frozenset(options.trust_host)
    if not asks and options.config is not None:  # nothing is sent
        trusted |= hosts_in(read_settings(options.config))
    yield _built(options, {**key, **arguments, "trusted_hosts": trusted})


def given_prices(named: Path | None) -> AnyDict:
    """The prices that a file or the list has, over those of the configuration.

    Args:
        named: What `--prices` is given.

    Returns:
        The argument of a mixture or a judge; none where nothing is named.

    Raises:
        MoAConfigurationError: The file cannot be read.
    """
    if named is None:
        return {}
    return {"prices": True if str(named) == LIST_PRICES else read_settings(named)}


def _built(options: MixtureOptions, arguments: AnyMapping) -> MoAChatModel:
    source = options.config or get_preset(options.preset or DEFAULT_PRESET).settings
    try:
        return MoAChatModel.from_config(source, **arguments)
    except MoAConfigurationError as error:
        if _NO_KEY_ERROR not in str(error) or _has_key():
            raise
        raise MoAConfigurationError(NO_KEY_MESSAGE) from None


def _has_key() -> bool:
    return bool(os.environ.get(KEY, "").strip())


def _endpoint(options: MixtureOptions) -> str | None:
    """The address that is named in place of Together's own."""
    named = options.settings.get("base_url") or os.environ.get(ADDRESS_VARIABLE)
    if named or options.config is None:
        return named
    return read_settings(options.config).get("base_url")


@contextmanager
def _demo_models() -> Iterator[AnyDict]:
    try:
        from langchain_moa.testing import LoopbackServer  # noqa: PLC0415 - needs an extra
        from langchain_moa.testing.demo_models import (  # noqa: PLC0415
            AGGREGATOR,
            DEMO_MODELS,
            PROPOSERS,
        )
    except ImportError as error:
        msg = "--demo needs the extra testing: pip install 'langchain-moa[cli]'."
        raise MissingExtraError(msg) from error
    with LoopbackServer(DEMO_MODELS) as server:
        yield {
            "reference_models": list(PROPOSERS),
            "aggregator": AGGREGATOR,
            "layers": 3,
            "base_url": server.base_url,
            "api_key": server.api_key,
        }


def consulted_name(llm: MoAChatModel) -> tuple[str, str] | None:
    """Who is consulted before the aggregator, the analyst or the judge: its role and its name."""
    strategy = CONSULTING.get(llm.strategy)
    if strategy is None:
        return None
    given = llm.model_dump(include={"analyst", "judge"})[strategy.role]
    first = given[0] if isinstance(given, list) else given
    return strategy.role, first or member_names(llm)[-1][0]


def member_names(llm: MoAChatModel) -> list[list[str]]:
    """The members' names layer by layer, the aggregator's layer last."""
    names = llm.model_dump(include={"reference_models", "aggregator"})
    references, aggregator = names["reference_models"], names["aggregator"]
    last = aggregator[0] if isinstance(aggregator, list) else aggregator
    if isinstance(references[0], list):
        return [*references, [last]]
    return [*[references] * (llm.num_layers - 1), [last]]
