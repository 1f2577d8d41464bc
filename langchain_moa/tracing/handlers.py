"""Callback handlers around inner calls: who must not hear tokens, which runs are open."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForToolRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    Callbacks,
)
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.tracers.base import BaseTracer
from typing_extensions import override

from langchain_moa.tracing.redaction import Redaction
from langchain_moa.types import AnyDict


def silenced(
    handlers: Iterable[BaseCallbackHandler], *, is_async: bool
) -> list[BaseCallbackHandler]:
    """The handlers, silenced to tokens; LangGraph's own are left out altogether."""
    silent = _no_token_async if is_async else _no_token
    return [
        WithoutTokens(handler, silent) if _wants_tokens(handler) else handler
        for handler in handlers
        if not shows_messages(handler)
    ]


class _StandIn(BaseCallbackHandler):
    """Stands in for a handler.

    Any attribute that it has not itself is the handler's own, its class included, and it equals
    the handler, so that LangChain does not add the handler beside it.
    """

    original: Callable[[], BaseCallbackHandler]

    def __getattribute__(self, name: str) -> object:
        own = object.__getattribute__(self, "__dict__")
        return own[name] if name in own else getattr(own["original"](), name)

    def __eq__(self, other: object) -> bool:
        return self is other or self.original() == other  # which may be another one's stand-in

    def __hash__(self) -> int:
        return hash(self.original())


class WithoutTokens(_StandIn):
    """Stands in for a handler and hears everything but tokens."""

    def __init__(self, handler: BaseCallbackHandler, silent: Callable[..., object]) -> None:
        own = object.__getattribute__(self, "__dict__")
        own["original"] = lambda: handler
        own["on_llm_new_token"] = silent


class Cleaning(Protocol):
    """Cleans the pieces of one answer, one after the other."""

    def take(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """A piece as its reader gets it."""

    def of_event(self, event: AnyDict) -> list[AnyDict]:
        """What is told in place of one event of LangChain's protocol (`stream_events` v3)."""


def hearing_clean(
    handlers: Iterable[BaseCallbackHandler],
    pieces: Callable[[], Cleaning],
    whole: Callable[[AIMessage], AIMessage],
) -> list[BaseCallbackHandler]:
    """The handlers, with those that show a model's tokens told of clean ones.

    Args:
        handlers: The handlers. Tracers among them note what was sent as it was.
        pieces: Makes what cleans one stream.
        whole: Cleans an answer that was not streamed.
    """
    return [
        _CleanTokens(handler, pieces, whole)
        if _wants_tokens(handler) or _wants_events(handler) or shows_messages(handler)
        else handler
        for handler in handlers
    ]


class _CleanTokens(_StandIn):
    """Stands in for a handler that must hear of an answer only what its reader gets."""

    def __init__(
        self,
        handler: BaseCallbackHandler,
        pieces: Callable[[], Cleaning],
        whole: Callable[[AIMessage], AIMessage],
    ) -> None:
        streams: defaultdict[object, Cleaning] = defaultdict(pieces)

        def of_token(given: AnyDict) -> list[AnyDict]:
            message = getattr(given.get("chunk"), "message", None)
            if not isinstance(message, AIMessageChunk):
                return [given]
            clean = streams[given.get("run_id")].take(message)
            if clean is message:
                return [given]
            chunk = ChatGenerationChunk(message=clean)
            return [{**given, "token": clean.text, "chunk": chunk}]

        def of_event(given: AnyDict) -> list[AnyDict]:
            told = streams[given.get("run_id")].of_event(given["event"])
            return [{**given, "event": event} for event in told]

        def of_end(given: AnyDict) -> list[AnyDict]:
            streams.pop(given.get("run_id"), None)
            return [{**given, "response": _with_clean(given["response"], whole)}]

        own = object.__getattribute__(self, "__dict__")
        own["original"] = lambda: handler
        own["on_llm_new_token"] = _told(handler.on_llm_new_token, "token", of_token)
        own["on_stream_event"] = _told(handler.on_stream_event, "event", of_event)
        own["on_llm_end"] = _told(handler.on_llm_end, "response", of_end)


def _told(
    method: Callable[..., Any], first: str, change: Callable[[AnyDict], list[AnyDict]]
) -> Callable[..., object]:
    """A handler's method that is told of something else; async where it is.

    Args:
        method: The method.
        first: The name of its first argument, which comes by its place or by its name.
        change: Makes what it is told, in one call of it or several, of the arguments that are
            given, all by their names.
    """

    def changed(args: tuple[object, ...], given: AnyDict) -> Iterator[tuple[object, AnyDict]]:
        for told in change({first: args[0], **given} if args else given):
            yield told[first], {name: v for name, v in told.items() if name != first}

    def hear(*args: object, **given: object) -> None:
        for told, rest in changed(args, given):
            method(told, **rest)

    async def ahear(*args: object, **given: object) -> None:
        for told, rest in changed(args, given):
            await method(told, **rest)

    return ahear if inspect.iscoroutinefunction(method) else hear


def _with_clean(response: LLMResult, whole: Callable[[AIMessage], AIMessage]) -> LLMResult:
    """A model's result with clean messages; itself where they are."""
    rows = [[_clean_generation(each, whole) for each in row] for row in response.generations]
    if all(
        a is b
        for new, old in zip(rows, response.generations, strict=True)
        for a, b in zip(new, old, strict=True)
    ):
        return response
    return response.model_copy(update={"generations": rows})


def _clean_generation(generation: Any, whole: Callable[[AIMessage], AIMessage]) -> object:
    message = getattr(generation, "message", None)
    if not isinstance(message, AIMessage):
        return generation
    clean = whole(message)
    if clean is message:
        return generation
    return ChatGeneration(message=clean, generation_info=generation.generation_info)


def _no_token(*_: object, **__: object) -> None:
    """Hear nothing."""


async def _no_token_async(*_: object, **__: object) -> None:
    """Hear nothing; in an event loop a sync handler would cost a thread switch per token."""


def _wants_tokens(handler: BaseCallbackHandler) -> bool:
    """Whether a handler listens to tokens; tracers note those of every run, each its own."""
    own = handler.__class__.on_llm_new_token
    none = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)
    is_tracer = isinstance(handler, BaseTracer) and not hasattr(handler, "tap_output_aiter")
    return own not in none and not is_tracer


