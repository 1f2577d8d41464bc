"""The judge: a chat model that is asked as the mixtures' members are."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from langchain_core.messages import AIMessage, convert_to_messages
from pydantic import SecretStr

from langchain_moa.accounting.prices import Prices
from langchain_moa.chat_models import MoAChatModel
from langchain_moa.errors import MoAConfigurationError, shown, without_variables
from langchain_moa.evals.answering import refuse_set_up, why
from langchain_moa.evals.contestants import Contestant, alone, at_addresses, takes_arguments
from langchain_moa.evals.spending import Spent, paid_for, spent
from langchain_moa.evals.types import JSON
from langchain_moa.messages.reasoning import strip_reasoning
from langchain_moa.providers.accounts import NO_KEY
from langchain_moa.providers.builder import TOGETHER_KEY_VARIABLE
from langchain_moa.providers.classes import is_a
from langchain_moa.types import AnyDict, AnyMapping, AnyRunnable

Messages: TypeAlias = tuple[tuple[str, str], ...]
"""Roles and texts."""
Wire: TypeAlias = Literal["openai", "together"]
"""How a provider wants to be asked for log-probabilities."""

_TOP: Final = 5
"""How many tokens' log-probabilities are asked for, as AlpacaEval's judge does."""
_TOGETHERS_HOSTS: Final = ("together.ai", "together.xyz")


@dataclass(frozen=True)
class Said:
    """What a judge answered, or why it did not.

    Attributes:
        message: The answer; `None` where the request failed.
        text: Its text, without reasoning.
        error: Why it failed.
        spent: What it took.
        seconds: How long it took.
        may_help: Whether the failed request may succeed when it is made again.
        parsed: The answer in the schema that was asked for.
    """

    message: AIMessage | None
    text: str
    error: str | None
    spent: Spent
    seconds: float
    may_help: bool = False
    parsed: AnyMapping = field(default_factory=dict)

    @property
    def logprobs(self) -> AnyMapping:
        """The log-probabilities as the provider gave them; empty where it gave none."""
        metadata = self.message.response_metadata if self.message else {}
        given = metadata.get("logprobs")
        return given if isinstance(given, Mapping) else {}


class Judge:
    """A chat model that judges.

    Args:
        model: A chat model, a runnable that takes messages, or a member string.
        name: What records and reports call it; by default as it is asked for.
        base_url: An endpoint that speaks OpenAI's chat completions, for a bare id.
        api_key: Its key; by default the environment's `TOGETHER_API_KEY`.
        prices: What tokens cost, per model; `True` for list prices.
        like: A mixture whose keys, deadlines, retries and prices it has.

    Raises:
        MoAConfigurationError: The model is unknown, or its key is missing.

    Example:
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> Judge(ScriptedChatModel.saying("[[A]]"), name="strict").name
        'strict'
    """

    @without_variables
    def __init__(
        self,
        model: Any,
        *,
        name: str = "",
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        prices: Prices | Literal[True] | None = None,
        like: MoAChatModel | None = None,
    ) -> None:
        if base_url is not None and not _is_bare(model):
            msg = f"base_url={base_url!r} is for a bare id, and the judge is {shown(model)}."
            raise MoAConfigurationError(msg)
        if base_url is not None:
            key = api_key or os.environ.get(TOGETHER_KEY_VARIABLE) or NO_KEY
            found = _at(model, base_url, key, like)
        else:
            found = alone(model, name, like=like)
        update: AnyDict = {"temperature": None, "max_tokens": None, "stop": None}
        if prices is not None:
            update["prices"] = prices
        self.asked = found.model.model_copy(update=update)
        self.name = name or found.name
        self.own_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self.wire = _wire(model, base_url)
        self.fingerprint = str(self.asked.asdict()["fingerprint"])
        self.proven = False
        self._takes_arguments = takes_arguments(self.asked.aggregator)

    def known_as(self, addresses: Mapping[str, str]) -> None:
        """Have its judgments found again as if its endpoint had another address."""
        self.fingerprint = str(at_addresses(self.asked, addresses).asdict()["fingerprint"])

    def described(self) -> dict[str, JSON]:
        """The judge for a run's manifest, without keys."""
        return Contestant(self.name, "model", self.asked).described()["settings"]

    async def ask(self, messages: Messages, *, trying: bool = False, **arguments: Any) -> Said:
        """Ask the judge once.

        Args:
            messages: What it is told.
            trying: Whether these arguments may be what it refuses; a wrong set-up is not told then.
            **arguments: Arguments of the call.

        Raises:
            MoAConfigurationError: The judge's set-up is wrong: its key, or its name.
        """
        given = arguments if self._takes_arguments else {}

        async def call() -> tuple[AIMessage, AnyMapping]:
            return await self.asked.ainvoke(convert_to_messages(list(messages)), **given), {}

        return await self._said(call, trying=trying)

    async def ask_in(self, messages: Messages, schema: AnyDict, **arguments: Any) -> Said:
        """Ask for an answer in a schema; not every judge is able to."""

        async def call() -> tuple[AIMessage, AnyMapping]:
            structured: AnyRunnable = self.asked.with_structured_output(schema, include_raw=True)
            found = await structured.ainvoke(convert_to_messages(list(messages)), **arguments)
            raw, parsed = found["raw"], found["parsed"]
            return raw, parsed if isinstance(parsed, Mapping) else {}

        return await self._said(call, trying=True)

    async def _said(
        self,
        call: Callable[[], Awaitable[tuple[AIMessage, AnyMapping]]],
        *,
        trying: bool = False,
    ) -> Said:
        started = time.perf_counter()
        try:
            message, parsed = await call()
        except Exception as error:
            if isinstance(error, MoAConfigurationError) and not trying:
                raise
            if not (self.proven or trying):
                refuse_set_up(error, f"judge {self.name}")
            return Said(
                message=None,
                text="",
                error=why(error),
                spent=paid_for(error, None),
                seconds=time.perf_counter() - started,
                may_help=bool(getattr(error, "is_retryable", False)),
            )
        self.proven = True
        return Said(
            message=message,
            text=strip_reasoning(message.text),
            error=None,
            spent=spent(message),
            seconds=time.perf_counter() - started,
            parsed=parsed,
        )

    def asks_for_logprobs(self) -> AnyDict:
        """The arguments by which its provider gives log-probabilities."""
        if self.wire == "together":
            return {"logprobs": _TOP}
        return {"logprobs": True, "top_logprobs": _TOP}


