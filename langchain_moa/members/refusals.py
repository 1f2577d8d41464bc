"""Models of OpenAI's family whose streams tell of a refusal, as their whole answers do."""

from __future__ import annotations

import types
from functools import cache
from typing import Any, Final, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

_ModelT = TypeVar("_ModelT", bound=BaseChatModel)


def telling_refusals(model: _ModelT) -> _ModelT:
    """A copy of a model whose streams tell of a refusal.

    OpenAI sends it in a field beside the content, see "Refusals" in
    platform.openai.com/docs/guides/structured-outputs; langchain-openai keeps it of whole answers
    alone.
    """
    copy = model.model_copy()
    object.__setattr__(copy, "__class__", _telling(type(copy)))  # the same fields
    return copy


@cache
def _telling(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    def converted(self: Any, chunk: dict[str, Any], *args: Any) -> ChatGenerationChunk | None:
        read: Any = getattr(kind, _HOOK)
        made: ChatGenerationChunk | None = read(self, chunk, *args)
        refusal = _refusal_in(chunk)
        if made is not None and refusal:
            made.message.additional_kwargs["refusal"] = refusal
        return made

    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, _HOOK: converted}
    made: type[BaseChatModel] = types.new_class(
        kind.__name__, (kind,), exec_body=lambda namespace: namespace.update(own)
    )
    return made


_HOOK: Final = "_convert_chunk_to_generation_chunk"


def _refusal_in(chunk: dict[str, Any]) -> str | None:
    """The piece of a refusal that an event of a stream has."""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta")
        if delta and delta.get("refusal"):
            return str(delta["refusal"])
    return None