def _wants_events(handler: BaseCallbackHandler) -> bool:
    """Whether a handler listens to the events of LangChain's protocol."""
    own = handler.__class__.on_stream_event
    return own not in (BaseCallbackHandler.on_stream_event, AsyncCallbackHandler.on_stream_event)


def shows_messages(handler: BaseCallbackHandler) -> bool:
    """Whether a handler is LangGraph's own for its `messages` stream.

    It shows a message wherever one comes by, as a token or in a node's output, and so must not
    see what goes on inside a mixture. Its classes are private to LangGraph.
    """
    return handler.__class__.__module__.startswith("langgraph.")


_Kind = type[AsyncCallbackManagerForLLMRun] | type[AsyncCallbackManagerForToolRun]


class OpenRuns(BaseCallbackHandler):
    """Knows which runs of models and tools below a call are open, and keeps secrets out of them.

    langchain-core never closes the run of a model or tool whose `ainvoke` is cancelled: in a trace
    it stays pending for ever. And what it tells of a model's settings and errors may hold keys; so
    this handler must come before all others, who are told of the same objects.

    Args:
        redaction: Takes secrets out of what is told of a model.
        of_errors: Gives what takes them out of an error, when there is one.
    """

    run_inline = True  # in an event loop, a handler that is not inline costs a thread switch

    def __init__(self, redaction: Redaction, of_errors: Callable[[], Redaction]) -> None:
        self._redaction = redaction
        self._of_errors = of_errors
        self._open: dict[UUID, tuple[_Kind, UUID | None]] = {}

    @override
    def on_chat_model_start(
        self,
        serialized: AnyDict,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: object,
    ) -> None:
        self._open[run_id] = (AsyncCallbackManagerForLLMRun, parent_run_id)
        self._redaction.in_place(serialized)
        self._redaction.in_place(kwargs.get("invocation_params"))
        self._redaction.in_place(kwargs.get("options"))

    @override
    def on_llm_start(
        self,
        serialized: AnyDict,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: object,
    ) -> None:
        self._open[run_id] = (AsyncCallbackManagerForLLMRun, parent_run_id)
        self._redaction.in_place(serialized)
        self._redaction.in_place(kwargs.get("invocation_params"))
        self._redaction.in_place(kwargs.get("options"))

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: object) -> None:
        self._open.pop(run_id, None)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        redaction = self._of_errors()
        redaction.error(error)
        response = kwargs.get("response")
        for row in response.generations if isinstance(response, LLMResult) else ():
            for generation in row:  # in which LangChain puts the response's body
                message = getattr(generation, "message", None)
                redaction.in_place(getattr(message, "response_metadata", None))
        self._open.pop(run_id, None)

    @override
    def on_tool_start(
        self,
        serialized: AnyDict,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: object,
    ) -> None:
        self._open[run_id] = (AsyncCallbackManagerForToolRun, parent_run_id)

    @override
    def on_tool_end(self, output: object, *, run_id: UUID, **kwargs: object) -> None:
        self._open.pop(run_id, None)

    @override
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        self._of_errors().error(error)

    @override
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        self._of_errors().error(error)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        self._of_errors().error(error)
        self._open.pop(run_id, None)

    async def close(self, callbacks: Callbacks, error: BaseException) -> None:
        """End every open run with the error, for all handlers of the call."""
        if not isinstance(callbacks, BaseCallbackManager):
            return
        for run_id, (kind, parent_run_id) in list(self._open.items()):
            run = kind(
                run_id=run_id,
                handlers=callbacks.handlers,
                inheritable_handlers=callbacks.inheritable_handlers,
                parent_run_id=parent_run_id,
                tags=callbacks.tags,
                inheritable_tags=callbacks.inheritable_tags,
                metadata=callbacks.metadata,
                inheritable_metadata=callbacks.inheritable_metadata,
            )
            if isinstance(run, AsyncCallbackManagerForToolRun):
                await run.on_tool_error(error)
            else:
                await run.on_llm_error(error)
