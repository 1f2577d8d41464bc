"""`langchain-moa models`: what the endpoint serves, and whether the mixture's models are there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
import httpx

from langchain_moa.chat_models import MoAChatModel
from langchain_moa.cli.board import console, write
from langchain_moa.cli.exits import Exit, one_line, say
from langchain_moa.cli.mixture import mixture_for
from langchain_moa.cli.options import MixtureOptions
from langchain_moa.cli.terminal import folded, on_one_line, write_data
from langchain_moa.errors import MoAError
from langchain_moa.local.served import LONGEST, get
from langchain_moa.members.runnables import language_models, model_of
from langchain_moa.providers.accounts import Endpoint, endpoint_of
from langchain_moa.types import AnyDict

TIMEOUT: Final = 30.0
"""Seconds that an endpoint has to give its whole list."""
_PATIENCE: Final = 5.0
"""Seconds that who types waits for names."""
_CHAT: Final = ("chat", "language", "code", None)
"""Kinds of models, as Together names them, that answer questions; others tell no kind."""


def run(options: MixtureOptions, *, as_json: bool = False) -> int:
    """List the models of each endpoint that the mixture uses, and mark the mixture's own.

    Args:
        options: Which mixture.
        as_json: Whether to print one JSON array in place of lines.

    Returns:
        0, or 4 if a model of the mixture is not served.

    Raises:
        MoAError: An endpoint gives no list.
    """
    with mixture_for(options) as llm:
        members = list(_models(llm))
        together = [model for model in members if hasattr(model, "together_api_base")]
        others = {model_of(model) for model in members if model not in together}
        endpoints: dict[str, list[object]] = {}
        for model in together:
            endpoints.setdefault(str(model.together_api_base), []).append(model)
        lists = [_listed(address, ours, quiet=as_json) for address, ours in endpoints.items()]
    if as_json:
        write_data(f"{json.dumps([row for rows in lists for row in rows], indent=2)}\n")
    missing = [row for rows in lists for row in rows if not row["served"]]
    for name in sorted(others):
        say(f"{name} is another provider's and was not looked for.")
    return Exit.NOT_SERVED if missing else Exit.ANSWER


def names_served(llm: MoAChatModel) -> list[str]:
    """The models that the aggregator's endpoint serves, as far as they answer questions.

    Raises:
        MoAError: It gives no list.
    """
    for model in _models(llm):
        if address := getattr(model, "together_api_base", None):
            key = model.together_api_key.get_secret_value()
            found = served_models(_endpoint(str(address), model), key, timeout=_PATIENCE)
            return sorted(name for name, kind in found.items() if kind in _CHAT)
    return []


def _models(llm: MoAChatModel) -> Iterator[Any]:
    for model in language_models(llm):
        if not getattr(model, "is_mixture", False):
            yield model


def _listed(address: str, models: list[Any], *, quiet: bool) -> list[AnyDict]:
    """What an endpoint serves, and the mixture's models that are not among it; printed, too."""
    endpoint = _endpoint(address, models[0])
    served = served_models(endpoint, models[0].together_api_key.get_secret_value())
    ours = {model_of(model) for model in models}
    rows: list[AnyDict] = [
        {
            "model": name,
            "endpoint": endpoint.address,
            "served": name in served,
            "in_mixture": name in ours,
        }
        for name in [*sorted(served), *sorted(ours - served.keys())]
        if served.get(name) in _CHAT or name in ours
    ]
    for row in () if quiet else rows:
        mark = ("*" if row["served"] else "!") if row["in_mixture"] else " "
        click.echo(folded(f"{mark} ", on_one_line(row["model"])))
    marks = "* in the mixture, ! in the mixture but not served"
    write(console(stderr=True), f"{endpoint.address} serves {len(served)} models ({marks}).")
    return rows


def _endpoint(address: str, model: Any) -> Endpoint:
    """Where a model's requests go, with the login and the query that its clients add."""
    given = endpoint_of(address)
    login = given.login or getattr(getattr(model.http_client, "auth", None), "pair", None)
    return Endpoint(given.address, login, {**given.query, **(model.default_query or {})})


def served_models(
    endpoint: Endpoint, key: str, *, timeout: float = TIMEOUT, longest: int = LONGEST
) -> Mapping[str, str | None]:
    """The models that an endpoint serves, with their kinds where it tells them.

    Args:
        endpoint: The base URL, to which `/models` is added; a login is sent in the key's place.
        key: The endpoint's key.
        timeout: Seconds that it has to give its whole list.
        longest: Bytes that the list may have.

    Raises:
        MoAError: It gives no list.
    """
    shown = endpoint.address
    try:
        found = json.loads(asyncio.run(_answer(endpoint, key, timeout, longest)))
        # Together gives a list, others as OpenAI an object that holds one
        items = found["data"] if isinstance(found, dict) else found
        return {str(item["id"]): item.get("type") for item in items}
    except httpx.HTTPStatusError as error:
        response = error.response
        msg = f"{shown} gives no list of models: {response.status_code} {response.reason_phrase}."
    except TimeoutError:
        msg = f"{shown} gives no list of models within {timeout:g} s."
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        msg = f"{shown} gives no list of models: {one_line(error).rstrip('.')}."
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        msg = f"{shown} gives no list of models that can be read."
    raise MoAError(msg)


async def _answer(endpoint: Endpoint, key: str, seconds: float, longest: int) -> bytes:
    """What an endpoint answers, if all of it comes in time and has a size that a list may have."""
    async with asyncio.timeout(seconds):
        return await get(
            f"{endpoint.address.rstrip('/')}/models",
            key,
            longest,
            login=endpoint.login,
            query=endpoint.query,
        )
