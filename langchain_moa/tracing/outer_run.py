"""The outer run of a chat model that has chat models inside.

`BaseChatModel` keeps its run from `_stream`, so that inner runs could not become its
children, and would let the answer's usage be counted a second time by callbacks.
"""

from __future__ import annotations

import asyncio
from abc import ABC
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.utils.uuid import uuid7
from typing_extensions import override

from langchain_moa.accounting.usage import with_usage
from langchain_moa.errors import TellsOneLine, forget_variables
from langchain_moa.tracing.callbacks import (
    current_run,
    known_configurable,
    prepare_stream_run,
    with_first_handler,
)
from langchain_moa.tracing.redaction import HEADER_NAMES, Redaction
from langchain_moa.tracing.stepping import astepped, stepped
from langchain_moa.types import AnyDict, AnyMapping

_RunT = TypeVar("_RunT", CallbackManagerForLLMRun, AsyncCallbackManagerForLLMRun)


class CompositeChatModel(BaseChatModel, ABC):
    """A chat model whose `_stream` knows its run, and whose answers get usage on the way out.

    Usage is put on the answer after callbacks and cache have seen it, for the inner runs have
    reported it already.
    """

    @override
    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        with current_run(run_manager):
            return super()._generate_with_cache(
                messages, stop=stop, run_manager=run_manager, **kwargs
            )

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        with current_run(run_manager):
            try:
                return await super()._agenerate_with_cache(
                    messages, stop=stop, run_manager=run_manager, **kwargs
                )
            except asyncio.CancelledError as error:
                # the base class leaves the run of a cancelled call open in traces for ever
                task = asyncio.current_task()
                if run_manager is not None and task is not None and task.cancelling():
                    await run_manager.on_llm_error(error)
                raise

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        with known_configurable(config), _Told(kwargs):
            return super().invoke(input, discreet(config, kwargs), **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        with known_configurable(config), _Told(kwargs):
            return await super().ainvoke(input, discreet(config, kwargs), **kwargs)

    @override
    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: object,
    ) -> Iterator[AIMessageChunk]:
        config = discreet(config, kwargs)
        config, manager = self._known_run(config, CallbackManager, CallbackManagerForLLMRun)
        steps = super().stream(input, config, stop=stop, **kwargs)
        whole = stepped(steps, partial(current_run, manager, config))
        with _Told(kwargs), closing(whole) as chunks:
            for chunk in chunks:
                yield with_usage(chunk)

    @override
    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: object,
    ) -> AsyncIterator[AIMessageChunk]:
        config = discreet(config, kwargs)
        config, manager = self._known_run(
            config, AsyncCallbackManager, AsyncCallbackManagerForLLMRun
        )
        steps = super().astream(input, config, stop=stop, **kwargs)
        whole = astepped(steps, partial(current_run, manager, config))
        with _Told(kwargs):
            async with aclosing(whole) as chunks:
                async for chunk in chunks:
                    yield with_usage(chunk)

    def _known_run(
        self,
        config: RunnableConfig | None,
        callback_class: type[CallbackManager | AsyncCallbackManager],
        run_class: type[_RunT],
    ) -> tuple[RunnableConfig, _RunT]:
        """A config that fixes the run which the base class is about to open, and that run."""
        full = ensure_config(config)
        callbacks = callback_class.configure(
            full.get("callbacks"),
            self.callbacks,
            self.verbose,
            full.get("tags"),
            self.tags,
            full.get("metadata"),
            self.metadata,
        )
        run_id = full.get("run_id") or uuid7()
        known: RunnableConfig = {**full, "callbacks": callbacks, "run_id": run_id}
        return known, prepare_stream_run(run_class, callbacks, run_id)

    @override
    def generate(self, *args: Any, **kwargs: Any) -> LLMResult:
        with TellsOneLine():
            return _result_with_usage(super().generate(*args, **kwargs))

    @override
    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        with TellsOneLine():
            return _result_with_usage(await super().agenerate(*args, **kwargs))


class _Told(TellsOneLine):
    """What an error's traceback tells of a call: no arguments that may be headers with keys."""

    def __init__(self, arguments: AnyDict) -> None:
        self._arguments = arguments

    @override
    def __exit__(
        self, kind: object, error: BaseException | None, found: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and HEADER_NAMES & self._arguments.keys():
            self._arguments.clear()
            forget_variables(error)
        super().__exit__(kind, error, found)


def discreet(config: RunnableConfig | None, arguments: AnyMapping) -> RunnableConfig | None:
    """A config whose handlers are not told of the headers among a call's arguments."""
    if not HEADER_NAMES & arguments.keys():
        return config
    return with_first_handler(ensure_config(config), _TellsNoHeaders())


class _TellsNoHeaders(BaseCallbackHandler):
    """Takes headers out of what the handlers after it are told of a call."""

    run_inline = True

    @override
    def on_chat_model_start(self, *_: object, **told: object) -> None:
        for name in ("invocation_params", "options"):
            Redaction().in_place(told.get(name))


def _result_with_usage(result: LLMResult) -> LLMResult:
    """The result with usage on its messages; new objects, for the cache holds the old ones."""
    generations = [
        [
            g.model_copy(update={"message": with_usage(g.message)})
            if isinstance(g, ChatGeneration) and isinstance(g.message, AIMessage)
            else g
            for g in row
        ]
        for row in result.generations
    ]
    return result.model_copy(update={"generations": generations})