def _at(model: str, base_url: str, key: str | SecretStr, like: MoAChatModel | None) -> Contestant:
    """A bare id at an endpoint of its own."""
    here: AnyDict = {"api_key": key, "base_url": base_url}
    if like is not None:
        return alone(model, like=like.model_copy(update=here))
    bare = MoAChatModel(reference_models=[model], aggregator=model, **here)
    return alone(bare.aggregator)


def _is_bare(model: object) -> bool:
    """Whether a judge is given as an id without a provider."""
    if not isinstance(model, str):
        return False
    provider, colon, _ = model.partition(":")
    return not colon or "/" in provider  # ids of fine-tuned models hold a colon after a slash


def _wire(model: object, base_url: str | None) -> Wire:
    host = urlsplit(base_url or "").hostname or ""
    if base_url is not None:
        return "together" if host.endswith(_TOGETHERS_HOSTS) else "openai"
    if isinstance(model, str):
        together = model.strip().lower().startswith("together:")
        return "together" if together or _is_bare(model) else "openai"
    return "together" if is_a(model, "ChatTogether") else "openai"


def judges_itself(judge: Judge, names: Sequence[str]) -> list[str]:
    """The models that are the judge's own, which it is known to prefer (arXiv 2404.13076).

    Example:
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> judge = Judge(ScriptedChatModel.saying("[[A]]"), name="openai:gpt-5")
        >>> judges_itself(judge, ["acme/a", "GPT-5"])
        ['GPT-5']
    """
    own = _bare(judge.name)
    return [name for name in names if _bare(name) == own]


def _bare(name: str) -> str:
    """A model's id without its provider."""
    provider, colon, model = name.partition(":")
    return (model if colon and "/" not in provider else name).strip().lower()
