"""Mixtures of what a model server on this machine serves: Ollama, vLLM, LM Studio, llama.cpp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from langchain_moa.errors import MoAConfigurationError, MoAError, without_variables
from langchain_moa.local.mixture import SAMPLES
from langchain_moa.presets import Preset, get_preset
from langchain_moa.providers.accounts import NO_KEY, checked_address, shown_address, variable
from langchain_moa.providers.clients import NO_PROXY
from langchain_moa.types import AnyDict

LONGEST: Final = 1 << 25
"""Bytes that a list of models may have; Together's has some 200 kB."""
_LIST_SECONDS: Final = 30.0
_LOADING: Final = 503
"""What llama.cpp's server says while it loads its model."""
_LOOK_SECONDS: Final = 0.5


class Served(NamedTuple):
    """A model that a server has.

    Attributes:
        name: Its id.
        size: Its bytes, or 0 where they are not told.
    """

    name: str
    size: int


@without_variables
def settings_of(
    preset: str | Preset, *, base_url: str | None = None, timeout: float = _LIST_SECONDS
) -> AnyDict:
    """The arguments of the mixture that a preset of a model server means today.

    The server is asked which chat models it has: all of them are reference models, and the largest
    one (where sizes are not told, the first) writes the answer. A single one proposes three times.

    Args:
        preset: `"ollama"`, `"vllm"`, `"lmstudio"` or `"llamacpp"`, or the preset itself.
        base_url: The server's address, if it is not the usual one.
        timeout: Seconds that the server has to answer; one that still loads its model is waited
            for.

    Raises:
        MoAConfigurationError: There is no such preset, or it asks no server.
        MoAError: The server does not run, or has no chat model.

    Example:
        >>> from langchain_moa import MoAChatModel
        >>> from langchain_moa.local import settings_of
        >>> llm = MoAChatModel(**settings_of("ollama"))  # doctest: +SKIP
    """
    preset = get_preset(preset) if isinstance(preset, str) else preset
    if preset.lists is None:
        msg = f"preset={preset.name!r} names its models; give it to MoAChatModel.from_config."
        raise MoAConfigurationError(msg)
    settings: AnyDict = dict(preset.settings)
    address = settings["base_url"]
    if base_url is not None:
        address = checked_address(base_url, "base_url")
    key = variable(preset.key or "") or NO_KEY
    with ThreadPoolExecutor(1) as apart:  # for an event loop may run here, as in Jupyter
        found = apart.submit(asyncio.run, _served(preset, address, key, timeout)).result()
    names = [f"together:{model.name}" for model in found]  # Ollama's names hold colons
    largest = max(range(len(found)), key=lambda place: found[place].size)
    return {
        **settings,
        "base_url": address,
        "api_key": key,
        "reference_models": names * SAMPLES if len(names) == 1 else names,
        "aggregator": names[largest],
    }


async def _served(preset: Preset, address: str, key: str, seconds: float) -> list[Served]:
    """The chat models of a server, at least one."""
    root = urlsplit(address)
    asked = f"{root.scheme}://{root.netloc}{preset.lists}"
    shown = shown_address(asked)
    try:
        async with asyncio.timeout(seconds):
            found = list(_chat_models(json.loads(await _when_loaded(asked, key))))
    except httpx.ConnectError:
        msg = f"no server answers at {shown}; start it, or give its address as base_url."
    except httpx.HTTPStatusError as error:
        status = f"{error.response.status_code} {error.response.reason_phrase}"
        msg = f"{shown} gives no list of models: {status}."
        if error.response.status_code in (401, 403):
            msg = f"{msg[:-1]}; {_about_key(preset)}."
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        msg = f"{shown} gives no list of models within {seconds:g} s: {type(error).__name__}."
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        msg = f"{shown} gives no list of models that can be read."
    else:
        if found:
            return found
        msg = f"{shown} lists no chat model; load one into the server first."
    raise MoAError(msg)


def _about_key(preset: Preset) -> str:
    return f"set {preset.key} to the server's key" if preset.key else "it wants a key"


async def _when_loaded(address: str, key: str) -> bytes:
    """The answer, once the server has loaded its model."""
    while True:
        try:
            return await get(address, key)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != _LOADING:
                raise
        await asyncio.sleep(_LOOK_SECONDS)


def _chat_models(answer: Any) -> Iterable[Served]:
    """What chats among a server's models, in Ollama's words or OpenAI's."""
    ollama = isinstance(answer, Mapping) and "data" not in answer
    for model in answer["models"] if ollama else answer["data"]:
        name = str((model.get("model") or model["name"]) if ollama else model["id"])
        meta = model.get("meta") or {}
        size = model.get("size") or meta.get("size") or 0
        if _chats(name, model):
            yield Served(name, size if isinstance(size, int) else 0)


def _chats(name: str, model: Mapping[str, Any]) -> bool:
    """Whether a model answers; others, which embed or rank, stand in the same lists."""
    kinds = model.get("capabilities")
    if isinstance(kinds, list) and kinds:
        return "completion" in kinds
    family = str((model.get("details") or {}).get("family") or "")
    words = f"{name} {family} {model.get('type') or ''}".lower()
    return not any(kind in words for kind in ("embed", "bert", "rerank"))


async def get(
    address: str,
    key: str,
    longest: int = LONGEST,
    *,
    login: tuple[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> bytes:
    """What an address answers, if it has a size that a list of models may have.

    Args:
        address: The whole address.
        key: The endpoint's key.
        longest: Bytes that the answer may have.
        login: A user's name and password, which are sent in the key's place.
        query: Parameters that go with the request.

    Raises:
        httpx.HTTPError: There is no answer, or it is an error.
        ValueError: It is longer.
    """
    received = bytearray()
    asked: AnyDict = {"params": query or None, "headers": {"Authorization": f"Bearer {key}"}}
    async with (
        # callers have a limit for it all
        httpx.AsyncClient(timeout=None, mounts=NO_PROXY) as client,  # noqa: S113
        client.stream("GET", address, auth=login, **asked) as answer,
    ):
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            received += piece
            if len(received) > longest:
                msg = "it is longer than a list of models"
                raise ValueError(msg)
    return bytes(received)
