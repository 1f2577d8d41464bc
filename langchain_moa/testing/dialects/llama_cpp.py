"""llama.cpp's server: chat completions as a model on one's own machine speaks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from langchain_moa.testing.dialects.openai import OpenAI
from langchain_moa.testing.dialects.speech import Refusal, Turn
from langchain_moa.types import AnyDict, AnyMapping

_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
_MILLISECONDS: Final = 20.0
"""What each token takes, says the server."""


class LlamaCpp(OpenAI):
    """The dialect of llama.cpp's server (https://github.com/ggml-org/llama.cpp, `tools/server`).

    It is OpenAI's, but the first delta of a stream has a null content; `timings` stand beside
    the usage; the codes of errors are numbers; a prompt that is too long is an
    `exceed_context_size_error` that tells `n_ctx`; a picture for a model without a projector is
    an error 500; and a `tool_choice` that names a tool is ignored. While it loads its model, it
    answers 503 without `Retry-After`, as the behavior below does.

    Example:
        >>> from langchain_moa.testing import LoopbackServer, ModelBehavior
        >>> from langchain_openai import ChatOpenAI
        >>> loading = ModelBehavior(
        ...     reply="Hello!", status=503, error="Loading model", fail_first=1
        ... )
        >>> with LoopbackServer({"model.gguf": loading}) as server:
        ...     model = ChatOpenAI(
        ...         model="model.gguf", api_key=server.api_key, base_url=server.llama_cpp_url
        ...     )
        ...     model.invoke("Hi").content
        'Hello!'
    """

    name = "llama.cpp"
    first_content = None

    @override
    def chat_body(self, body: AnyMapping, path: str) -> AnyMapping:
        """The body, in which a tool choice that is an object counts for nothing."""
        if isinstance(body.get("tool_choice"), Mapping):
            return {**body, "tool_choice": "auto"}
        return body

    @override
    def error(self, refusal: Refusal) -> AnyDict:
        """An error whose code is a number."""
        kind = refusal.kind or _ERRORS.get(refusal.status, "server_error")
        error = {"code": refusal.code or refusal.status, "message": refusal.message, "type": kind}
        return {"error": {**error, **refusal.fields}}

    @override
    def too_long(self, read: int, window: int) -> Refusal:
        """An error that tells the size of the context."""
        message = (
            f"request ({read} tokens) exceeds the available context size ({window} tokens), "
            "try increasing it"
        )
        fields = {"n_prompt_tokens": read, "n_ctx": window}
        kind = "exceed_context_size_error"
        return Refusal(status=400, message=message, kind=kind, fields=fields)

    @override
    def no_pictures(self) -> Refusal:
        """A server's error, though it is the request that cannot be served."""
        message = (
            "image input is not supported - hint: if this is unexpected, you may need to provide "
            "the mmproj"
        )
        return Refusal(status=500, message=message)

    @override
    def last_fields(self, turn: Turn) -> AnyDict:
        """How long the prompt and the answer took."""
        read, written = turn.usage["prompt_tokens"], turn.usage["completion_tokens"]
        timings = {
            "prompt_n": read,
            "prompt_ms": read * _MILLISECONDS,
            "prompt_per_second": 1000 / _MILLISECONDS,
            "predicted_n": written,
            "predicted_ms": written * _MILLISECONDS,
            "predicted_per_second": 1000 / _MILLISECONDS,
        }
        return {"timings": timings}
