"""LangChain's hooks of a mixture as a chat model: how it is called, and who it is."""

from __future__ import annotations

from abc import ABC
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any, Final, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr
from typing_extensions import override

from langchain_moa.accounting.usage import without_usage
from langchain_moa.delegation import DelegatingChatModel
from langchain_moa.engine.run import MoARun
from langchain_moa.errors import MoAError
from langchain_moa.members.bindings import Bindings
from langchain_moa.tracing.callbacks import RunManager, get_current_run

MODEL_NAME: Final = "moa"
"""Name of the mixture as a model. It must look like no provider's model: LangChain's agents
choose structured-output strategies by patterns on model names."""


class HookedChatModel(DelegatingChatModel, ABC):
    """A mixture that LangChain calls, traces and prints as one chat model."""

    _bindings: Bindings = PrivateAttr(default_factory=Bindings)

    # --- one call ---

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(self._run(run_manager, stop, kwargs).invoke(messages))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(await self._run(run_manager, stop, kwargs).ainvoke(messages))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self._run(run_manager, stop, kwargs).stream(messages)
        with closing(chunks):
            for chunk in chunks:
                yield ChatGenerationChunk(message=chunk)

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = self._run(run_manager, stop, kwargs).astream(messages)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield ChatGenerationChunk(message=chunk)

    def _run(
        self, manager: RunManager | None, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> MoARun:
        arguments = kwargs if stop is None else {**kwargs, "stop": stop}
        run = manager or get_current_run()
        return MoARun(self._mixture, run, arguments, self._bindings)

    @override
    def _with_bindings(self, bindings: Bindings) -> Self:
        copy = self.model_copy()
        copy._bindings = bindings  # noqa: SLF001 - of its own class
        return copy

    # --- who this is ---

    @property
    def model_name(self) -> str:
        """Name of the mixture as a model; members' names are in the record of each answer."""
        return MODEL_NAME

    @property
    @override
    def _llm_type(self) -> str:
        return MODEL_NAME

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        mixture = self._mixture
        return {
            "model": MODEL_NAME,
            "layers": mixture.layers,
            "reference_models": [[m.model for m in layer] for layer in mixture.proposers],
            "aggregator": mixture.aggregator.model,
            "fingerprint": mixture.fingerprint,
            **mixture.final_arguments,
            # the only thing about a binding that its call arguments do not tell
            **({"vote": True} if self._bindings.vote else {}),
        }

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = MODEL_NAME
        return params

    @override
    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """Names only: a member's own repr may print headers that hold keys."""
        try:
            mixture = self._mixture
        except MoAError:  # a field was assigned what no mixture can be made of
            return
        yield "reference_models", [[m.model for m in layer] for layer in mixture.proposers]
        yield "aggregator", mixture.aggregator.model
        yield "layers", mixture.layers


def _result(answer: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=without_usage(answer))])
