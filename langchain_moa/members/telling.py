"""Models of OpenAI's family that tell what their client leaves out of an answer.

That is a refusal in a stream, which langchain-openai keeps of whole answers alone, and reasoning
beside the content, which providers other than OpenAI send (see `_REASONING`) and few of their
LangChain classes keep: `ChatTogether` and `ChatOpenAI` don't, `ChatDeepSeek` and `ChatXAI` do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_moa.messages.blocks import REASONING_KEY
from langchain_moa.providers.classes import like, of_class
from langchain_moa.providers.foreign import readably, whole_readably
from langchain_moa.types import AnyDict, AnyMapping

_ModelT = TypeVar("_ModelT", bound=BaseChatModel)

_REASONING: Final = ("reasoning_content", "reasoning")
"""Where answers have their reasoning: with DeepSeek, xAI and llama.cpp; with Together
(docs.together.ai, "Reasoning models"), OpenRouter and Groq. vLLM has had both."""


def telling_all(model: _ModelT) -> _ModelT:
    """A copy of a model whose answers tell of a refusal and of reasoning, whole and streamed.

    For refusals see "Refusals" in platform.openai.com/docs/guides/structured-outputs.
    """
    return of_class(model.model_copy(), _telling(type(model)))


@cache
def _telling(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    def piece(self: object, chunk: AnyDict, *args: object) -> ChatGenerationChunk | None:
        made: ChatGenerationChunk | None = readably(getattr(kind, _OF_PIECES), self, chunk, *args)
        if made is not None:
            _tell(made, chunk, "delta", refusal=True)
        return made

    def whole(self: object, response: object, *args: object, **kwargs: object) -> ChatResult:
        def read(answer: object) -> ChatResult:
            made: ChatResult = getattr(kind, _OF_WHOLE)(self, answer, *args, **kwargs)
            return made

        if not isinstance(response, dict):
            return readably(read, response)
        made = whole_readably(read, response)
        if made.generations:
            _tell(made.generations[0], response, "message", refusal=False)
        return made

    methods: dict[str, Callable[..., Any]] = {_OF_PIECES: piece, _OF_WHOLE: whole}
    return like(kind, **methods)


_OF_PIECES: Final = "_convert_chunk_to_generation_chunk"
_OF_WHOLE: Final = "_create_chat_result"


def _tell(made: Any, answer: AnyMapping, place: str, *, refusal: bool) -> None:
    """Put into the message what its client has left out of it."""
    choices = answer.get("choices")
    said = (choices[0].get(place) if choices else None) or {}
    beside = made.message.additional_kwargs
    if refusal and said.get("refusal"):
        beside["refusal"] = str(said["refusal"])
    reasoning = next((said[name] for name in _REASONING if said.get(name)), None)
    if isinstance(reasoning, str):
        beside.setdefault(REASONING_KEY, reasoning)
