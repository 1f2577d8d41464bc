"""A chat model that answers by a function, for tests inside the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr
from typing_extensions import override

from langchain_moa.errors import MoAConfigurationError, without_variables
from langchain_moa.testing.replies import count_prompt_tokens, tokens
from langchain_moa.types import AnyDict

Script = Callable[[list[BaseMessage]], str | AIMessage]
"""Answers a conversation with a text or a message, or raises."""


class ScriptedChatModel(BaseChatModel):
    """A chat model whose answers a function gives.

    A function of the messages, unlike a list of responses, answers the same in whatever
    order parallel calls come.

    Args:
        script: Answers a conversation with a text or a message, or raises.
        model: The model name that it goes by.
        seconds: How long it thinks before it answers.
        token_seconds: How long it takes per streamed token after that.

    Raises:
        MoAConfigurationError: There is no script, or it is no function.

    Example:
        >>> from langchain_moa.testing import ScriptedChatModel
        >>> model = ScriptedChatModel(script=lambda messages: messages[-1].text.upper())
        >>> model.invoke("hello").content
        'HELLO'
    """

    script: Script
    model: str = "scripted"
    seconds: float = 0.0
    token_seconds: float = 0.0

    _calls: list[tuple[list[BaseMessage], AnyDict]] = PrivateAttr(default_factory=list)

    if not TYPE_CHECKING:  # type checkers see the constructor that the fields make

        @without_variables
        def __init__(self, *args: object, **fields: object) -> None:
            if args or not callable(fields.get("script")):
                msg = (
                    "script is no function of the messages; give script=function, or "
                    "ScriptedChatModel.saying(text)."
                )
                raise MoAConfigurationError(msg)
            super().__init__(**fields)

    @classmethod
    def saying(cls, text: str, **fields: Any) -> Self:
        """A model that always says the same.

        Args:
            text: What it says.
            **fields: Other fields of the model.
        """
        return cls(script=partial(_said, text), **fields)

    @property
    def calls(self) -> list[tuple[list[BaseMessage], AnyDict]]:
        """The messages and call arguments of every call; copies of the model share it."""
        return self._calls

    @property
    @override
    def _llm_type(self) -> str:
        return "scripted"

    @override
    def bind_tools(
        self,
        tools: Sequence[AnyDict | type | Callable[..., object] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: object,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Hand the tools, as OpenAI's schemas, and the choice to each call's arguments."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        time.sleep(self.seconds)
        return self._result(self._answer(messages, stop, kwargs))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        await asyncio.sleep(self.seconds)
        return self._result(self._answer(messages, stop, kwargs))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        time.sleep(self.seconds)
        for chunk in _chunks(self._answer(messages, stop, kwargs)):
            time.sleep(self.token_seconds)
            yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.seconds)
        for chunk in _chunks(self._answer(messages, stop, kwargs)):
            await asyncio.sleep(self.token_seconds)
            yield chunk

    def _answer(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: AnyDict
    ) -> AIMessage:
        given = kwargs if stop is None else {**kwargs, "stop": stop}
        self._calls.append((messages, given))
        answer = self.script(messages)
        message = AIMessage(answer) if isinstance(answer, str) else answer
        metadata = {"model_name": self.model, **message.response_metadata}
        read = count_prompt_tokens([{"content": str(m.content)} for m in messages])
        written = len(tokens(message.text))
        usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return message.model_copy(
            update={
                "response_metadata": metadata,
                "usage_metadata": message.usage_metadata or usage,
            }
        )

    def _result(self, answer: AIMessage) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _said(text: str, _: list[BaseMessage]) -> str:
    """What `saying` says: a function with a name, so that the model can be pickled."""
    return text


def _chunks(answer: AIMessage) -> Iterator[ChatGenerationChunk]:
    """A text token by token, then everything else of the message in the last chunk."""
    text = answer.content if isinstance(answer.content, str) else ""
    for piece in tokens(text):
        yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
    rest = answer.model_dump(exclude={"type", "id"})
    if text:
        rest["content"] = ""
    yield ChatGenerationChunk(message=AIMessageChunk(**rest, chunk_position="last"))
